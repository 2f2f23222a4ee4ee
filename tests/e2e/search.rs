//! An exhaustive search of a notification's life cycle: every order of two workers, crashes anywhere,
//! repeated wake-ups, lost acknowledgements, ambiguous sends, expired leases and sweeps.
//!
//! The rules are those of the product: every step is the real statement on a real row, executed once
//! for each state of the row and cached.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use shared::{
    delivery::{self, Attempt, Claim, Lease, Outcome, Reason},
    ids::NotificationId,
    phone::PhoneNumber,
    queue::NotificationJob,
};
use tests::{System, system::FAMILY};

/// The state of a row, without what no rule uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a question that a statement asks of the row"
)]
struct Row {
    state: State,
    /// The worker whose claim holds it or held it last; none while it is pending.
    lease: Option<usize>,
    lease_expired: bool,
    due: bool,
    call_due: bool,
    too_old: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Pending,
    Sending,
    Sent,
    Unknown,
    Failed,
}

impl State {
    const ALL: [(Self, &str); 5] = [
        (Self::Pending, "pending"),
        (Self::Sending, "sending"),
        (Self::Sent, "sent"),
        (Self::Unknown, "unknown"),
        (Self::Failed, "failed"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).expect("a state").1
    }

    fn named(name: &str) -> Self {
        Self::ALL.iter().find(|(_, known)| *known == name).expect("a state of this search").0
    }

    const fn is_final(self) -> bool {
        matches!(self, Self::Sent | Self::Unknown | Self::Failed)
    }
}

/// A worker's progress with its claim. A crash sets it back to `Idle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Worker {
    Idle,
    Claimed,
    Knows(Known),
}

/// A worker's knowledge of its call to the carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    Sent,
    Timeout,
    No,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    row: Row,
    workers: [Worker; 2],
    /// SMS that the carrier accepted. More than one ends the search.
    sends: u8,
}

/// A step on the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Claim(usize),
    Record(usize, Known),
    Sweep,
    LeaseRunsOut,
    PauseEnds,
    CallComesDue,
    DayEnds,
}

/// The real rules, or one of them broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    Real,
    /// An expired lease goes back to `pending`.
    ExpiredLeaseIsRetried,
    /// A time-out counts as a definite no.
    TimeoutIsRetried,
    /// The SDK repeats a call that timed out.
    SdkRetries,
}

/// The real rules, executed on a real row.
struct Oracle {
    system: System,
    id: NotificationId,
    leases: [Lease; 2],
    rules: Rules,
    known: BTreeMap<(Row, Step), Row>,
}

impl Oracle {
    async fn new(rules: Rules) -> Self {
        let system = System::start().await;
        let members = system.family(2).await;
        let u0 = system.member("u0");
        let thread = u0.thread(&members).await;
        u0.say(&thread, "once").await;
        let id = sqlx::query_scalar("SELECT notification_id FROM notifications");
        let id = id.fetch_one(&system.owner).await.expect("a notification");
        // Two leases of real claims, for the two workers to hold.
        let mut leases = Vec::new();
        for _ in 0..2 {
            let claim = delivery::claim(&system.stack.worker.db, &[], None).await;
            leases.push(claim.expect("a lease").lease);
        }
        let leases = [leases[0], leases[1]];
        Self { system, id, leases, rules, known: BTreeMap::new() }
    }

    async fn after(&mut self, row: Row, step: Step) -> Row {
        if let Some(after) = self.known.get(&(row, step)) {
            return *after;
        }
        self.write(row).await;
        let claimed_by = self.take(step).await;
        let mut after = self.read(row, claimed_by).await;
        if self.rules == Rules::ExpiredLeaseIsRetried
            && step == Step::Sweep
            && (row.state, after.state) == (State::Sending, State::Unknown)
        {
            after = Row { state: State::Pending, lease: None, due: true, call_due: true, ..after };
        }
        self.known.insert((row, step), after);
        after
    }

    async fn take(&self, step: Step) -> Option<usize> {
        let db = &self.system.stack.worker.db;
        match step {
            Step::Claim(worker) => {
                let job = NotificationJob {
                    family_id: FAMILY.parse().expect("an id"),
                    notification_id: self.id,
                };
                let claim = delivery::claim(db, &[job], None).await;
                let Claim { lease, claimed, .. } = claim.expect("claimed");
                let fresh = claimed.iter().any(|claimed| claimed.notification_id == self.id);
                if fresh {
                    // The worker's own lease from here on.
                    self.execute(
                        "UPDATE notifications SET lease_token = $1 WHERE lease_token = $2",
                        |q| q.bind(self.leases[worker].token()).bind(lease.token()),
                    )
                    .await;
                }
                return fresh.then_some(worker);
            }
            Step::Record(worker, known) => {
                let outcome = match known {
                    Known::Sent => Outcome::Sent {
                        carrier_message_id: "c".to_owned(),
                        segments: 1,
                        stop_notice: false,
                    },
                    Known::Timeout if self.rules == Rules::TimeoutIsRetried => {
                        Outcome::Retry { reason: Reason::Timeout }
                    }
                    Known::Timeout => Outcome::Unknown { reason: Reason::Timeout },
                    Known::No => Outcome::Retry { reason: Reason::Throttled },
                    Known::Never => Outcome::Failed { reason: Reason::InvalidNumber },
                };
                let lease = self.leases[worker];
                let phone = PhoneNumber::parse("+15550100001", None).expect("a number");
                let family_id = FAMILY.parse().expect("an id");
                let attempt =
                    Attempt { notification_id: self.id, family_id, phone, called: true, outcome };
                delivery::record(db, lease, &[attempt]).await.expect("recorded");
            }
            Step::Sweep => {
                self.system.sweep().await;
            }
            Step::LeaseRunsOut => {
                self.execute(
                    "UPDATE notifications SET lease_until = now() - interval '1 s'",
                    |q| q,
                )
                .await;
            }
            Step::PauseEnds => {
                self.execute("UPDATE notifications SET next_attempt_at = now()", |q| q).await;
            }
            Step::CallComesDue => {
                self.execute("UPDATE notifications SET wake_at = now()", |q| q).await;
            }
            Step::DayEnds => {
                self.execute("UPDATE notifications SET expires_at = now()", |q| q).await;
            }
        }
        None
    }

    async fn execute<'q>(
        &self,
        statement: &'static str,
        bind: impl FnOnce(Query<'q>) -> Query<'q>,
    ) {
        bind(sqlx::query(statement)).execute(&self.system.owner).await.expect("executed");
    }

    async fn write(&self, row: Row) {
        self.execute(
            "UPDATE notifications SET state = $1, attempts = 1, lease_token = $2,
                 lease_until = CASE WHEN $1 = 'sending' THEN now() + make_interval(secs => $3) END,
                 next_attempt_at = now() + make_interval(secs => $4),
                 wake_at = now() + make_interval(secs => $5),
                 expires_at = now() + make_interval(secs => $6)",
            |q| {
                let when = |past| if past { -1.0_f64 } else { 3600.0 };
                q.bind(row.state.name())
                    .bind(row.lease.map(|worker| self.leases[worker].token()))
                    .bind(when(row.lease_expired))
                    .bind(when(row.due))
                    .bind(when(row.call_due))
                    .bind(when(row.too_old))
            },
        )
        .await;
    }

    async fn read(&self, before: Row, claimed_by: Option<usize>) -> Row {
        type Columns = (String, Option<uuid::Uuid>, Option<bool>, bool, bool, bool);
        let (state, token, lease_expired, due, call_due, too_old): Columns = sqlx::query_as(
            "SELECT state, lease_token, lease_until < now(), next_attempt_at <= now(),
                    wake_at <= now(), expires_at <= now() FROM notifications",
        )
        .fetch_one(&self.system.owner)
        .await
        .expect("the row");
        let state = State::named(&state);
        let lease = token.and_then(|token| self.leases.iter().position(|l| l.token() == token));
        assert!(claimed_by.is_none() || lease == claimed_by);
        // In a final state, no rule uses the times any more.
        let waits = !state.is_final();
        Row {
            state,
            lease: lease.or(before.lease.filter(|_| token.is_some())),
            lease_expired: waits && lease_expired.unwrap_or_default(),
            due: waits && due,
            call_due: waits && call_due,
            too_old: waits && too_old,
        }
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// All reachable worlds, and the worlds that each leads to.
struct Search {
    worlds: BTreeMap<World, BTreeSet<World>>,
    twice: Option<World>,
}

async fn search(rules: Rules) -> Search {
    let mut oracle = Oracle::new(rules).await;
    let row = Row {
        state: State::Pending,
        lease: None,
        lease_expired: false,
        due: true,
        call_due: false,
        too_old: false,
    };
    let start = World { row, workers: [Worker::Idle; 2], sends: 0 };
    let (mut worlds, mut twice) = (BTreeMap::new(), None);
    let mut open = VecDeque::from([start]);
    while let Some(world) = open.pop_front() {
        if worlds.contains_key(&world) {
            continue;
        }
        if world.sends > 1 {
            twice = twice.or(Some(world));
            worlds.insert(world, BTreeSet::new());
            continue;
        }
        let next = followers(&mut oracle, world).await;
        open.extend(next.iter().copied());
        worlds.insert(world, next);
    }
    Search { worlds, twice }
}

async fn followers(oracle: &mut Oracle, world: World) -> BTreeSet<World> {
    let mut next = BTreeSet::new();
    for worker in 0..2 {
        let with = |now: Worker, row: Row, sends: u8| {
            let mut workers = world.workers;
            workers[worker] = now;
            World { row, workers, sends: world.sends + sends }
        };
        match world.workers[worker] {
            // A wake-up can come at any time, any number of times.
            Worker::Idle => {
                let row = oracle.after(world.row, Step::Claim(worker)).await;
                let claimed = world.row.state == State::Pending && row.state == State::Sending;
                next.insert(with(if claimed { Worker::Claimed } else { Worker::Idle }, row, 0));
            }
            Worker::Claimed => {
                let lost = if oracle.rules == Rules::SdkRetries { 2 } else { 1 };
                for (known, sends) in [
                    (Known::Sent, 1),
                    // The carrier accepted it or not; the worker does not know.
                    (Known::Timeout, lost),
                    (Known::Timeout, 0),
                    (Known::No, 0),
                    (Known::Never, 0),
                ] {
                    next.insert(with(Worker::Knows(known), world.row, sends));
                }
                next.insert(with(Worker::Idle, world.row, 0)); // killed before the call
                next.insert(with(Worker::Idle, world.row, 1)); // killed after it
            }
            Worker::Knows(known) => {
                let row = oracle.after(world.row, Step::Record(worker, known)).await;
                next.insert(with(Worker::Idle, row, 0));
                next.insert(with(Worker::Knows(known), row, 0)); // committed, and the answer lost
                next.insert(with(Worker::Idle, world.row, 0)); // killed before it
            }
        }
    }
    let mut steps = vec![Step::Sweep];
    if world.row.state == State::Sending {
        steps.push(Step::LeaseRunsOut);
    }
    if !world.row.state.is_final() {
        steps.extend([Step::PauseEnds, Step::CallComesDue, Step::DayEnds]);
    }
    for step in steps {
        let row = oracle.after(world.row, step).await;
        next.insert(World { row, ..world });
    }
    next
}

#[tokio::test]
async fn no_order_of_events_sends_twice_or_gets_stuck() {
    let Search { worlds, twice } = search(Rules::Real).await;
    assert_eq!(twice, None);
    assert!(worlds.len() > 100, "{} worlds", worlds.len());
    // Every state of a notification is reached, and a definite no is tried again.
    for (state, name) in State::ALL {
        assert!(worlds.keys().any(|world| world.row.state == state), "{name}");
    }
    assert!(worlds.keys().any(|world| world.row.state == State::Pending && !world.row.due));
    // A state that says whether the SMS was sent is never wrong.
    for world in worlds.keys() {
        let honest = match world.row.state {
            State::Sent => world.sends == 1,
            State::Failed | State::Pending => world.sends == 0,
            State::Sending | State::Unknown => true,
        };
        assert!(honest, "{world:?}");
    }

    // From every world, a final state can be reached.
    let mut ends: BTreeSet<World> =
        worlds.keys().filter(|world| world.row.state.is_final()).copied().collect();
    loop {
        let more: Vec<World> = worlds
            .iter()
            .filter(|(world, next)| !ends.contains(world) && next.iter().any(|n| ends.contains(n)))
            .map(|(world, _)| *world)
            .collect();
        if more.is_empty() {
            break;
        }
        ends.extend(more);
    }
    let dead: Vec<&World> = worlds.keys().filter(|world| !ends.contains(world)).collect();
    assert!(dead.is_empty(), "{dead:?}");
}

#[tokio::test]
async fn the_search_finds_each_broken_rule() {
    for rules in [Rules::ExpiredLeaseIsRetried, Rules::TimeoutIsRetried, Rules::SdkRetries] {
        assert!(search(rules).await.twice.is_some(), "{rules:?} goes unnoticed");
    }
}

/// The sweeper delays wake-ups, never the end of a notification: it expires within its day.
#[tokio::test]
async fn notifications_unclaimed_for_a_day_expire() {
    let system = System::start().await;
    system.family(2).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&["u1".to_owned()]).await;
    let posted = u0.say(&thread, "in vain").await;
    system.pass(Duration::from_hours(25)).await;
    assert_eq!(system.sweep().await.expired, 1);
    system.deliver().await;
    assert_eq!(system.sms_of(1).len(), 0);
    let message = posted.text("/message/id");
    let path = format!("/threads/{thread}/messages/{message}/deliveries");
    let delivery = u0.get(&path).await.at("/deliveries/0");
    assert_eq!((&delivery["state"], &delivery["reason"]), (&"failed".into(), &"expired".into()));
}
