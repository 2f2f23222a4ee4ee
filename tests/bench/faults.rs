//! The long form of the fault suite: `cargo run -p tests --example faults [NAME]` runs every scenario,
//! or those with NAME in their name, and prints a table of the results.

#![expect(clippy::print_stdout, reason = "its table is its purpose")]

use std::{
    cell::Cell,
    panic::AssertUnwindSafe,
    process::ExitCode,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tests::faults::{SCENARIOS, Scenario, table};

/// Interval of progress lines while a scenario runs.
const TELL_EVERY: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> ExitCode {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let scenarios: Vec<&Scenario> =
        SCENARIOS.iter().filter(|scenario| scenario.name.contains(&wanted)).collect();
    if scenarios.is_empty() || std::env::args().len() > 2 {
        let names = SCENARIOS.map(|scenario| scenario.name).join(", ");
        println!("Usage: cargo run -p tests --example faults [NAME]\n\nNames: {names}");
        return ExitCode::from(2);
    }
    if !cfg!(debug_assertions) {
        println!("Failpoints are compiled with debug assertions only: run it without --release.");
        return ExitCode::from(2);
    }
    let (mut rows, mut held) = (Vec::new(), true);
    for scenario in scenarios {
        println!("{} …", scenario.name);
        let began = Instant::now();
        let told = Cell::new(began);
        let progress = |done: usize| {
            if told.get().elapsed() >= TELL_EVERY {
                told.set(Instant::now());
                println!("  {done} after {:.0} s", began.elapsed().as_secs_f64());
            }
        };
        match AssertUnwindSafe(scenario.run(scenario.long, &progress)).catch_unwind().await {
            Ok(done) => rows.extend(done),
            // The error is on standard error already.
            Err(_panic) => {
                println!("BROKEN {}: it could not go on", scenario.name);
                held = false;
            }
        }
    }
    println!("\n{}", table(&rows));
    held &= rows.iter().all(|row| row.verdict.broken.is_empty());
    println!("\n{}", if held { "All held." } else { "Not all held." });
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
