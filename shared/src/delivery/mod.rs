//! Notifications: one recipient's text about one message, from the post to its outcome.
//!
//! The row is the outbox and the authority. At most one provider call is ever made for it: a
//! worker sends only what it has claimed, a claim is taken from `pending` alone, and what can't
//! be known becomes `unknown`, never `pending` again.

mod policy;
mod state;
mod store;

use std::time::{Duration, Instant};

use uuid::Uuid;

pub use self::state::{DeliveryState, Outcome, Reason};
pub(crate) use self::{
    policy::{may_get_link, recipients, suppressed},
    store::{
        cancel_about, cancel_waiting, delete_old, deliveries_json, find_fresh_link,
        hurry_fresh_link, insert_fresh_link, note_opened, note_paid, note_read, queue,
    },
};
use crate::{
    Result,
    actor::Actor,
    db::{self, Pool},
    ids::{FamilyId, LinkId, MessageId, NotificationId, ThreadId, UserId},
    phone::PhoneNumber,
    queue::{NotificationJob, Queue, Woken},
    text::Name,
    threads::Kind,
};

/// How long a claim holds: longer than a worker's whole run (30 s), so that an expired one
/// belongs to a worker that is gone.
const LEASE: Duration = Duration::from_mins(1);
/// How long a link opens, counted from when it is sent.
const LINK_LIFE: Duration = Duration::from_hours(24);
/// What follows a definite no, by the number of attempts so far; the last one repeats until the
/// notification expires.
const BACK_OFF: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(3),
];

/// The right to send what one claim took, and to record how it went.
#[derive(Debug, Clone, Copy)]
pub struct Lease(Uuid);

impl Lease {
    /// As the database keeps it.
    #[must_use]
    pub const fn token(self) -> Uuid {
        self.0
    }
}

/// A claimed notification: all that composing and sending its text needs.
#[derive(Clone, sqlx::FromRow)]
pub struct Claimed {
    /// Its id.
    pub notification_id: NotificationId,
    /// Whose it is.
    pub family_id: FamilyId,
    /// What that family may spend a month, in segments; `None` is no cap.
    pub monthly_cap: Option<i32>,
    /// The message it is about; `None` when it brings a fresh link and nothing else.
    pub message_id: Option<MessageId>,
    /// The thread that its link opens.
    pub thread_id: ThreadId,
    /// That thread's title, if it was given one.
    pub thread_title: Option<String>,
    /// What that thread is for.
    pub thread_kind: Kind,
    /// Where the text goes.
    pub phone: PhoneNumber,
    /// The recipient's language, as a BCP 47 tag.
    pub locale: Option<String>,
    /// It is time to tell them again how to opt out.
    pub stop_notice: bool,
    /// Who wrote the message.
    pub sender: Option<Name>,
    /// The message's text; `None` when it is of files only.
    pub body: Option<String>,
    /// How many files the message has.
    pub file_count: i32,
    /// Which attempt this is, from 1.
    pub attempts: i32,
    /// The link's row, which is there already.
    #[sqlx(try_from = "Vec<u8>")]
    pub link: LinkId,
}

/// A notification that needs no call any more, as its claim found.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Settled {
    /// Its id.
    pub notification_id: NotificationId,
    /// Where it stays: `failed`, `suppressed` or `cancelled`.
    pub state: DeliveryState,
    /// Why.
    pub reason: Reason,
}

/// What one claim came to.
pub struct Claim {
    /// The right to send what was claimed.
    pub lease: Lease,
    /// What is to be sent.
    pub claimed: Vec<Claimed>,
    /// What will not be sent.
    pub settled: Vec<Settled>,
}

/// Claims those of `jobs` that are due, for one worker, and settles those that must not be sent. The
/// rest is sent by somebody else, was sent, or is not due: its wake-up call has done its work.
///
/// Whoever was told longer ago than `stop_notices` how to opt out is told again; `None` tells nobody.
///
/// # Errors
/// [`crate::Error`] of the database alone; then nothing was claimed.
pub async fn claim(
    pool: &Pool,
    jobs: &[NotificationJob],
    stop_notices: Option<Duration>,
) -> Result<Claim> {
    let lease = Lease(Uuid::new_v4());
    let mut tx = db::begin_as_worker(pool).await?;
    let (claimed, settled) = store::claim(&mut tx, lease, jobs, stop_notices).await?;
    tx.commit().await?;
    Ok(Claim { lease, claimed, settled })
}

/// What came of a claimed notification.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Which.
    pub notification_id: NotificationId,
    /// Whose it is.
    pub family_id: FamilyId,
    /// The number that it was for. What the carrier says of a number says nothing of the next one.
    pub phone: PhoneNumber,
    /// Whether a provider call was begun: only those count, and make pauses grow.
    pub called: bool,
    /// How it went.
    pub outcome: Outcome,
}

/// Records what came of claimed notifications, in one statement, and returns those recorded: the
/// rest had been taken out of this lease's hands.
///
/// # Errors
/// [`crate::Error`] of the database alone; then nothing was recorded.
pub async fn record(
    pool: &Pool,
    lease: Lease,
    attempts: &[Attempt],
) -> Result<Vec<NotificationId>> {
    let mut tx = db::begin_as_worker(pool).await?;
    let recorded = store::record(&mut tx, lease, attempts).await?;
    tx.commit().await?;
    Ok(recorded)
}

/// Gives up claims whose worker is gone: they are `unknown` from now on. Returns how many.
///
/// # Errors
/// [`crate::Error`] of the database alone.
pub async fn expire_leases(pool: &Pool) -> Result<u64> {
    let mut tx = db::begin_as_worker(pool).await?;
    let expired = store::expire_leases(&mut tx).await?;
    tx.commit().await?;
    Ok(expired)
}

/// Gives up what was not sent within its life: it is `failed` from now on. Returns how many.
///
/// # Errors
/// [`crate::Error`] of the database alone.
pub async fn expire_unsent(pool: &Pool) -> Result<u64> {
    let mut tx = db::begin_as_worker(pool).await?;
    let expired = store::expire_unsent(&mut tx).await?;
    tx.commit().await?;
    Ok(expired)
}

/// How long the text has waited that has been due for longest; zero when none is.
///
/// # Errors
/// [`crate::Error`] of the database alone.
pub async fn outbox_age(pool: &Pool) -> Result<Duration> {
    let mut tx = db::begin_as_worker(pool).await?;
    let age = store::outbox_age(&mut tx).await?;
    tx.commit().await?;
    Ok(age)
}

/// Enqueues what is due, until `deadline` or a backlog of ten thousand; the next run goes on.
///
/// # Errors
/// [`crate::Error`] of the database alone; what was enqueued by then is enqueued.
pub async fn wake_due(pool: &Pool, queue: &Queue, deadline: Instant) -> Result<Woken> {
    let mut woken = Woken::default();
    for _ in 0..20 {
        let mut tx = db::begin_as_worker(pool).await?;
        let due = store::take_due(&mut tx).await?;
        tx.commit().await?;
        if due.is_empty() {
            break;
        }
        let not_taken = queue.enqueue(&due).await;
        woken.enqueued += due.len() - not_taken.len();
        if !not_taken.is_empty() {
            woken.not_taken += not_taken.len();
            let mut tx = db::begin_as_worker(pool).await?;
            store::put_back(&mut tx, &not_taken).await?;
            tx.commit().await?;
        }
        // A queue that takes nothing gets no further batches in this run.
        if not_taken.len() == due.len() || Instant::now() >= deadline {
            break;
        }
    }
    Ok(woken)
}

/// What a recipient got of a message.
#[derive(Debug, Clone, sqlx::FromRow, serde::Deserialize)]
pub struct Delivery {
    /// The recipient.
    pub recipient_id: UserId,
    /// Where the notification is in its life.
    pub state: DeliveryState,
    /// Why it is there.
    pub reason: Option<Reason>,
    /// How many provider calls were begun.
    pub attempts: i32,
    /// How many segments were sent.
    pub segments: Option<i32>,
    /// When the carrier took it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub sent_at: Option<time::OffsetDateTime>,
    /// When its link was opened.
    #[serde(with = "time::serde::rfc3339::option")]
    pub opened_at: Option<time::OffsetDateTime>,
    /// When the message was read.
    #[serde(with = "time::serde::rfc3339::option")]
    pub read_at: Option<time::OffsetDateTime>,
}

/// The deliveries of one message, one for every recipient, by their ids.
///
/// # Errors
/// [`crate::Error::ThreadNotFound`] also for who is not an active member,
/// [`crate::Error::MessageNotFound`].
pub async fn deliveries(
    pool: &Pool,
    actor: &Actor,
    thread_id: ThreadId,
    message_id: MessageId,
) -> Result<Vec<Delivery>> {
    let (family_id, reader) = (&actor.family, &actor.user);
    let mut tx = db::begin_for_family(pool, family_id).await?;
    let found = store::list_deliveries(&mut tx, family_id, reader, thread_id, message_id).await?;
    tx.end();
    Ok(found)
}
