//! The rows of one thread and one recipient, without what no rule uses.

use super::oracle::Step;

/// Most messages, and therefore SMS: each covers a message that no other does.
pub(crate) const MOST: usize = 3;

/// When the sweeper looks at the thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Wake {
    Never,
    Later,
    Now,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Mute {
    None,
    Runs,
    /// It has run out, after this many messages.
    Ended(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum State {
    Pending,
    Sending,
    Sent,
    Unknown,
    Failed,
    Suppressed,
    Cancelled,
}

impl State {
    const ALL: [(Self, &str); 7] = [
        (Self::Pending, "pending"),
        (Self::Sending, "sending"),
        (Self::Sent, "sent"),
        (Self::Unknown, "unknown"),
        (Self::Failed, "failed"),
        (Self::Suppressed, "suppressed"),
        (Self::Cancelled, "cancelled"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).expect("a state").1
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::ALL.iter().find(|(_, known)| *known == name).expect("a state").0
    }
}

/// What a pending SMS waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Wait {
    /// Its next attempt is not due.
    Retry,
    /// It is due, and so is its wake-up call.
    Call,
    /// It was called.
    Worker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sms {
    pub(crate) state: State,
    pub(crate) wait: Wait,
    /// The worker that holds it, or whose late proof still counts.
    pub(crate) lease: Option<u8>,
    pub(crate) lease_over: bool,
    /// 72 hours have passed since the newest message that it covers.
    pub(crate) expired: bool,
}

impl Sms {
    /// Without what counts only before the end.
    pub(crate) const fn plain(self) -> Self {
        let (pending, sending) =
            (matches!(self.state, State::Pending), matches!(self.state, State::Sending));
        Self {
            wait: if pending { self.wait } else { Wait::Worker },
            lease: if sending || matches!(self.state, State::Unknown) { self.lease } else { None },
            lease_over: sending && self.lease_over,
            expired: (pending || sending) && self.expired,
            ..self
        }
    }
}

/// What stands for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Cover {
    None,
    /// A cover without an SMS.
    Empty,
    Sms(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Rows {
    /// How many messages were posted, and which of them are deleted, a bit for each.
    pub(crate) posted: u8,
    pub(crate) deleted: u8,
    pub(crate) wake: Wake,
    pub(crate) read: u8,
    pub(crate) covered: u8,
    pub(crate) joined: u8,
    /// How many messages are not younger than the floor.
    pub(crate) floor: u8,
    pub(crate) mute: Mute,
    pub(crate) opted_out: bool,
    pub(crate) active: bool,
    /// In the order of their birth.
    pub(crate) sms: [Option<Sms>; MOST],
    pub(crate) covers: [Cover; MOST],
}

impl Rows {
    pub(crate) const START: Self = Self {
        posted: 0,
        deleted: 0,
        wake: Wake::Never,
        read: 0,
        covered: 0,
        joined: 0,
        floor: 0,
        mute: Mute::None,
        opted_out: false,
        active: true,
        sms: [None; MOST],
        covers: [Cover::None; MOST],
    };

    pub(crate) fn sms(&self) -> impl Iterator<Item = (u8, Sms)> {
        (0_u8..).zip(self.sms).filter_map(|(i, sms)| Some((i, sms?)))
    }

    pub(crate) fn with_sms(mut self, i: u8, change: impl FnOnce(&mut Sms)) -> Self {
        if let Some(sms) = &mut self.sms[usize::from(i)] {
            change(sms);
            *sms = sms.plain();
        }
        self
    }

    /// With the same leases in other hands.
    pub(crate) fn with_leases(mut self, to: impl Fn(u8, u8) -> u8) -> Self {
        for (i, sms) in (0_u8..).zip(&mut self.sms) {
            if let Some(sms) = sms {
                sms.lease = sms.lease.map(|lease| to(i, lease));
            }
        }
        self
    }

    /// The rows with one value of what the step doesn't read, unless it is to be `exact`. Leases become 0, for the
    /// step's own, or 1.
    pub(crate) fn seen_by(mut self, step: Step, own: u8, exact: bool) -> Self {
        for (i, sms) in (0_u8..).zip(&mut self.sms) {
            let Some(sms) = sms else { continue };
            let asks = matches!(step, Step::Record(asked, _) if asked == i);
            sms.lease = sms.lease.map(|lease| u8::from(!asks || lease != own));
            if exact {
                continue;
            }
            if !matches!(step, Step::WakeMembers | Step::ExpireLeases) {
                sms.lease_over = false;
            }
            if step != Step::WakeSms && sms.state == State::Pending && sms.wait == Wait::Worker {
                sms.wait = Wait::Call;
            }
        }
        if !exact && !matches!(step, Step::Post | Step::WakeMembers) {
            self.wake = Wake::Later;
        }
        self
    }

    /// These rows, which come after `asked`, with what was not asked about as it was `before`.
    pub(crate) fn unseen_from(mut self, asked: &Self, before: &Self) -> Self {
        if self.wake == asked.wake {
            self.wake = before.wake;
        }
        for ((sms, asked), before) in self.sms.iter_mut().zip(asked.sms).zip(before.sms) {
            let (Some(sms), Some(asked), Some(before)) = (sms, asked, before) else { continue };
            if sms.lease == asked.lease {
                sms.lease = before.lease;
            }
            if (sms.state, sms.lease_over) == (asked.state, asked.lease_over) {
                sms.lease_over = before.lease_over;
            }
            if (sms.state, sms.wait) == (asked.state, asked.wait) {
                sms.wait = before.wait;
            }
            *sms = sms.plain();
        }
        self
    }

    /// One form for all rows between which no rule tells a difference.
    pub(crate) fn plain(mut self) -> Self {
        // A message from before the joining is owed to no one, whatever its time.
        self.floor = self.floor.max(self.joined);
        if matches!(self.mute, Mute::Ended(after) if after <= self.floor) {
            self.mute = Mute::None;
        }
        self
    }

    /// Whether the member may be texted now.
    const fn textable(&self) -> bool {
        self.active && !self.opted_out && !matches!(self.mute, Mute::Runs)
    }

    /// The numbers of the messages that the member is owed an SMS about, whether there is one or not.
    pub(crate) fn owed(&self) -> impl Iterator<Item = u8> {
        let rows = *self;
        let ended = match rows.mute {
            Mute::Ended(after) => after,
            Mute::None | Mute::Runs => 0,
        };
        let from = rows.read.max(rows.joined).max(rows.floor).max(ended) + 1;
        (from..=rows.posted)
            .filter(move |seq| rows.textable() && rows.deleted & (1 << (seq - 1)) == 0)
    }

    pub(crate) const fn cover(&self, seq: u8) -> Cover {
        self.covers[seq as usize - 1]
    }
}
