//! The fault suite: each scenario breaks its own system in one way, lets time pass until
//! nothing waits, and has the checker judge the result. A short form runs with the other tests;
//! the long form prints a table.

mod answer_lost;
mod api_killed;
mod batches_refused;
mod carrier_hangs;
mod carrier_throttles;
pub mod checker;
mod clocks;
mod database_restarted;
mod evidence;
mod jobs_repeated;
mod poison;
mod process;
pub mod proxy;
mod queue;
mod queue_down;
mod sweepers;
mod trial;
mod worker_frozen;
mod worker_killed;

use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use self::checker::Verdict;

/// Called with the number of tries that are done.
pub type Progress<'a> = &'a dyn Fn(usize);

/// One way to break the system.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// Number of tries with the other tests: where a limit could end more of them, beyond it (60 posts of a
    /// member at once, 600 SMS of a family, 100 threads or 500 rows of a statement).
    pub short: usize,
    /// Number of tries in the long form.
    pub long: usize,
    run: for<'a> fn(usize, Progress<'a>) -> LocalBoxFuture<'a, Vec<Row>>,
}

/// The result of one fault: a row of the table.
#[derive(Debug)]
pub struct Row {
    /// The fault.
    pub fault: String,
    /// Number of tries, in the scenario's unit.
    pub tried: usize,
    /// The checker's verdict.
    pub verdict: Verdict,
    /// Longest time until nothing waited: real time and simulated time together.
    pub drained: Duration,
}

/// Every scenario, in the order of the table.
pub const SCENARIOS: [Scenario; 13] = [
    Scenario {
        name: "worker-killed",
        short: 3,
        long: 100,
        run: |times, progress| Box::pin(worker_killed::run(times, progress)),
    },
    Scenario {
        name: "api-killed",
        short: 61,
        long: 200,
        run: |times, progress| Box::pin(api_killed::run(times, progress)),
    },
    Scenario {
        name: "queue-down",
        short: 200,
        long: 1000,
        run: |posts, progress| Box::pin(queue_down::run(posts, progress)),
    },
    Scenario {
        name: "batches-refused",
        short: 61,
        long: 100,
        run: |batches, progress| Box::pin(batches_refused::run(batches, progress)),
    },
    Scenario {
        name: "jobs-repeated",
        short: 610,
        long: 1000,
        run: |jobs, progress| Box::pin(jobs_repeated::run(jobs, progress)),
    },
    Scenario {
        name: "carrier-hangs",
        short: 20,
        long: 500,
        run: |sms, progress| Box::pin(carrier_hangs::run(sms, progress)),
    },
    Scenario {
        name: "carrier-throttles",
        short: 610,
        long: 1000,
        run: |sms, progress| Box::pin(carrier_throttles::run(sms, progress)),
    },
    Scenario {
        name: "worker-frozen",
        short: 4,
        long: 50,
        run: |times, progress| Box::pin(worker_frozen::run(times, progress)),
    },
    Scenario {
        name: "database-restarted",
        short: 2,
        long: 10,
        run: |times, progress| Box::pin(database_restarted::run(times, progress)),
    },
    Scenario {
        name: "poison",
        short: 20,
        long: 100,
        run: |batches, progress| Box::pin(poison::run(batches, progress)),
    },
    Scenario {
        name: "clocks",
        short: 11,
        long: 100,
        run: |times, progress| Box::pin(clocks::run(times, progress)),
    },
    Scenario {
        name: "answer-lost",
        short: 61,
        long: 50,
        run: |times, progress| Box::pin(answer_lost::run(times, progress)),
    },
    Scenario {
        name: "sweepers",
        short: 650,
        long: 2000,
        run: |rows, progress| Box::pin(sweepers::run(rows, progress)),
    },
];

impl Scenario {
    /// Runs the scenario with this number of tries.
    pub async fn run(&self, times: usize, progress: Progress<'_>) -> Vec<Row> {
        (self.run)(times, progress).await
    }
}

/// The table, followed by each broken rule.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![format!(
        "{:<44} {:>6} {:>14} {:>5} {:>8} {:>14}",
        "fault", "tried", "sends per pair", "lost", "unknown", "time to drain"
    )];
    lines.extend(rows.iter().map(|row| {
        let Verdict { sends_max, lost, unknown, .. } = &row.verdict;
        let drained = format!("{:.1} s", row.drained.as_secs_f64());
        let (fault, tried) = (&row.fault, row.tried);
        format!("{fault:<44} {tried:>6} {sends_max:>14} {lost:>5} {unknown:>8} {drained:>14}")
    }));
    for row in rows {
        let broken = &row.verdict.broken;
        lines.extend(broken.iter().map(|what| format!("BROKEN {}: {what}", row.fault)));
    }
    lines.join("\n")
}
