//! Measures Kinline's speed, compared with its database's: `cargo bench -p tests`.
//!
//! All figures come from one run on one machine, so that ratios are meaningful where times are not.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark reports to its reader only"
)]

mod api;
mod cold;
mod load;
mod pgbench;
mod plans;
mod plot;
mod process;
mod report;
mod serve;
mod stub;
mod texts;
mod worker;
mod world;
mod writes;

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};

use crate::{report::Report, world::World};

/// Measures Kinline against its targets. Needs wrk and pgbench, and starts everything else
#[derive(Parser)]
#[command(name = "speed", bin_name = "cargo bench -p tests --")]
struct Settings {
    /// Messages of the data set, such as 100000, 1M or 10M
    #[arg(long, default_value = "1M", value_parser = count)]
    messages: i64,
    /// Seconds for each measurement
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Measurements of each figure, of which the median is taken
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measure only these parts
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// The speed.json of an earlier run, to print ratios to its figures
    #[arg(long)]
    compare: Option<PathBuf>,
    /// Another build of this benchmark, made in the checkout of another commit, to measure in turns with this
    /// one: requests, the worker, and what is written
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// Posts after which the size of a database is measured, such as 100000 or 1M
    #[arg(long, default_value = "100000", value_parser = count)]
    posts: i64,
    /// Folder for figures and plots [default: target/bench]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Passed by `cargo bench` to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// History, resolving threads, posting: latency, CPU time, throughput
    Api,
    /// Pages of threads of any length, and pages further and further back
    Depth,
    /// SMS per second, and a batch of ten
    Worker,
    /// Rows and bytes that a post writes, and the size of a database after many
    Writes,
    /// Starts of the Lambda binaries
    Cold,
    /// Every SQL statement, explained as it is executed
    Plans,
    /// From the post to the SMS, on the local stack
    Texts,
}

fn count(text: &str) -> Result<i64, String> {
    let (digits, factor) = match text.strip_suffix(['M', 'm']) {
        Some(digits) => (digits, 1_000_000),
        None => (text, 1),
    };
    let number = digits.parse::<i64>().ok().and_then(|number| number.checked_mul(factor));
    number.filter(|number| *number >= 10_000).ok_or_else(|| "10000 or more, as 1M".to_owned())
}

fn main() -> ExitCode {
    // This program is also the measured processes.
    match env::var(process::ROLE).as_deref() {
        Ok("fill") => serve::fill(),
        Ok("api") => serve::api(),
        Ok("worker") => serve::worker(),
        _ => measure(&Settings::parse()),
    }
    ExitCode::SUCCESS
}

platform::set_allocator!();

#[tokio::main]
async fn measure(settings: &Settings) {
    for (program, package) in [("wrk", "wrk"), ("pgbench", "postgresql-contrib, or postgresql")] {
        if !process::is_there(program) {
            eprintln!("speed: {program} is not there; on Debian: apt-get install {package}");
            std::process::exit(2);
        }
    }
    let wanted = |part| settings.only.is_empty() || settings.only.contains(&part);
    let earlier = settings.compare.as_deref().map(report::read);
    let out = settings.out.clone().unwrap_or_else(process::out);
    std::fs::create_dir_all(&out).expect("a folder for the results");
    let effort =
        load::Effort { time: Duration::from_secs(settings.seconds), rounds: settings.rounds };
    let mut report = Report::new(settings.messages);
    build(&wanted);
    let mut worlds =
        vec![World::start(out.join("world"), world::this_program(), settings.messages).await];
    if let Some(program) = &settings.baseline {
        let program = program.canonicalize().expect("the baseline's program");
        worlds.push(World::start(out.join("baseline"), program, settings.messages).await);
    }
    if wanted(Part::Api) {
        api::measure(&worlds, effort, &mut report, &out).await;
    }
    if wanted(Part::Depth) {
        api::measure_depth(&worlds[0], effort, &mut report, &out).await;
    }
    if wanted(Part::Worker) {
        worker::measure(&worlds, &mut report).await;
    }
    if wanted(Part::Writes) {
        writes::measure(&worlds, settings.posts, &mut report).await;
    }
    if wanted(Part::Cold) {
        cold::measure(&worlds[0], &mut report).await;
    }
    // The last part on this database, since new connections are explained from then on.
    if wanted(Part::Plans) {
        plans::measure(&worlds[0], &mut report, &out).await;
    }
    println!("PostgreSQL {}", worlds[0].version());
    for world in worlds {
        world.stop().await;
    }
    if wanted(Part::Texts) {
        texts::measure(&out, &mut report).await;
    }
    report.print(earlier.as_ref());
    let file = out.join("speed.json");
    report.write(&file);
    println!("\nfigures and pictures: {}", out.display());
}

/// Builds the programs that the parts start, before any measurement.
fn build(wanted: &impl Fn(Part) -> bool) {
    if wanted(Part::Worker) || wanted(Part::Cold) {
        let _built = tests::lambda::release("worker");
    }
    if wanted(Part::Cold) {
        process::build("hello");
    }
    if wanted(Part::Texts) {
        process::build("local");
    }
}
