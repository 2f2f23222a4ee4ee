//! Faults on demand: how the carrier and the queue fail, and how often.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// A fault of the carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmsFault {
    /// Rejects the SMS: too many requests.
    Throttle,
    /// Accepts the SMS and never answers.
    TimeoutAfterSend,
    /// Rejects the SMS: not allowed to send.
    Refuse,
    /// Rejects the SMS: the number has opted out, from now on.
    OptedOut,
    /// Rejects the SMS with a `500`, as a carrier that accepted it might answer too.
    Http500,
}

/// A fault of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueFault {
    /// Closes every connection without an answer.
    Down,
    /// Refuses single entries of a batch.
    Partial,
}

/// A fault, and the share of requests that meet it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rated<F> {
    /// The fault.
    pub fault: F,
    /// From 0 (none) to 1 (all).
    pub rate: f64,
}

#[derive(Debug, Default)]
struct Current {
    sms: Option<Rated<SmsFault>>,
    queue: Option<Rated<QueueFault>>,
    /// One generator for each, so that requests to one change no faults of the other.
    sms_random: fastrand::Rng,
    queue_random: fastrand::Rng,
}

/// The faults of one stack. Clones are the same faults.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    current: Arc<Mutex<Current>>,
}

impl Faults {
    /// Replaces all faults. The same `seed` and the same requests meet the same faults.
    pub fn set(
        &self,
        sms: Option<Rated<SmsFault>>,
        queue: Option<Rated<QueueFault>>,
        seed: Option<u64>,
    ) {
        let random = || seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let (sms_random, queue_random) = (random(), random());
        *self.current() = Current { sms, queue, sms_random, queue_random };
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault of the next SMS, if it meets one.
    #[must_use]
    pub fn next_sms(&self) -> Option<SmsFault> {
        let mut current = self.current();
        let rated = current.sms?;
        (current.sms_random.f64() < rated.rate).then_some(rated.fault)
    }

    /// Whether the queue is down for the next request.
    #[must_use]
    pub fn next_queue_is_down(&self) -> bool {
        self.next_queue(QueueFault::Down)
    }

    /// Whether the queue refuses the next entry of a batch.
    #[must_use]
    pub fn next_entry_is_refused(&self) -> bool {
        self.next_queue(QueueFault::Partial)
    }

    fn next_queue(&self, fault: QueueFault) -> bool {
        let mut current = self.current();
        let Some(rated) = current.queue.filter(|rated| rated.fault == fault) else { return false };
        current.queue_random.f64() < rated.rate
    }
}
