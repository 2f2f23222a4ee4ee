//! The busiest hour of an evening, message by message: a simulation of queue, worker and carrier.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use fastrand::Rng;

use crate::inputs::Usage;

/// Back-off after the carrier rejects an SMS, in seconds (`shared/src/delivery/`).
const BACK_OFF: [f64; 6] = [5.0, 30.0, 120.0, 600.0, 3600.0, 10_800.0];
/// Interval of the sweeper, in seconds.
const SWEEP: f64 = 60.0;
/// Batching window, in seconds.
const WINDOW: f64 = 1.0;

/// Parameters of a simulation.
#[derive(Debug, Clone)]
pub struct Evening {
    /// Families.
    pub families: f64,
    /// Batches that are handled at once: the queue's maximum concurrency.
    pub workers: usize,
    /// SMS that the carrier accepts a second; it throttles more.
    pub carrier_rate: f64,
    /// Seconds in which messages come; then the queue is drained.
    pub seconds: f64,
}

/// Results of a simulation.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// SMS that were sent.
    pub sms: usize,
    /// Seconds from a message to its SMS, at the median.
    pub p50: f64,
    /// The same at the 99th percentile.
    pub p99: f64,
    /// Most jobs that waited in the queue at once.
    pub longest_queue: usize,
    /// Most batches that were handled at once.
    pub busiest: usize,
    /// Calls that the carrier throttled.
    pub throttled: usize,
    /// SMS given up after a day of throttling.
    pub expired: usize,
}

#[derive(Debug, Clone, Copy)]
struct Job {
    posted: f64,
    attempts: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Post,
    /// A job's batch has waited long enough.
    Window,
    Done,
    /// The sweeper wakes jobs that the carrier rejected, by index into `later`.
    Again(usize),
}

/// An event at its time; a heap of these gives the earliest first.
#[derive(Debug, Clone, Copy, PartialEq)]
struct At(f64, u64, Event);

impl Eq for At {}
impl Ord for At {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}
impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

struct Simulation<'a> {
    usage: &'a Usage,
    evening: &'a Evening,
    rng: Rng,
    events: BinaryHeap<Reverse<At>>,
    number: u64,
    now: f64,
    /// Jobs, each with the time since when it is in the queue.
    queue: VecDeque<(f64, Job)>,
    later: Vec<Vec<Job>>,
    busy: usize,
    tokens: f64,
    filled: f64,
    latencies: Vec<f64>,
    report: Report,
}

/// Runs an evening. The same seed gives the same evening.
#[must_use]
pub fn run(usage: &Usage, evening: &Evening, seed: u64) -> Report {
    let empty = Report {
        sms: 0,
        p50: 0.0,
        p99: 0.0,
        longest_queue: 0,
        busiest: 0,
        throttled: 0,
        expired: 0,
    };
    let mut simulation = Simulation {
        usage,
        evening,
        rng: Rng::with_seed(seed),
        events: BinaryHeap::new(),
        number: 0,
        now: 0.0,
        queue: VecDeque::new(),
        later: Vec::new(),
        busy: 0,
        // A burst of one second's worth.
        tokens: evening.carrier_rate,
        filled: 0.0,
        latencies: Vec::new(),
        report: empty,
    };
    simulation.next_post();
    while let Some(Reverse(At(at, _, event))) = simulation.events.pop() {
        simulation.now = at;
        simulation.happen(event);
        simulation.dispatch();
    }
    let mut report = simulation.report;
    let mut latencies = simulation.latencies;
    latencies.sort_unstable_by(f64::total_cmp);
    report.sms = latencies.len();
    if let Some(last) = latencies.len().checked_sub(1) {
        report.p50 = latencies[last / 2];
        report.p99 = latencies[last * 99 / 100];
    }
    report
}

impl Simulation<'_> {
    fn at(&mut self, time: f64, event: Event) {
        self.number += 1;
        self.events.push(Reverse(At(time, self.number, event)));
    }

    /// Messages come independently of each other, as many as in the busiest hour of a day.
    fn next_post(&mut self) {
        let usage = self.usage;
        let rate =
            self.evening.families * usage.family.posts_a_day * usage.peak.hour_share / 3600.0;
        let time = self.now + self.exponential(1.0 / rate);
        if time < self.evening.seconds {
            self.at(time, Event::Post);
        }
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.rng.f64()).ln()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Post => {
                let mut sms = self.usage.sms_a_post();
                while sms >= 0.5 {
                    self.queue.push_back((self.now, Job { posted: self.now, attempts: 0 }));
                    sms -= 1.0;
                }
                self.at(self.now + WINDOW, Event::Window);
                self.next_post();
            }
            Event::Window => {}
            Event::Done => self.busy -= 1,
            Event::Again(which) => {
                for job in std::mem::take(&mut self.later[which]) {
                    self.queue.push_back((self.now, job));
                }
                self.at(self.now + WINDOW, Event::Window);
            }
        }
        self.report.longest_queue = self.report.longest_queue.max(self.queue.len());
    }

    /// Hands batches to workers that are free.
    fn dispatch(&mut self) {
        const FULL: usize = 10;
        while self.busy < self.evening.workers
            && self.queue.front().is_some_and(|(since, _)| {
                self.queue.len() >= FULL || self.now - since >= WINDOW - 1e-9
            })
        {
            let batch: Vec<Job> =
                self.queue.drain(..self.queue.len().min(FULL)).map(|(_, job)| job).collect();
            self.busy += 1;
            self.report.busiest = self.report.busiest.max(self.busy);
            let measured = &self.usage.measured;
            // Half of the database's time is the claim, half the record of outcomes.
            let claim = measured.batch_database_ms / 2e3;
            let (carrier, spread) = (measured.carrier_ms / 1e3, measured.carrier_spread_ms / 1e3);
            let mut slowest = 0.0_f64;
            for job in batch {
                let took = carrier + self.exponential(spread);
                slowest = slowest.max(took);
                if self.carrier_takes() {
                    self.latencies.push(self.now + claim + took - job.posted);
                } else {
                    self.throttled(job);
                }
            }
            self.at(self.now + 2.0 * claim + slowest, Event::Done);
        }
    }

    fn carrier_takes(&mut self) -> bool {
        let rate = self.evening.carrier_rate;
        self.tokens = (self.tokens + (self.now - self.filled) * rate).min(rate.max(1.0));
        self.filled = self.now;
        let takes = self.tokens >= 1.0;
        if takes {
            self.tokens -= 1.0;
        }
        takes
    }

    fn throttled(&mut self, mut job: Job) {
        self.report.throttled += 1;
        let pause = BACK_OFF[job.attempts.min(BACK_OFF.len() - 1)];
        job.attempts += 1;
        let due = ((self.now + pause) / SWEEP).ceil() * SWEEP;
        if due - job.posted > 86_400.0 {
            self.report.expired += 1;
            return;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a minute's number"
        )]
        let minute = (due / SWEEP) as usize;
        if self.later.len() <= minute {
            self.later.resize_with(minute + 1, Vec::new);
        }
        if self.later[minute].is_empty() {
            self.at(due, Event::Again(minute));
        }
        self.later[minute].push(job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage() -> Usage {
        Usage::read(include_str!("../usage.toml")).expect("usage")
    }

    /// 10,000 families: 2.5 messages and ten SMS a second.
    const EVENING: Evening =
        Evening { families: 10_000.0, workers: 10, carrier_rate: 1000.0, seconds: 600.0 };

    #[test]
    fn the_same_seed_gives_the_same_evening_and_no_sms_is_lost() {
        let report = run(&usage(), &EVENING, 1);
        assert_eq!(report, run(&usage(), &EVENING, 1));
        assert_ne!(report, run(&usage(), &EVENING, 2));
        assert_eq!(report.sms % 4, 0);
        assert!((5_400..6_600).contains(&report.sms), "{report:?}");
        assert_eq!((report.throttled, report.expired), (0, 0));
        // A batching window, or a part of it, and a call.
        assert!(report.p50 > 0.06 && report.p50 < 1.2 && report.p99 < 1.5, "{report:?}");
    }

    #[test]
    fn too_few_workers_make_a_queue_and_still_send_everything() {
        // A worker sends ten SMS in some 182 ms: 55 a second. Ten times as many families need two.
        let enough = Evening { families: 100_000.0, ..EVENING };
        let report = run(&usage(), &enough, 1);
        assert!(report.busiest <= 10 && report.p99 < 1.5, "{report:?}");
        let starved = Evening { workers: 1, ..enough };
        let report = run(&usage(), &starved, 1);
        assert!(report.busiest == 1 && report.p99 > 60.0, "{report:?}");
        assert!(report.longest_queue > 10_000, "{report:?}");
    }

    #[test]
    fn the_carriers_rate_limits_any_number_of_workers() {
        // Half of the load: the rest is sent as back-off and sweeps allow.
        let slow = Evening { carrier_rate: 5.0, workers: 100, ..EVENING };
        let report = run(&usage(), &slow, 1);
        assert!(report.throttled > report.sms / 2, "{report:?}");
        assert!(report.p99 > 300.0, "{report:?}");
    }
}
