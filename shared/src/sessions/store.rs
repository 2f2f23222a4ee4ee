//! Every SQL statement on sessions, but for their beginning, which is a link's.

use sqlx::PgConnection;

use super::{BrowserHash, live};
use crate::{
    Result,
    ids::{FamilyId, ThreadId, UserId},
};

/// The family of the session for `thread`, or else of the one that was opened last.
pub(super) async fn find_family(
    tx: &mut PgConnection,
    browser: &BrowserHash,
    thread: Option<ThreadId>,
) -> Result<Option<FamilyId>> {
    let family = sqlx::query_scalar(concat!(
        "SELECT s.family_id FROM sessions s WHERE s.browser = $1 AND ",
        live!("s"),
        "ORDER BY s.thread_id = $2 DESC NULLS LAST, s.opened_at DESC LIMIT 1",
    ))
    .bind(browser.as_bytes().as_slice())
    .bind(thread)
    .fetch_optional(tx)
    .await?;
    Ok(family)
}

/// Who has which thread open: those of `thread` first, then those opened last. Being here is a sign
/// of life, written down every ten minutes.
pub(super) async fn list(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    browser: &BrowserHash,
    thread: Option<ThreadId>,
) -> Result<Vec<(UserId, ThreadId)>> {
    let sessions = sqlx::query_as(concat!(
        "WITH seen AS (
             UPDATE sessions s SET last_seen_at = now()
             WHERE s.browser = $1 AND s.family_id = $2 AND s.thread_id = $3
               AND s.last_seen_at < now() - interval '10 minutes' AND ",
        live!("s"),
        ")
         SELECT s.user_id, s.thread_id
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

pub(super) async fn delete(tx: &mut PgConnection, browser: &BrowserHash) -> Result<()> {
    sqlx::query("DELETE FROM sessions WHERE browser = $1")
        .bind(browser.as_bytes().as_slice())
        .execute(tx)
        .await?;
    Ok(())
}
