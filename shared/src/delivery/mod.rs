//! Delivery: who is due an SMS, and each SMS from its claim to its outcome.
//!
//! A post writes nothing for each recipient. `reach` has how far a member of a thread has been reached; whether
//! the member is due follows from that. An SMS is a row when one is about to be sent, with the messages that
//! it covers. No message is covered twice for a member, so none is sent twice: a worker sends only what it
//! has claimed, and an uncertain outcome becomes `unknown`, never `pending` again.

mod ledger;
mod pacing;
mod policy;
mod state;
mod store;
mod sweep;

use std::{collections::BTreeSet, time::Duration};

use tokio::time::sleep;
use uuid::Uuid;

pub use self::{
    ledger::{Delivery, deliveries},
    pacing::Pacing,
    state::{DeliveryState, Outcome, Reason},
    sweep::{Woken, wake_members, wake_sms},
};
pub(crate) use self::{
    policy::{floor, mark, may_get_link, not_active, recipients, suppressed},
    store::{
        ledger::{deliveries_json, ledger, note_read},
        links::{find_fresh_link, hurry_fresh_link, insert_fresh_link, note_opened},
        record::{delete_old, note_paid},
    },
    sweep::look_again,
};
use crate::{
    Result,
    db::{self, Pool},
    ids::{FamilyId, LinkId, MessageId, SmsId},
    phone::PhoneNumber,
    queue::{Job, Recipient, SmsJob},
    text::Name,
    threads::Kind,
};

/// How long a claim is valid: longer than a worker's invocation (30 s), so the worker of an expired lease
/// has ended.
const LEASE: Duration = Duration::from_mins(1);
/// How long a link can be opened, from the claim of its SMS.
const LINK_LIFE: Duration = Duration::from_hours(24);
/// How long after a wake-up call the next one is due.
const WAKE_AGAIN: Duration = Duration::from_mins(5);
/// Maximum rows that one statement of the sweeper changes.
const SWEEP_MAX: i64 = 500;
/// When members that another claim had locked are tried once more: longer than a claim takes.
const TRY_AGAIN: Duration = Duration::from_millis(50);
/// Delay after a definite refusal, by the number of attempts so far. The last one repeats until the SMS
/// expires.
const BACK_OFF: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(3),
];

/// The right to send claimed SMS and to record their outcomes.
#[derive(Debug, Clone, Copy)]
pub struct Lease(Uuid);

impl Lease {
    /// The value in the database.
    #[must_use]
    pub const fn token(self) -> Uuid {
        self.0
    }
}

/// A claimed SMS, with all data for composing and sending it.
#[derive(Clone, sqlx::FromRow)]
pub struct Claimed {
    /// The SMS.
    #[sqlx(flatten)]
    pub sms: SmsJob,
    /// The member that it is for.
    #[sqlx(flatten)]
    pub recipient: Recipient,
    /// The family's own monthly cap, in segments.
    pub monthly_cap: Option<i32>,
    /// The message that it quotes; `None` for an SMS that is only a link.
    pub message_id: Option<MessageId>,
    /// The number of older messages that it stands for as well.
    pub waiting: i64,
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

/// A member, or an SMS, that its claim found must not be texted.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Settled {
    /// The SMS; `None` if there was none yet.
    pub sms_id: Option<SmsId>,
    /// The member.
    #[sqlx(flatten)]
    pub recipient: Recipient,
    /// The final state: `failed`, `suppressed` or `cancelled`.
    pub state: DeliveryState,
    /// The reason.
    pub reason: Reason,
}

/// The result of a claim.
pub struct Claim {
    /// The lease on the claimed SMS.
    pub lease: Lease,
    /// The SMS to send.
    pub claimed: Vec<Claimed>,
    /// The members and SMS that will not be texted or sent.
    pub settled: Vec<Settled>,
}

/// The members and SMS that a claim is asked to look at, without repetitions.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    members: BTreeSet<Recipient>,
    sms: Vec<SmsJob>,
}

impl Wanted {
    /// Adds what this job asks for. Link requests are answered before they are SMS.
    pub fn add(&mut self, job: &Job) {
        match job {
            Job::Reach(member) => {
                self.members.insert(member.clone());
            }
            Job::Sms(sms) if !self.sms.contains(sms) => self.sms.push(sms.clone()),
            Job::Sms(_) | Job::LinkRequest(_) => {}
        }
    }

    /// Whether there is nothing to claim.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.sms.is_empty()
    }
}

impl FromIterator<Recipient> for Wanted {
    fn from_iter<T: IntoIterator<Item = Recipient>>(members: T) -> Self {
        Self { members: members.into_iter().collect(), sms: Vec::new() }
    }
}

/// Claims SMS for those of the wanted members who are due, and those of the wanted SMS that are due, and
/// settles those that must not be sent. The others are ignored: another worker has them, or they are not due.
///
/// `stop_notices` is how often a recipient's SMS must say how to opt out; `None` is never.
///
/// # Errors
/// Only database errors. Then nothing was claimed, or what was is `unknown` when its lease expires.
pub async fn claim(
    pool: &Pool,
    wanted: &Wanted,
    stop_notices: Option<Duration>,
    pacing: Pacing,
) -> Result<Claim> {
    let lease = Lease(Uuid::new_v4());
    let mut claim = Claim { lease, claimed: Vec::new(), settled: Vec::new() };
    let skipped = claim_once(pool, wanted, stop_notices, pacing, &mut claim).await?;
    if !skipped.is_empty() {
        // Another claim decided about them, perhaps before the post that this job is about.
        sleep(TRY_AGAIN).await;
        let skipped = skipped.into_iter().collect();
        // What was claimed must be sent, and the sweeper finds the rest.
        if let Err(error) = claim_once(pool, &skipped, stop_notices, pacing, &mut claim).await {
            tracing::warn!(error = error.with_causes(), "can't claim again");
        }
    }
    Ok(claim)
}

/// One transaction of a claim. Returns the members that another claim had locked.
async fn claim_once(
    pool: &Pool,
    wanted: &Wanted,
    stop_notices: Option<Duration>,
    pacing: Pacing,
    claim: &mut Claim,
) -> Result<Vec<Recipient>> {
    let mut tx = db::begin_as_worker(pool).await?;
    let mut members = wanted.members.clone();
    let mut links = Vec::new();
    if !wanted.sms.is_empty() {
        let (of_members, only_links) = store::claim::resolve(&mut tx, &wanted.sms).await?;
        members.extend(of_members);
        links = only_links;
    }
    let members: Vec<Recipient> = members.into_iter().collect();
    let mut found = Vec::new();
    let mut locked = Vec::new();
    if !members.is_empty() {
        locked = store::claim::lock_members(&mut tx, &members).await?;
    }
    if !locked.is_empty() {
        let claimed =
            store::claim::claim_members(&mut tx, claim.lease, &locked, stop_notices, pacing);
        found.push(claimed.await?);
    }
    if !links.is_empty() {
        let claimed = store::claim::claim_links(&mut tx, claim.lease, &links, stop_notices);
        found.push(claimed.await?);
    }
    tx.commit().await?;
    for (claimed, settled) in found {
        claim.claimed.extend(claimed);
        claim.settled.extend(settled);
    }
    let locked: BTreeSet<Recipient> = locked.into_iter().collect();
    Ok(members.into_iter().filter(|member| !locked.contains(member)).collect())
}

/// The outcome of a claimed SMS.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The SMS.
    pub sms: SmsJob,
    /// The number it was for: an opt-out applies to this number only.
    pub phone: PhoneNumber,
    /// Whether the carrier was called. Only calls count as attempts and increase the back-off.
    pub called: bool,
    /// The outcome.
    pub outcome: Outcome,
}

/// A recorded outcome.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Recorded {
    /// The SMS.
    pub sms_id: SmsId,
    /// The member that it was for.
    #[sqlx(flatten)]
    pub recipient: Recipient,
    /// Whether a post came while it was open, so that the member may be due again.
    pub more: bool,
}

/// Records outcomes of claimed SMS in one statement and returns the recorded ones. The lease on the others
/// had expired.
///
/// # Errors
/// Only database errors; then nothing was recorded.
pub async fn record(pool: &Pool, lease: Lease, attempts: &[Attempt]) -> Result<Vec<Recorded>> {
    let mut tx = db::begin_as_worker(pool).await?;
    let recorded = store::record::record(&mut tx, lease, attempts).await?;
    tx.commit().await?;
    Ok(recorded)
}

/// Sets SMS with an expired lease to `unknown`. Returns their number.
///
/// # Errors
/// Only database errors.
pub async fn expire_leases(pool: &Pool) -> Result<u64> {
    let mut tx = db::begin_as_worker(pool).await?;
    let expired = store::record::expire_leases(&mut tx, SWEEP_MAX).await?;
    tx.commit().await?;
    Ok(expired)
}

/// The job of a fresh link.
pub(crate) fn link_job(family_id: FamilyId, sms_id: SmsId) -> Job {
    Job::Sms(SmsJob { family_id, sms_id })
}
