//! The pace of a family's SMS: a generic cell rate algorithm with five minutes of credit.

use std::time::Duration;

use platform::config::ConfigError;

use crate::config;

/// How many SMS about messages a family may get, unless it has a rate of its own.
///
/// Those beyond it wait in `threads.wake_at` and are not in the queue before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// SMS a minute; 0 is no limit.
    pub per_minute: u32,
}

impl Default for Pacing {
    fn default() -> Self {
        Self { per_minute: 120 }
    }
}

impl Pacing {
    /// How much of the rate may be used at once: 600 SMS at 120 a minute.
    pub const BURST: Duration = Duration::from_mins(5);

    /// Reads `KINLINE_SMS_PER_MINUTE`, 120 by default; 0 is no limit.
    ///
    /// # Errors
    /// [`ConfigError`] when it is not such a number.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { per_minute: config::SMS_PER_MINUTE.parsed(120)? })
    }
}

/// The slots of a family's pace that one run of the sweeper hands out, in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slots {
    /// Seconds between two SMS; zero without a limit.
    every: f64,
    /// How many are free now.
    free: u32,
    /// How many have been handed out, or promised for later.
    taken: u32,
}

impl Slots {
    /// The slots of a family with an SMS `every` so many seconds, whose pace is used up for `ahead` seconds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    pub(super) fn new(every: f64, ahead: f64) -> Self {
        let free = if every > 0.0 {
            ((Pacing::BURST.as_secs_f64() - ahead) / every).clamp(0.0, 1e9) as u32
        } else {
            u32::MAX
        };
        Self { every, free, taken: 0 }
    }

    /// Takes the next slot. Returns in how many seconds it comes; `None` for now.
    pub(super) fn take(&mut self) -> Option<f64> {
        let nth = self.taken;
        self.taken = self.taken.saturating_add(1);
        (nth >= self.free).then(|| f64::from(nth - self.free + 1) * self.every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_in_order_after_the_credit() {
        // 297 of 300 seconds are used: six slots of half a second are free.
        let mut slots = Slots::new(0.5, 297.0);
        assert!((0..6).all(|_| slots.take().is_none()));
        assert_eq!(slots.take(), Some(0.5));
        assert_eq!(slots.take(), Some(1.0));
        let mut none_free = Slots::new(60.0, 300.0);
        assert_eq!(none_free.take(), Some(60.0));
        let mut unlimited = Slots::new(0.0, 0.0);
        assert!((0..10_000).all(|_| unlimited.take().is_none()));
    }
}
