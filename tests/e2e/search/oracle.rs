//! The real rules, on real rows: each step once for each state of the rows.

use std::time::{Duration, Instant};

use shared::{
    actor::{Actor, Host},
    db::{Database, Pool, Role},
    delivery::{self, Attempt, Lease, Outcome, Pacing, Reason, Wanted},
    families::{self, QuietHours, UserProfile},
    ids::{FamilyId, SmsId, ThreadId, UserId},
    members::{self, SmsPreference},
    messages::{self, NewMessage},
    phone::PhoneNumber,
    queue::{Job, Queue, Recipient, SmsJob},
    text::Name,
    threads::{self, Kind, MemberSet, NewThread},
};
use sqlx::{Connection, FromRow, PgConnection};
use tests::{
    System,
    system::{FAMILY, phone},
};
use uuid::Uuid;

use super::rows::{Cover, MOST, Mute, Rows, Sms, State, Wait, Wake};

/// No limit: what the pace refuses is not covered, as if the claim had not run.
const PACING: Pacing = Pacing { per_minute: 0 };

/// A worker's knowledge of its call to the carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Known {
    Sent,
    Timeout,
    No,
    Never,
    OptedOut,
}

/// What a worker is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Call {
    Member,
    /// The newest SMS.
    Sms,
}

/// A rule that the product has, broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Broken {
    /// The sweep clears `wake_at` from the snapshot in which it locked.
    OneStatementSweep,
    /// The sweep trusts an open SMS, and clears `wake_at`.
    OpenSmsTrusted,
    /// The sweep trusts the queue.
    QueueTrusted,
    /// A retry stretches its cover instead of adding one.
    CoverStretched,
    /// The deletion of a message cancels its SMS.
    DeletionCancels,
    /// "Mark unread" lowers the column that "read" raises.
    UnreadLowersMark,
    /// An opt-out that ends leaves what was posted meanwhile owed.
    StartKeepsFloor,
    /// An expired lease goes back to `pending`.
    ExpiredLeaseRetried,
    /// A time-out counts as a definite no.
    TimeoutRetried,
    /// The SDK repeats a call that timed out.
    SdkRetries,
}

/// A step on the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Post,
    Read(u8),
    Mute,
    On,
    Off,
    Leave,
    Rejoin,
    Claim(Call),
    /// By the worker of lease 0.
    Record(u8, Known),
    ExpireLeases,
    WakeMembers,
    WakeSms,
    /// Steps of broken rules alone.
    Delete(u8),
    Unread(u8),
}

/// What a step did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct After {
    pub(crate) rows: Rows,
    /// A post's or a record's answer that the member is due, or a job in the queue.
    pub(crate) due: bool,
    /// The SMS that a worker claimed.
    pub(crate) claimed: Option<u8>,
    /// What can't be told by the rows.
    pub(crate) flaw: Option<&'static str>,
}

/// A database with one thread of two, of whom `u0` posts and `u1` is texted.
pub(crate) struct Oracle {
    owner: PgConnection,
    app: Pool,
    worker: Pool,
    queue: Queue,
    author: Actor,
    member: Actor,
    host: Host,
    thread: ThreadId,
    phone: PhoneNumber,
    leases: [Lease; 2],
    steps: usize,
    _system: System,
}

impl Oracle {
    pub(crate) async fn new() -> Self {
        let system = System::start().await;
        let members = system.family(2).await;
        let thread = system.member("u0").thread(&members).await;
        let mut owner = PgConnection::connect(system.database_url()).await.expect("the database");
        sqlx::raw_sql(include_str!("rows.sql")).execute(&mut owner).await.expect("functions");
        let database = Database::new(system.database_url(), 1).expect("a URL");
        let worker = database.pool_as(Role::Worker);
        // Two leases of real claims, for the two workers to hold.
        let mut leases = Vec::new();
        for _ in 0..2 {
            let claim = delivery::claim(&worker, &Wanted::default(), None, PACING).await;
            leases.push(claim.expect("a lease").lease);
        }
        let family: FamilyId = FAMILY.parse().expect("an id");
        let user = |id: &str| id.parse::<UserId>().expect("an id");
        Self {
            owner,
            app: database.pool_as(Role::App),
            worker,
            queue: system.stack.queue(),
            author: Actor::member(family.clone(), user("u0")),
            member: Actor::member(family.clone(), user("u1")),
            host: Host { family, source: None },
            thread: thread.parse().expect("an id"),
            phone: PhoneNumber::parse(&phone(1), None).expect("a number"),
            leases: [leases[0], leases[1]],
            steps: 0,
            _system: system,
        }
    }

    /// The rows after this step, taken by the product, or by what stands in for a broken rule.
    pub(crate) async fn after(&mut self, rows: Rows, step: Step, broken: Option<Broken>) -> After {
        self.steps += 1;
        if self.steps.is_multiple_of(100) {
            // Each step writes all rows anew; what it replaces would be read by every scan.
            self.execute("VACUUM sms_covers, magic_links, sms, messages, reach, threads, thread_members, users", None).await;
        }
        self.write(&rows).await;
        let mut due = false;
        let mut lease = None;
        match step {
            Step::Post => {
                let new = NewMessage::new(Some("m".to_owned()), Vec::new(), None).expect("a text");
                let posted = messages::post(&self.app, &self.author, self.thread, &new, None, None);
                due = posted.await.expect("posted").due.contains(&self.member.user);
            }
            Step::Read(seq) => {
                let read = members::mark_read(&self.app, &self.member, self.thread, seq.into());
                read.await.expect("read");
            }
            Step::Mute => self.prefer(SmsPreference::Muted { hours: Some(8) }).await,
            Step::On => self.prefer(SmsPreference::On).await,
            Step::Off => self.prefer(SmsPreference::Off).await,
            Step::Leave => {
                let left = families::deactivate_user(&self.app, &self.host, &self.member.user);
                left.await.expect("left");
            }
            Step::Rejoin => self.rejoin().await,
            Step::Claim(call) => {
                let mut wanted = Wanted::default();
                wanted.add(&self.job(call, &rows));
                let claim = delivery::claim(&self.worker, &wanted, None, PACING).await;
                let claim = claim.expect("a claim");
                lease = (!claim.claimed.is_empty()).then(|| claim.lease.token());
            }
            Step::Record(i, known) => due = self.record(i, known, broken).await,
            Step::ExpireLeases => {
                delivery::expire_leases(&self.worker).await.expect("expired");
            }
            Step::WakeMembers => {
                let until = Instant::now() + Duration::from_mins(1);
                let woken = delivery::wake_members(&self.worker, &self.queue, PACING, until).await;
                due = woken.expect("woken").enqueued > 0;
            }
            Step::WakeSms => {
                let until = Instant::now() + Duration::from_mins(1);
                let woken = delivery::wake_sms(&self.worker, &self.queue, until).await;
                due = woken.expect("woken").enqueued > 0;
            }
            Step::Delete(seq) => {
                let delete = "UPDATE messages SET deleted_at = now() WHERE seq = $1";
                self.execute(delete, Some(seq)).await;
            }
            Step::Unread(seq) => {
                let lower = "UPDATE reach SET last_read_seq = $1 WHERE user_id = 'u1'";
                self.execute(lower, Some(seq)).await;
            }
        }
        if let Some(broken) = broken {
            self.break_after(step, broken).await;
        }
        let (rows, claimed, flaw) = self.read(lease).await;
        After { rows, due, claimed, flaw }
    }

    async fn prefer(&self, preference: SmsPreference) {
        let set = members::set_sms_preference(&self.app, &self.member, self.thread, preference);
        set.await.expect("set");
    }

    /// Provisioned again, and back in the thread.
    async fn rejoin(&self) {
        let profile = UserProfile {
            name: Name::new("Name1").expect("a name"),
            phone: Some(self.phone.clone()),
            locale: None,
            time_zone: None,
            quiet_hours: QuietHours::default(),
        };
        families::put_user(&self.app, &self.host, &self.member.user, &profile, None)
            .await
            .expect("provisioned");
        let others = [self.member.user.clone()];
        let members = MemberSet::new(Kind::Family, &self.author.user, others).expect("members");
        let new = NewThread { kind: Kind::Family, members, title: None, distinct: false };
        let found =
            threads::resolve_or_create(&self.app, &self.author, &new, None).await.expect("found");
        assert_eq!(found.0.thread_id, self.thread);
    }

    fn sms_job(&self, i: u8) -> SmsJob {
        let mut id = [0; 16];
        id[15] = i;
        SmsJob { family_id: self.host.family.clone(), sms_id: SmsId::from_bytes(id) }
    }

    fn job(&self, call: Call, rows: &Rows) -> Job {
        match call {
            Call::Member => Job::Reach(Recipient {
                family_id: self.host.family.clone(),
                thread_id: self.thread,
                user_id: self.member.user.clone(),
            }),
            Call::Sms => Job::Sms(self.sms_job(rows.sms().last().expect("an SMS").0)),
        }
    }

    async fn record(&self, i: u8, known: Known, broken: Option<Broken>) -> bool {
        let outcome = match known {
            Known::Sent => Outcome::Sent {
                carrier_message_id: "c".to_owned(),
                segments: 1,
                stop_notice: false,
            },
            Known::Timeout if broken == Some(Broken::TimeoutRetried) => {
                Outcome::Retry { reason: Reason::Timeout }
            }
            Known::Timeout => Outcome::Unknown { reason: Reason::Timeout },
            Known::No => Outcome::Retry { reason: Reason::Throttled },
            Known::Never => Outcome::Failed { reason: Reason::InvalidNumber },
            Known::OptedOut => Outcome::OptedOut,
        };
        let (sms, phone) = (self.sms_job(i), self.phone.clone());
        let attempt = Attempt { sms, phone, called: true, outcome };
        let recorded = delivery::record(&self.worker, self.leases[0], &[attempt]).await;
        recorded.expect("recorded").iter().any(|recorded| recorded.more)
    }

    /// What a broken rule does besides, or instead.
    async fn break_after(&mut self, step: Step, broken: Broken) {
        let (statement, seq) = match (broken, step) {
            (Broken::OpenSmsTrusted, Step::WakeMembers) => (
                "UPDATE threads SET wake_at = NULL
                 WHERE EXISTS (SELECT FROM sms WHERE state IN ('pending', 'sending'))",
                None,
            ),
            (Broken::QueueTrusted, Step::WakeMembers) => (
                "UPDATE threads SET wake_at = NULL WHERE wake_at > now() + interval '4 minutes'",
                None,
            ),
            (Broken::CoverStretched, Step::Claim(_)) => (
                "WITH whole AS (
                     SELECT sms_id, min(from_seq) AS from_seq, max(to_seq) AS to_seq
                     FROM sms_covers GROUP BY sms_id
                 ), others AS (
                     DELETE FROM sms_covers c USING whole w
                     WHERE c.sms_id = w.sms_id AND c.to_seq < w.to_seq
                 )
                 UPDATE sms_covers c SET from_seq = w.from_seq FROM whole w
                 WHERE c.sms_id = w.sms_id AND c.to_seq = w.to_seq",
                None,
            ),
            (Broken::DeletionCancels, Step::Delete(seq)) => (
                "UPDATE sms s SET state = 'cancelled', reason = 'message_deleted'
                 FROM sms_covers c
                 WHERE c.sms_id = s.sms_id AND $1 BETWEEN c.from_seq AND c.to_seq
                   AND s.state = 'pending'",
                Some(seq),
            ),
            (Broken::StartKeepsFloor, Step::On) => {
                ("UPDATE users SET texts_from = NULL WHERE user_id = 'u1'", None)
            }
            (Broken::ExpiredLeaseRetried, Step::ExpireLeases) => (
                "UPDATE sms SET state = 'pending', lease_token = NULL
                 WHERE reason = 'lease_expired'",
                None,
            ),
            _ => return,
        };
        self.execute(statement, seq).await;
    }

    async fn execute(&mut self, statement: &'static str, seq: Option<u8>) {
        let mut query = sqlx::query(statement);
        if let Some(seq) = seq {
            query = query.bind(i64::from(seq));
        }
        query.execute(&mut self.owner).await.expect("executed");
    }

    async fn write(&mut self, rows: &Rows) {
        let sms: Vec<Sms> = rows.sms().map(|(_, sms)| sms).collect();
        let wait = |sms: &Sms| match sms.wait {
            Wait::Retry => 0,
            Wait::Call => 1,
            Wait::Worker => 2,
        };
        let token = |sms: &Sms| sms.lease.map(|lease| self.leases[usize::from(lease)].token());
        let cover = |cover: &Cover| match cover {
            Cover::None => None,
            Cover::Empty => Some(-1),
            Cover::Sms(i) => Some(i32::from(*i)),
        };
        sqlx::query("SELECT write_rows($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)")
            .bind(i32::from(rows.posted))
            .bind(i32::from(rows.deleted))
            .bind(match rows.wake {
                Wake::Never => None,
                Wake::Later => Some(600.0_f64),
                Wake::Now => Some(-1.0),
            })
            .bind(i32::from(rows.read))
            .bind(i32::from(rows.covered))
            .bind(i32::from(rows.joined))
            .bind(i32::from(rows.floor))
            .bind(match rows.mute {
                Mute::None => None,
                Mute::Ended(after) => Some(i32::from(after)),
                Mute::Runs => Some(-1),
            })
            .bind(rows.opted_out)
            .bind(rows.active)
            .bind(sms.iter().map(|sms| sms.state.name()).collect::<Vec<_>>())
            .bind(sms.iter().map(wait).collect::<Vec<i32>>())
            .bind(sms.iter().map(token).collect::<Vec<_>>())
            .bind(sms.iter().map(|sms| sms.lease_over).collect::<Vec<_>>())
            .bind(sms.iter().map(|sms| sms.expired).collect::<Vec<_>>())
            .bind(rows.covers.iter().map(cover).collect::<Vec<Option<i32>>>())
            .execute(&mut self.owner)
            .await
            .expect("written");
    }

    /// The rows, the SMS that has this lease's token, and what they can't express.
    async fn read(&mut self, claimed: Option<Uuid>) -> (Rows, Option<u8>, Option<&'static str>) {
        let found: Found = sqlx::query_as("SELECT * FROM read_rows()")
            .fetch_one(&mut self.owner)
            .await
            .expect("rows");
        let mut flaw = None;
        let mut fresh = None;
        let mut sms = [None; MOST];
        for (i, state) in found.states.iter().enumerate().take(MOST) {
            let token = found.tokens[i];
            let lease = match token {
                None => None,
                Some(token) if Some(token) == claimed => {
                    fresh = u8::try_from(i).ok();
                    Some(0)
                }
                Some(token) => {
                    let known = self.leases.iter().position(|lease| lease.token() == token);
                    Some(u8::try_from(known.expect("a lease of ours")).expect("one of two"))
                }
            };
            let wait = match (found.retry_due[i], found.call_due[i]) {
                (false, _) => Wait::Retry,
                (true, true) => Wait::Call,
                (true, false) => Wait::Worker,
            };
            let state = State::named(state);
            let (lease_over, expired) = (found.lease_over[i], found.expired[i]);
            sms[i] = Some(Sms { state, wait, lease, lease_over, expired }.plain());
        }
        if found.states.len() > MOST {
            flaw = Some("more SMS than messages");
        }
        assert_eq!(fresh.is_some(), claimed.is_some(), "what was claimed is there");
        let mut covers = [Cover::None; MOST];
        for ((from, to), by) in found.cover_from.iter().zip(&found.cover_to).zip(&found.cover_by) {
            for seq in *from..=*to {
                let cover = &mut covers[usize::try_from(seq - 1).expect("a number of a message")];
                if *cover != Cover::None {
                    flaw = Some("a message is in two covers");
                }
                *cover = by.map_or(Cover::Empty, |by| Cover::Sms(small(by)));
            }
        }
        let rows = Rows {
            posted: small(found.posted),
            deleted: small(found.deleted),
            wake: match found.wake_due {
                None => Wake::Never,
                Some(false) => Wake::Later,
                Some(true) => Wake::Now,
            },
            read: small(found.read),
            covered: small(found.covered),
            joined: small(found.joined),
            floor: small(found.floor),
            mute: match (found.muted, found.mute_after) {
                (None, _) => Mute::None,
                (Some(true), _) => Mute::Runs,
                (Some(false), after) => Mute::Ended(small(after)),
            },
            opted_out: found.opted_out,
            active: found.active,
            sms,
            covers,
        };
        (rows.plain(), fresh, flaw)
    }
}

fn small(number: i64) -> u8 {
    u8::try_from(number).expect("a small number")
}

/// What `read_rows` returns.
#[derive(FromRow)]
struct Found {
    posted: i64,
    deleted: i64,
    wake_due: Option<bool>,
    read: i64,
    covered: i64,
    joined: i64,
    floor: i64,
    muted: Option<bool>,
    mute_after: i64,
    opted_out: bool,
    active: bool,
    states: Vec<String>,
    retry_due: Vec<bool>,
    call_due: Vec<bool>,
    tokens: Vec<Option<Uuid>>,
    lease_over: Vec<bool>,
    expired: Vec<bool>,
    cover_from: Vec<i64>,
    cover_to: Vec<i64>,
    cover_by: Vec<Option<i64>>,
}
