//! SMS that are only links, and what opening a link writes.

use sqlx::PgConnection;

use crate::{
    Result,
    ids::{FamilyId, SmsId, ThreadId, UserId},
};

/// Marks the SMS of the link `bound` as opened.
macro_rules! note_opened {
    () => {
        "UPDATE sms s SET opened_at = coalesce(s.opened_at, now())
         FROM bound
         WHERE s.family_id = bound.family_id AND s.sms_id = bound.sms_id "
    };
}
pub(crate) use note_opened;

/// Whether a member's queued link is waiting for a retry; `None` if no link is queued.
pub(crate) async fn find_fresh_link(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    thread_id: ThreadId,
    user_id: &UserId,
) -> Result<Option<bool>> {
    let waits = sqlx::query_scalar(
        "SELECT state = 'pending' AND next_attempt_at > now() FROM sms
         WHERE family_id = $1 AND user_id = $3 AND thread_id = $2 AND kind = 'link'
           AND state IN ('pending', 'sending') AND expires_at > now()
         ORDER BY created_at DESC LIMIT 1",
    )
    .bind(family_id)
    .bind(thread_id)
    .bind(user_id)
    .fetch_optional(tx)
    .await?;
    Ok(waits)
}

/// Returns a member's queued link, and whether it was waiting for a retry. If so, a new request makes it due
/// at once.
pub(crate) async fn hurry_fresh_link(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    thread_id: ThreadId,
    user_id: &UserId,
) -> Result<Option<(SmsId, bool)>> {
    let found = sqlx::query_as(
        "WITH found AS (
             SELECT sms_id, state = 'pending' AND next_attempt_at > now() AS waits
             FROM sms
             WHERE family_id = $1 AND user_id = $3 AND thread_id = $2 AND kind = 'link'
               AND state IN ('pending', 'sending') AND expires_at > now()
             ORDER BY created_at DESC LIMIT 1
         ), hurried AS (
             UPDATE sms s SET next_attempt_at = now(), wake_at = now() + interval '30 seconds'
             FROM found
             WHERE s.family_id = $1 AND s.sms_id = found.sms_id AND found.waits
         )
         SELECT sms_id, waits FROM found",
    )
    .bind(family_id)
    .bind(thread_id)
    .bind(user_id)
    .fetch_optional(tx)
    .await?;
    Ok(found)
}

/// Inserts an SMS that is only a link. It expires after an hour, since it was requested just now.
pub(crate) async fn insert_fresh_link(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    thread_id: ThreadId,
    user_id: &UserId,
) -> Result<SmsId> {
    let id = SmsId::new();
    sqlx::query(
        "INSERT INTO sms (sms_id, family_id, thread_id, user_id, kind, state, expires_at)
         VALUES ($4, $1, $2, $3, 'link', 'pending', now() + interval '1 hour')",
    )
    .bind(family_id)
    .bind(thread_id)
    .bind(user_id)
    .bind(id)
    .execute(tx)
    .await?;
    Ok(id)
}
