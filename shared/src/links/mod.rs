//! Magic links: what a text carries, what it opens, and how somebody gets a fresh one.

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
    delivery,
    ids::{FamilyId, LinkRequestId, ThreadId, UserId},
    limits::{self, FAMILY_LINKS, FRESH_LINKS, SOURCE_LINKS, Subject},
    phone::PhoneNumber,
    queue::{Job, NotificationJob, Queue, Woken},
    sessions::BrowserSecret,
};

/// What a link opened.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Opened {
    /// The member that the link was sent to.
    pub user_id: UserId,
    /// Their family.
    pub family_id: FamilyId,
    /// The thread that it opens.
    pub thread_id: ThreadId,
    /// When the session ends at the latest.
    pub expires_at: OffsetDateTime,
}

/// Opens a link's thread in one browser. The first browser keeps the link: there it opens again for
/// as long as its session lives, and nowhere else. Any number at the same moment: one is first.
///
/// Returns the secret by which that browser is known from now on: another one when it had no session
/// before, so that whoever knew or planted the old one comes in by no session of this one's. It is made
/// of the old one and the token, so a browser that never saw the answer gets the same one again.
///
/// # Errors
/// [`Error::LinkInvalid`], for whatever is wrong with the link; [`Error::TooOften`] when its
/// source sends one token after the other that nobody signed. A link of ours opens all the same.
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
    // A statement of its own: the next one sees what it waited for here, as a whole.
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

/// Has a fresh link sent in the place of one of ours that opens nothing any more, to the number on
/// file. Returns what to wake the worker for; nothing where nobody is to be texted.
///
/// # Errors
/// [`Error::TooOften`] for a source that asks too often; whatever is wrong with the token, there is
/// nothing to tell.
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
    Ok(job.map(Job::Notification))
}

/// Has a member sent a link, unless they were sent too many or one is on its way to them just now.
async fn send_fresh(
    tx: &mut PgConnection,
    principal: &Principal,
    family_id: FamilyId,
    user_id: UserId,
    thread_id: ThreadId,
) -> Result<Option<NotificationJob>> {
    // Whoever asks twice has not been sent two: only what is sent counts.
    if let Some(false) = delivery::find_fresh_link(tx, &family_id, thread_id, &user_id).await? {
        return Ok(None);
    }
    store::savepoint(tx).await?;
    // The family first: whoever holds its row is alone with its members'.
    let (family, member) =
        (Subject::family_links(&family_id), Subject::member_links(&family_id, &user_id));
    if !limits::take(tx, family, FAMILY_LINKS).await?
        || !limits::take(tx, member, FRESH_LINKS).await?
    {
        store::rollback_to_savepoint(tx).await?;
        return Ok(None);
    }
    // The limit's row is ours until the end: what another request has inserted meanwhile is seen now.
    let waiting = delivery::hurry_fresh_link(tx, &family_id, thread_id, &user_id).await?;
    let notification_id = match waiting {
        Some((id, true)) => id,
        Some((_, false)) => {
            store::rollback_to_savepoint(tx).await?;
            return Ok(None);
        }
        None => delivery::insert_fresh_link(tx, &family_id, thread_id, &user_id).await?,
    };
    let event = Event::of(Action::LinkRequested, &user_id).in_thread(thread_id);
    audit::record(tx, &family_id, principal, &[event]).await?;
    Ok(Some(NotificationJob { family_id, notification_id }))
}

/// Notes that somebody wants a link sent to `phone`. Whose it is, if anybody's, only the worker
/// finds out: nothing here depends on it. Returns what to wake the worker for; nothing when the
/// number was asked for too often.
///
/// # Errors
/// [`Error::TooOften`] for a `source` that asks too often.
pub async fn request(
    pool: &Pool,
    phone: &PhoneNumber,
    source: Option<IpAddr>,
) -> Result<Option<Job>> {
    let id = LinkRequestId::new();
    let mut tx = db::begin_unscoped(pool).await?;
    limits::demand(&mut tx, Subject::source_links(source), SOURCE_LINKS).await?;
    let noted = store::insert_request(&mut tx, id, phone, source).await?;
    tx.commit().await?;
    Ok(noted.then_some(Job::LinkRequest(id)))
}

/// Turns requests into texts that are due, each with the request that it answers: one a member with
/// that number, to where they were last written to. A request that another worker has taken, or a
/// number that is nobody's, is none.
///
/// # Errors
/// [`Error`] of the database alone; then the requests are still there.
pub async fn answer(
    pool: &Pool,
    requests: &[LinkRequestId],
) -> Result<Vec<(LinkRequestId, NotificationJob)>> {
    let mut tx = db::begin_as_worker(pool).await?;
    let mut members = store::take_requests(&mut tx, requests).await?;
    // In one order, whoever counts them, so that no two wait for each other.
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

/// Enqueues requests that no worker was woken for, and drops those too old to be answered.
///
/// # Errors
/// [`Error`] of the database alone.
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
    Ok(Woken { enqueued: jobs.len() - not_taken.len(), not_taken: not_taken.len() })
}
