//! A world of the search: the rows, and what runs beside them. What can happen in it.

use super::{
    oracle::{After, Broken, Call, Known, Step},
    rows::{MOST, Mute, Rows, State, Wait, Wake},
};

/// A worker's progress with its claim. A crash sets it back to `Idle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Worker {
    Idle,
    Claimed(u8),
    Knows(u8, Known),
}

impl Worker {
    /// Whether it has this SMS in hand.
    const fn has(self, i: u8) -> bool {
        match self {
            Self::Idle => false,
            Self::Claimed(sms) | Self::Knows(sms, _) => sms == i,
        }
    }
}

/// The holder of a lease whose worker has ended.
const NOBODY: u8 = 2;

/// What people do, of which a search has some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Read,
    Delete,
    Mute,
    Stop,
    Leave,
    /// 72 hours pass.
    Days,
    /// Only with the broken rule: the product has none yet.
    Unread,
}

/// The extent of a search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) messages: u8,
    /// How many deeds, of `deeds`.
    pub(crate) events: u8,
    pub(crate) deeds: &'static [Deed],
    pub(crate) broken: Option<Broken>,
    /// Whether each step is asked about all columns, also those that its statements don't read.
    pub(crate) exact: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) rows: Rows,
    pub(crate) workers: [Worker; 2],
    /// Whether the queue has a job of the member, or of an SMS.
    queue: [bool; 2],
    /// How often the carrier took each SMS. More than once ends the search.
    pub(crate) calls: [u8; MOST],
    /// The messages that were posted while the member was away, a bit for each.
    pub(crate) missed: u8,
    /// Deeds left.
    events: u8,
    /// Of a sweep in one statement: whether it enqueues, and the `wake_at` that it will write.
    sweep: Option<(bool, Wake)>,
}

/// What happens.
#[derive(Debug, Clone, Copy)]
#[expect(dead_code, reason = "told in a trace")]
pub(crate) enum Act {
    Post { enqueued: bool },
    Reads(u8),
    MarksUnread(u8),
    Deleted(u8),
    Mutes,
    MuteRunsOut,
    On,
    Stop,
    Leaves,
    Rejoins,
    DaysPass,
    QueueLoses(Call),
    Claims { worker: usize, call: Call, comes_again: bool },
    Sends { worker: usize, known: Known, taken: u8 },
    Killed { worker: usize, taken: u8 },
    Records { worker: usize, answer_lost: bool },
    KilledBeforeRecording { worker: usize },
    SweepsMembers { enqueues: bool },
    SweepsSms { enqueues: bool },
    SweepReads,
    SweepWrites,
    SweepExpiresLeases,
    WakeComes,
    RetryComesDue(u8),
    CallComesAgain(u8),
    LeaseRunsOut(u8),
}

/// A world that follows.
pub(crate) struct Next {
    pub(crate) act: Act,
    pub(crate) world: World,
    /// Whether it comes by itself: no people, and no faults.
    pub(crate) progress: bool,
    pub(crate) flaw: Option<&'static str>,
}

impl World {
    pub(crate) const fn start(bounds: &Bounds) -> Self {
        Self {
            rows: Rows::START,
            workers: [Worker::Idle; 2],
            queue: [false; 2],
            calls: [0; MOST],
            missed: 0,
            events: bounds.events,
            sweep: None,
        }
    }

    /// The same for both orders of the workers.
    fn plain(mut self) -> Self {
        self.rows = self.rows.plain();
        if self.workers[0] > self.workers[1] {
            self.workers.swap(0, 1);
            self.rows = self.rows.with_leases(|_, lease| if lease < 2 { 1 - lease } else { lease });
        }
        // A lease whose worker has ended is nobody's, whosever it was.
        let workers = self.workers;
        self.rows = self.rows.with_leases(|i, lease| match workers.get(usize::from(lease)) {
            Some(worker) if worker.has(i) => lease,
            _ => NOBODY,
        });
        self
    }

    /// What can happen next, and whether that is all. `after` is asked for what the product does with the
    /// rows; where it doesn't know, that is left out.
    pub(crate) fn next(
        &self,
        bounds: &Bounds,
        after: &mut impl FnMut(Rows, Step) -> Option<After>,
    ) -> (Vec<Next>, bool) {
        let mut found = Found { next: Vec::new(), after, exact: bounds.exact, is_complete: true };
        self.workers_go_on(bounds, &mut found);
        self.sweeper_goes_on(bounds, &mut found);
        self.time_passes(&mut found);
        self.queue_loses(&mut found);
        self.people_act(bounds, &mut found);
        for next in &mut found.next {
            next.world = next.world.plain();
        }
        (found.next, found.is_complete)
    }

    fn with_worker(mut self, worker: usize, now: Worker) -> Self {
        self.workers[worker] = now;
        self
    }

    fn with_calls(mut self, i: u8, calls: u8) -> Self {
        self.calls[usize::from(i)] += calls;
        self
    }

    const fn with_job(mut self, call: Call, there: bool) -> Self {
        self.queue[call as usize] = there;
        self
    }

    fn workers_go_on<F: FnMut(Rows, Step) -> Option<After>>(
        &self,
        bounds: &Bounds,
        found: &mut Found<'_, F>,
    ) {
        for worker in 0..2 {
            let this = u8::from(worker == 1);
            match self.workers[worker] {
                Worker::Idle => {
                    // Two that have nothing to do are one.
                    if worker == 1 && self.workers[0] == Worker::Idle {
                        continue;
                    }
                    for call in [Call::Member, Call::Sms] {
                        if !self.queue[call as usize] {
                            continue;
                        }
                        let Some(after) = found.ask(self.rows, Step::Claim(call), this) else {
                            continue;
                        };
                        let rows = after.rows;
                        let now = after.claimed.map_or(Worker::Idle, Worker::Claimed);
                        let world = Self { rows, ..*self }.with_worker(worker, now);
                        let act = |comes_again| Act::Claims { worker, call, comes_again };
                        found.add_flawed(act(false), world.with_job(call, false), true, after.flaw);
                        found.add_flawed(act(true), world, false, after.flaw);
                    }
                }
                Worker::Claimed(i) => {
                    let lost = if bounds.broken == Some(Broken::SdkRetries) { 2 } else { 1 };
                    for (known, taken, progress) in [
                        (Known::Sent, 1, true),
                        // The carrier took it or not; the worker does not know.
                        (Known::Timeout, lost, false),
                        (Known::Timeout, 0, false),
                        (Known::No, 0, false),
                        (Known::Never, 0, false),
                        (Known::OptedOut, 0, false),
                    ] {
                        if known == Known::OptedOut && !bounds.deeds.contains(&Deed::Stop) {
                            continue;
                        }
                        let now = Worker::Knows(i, known);
                        let world = self.with_worker(worker, now).with_calls(i, taken);
                        found.add(Act::Sends { worker, known, taken }, world, progress);
                    }
                    for taken in 0..2 {
                        let world = self.with_worker(worker, Worker::Idle).with_calls(i, taken);
                        found.add(Act::Killed { worker, taken }, world, false);
                    }
                }
                Worker::Knows(i, known) => {
                    let idle = self.with_worker(worker, Worker::Idle);
                    found.add(Act::KilledBeforeRecording { worker }, idle, false);
                    let step = Step::Record(i, known);
                    let Some(after) = found.ask(self.rows, step, this) else { continue };
                    let rows = after.rows;
                    let mut world = Self { rows, ..*self };
                    // Committed, and the answer lost: it records again.
                    found.add_flawed(
                        Act::Records { worker, answer_lost: true },
                        world,
                        false,
                        after.flaw,
                    );
                    // The same run claims again; as a job, which can be lost as the run can.
                    if after.due {
                        world = world.with_job(Call::Member, true);
                    }
                    let world = world.with_worker(worker, Worker::Idle);
                    found.add_flawed(
                        Act::Records { worker, answer_lost: false },
                        world,
                        true,
                        after.flaw,
                    );
                }
            }
        }
    }

    fn sweeper_goes_on<F: FnMut(Rows, Step) -> Option<After>>(
        &self,
        bounds: &Bounds,
        found: &mut Found<'_, F>,
    ) {
        if let Some((enqueues, wake)) = self.sweep {
            let mut world = Self { sweep: None, ..*self };
            // The row as it is now is checked again, and still due.
            if self.rows.wake == Wake::Now {
                world.rows.wake = wake;
                world.queue[Call::Member as usize] |= enqueues;
            }
            found.add(Act::SweepWrites, world, true);
        } else if self.rows.wake == Wake::Now
            && let Some(after) = found.ask(self.rows, Step::WakeMembers, NOBODY)
        {
            if bounds.broken == Some(Broken::OneStatementSweep) {
                let world = Self { sweep: Some((after.due, after.rows.wake)), ..*self };
                found.add(Act::SweepReads, world, true);
            } else {
                let world = Self { rows: after.rows, ..*self };
                let act = |enqueues| Act::SweepsMembers { enqueues };
                if after.due {
                    found.add(act(true), world.with_job(Call::Member, true), true);
                }
                // Nobody is due; or it dies before it enqueues, or the queue loses it.
                found.add_flawed(act(false), world, !after.due, after.flaw);
            }
        }
        if self.rows.sms().any(|(_, s)| s.state == State::Pending && s.wait == Wait::Call)
            && let Some(after) = found.ask(self.rows, Step::WakeSms, NOBODY)
        {
            let world = Self { rows: after.rows, ..*self };
            let act = |enqueues| Act::SweepsSms { enqueues };
            if after.due {
                found.add(act(true), world.with_job(Call::Sms, true), true);
            }
            found.add_flawed(act(false), world, !after.due, after.flaw);
        }
        if self.rows.sms().any(|(_, sms)| sms.state == State::Sending && sms.lease_over)
            && let Some(after) = found.ask(self.rows, Step::ExpireLeases, NOBODY)
        {
            let world = Self { rows: after.rows, ..*self };
            found.add_flawed(Act::SweepExpiresLeases, world, true, after.flaw);
        }
    }

    fn time_passes<F>(&self, found: &mut Found<'_, F>) {
        let mut with = |act, rows, progress| found.add(act, Self { rows, ..*self }, progress);
        if self.rows.wake == Wake::Later {
            with(Act::WakeComes, Rows { wake: Wake::Now, ..self.rows }, true);
        }
        if self.rows.mute == Mute::Runs {
            let mute = Mute::Ended(self.rows.posted);
            with(Act::MuteRunsOut, Rows { mute, ..self.rows }, true);
        }
        for (i, sms) in self.rows.sms() {
            match (sms.state, sms.wait) {
                (State::Pending, Wait::Retry) => {
                    let rows = self.rows.with_sms(i, |sms| sms.wait = Wait::Call);
                    with(Act::RetryComesDue(i), rows, true);
                }
                (State::Pending, Wait::Worker) => {
                    let rows = self.rows.with_sms(i, |sms| sms.wait = Wait::Call);
                    with(Act::CallComesAgain(i), rows, true);
                }
                (State::Sending, _) if !sms.lease_over => {
                    let held = self.workers.iter().any(|worker| worker.has(i));
                    let rows = self.rows.with_sms(i, |sms| sms.lease_over = true);
                    with(Act::LeaseRunsOut(i), rows, !held);
                }
                _ => {}
            }
        }
    }

    fn queue_loses<F>(&self, found: &mut Found<'_, F>) {
        for call in [Call::Member, Call::Sms] {
            if self.queue[call as usize] {
                found.add(Act::QueueLoses(call), self.with_job(call, false), false);
            }
        }
    }

    fn people_act<F: FnMut(Rows, Step) -> Option<After>>(
        &self,
        bounds: &Bounds,
        found: &mut Found<'_, F>,
    ) {
        if self.rows.posted < bounds.messages
            && let Some(after) = found.ask(self.rows, Step::Post, NOBODY)
        {
            let away = u8::from(!self.rows.active) << self.rows.posted;
            let world = Self { rows: after.rows, missed: self.missed | away, ..*self };
            if after.due {
                let enqueued = world.with_job(Call::Member, true);
                found.add(Act::Post { enqueued: true }, enqueued, false);
            }
            found.add_flawed(Act::Post { enqueued: false }, world, false, after.flaw);
        }
        if self.events == 0 {
            return;
        }
        let rows = self.rows;
        for deed in bounds.deeds {
            match deed {
                Deed::Read => {
                    for seq in rows.read + 1..=rows.posted {
                        if rows.active {
                            self.deed(found, Act::Reads(seq), Step::Read(seq));
                        }
                    }
                }
                Deed::Unread => {
                    for seq in 0..rows.read {
                        self.deed(found, Act::MarksUnread(seq), Step::Unread(seq));
                    }
                }
                Deed::Delete => {
                    for seq in 1..=rows.posted {
                        if rows.deleted & (1 << (seq - 1)) == 0 {
                            self.deed(found, Act::Deleted(seq), Step::Delete(seq));
                        }
                    }
                }
                Deed::Mute if rows.active => {
                    if rows.mute == Mute::None {
                        self.deed(found, Act::Mutes, Step::Mute);
                    } else {
                        self.deed(found, Act::On, Step::On);
                    }
                }
                Deed::Stop if rows.active => {
                    if rows.opted_out {
                        self.deed(found, Act::On, Step::On);
                    } else {
                        self.deed(found, Act::Stop, Step::Off);
                    }
                }
                Deed::Leave if rows.active => self.deed(found, Act::Leaves, Step::Leave),
                Deed::Leave => self.deed(found, Act::Rejoins, Step::Rejoin),
                Deed::Days => {
                    let mut rows = rows;
                    rows.floor = rows.posted;
                    for (i, _) in self.rows.sms() {
                        rows = rows.with_sms(i, |sms| sms.expired = true);
                    }
                    if rows != self.rows {
                        let world = Self { rows, events: self.events - 1, ..*self };
                        found.add(Act::DaysPass, world, false);
                    }
                }
                Deed::Mute | Deed::Stop => {}
            }
        }
    }

    fn deed<F: FnMut(Rows, Step) -> Option<After>>(
        &self,
        found: &mut Found<'_, F>,
        act: Act,
        step: Step,
    ) {
        if let Some(after) = found.ask(self.rows, step, NOBODY) {
            let world = Self { rows: after.rows, events: self.events - 1, ..*self };
            found.add_flawed(act, world, false, after.flaw);
        }
    }
}

struct Found<'a, F> {
    next: Vec<Next>,
    after: &'a mut F,
    exact: bool,
    is_complete: bool,
}

impl<F: FnMut(Rows, Step) -> Option<After>> Found<'_, F> {
    /// What the product does with the rows, in the step of the worker with this lease. One question stands
    /// for all that differ only in what the step's statements don't read.
    fn ask(&mut self, rows: Rows, step: Step, own: u8) -> Option<After> {
        let asked = rows.seen_by(step, own, self.exact);
        let Some(mut after) = (self.after)(asked, step) else {
            self.is_complete = false;
            return None;
        };
        after.rows = after.rows.unseen_from(&asked, &rows);
        if let Some(i) = after.claimed {
            after.rows = after.rows.with_sms(i, |sms| sms.lease = Some(own));
        }
        Some(after)
    }
}

impl<F> Found<'_, F> {
    fn add(&mut self, act: Act, world: World, progress: bool) {
        self.add_flawed(act, world, progress, None);
    }

    fn add_flawed(&mut self, act: Act, world: World, progress: bool, flaw: Option<&'static str>) {
        self.next.push(Next { act, world, progress, flaw });
    }
}
