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
mod stub;
mod texts;
mod worker;
mod world;

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
        Ok("api") => api::serve(),
        Ok("worker") => worker::work(),
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
    let world = World::start(&out, settings.messages).await;
    if wanted(Part::Api) {
        api::measure(&world, effort, &mut report, &out).await;
    }
    if wanted(Part::Depth) {
        api::measure_depth(&world, effort, &mut report, &out).await;
    }
    if wanted(Part::Worker) {
        worker::measure(&world, &mut report).await;
    }
    if wanted(Part::Cold) {
        cold::measure(&world, &mut report).await;
    }
    // The last part on this database, since new connections are explained from then on.
    if wanted(Part::Plans) {
        plans::measure(&world, &mut report, &out).await;
    }
    world.stop().await;
    if wanted(Part::Texts) {
        texts::measure(&out, &mut report).await;
    }
    report.print(earlier.as_ref());
    let file = out.join("speed.json");
    report.write(&file);
    println!("\nfigures and pictures: {}", out.display());
}
