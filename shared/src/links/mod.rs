//! Magic links: opening one, renewing one, and requesting one by phone number.

mod store;
mod token;

use std::net::IpAddr;

use sqlx::PgConnection;
use time::OffsetDateTime;

pub use token::{BadToken, LinkKeys, TOKEN_LEN};

pub use crate::ids::LinkId;

use crate::{
    Error, Result,
    audit::{self, Action, Event, Principal},
    db::{self, Pool, RowKeys},
    delivery::{self, Woken},
    ids::{FamilyId, LinkRequestId, ThreadId, UserId},
    limits::{self, FAMILY_LINKS, FRESH_LINKS, SOURCE_LINKS, Subject},
    phone::PhoneNumber,
    queue::{Job, Queue},
    sessions::BrowserSecret,
};

/// The session that a link opened.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Opened {
    /// The user that the link was sent to.
    pub user_id: UserId,
    /// The user's family.
    pub family_id: FamilyId,
    /// The thread that it opens.
    pub thread_id: ThreadId,
    /// The latest end of the session.
    pub expires_at: OffsetDateTime,
}

/// Opens a link's thread in a browser. The first browser binds the link: it can open it again while its
/// session lives, other browsers can't. Of concurrent exchanges one is the first.
///
/// Returns the browser's secret. A browser without a session gets a new one, which prevents session
/// fixation: a known or planted old secret gives no access. The new secret is derived from the old one and
/// the token, so a browser that missed the response gets the same one again.
///
/// # Errors
/// [`Error::LinkInvalid`] for every invalid link; [`Error::TooOften`] when its source address sends too many
/// tokens without a valid signature. Valid links still open.
pub async fn exchange(
    pool: &Pool,
    principal: &Principal,
    keys: &LinkKeys,
    token: &str,
    browser: &BrowserSecret,
) -> Result<(Opened, BrowserSecret)> {
    let Ok(link) = keys.verify(token) else {
        return Err(limits::guess(pool, principal.source()).await);
    };
    let (known, fresh) = (browser.hash(), browser.next(token));
    let mut tx = db::begin_by_keys(
        pool,
        RowKeys { link: Some(link.as_bytes()), browser: Some(known.as_bytes()) },
    )
    .await?;
    let family_id = store::find_family(&mut tx, link).await?.ok_or(Error::LinkInvalid)?;
    db::enter_family(&mut tx, &family_id).await?;
    // A separate statement: the next one sees what the previous holder of the lock committed.
    store::lock(&mut tx, &family_id, link).await?;
    let exchanged = store::exchange(&mut tx, &family_id, link, &known, &fresh.hash()).await?;
    if let Some(store::Exchanged { opened, first: true, .. }) = &exchanged {
        let event = Event::of(Action::LinkOpened, &opened.user_id).in_thread(opened.thread_id);
        audit::record(&mut tx, &family_id, principal, &[event]).await?;
    }
    tx.commit().await?;
    let exchanged = exchanged.ok_or(Error::LinkInvalid)?;
    Ok((exchanged.opened, if exchanged.renamed { fresh } else { browser.clone() }))
}

/// Queues a fresh link in place of a spent one, to the user's phone number. Returns the job for the worker;
/// `None` if no SMS is to be sent.
///
/// # Errors
/// [`Error::TooOften`] for a source address with too many requests. An invalid token is no error.
pub async fn renew(
    pool: &Pool,
    principal: &Principal,
    keys: &LinkKeys,
    token: &str,
) -> Result<Option<Job>> {
    let Ok(link) = keys.verify(token) else {
        return match limits::guess(pool, principal.source()).await {
            error @ Error::TooOften { .. } => Err(error),
            _ => Ok(None),
        };
    };
    let mut tx =
        db::begin_by_keys(pool, RowKeys { link: Some(link.as_bytes()), browser: None }).await?;
    limits::demand(&mut tx, Subject::source_links(principal.source()), SOURCE_LINKS).await?;
    let mut job = None;
    if let Some(family_id) = store::find_family(&mut tx, link).await? {
        db::enter_family(&mut tx, &family_id).await?;
        let spent = store::find_spent(&mut tx, &family_id, link).await?;
        if let Some((user_id, thread_id)) = spent {
            job = send_fresh(&mut tx, principal, family_id, user_id, thread_id).await?;
        }
    }
    tx.commit().await?;
    Ok(job)
}

/// Queues a link for a user, unless a limit is reached or a link is queued already.
async fn send_fresh(
    tx: &mut PgConnection,
    principal: &Principal,
    family_id: FamilyId,
    user_id: UserId,
    thread_id: ThreadId,
) -> Result<Option<Job>> {
    // A repeated request sends no second link, so it is not counted.
    if let Some(false) = delivery::find_fresh_link(tx, &family_id, thread_id, &user_id).await? {
        return Ok(None);
    }
    store::savepoint(tx).await?;
    // The family's row is locked first, so that its members' rows are never locked concurrently.
    let (family, member) =
        (Subject::family_links(&family_id), Subject::member_links(&family_id, &user_id));
    if !limits::take(tx, family, FAMILY_LINKS).await?
        || !limits::take(tx, member, FRESH_LINKS).await?
    {
        store::rollback_to_savepoint(tx).await?;
        return Ok(None);
    }
    // With the limit's row locked, a link that a concurrent request inserted is visible.
    let waiting = delivery::hurry_fresh_link(tx, &family_id, thread_id, &user_id).await?;
    let sms_id = match waiting {
        Some((id, true)) => id,
        Some((_, false)) => {
            store::rollback_to_savepoint(tx).await?;
            return Ok(None);
        }
        None => delivery::insert_fresh_link(tx, &family_id, thread_id, &user_id).await?,
    };
    let event = Event::of(Action::LinkRequested, &user_id).in_thread(thread_id);
    audit::record(tx, &family_id, principal, &[event]).await?;
    Ok(Some(delivery::link_job(family_id, sms_id)))
}

/// Stores a request for a link to `phone`. Does not look for users with this number, which the worker does,
/// so the response does not reveal whether there are any. Returns the job for the worker; `None` if the
/// number's limit is reached.
///
/// # Errors
/// [`Error::TooOften`] for a `source` with too many requests.
pub async fn request(
    pool: &Pool,
    phone: &PhoneNumber,
    source: Option<IpAddr>,
) -> Result<Option<Job>> {
    let id = LinkRequestId::new();
    let mut tx = db::begin_unscoped(pool).await?;
    limits::demand(&mut tx, Subject::source_links(source), SOURCE_LINKS).await?;
    let inserted = store::insert_request(&mut tx, id, phone, source).await?;
    tx.commit().await?;
    Ok(inserted.then_some(Job::LinkRequest(id)))
}

/// Turns requests into due SMS, each with its request: one for each user with the number, for the
/// thread with the latest activity. A request that another worker has taken, or without a user, gives none.
///
/// # Errors
/// Only database errors; then the requests stay.
pub async fn answer(pool: &Pool, requests: &[LinkRequestId]) -> Result<Vec<(LinkRequestId, Job)>> {
    let mut tx = db::begin_as_worker(pool).await?;
    let mut members = store::take_requests(&mut tx, requests).await?;
    // In one order in all workers, to avoid deadlocks.
    members.sort_by_key(|member| Subject::family_links(&member.family_id));
    let mut due = Vec::new();
    for member in members {
        let principal = Principal::worker(member.source());
        let store::Recipient { request, family_id, user_id, thread_id, .. } = member;
        let job = send_fresh(&mut tx, &principal, family_id, user_id, thread_id).await?;
        due.extend(job.map(|job| (request, job)));
    }
    tx.commit().await?;
    Ok(due)
}

/// Enqueues jobs of due requests, and deletes expired ones.
///
/// # Errors
/// Only database errors.
pub async fn wake_due(pool: &Pool, queue: &Queue) -> Result<Woken> {
    let mut tx = db::begin_as_worker(pool).await?;
    let due = store::take_due_requests(&mut tx).await?;
    tx.commit().await?;
    if due.is_empty() {
        return Ok(Woken::default());
    }
    let jobs: Vec<Job> = due.into_iter().map(Job::LinkRequest).collect();
    let not_taken = queue.enqueue(&jobs).await;
    if !not_taken.is_empty() {
        let mut tx = db::begin_as_worker(pool).await?;
        store::put_back(&mut tx, &not_taken).await?;
        tx.commit().await?;
    }
    Ok(Woken {
        enqueued: jobs.len() - not_taken.len(),
        not_taken: not_taken.len(),
        ..Woken::default()
    })
}
