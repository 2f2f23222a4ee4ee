//! What must hold in each world.

use super::{
    rows::{Cover, State, Wake},
    world::World,
};

impl World {
    /// What breaks a promise here.
    pub(crate) fn broken_promise(&self) -> Option<&'static str> {
        let rows = &self.rows;
        for seq in 1..=rows.posted {
            if let Cover::Sms(i) = rows.cover(seq) {
                if self.calls[usize::from(i)] > 1 {
                    return Some("two calls for one message");
                }
                if self.missed & (1 << (seq - 1)) != 0 {
                    return Some("an SMS covers what was posted while the member was away");
                }
            }
            let between = rows.joined < seq && seq <= rows.covered;
            if between && rows.cover(seq) == Cover::None {
                return Some("a gap between joining and what is covered");
            }
            if seq > rows.covered && rows.cover(seq) != Cover::None {
                return Some("a cover beyond what is covered");
            }
        }
        for (i, sms) in rows.sms() {
            let calls = self.calls[usize::from(i)];
            let honest = match sms.state {
                State::Sent => calls == 1,
                State::Pending | State::Failed | State::Suppressed | State::Cancelled => calls == 0,
                State::Sending | State::Unknown => true,
            };
            if !honest {
                return Some("a state that isn't true");
            }
        }
        for seq in rows.owed() {
            match rows.cover(seq) {
                Cover::None if rows.wake == Wake::Never => return Some("owed, and no wake_at"),
                Cover::Empty => return Some("owed, and decided to get none"),
                Cover::Sms(i) if !self.stands(i, true) => {
                    return Some("owed, and its SMS was ended");
                }
                Cover::None | Cover::Sms(_) => {}
            }
        }
        None
    }

    /// Whether the SMS went, or failed visibly, or is `open` where that counts.
    fn stands(&self, i: u8, open: bool) -> bool {
        self.rows.sms[usize::from(i)].is_some_and(|sms| match sms.state {
            State::Sent | State::Unknown | State::Failed => true,
            State::Pending | State::Sending => open,
            State::Suppressed | State::Cancelled => false,
        })
    }

    /// Whether an SMS was tried for all that is owed.
    pub(crate) fn is_settled(&self) -> bool {
        self.rows
            .owed()
            .all(|seq| matches!(self.rows.cover(seq), Cover::Sms(i) if self.stands(i, false)))
    }
}
