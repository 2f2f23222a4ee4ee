//! Notifications: one recipient's SMS about one message, from the post to its outcome.
//!
//! The rows are the outbox and the source of truth. No SMS is sent twice: a worker sends only what it has
//! claimed, only `pending` rows are claimed, and an uncertain outcome becomes `unknown`, never `pending`
//! again.

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

/// How long a claim is valid: longer than a worker's invocation (30 s), so the worker of an expired lease
/// has ended.
const LEASE: Duration = Duration::from_mins(1);
/// How long a link can be opened, from the claim of its SMS.
const LINK_LIFE: Duration = Duration::from_hours(24);
/// Delay after a definite refusal, by the number of attempts so far. The last one repeats until the
/// notification expires.
const BACK_OFF: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(3),
];

/// The right to send claimed notifications and to record their outcomes.
#[derive(Debug, Clone, Copy)]
pub struct Lease(Uuid);

impl Lease {
    /// The value in the database.
    #[must_use]
    pub const fn token(self) -> Uuid {
        self.0
    }
}

/// A claimed notification, with all data for composing and sending its SMS.
#[derive(Clone, sqlx::FromRow)]
pub struct Claimed {
    /// Its id.
    pub notification_id: NotificationId,
    /// Its family.
    pub family_id: FamilyId,
    /// The family's monthly cap, in segments; `None` is no cap.
    pub monthly_cap: Option<i32>,
    /// The message it is about; `None` for an SMS that is only a fresh link.
    pub message_id: Option<MessageId>,
    /// The thread that its link opens.
    pub thread_id: ThreadId,
    /// The thread's title, if it has one.
    pub thread_title: Option<String>,
    /// The thread's kind.
    pub thread_kind: Kind,
    /// The number to send the SMS to.
    pub phone: PhoneNumber,
    /// The recipient's language, as a BCP 47 tag.
    pub locale: Option<String>,
    /// Whether the SMS must say how to opt out.
    pub stop_notice: bool,
    /// The name of the message's author.
    pub sender: Option<Name>,
    /// The message's text; `None` if it has only files.
    pub body: Option<String>,
    /// The number of the message's files.
    pub file_count: i32,
    /// The number of this attempt, from 1.
    pub attempts: i32,
    /// The id of the link, which the claim has stored.
    #[sqlx(try_from = "Vec<u8>")]
    pub link: LinkId,
}

/// A notification that its claim found must not be sent.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Settled {
    /// Its id.
    pub notification_id: NotificationId,
    /// Its final state: `failed`, `suppressed` or `cancelled`.
    pub state: DeliveryState,
    /// The reason.
    pub reason: Reason,
}

/// The result of a claim.
pub struct Claim {
    /// The lease on the claimed notifications.
    pub lease: Lease,
    /// The notifications to send.
    pub claimed: Vec<Claimed>,
    /// The notifications that will not be sent.
    pub settled: Vec<Settled>,
}

/// Claims those of `jobs` that are due, and settles those that must not be sent. The other jobs are
/// ignored: their notifications are claimed by another worker, finished, or not due.
///
/// `stop_notices` is how often a recipient's SMS must say how to opt out; `None` is never.
///
/// # Errors
/// Only database errors; then nothing was claimed.
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

/// The outcome of a claimed notification.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The notification.
    pub notification_id: NotificationId,
    /// Its family.
    pub family_id: FamilyId,
    /// The number it was for: an opt-out applies to this number only.
    pub phone: PhoneNumber,
    /// Whether the carrier was called. Only calls count as attempts and increase the back-off.
    pub called: bool,
    /// The outcome.
    pub outcome: Outcome,
}

/// Records outcomes of claimed notifications in one statement and returns the recorded ones. The lease on
/// the others had expired.
///
/// # Errors
/// Only database errors; then nothing was recorded.
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

/// Sets notifications with an expired lease to `unknown`. Returns their number.
///
/// # Errors
/// Only database errors.
pub async fn expire_leases(pool: &Pool) -> Result<u64> {
    let mut tx = db::begin_as_worker(pool).await?;
    let expired = store::expire_leases(&mut tx).await?;
    tx.commit().await?;
    Ok(expired)
}

/// Sets unsent notifications past their expiry to `failed`. Returns their number.
///
/// # Errors
/// Only database errors.
pub async fn expire_unsent(pool: &Pool) -> Result<u64> {
    let mut tx = db::begin_as_worker(pool).await?;
    let expired = store::expire_unsent(&mut tx).await?;
    tx.commit().await?;
    Ok(expired)
}

/// Returns how long the oldest due notification has waited; zero if none is due.
///
/// # Errors
/// Only database errors.
pub async fn outbox_age(pool: &Pool) -> Result<Duration> {
    let mut tx = db::begin_as_worker(pool).await?;
    let age = store::outbox_age(&mut tx).await?;
    tx.commit().await?;
    Ok(age)
}

/// Enqueues jobs of due notifications, up to ten thousand and until `deadline`. The next run continues.
///
/// # Errors
/// Only database errors; jobs enqueued before the error stay enqueued.
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
        // If the queue accepted nothing, further batches wait for the next run.
        if not_taken.len() == due.len() || Instant::now() >= deadline {
            break;
        }
    }
    Ok(woken)
}

/// The delivery of a message to one recipient.
#[derive(Debug, Clone, sqlx::FromRow, serde::Deserialize)]
pub struct Delivery {
    /// The recipient.
    pub recipient_id: UserId,
    /// The notification's state.
    pub state: DeliveryState,
    /// The reason for the state.
    pub reason: Option<Reason>,
    /// The number of carrier calls.
    pub attempts: i32,
    /// The number of segments sent.
    pub segments: Option<i32>,
    /// When the carrier accepted it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub sent_at: Option<time::OffsetDateTime>,
    /// When its link was opened.
    #[serde(with = "time::serde::rfc3339::option")]
    pub opened_at: Option<time::OffsetDateTime>,
    /// When the message was read.
    #[serde(with = "time::serde::rfc3339::option")]
    pub read_at: Option<time::OffsetDateTime>,
}

/// Returns the deliveries of a message, one for each recipient, ordered by user id.
///
/// # Errors
/// [`crate::Error::ThreadNotFound`], also if the caller is not an active member;
/// [`crate::Error::MessageNotFound`].
pub async fn deliveries(
    pool: &Pool,
    actor: &Actor,
    thread_id: ThreadId,
    message_id: MessageId,
) -> Result<Vec<Delivery>> {
    let (family_id, caller) = (&actor.family, &actor.user);
    let mut tx = db::begin_for_family(pool, family_id).await?;
    let found = store::list_deliveries(&mut tx, family_id, caller, thread_id, message_id).await?;
    tx.end();
    Ok(found)
}
