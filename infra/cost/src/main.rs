//! Prints Kinline's cost at three sizes and a simulation of its busiest hour:
//! `cargo run --release -p cost [prices.toml usage.toml]`.

#![expect(clippy::print_stdout, reason = "its tables are its purpose")]

use std::{env, fs};

use anyhow::Context;
use cost::{
    bill::{self, Bill, Database},
    evening::{self, Evening},
    inputs::{Prices, Usage},
};

const SIZES: [f64; 3] = [100.0, 10_000.0, 1_000_000.0];

fn main() -> anyhow::Result<()> {
    let mut files = env::args().skip(1);
    let read = |file: Option<String>, own: &str| match file {
        Some(file) => fs::read_to_string(&file).with_context(|| format!("can't read {file}")),
        None => Ok(own.to_owned()),
    };
    let prices = Prices::read(&read(files.next(), include_str!("../prices.toml"))?)?;
    let usage = Usage::read(&read(files.next(), include_str!("../usage.toml"))?)?;

    println!(
        "US dollars a month. A family: {} members, {} messages a day.\n",
        usage.family.members, usage.family.posts_a_day
    );
    println!("| families | | total | SMS | all else | per family |\n|---|---|---|---|---|---|");
    for families in SIZES {
        let bills = [
            ("Kinline on Aurora", bill::ours(&prices, &usage, Database::Aurora, families)?),
            ("Kinline, small database", bill::ours(&prices, &usage, Database::Small, families)?),
            ("the other design", bill::other(&prices, &usage, families)?),
        ];
        for (name, bill) in bills {
            // Too many families for a small database.
            if name.ends_with("small database") && families > 10_000.0 {
                continue;
            }
            println!(
                "| {} | {name} | {} | {} | {} | {:.2} |",
                thousands(families),
                thousands(bill.total()),
                thousands(bill.of("SMS")),
                thousands(bill.without_sms()),
                bill.total() / families
            );
        }
    }
    println!("\nAll else, line by line, on Aurora:\n");
    let bills: Vec<Bill> = SIZES
        .iter()
        .map(|&families| bill::ours(&prices, &usage, Database::Aurora, families))
        .collect::<anyhow::Result<_>>()?;
    for line in bills[0].lines.iter().filter(|line| line.what != "SMS") {
        let row: Vec<String> =
            bills.iter().map(|bill| format!("{:.2}", bill.of(line.what))).collect();
        println!("| {} | {} |", line.what, row.join(" | "));
    }

    println!("\nHalf an hour of the busiest hour.\n");
    println!(
        "| families | batches at once | carrier a second | SMS a second | p50 s | p99 s | \
        longest queue | most busy | throttled |\n|---|---|---|---|---|---|---|---|---|"
    );
    let evenings = [
        (100.0, 10, 20.0),
        (10_000.0, 10, 20.0),
        (10_000.0, 10, 100.0),
        (1_000_000.0, 10, 2000.0),
        (1_000_000.0, 50, 2000.0),
    ];
    for (families, workers, carrier_rate) in evenings {
        let evening = Evening { families, workers, carrier_rate, seconds: 1800.0 };
        let report = evening::run(&usage, &evening, 1);
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let rate = report.sms as f64 / evening.seconds;
        println!(
            "| {} | {workers} | {carrier_rate} | {rate:.1} | {:.2} | {:.2} | {} | {} | {} |",
            thousands(families),
            report.p50,
            report.p99,
            report.longest_queue,
            report.busiest,
            report.throttled
        );
    }
    Ok(())
}

/// A whole number, in groups of three digits.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
