//! Faults on demand: what the carrier and the queue do wrong, and how often.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// What a carrier does instead of taking a text and saying so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmsFault {
    /// Takes nothing: too many requests.
    Throttle,
    /// Takes the text, and never answers.
    TimeoutAfterSend,
    /// Takes nothing: not allowed to send.
    Refuse,
    /// Takes nothing: the number has opted out, from now on.
    OptedOut,
    /// Takes nothing, but says `500`, as a carrier that took it might.
    Http500,
}

/// What a queue does instead of taking jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueFault {
    /// Closes the connection without an answer, whatever it is asked.
    Down,
    /// Refuses single entries of a batch.
    Partial,
}

/// Which share of the requests meets a fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rated<F> {
    /// The fault.
    pub fault: F,
    /// From 0, none, to 1, all.
    pub rate: f64,
}

#[derive(Debug, Default)]
struct Current {
    sms: Option<Rated<SmsFault>>,
    queue: Option<Rated<QueueFault>>,
    /// One for each kind, so that neither's requests change what the other's meet.
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

    /// What the next text meets.
    #[must_use]
    pub fn next_sms(&self) -> Option<SmsFault> {
        let mut current = self.current();
        let rated = current.sms?;
        (current.sms_random.f64() < rated.rate).then_some(rated.fault)
    }

    /// Whether the next request to the queue finds it down.
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
