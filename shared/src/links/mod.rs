//! Magic links: what a text carries, what it opens, and how somebody gets a fresh one.

mod store;
mod token;

use sqlx::PgPool;
use time::OffsetDateTime;

pub use token::{BadToken, LinkId, LinkKeys, TOKEN_LEN};

use crate::{
    Error, Result,
    db::{self, Bearer},
    ids::{FamilyId, LinkRequestId, ThreadId, UserId},
    limits::{self, FRESH_LINKS, Subject},
    phone::PhoneNumber,
    queue::{Job, NotificationJob},
    sessions::BrowserHash,
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
/// # Errors
/// [`Error::LinkInvalid`], for whatever is wrong with the link.
pub async fn exchange(
    pool: &PgPool,
    keys: &LinkKeys,
    token: &str,
    browser: &BrowserHash,
) -> Result<Opened> {
    let link = keys.verify(token).map_err(|BadToken| Error::LinkInvalid)?;
    let mut tx = db::bearer(pool, Bearer::Link(&link)).await?;
    let family_id = store::find_family(&mut tx, link).await?.ok_or(Error::LinkInvalid)?;
    db::enter(&mut tx, &family_id).await?;
    let opened = store::exchange(&mut tx, link, browser).await?;
    tx.commit().await?;
    opened.ok_or(Error::LinkInvalid)
}

/// Has a fresh link sent in the place of one of ours that opens nothing any more, to the number on
/// file. Returns what to wake the worker for; nothing where nobody is to be texted.
///
/// # Errors
/// [`Error`] of the database alone: whatever is wrong with the token, there is nothing to tell.
pub async fn renew(pool: &PgPool, keys: &LinkKeys, token: &str) -> Result<Option<Job>> {
    let Ok(link) = keys.verify(token) else { return Ok(None) };
    let mut tx = db::bearer(pool, Bearer::Link(&link)).await?;
    let Some(family_id) = store::find_family(&mut tx, link).await? else { return Ok(None) };
    db::enter(&mut tx, &family_id).await?;
    let Some((user_id, thread_id)) = store::find_spent(&mut tx, &family_id, link).await? else {
        return Ok(None);
    };
    let subject = Subject::member_links(&family_id, &user_id);
    let allowed = limits::take(&mut tx, subject, FRESH_LINKS).await?;
    let job = if allowed {
        let id = store::insert_fresh(&mut tx, &family_id, thread_id, &user_id).await?;
        Some(Job::notification(family_id, id))
    } else {
        None
    };
    tx.commit().await?;
    Ok(job)
}

/// Notes that somebody wants a link sent to `phone`. Whose it is, if anybody's, only the worker
/// finds out: nothing here depends on it. Returns what to wake the worker for; nothing when the
/// number was asked for too often.
///
/// # Errors
/// [`Error`] of the database alone.
pub async fn request(pool: &PgPool, phone: &PhoneNumber) -> Result<Option<Job>> {
    let id = LinkRequestId::new();
    let noted = store::insert_request(pool, id, phone).await?;
    Ok(noted.then_some(Job::LinkRequest(id)))
}

/// Turns requests into texts that are due: one a member with that number, to where they were last
/// written to. A request that another worker has taken, or a number that is nobody's, is none.
///
/// # Errors
/// [`Error`] of the database alone; then the requests are still there.
pub async fn answer(pool: &PgPool, requests: &[LinkRequestId]) -> Result<Vec<NotificationJob>> {
    let mut tx = db::every_family(pool).await?;
    let mut due = Vec::new();
    for (family_id, user_id, thread_id) in store::take_requests(&mut tx, requests).await? {
        let subject = Subject::member_links(&family_id, &user_id);
        if limits::take(&mut tx, subject, FRESH_LINKS).await? {
            let id = store::insert_fresh(&mut tx, &family_id, thread_id, &user_id).await?;
            due.push(NotificationJob { family_id, notification_id: id });
        }
    }
    tx.commit().await?;
    Ok(due)
}

/// Takes requests that no worker was woken for, and puts the next call off.
///
/// # Errors
/// [`Error`] of the database alone.
pub(crate) async fn take_due_requests(pool: &PgPool) -> Result<Vec<Job>> {
    let mut tx = db::every_family(pool).await?;
    let due = store::take_due_requests(&mut tx).await?;
    tx.commit().await?;
    Ok(due.into_iter().map(Job::LinkRequest).collect())
}
