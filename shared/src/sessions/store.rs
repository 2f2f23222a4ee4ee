//! SQL statements on sessions, except their insertion, which opening a link does.

use sqlx::{FromRow, PgConnection};

use super::{BrowserHash, live};
use crate::{
    Result,
    ids::{FamilyId, ThreadId, UserId},
};

/// Lists the families of a browser's sessions: first that of `thread`, then by the latest opening.
pub(super) async fn list_families(
    tx: &mut PgConnection,
    browser: &BrowserHash,
    thread: Option<ThreadId>,
) -> Result<Vec<FamilyId>> {
    let families = sqlx::query_scalar(concat!(
        "SELECT s.family_id FROM sessions s WHERE s.browser = $1 AND ",
        live!("s"),
        "GROUP BY s.family_id
         ORDER BY coalesce(bool_or(s.thread_id = $2), false) DESC, max(s.opened_at) DESC LIMIT 10",
    ))
    .bind(browser.as_bytes().as_slice())
    .bind(thread)
    .fetch_all(tx)
    .await?;
    Ok(families)
}

/// A valid session.
#[derive(FromRow)]
pub(super) struct Open {
    pub(super) user_id: UserId,
    pub(super) thread_id: ThreadId,
    /// Whether it was last marked as seen at least ten minutes ago.
    pub(super) is_stale: bool,
}

/// Lists a browser's valid sessions in a family: first those of `thread`, then by the latest opening.
pub(super) async fn list(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    browser: &BrowserHash,
    thread: Option<ThreadId>,
) -> Result<Vec<Open>> {
    let sessions = sqlx::query_as(concat!(
        "SELECT s.user_id, s.thread_id, s.last_seen_at < now() - interval '10 minutes' AS is_stale
         FROM sessions s
         JOIN thread_members tm ON tm.family_id = s.family_id AND tm.thread_id = s.thread_id
             AND tm.user_id = s.user_id
         WHERE s.browser = $1 AND s.family_id = $2 AND tm.status = 'active'
           AND tm.access_epoch = s.access_epoch AND ",
        live!("s"),
        "ORDER BY s.thread_id = $3 DESC NULLS LAST, s.opened_at DESC LIMIT 200",
    ))
    .bind(browser.as_bytes().as_slice())
    .bind(family_id)
    .bind(thread)
    .fetch_all(tx)
    .await?;
    Ok(sessions)
}

pub(super) async fn mark_seen(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    browser: &BrowserHash,
    open: &Open,
) -> Result<()> {
    sqlx::query(
        "UPDATE sessions SET last_seen_at = now()
         WHERE browser = $1 AND family_id = $2 AND thread_id = $3 AND user_id = $4",
    )
    .bind(browser.as_bytes().as_slice())
    .bind(family_id)
    .bind(open.thread_id)
    .bind(&open.user_id)
    .execute(tx)
    .await?;
    Ok(())
}

/// Deletes a browser's sessions and returns their families, users and threads.
pub(super) async fn delete(
    tx: &mut PgConnection,
    browser: &BrowserHash,
) -> Result<Vec<(FamilyId, UserId, ThreadId)>> {
    let ended = sqlx::query_as(
        "DELETE FROM sessions WHERE browser = $1 RETURNING family_id, user_id, thread_id",
    )
    .bind(browser.as_bytes().as_slice())
    .fetch_all(tx)
    .await?;
    Ok(ended)
}

/// Deletes sessions that were idle for a week, which includes those that expired a week ago.
pub(super) async fn delete_idle(tx: &mut PgConnection) -> Result<u64> {
    let done = sqlx::query(
        "DELETE FROM sessions s USING (
             SELECT browser, thread_id, user_id FROM sessions
             WHERE last_seen_at < now() - interval '7 days'
             ORDER BY last_seen_at LIMIT 500 FOR UPDATE SKIP LOCKED
         ) old
         WHERE s.browser = old.browser AND s.thread_id = old.thread_id AND s.user_id = old.user_id",
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}
