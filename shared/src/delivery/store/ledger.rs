//! The ledger, derived from covers, SMS, and how far each member has read.

use sqlx::{FromRow, PgConnection, Row};

use super::super::Delivery;
use crate::{
    Error, Result,
    actor::Actor,
    ids::{MessageId, ThreadId, UserId},
};

/// Marks what the member `$3` has read, in the thread `$2`: the SMS whose last message is after
/// `me.noted_after` and not after `me.seq`.
macro_rules! note_read {
    () => {
        "UPDATE sms_covers c SET read_at = now()
         WHERE c.family_id = $1 AND c.thread_id = $2 AND c.user_id = $3
           AND c.to_seq > (SELECT noted_after FROM me) AND c.to_seq <= (SELECT seq FROM me)
           AND c.read_at IS NULL "
    };
}
pub(crate) use note_read;

/// Selects the columns of [`Delivery`] of the message `m` of the family `$1`: a row for each other member of
/// the thread at the time.
///
/// Without a cover it is told as of now. Nothing is told after 90 days, when SMS are deleted.
macro_rules! ledger {
    () => {
        concat!(
            "SELECT tm.user_id AS recipient_id,
                    CASE WHEN s.sms_id IS NOT NULL THEN s.state
                         WHEN c.reason IN ('read', 'message_deleted') THEN 'cancelled'
                         WHEN c.reason = 'restored' THEN 'unknown'
                         WHEN c.reason IS NOT NULL THEN 'suppressed'
                         WHEN why.reason IN ('deactivated', 'left', 'removed', 'banned', 'invited',
                                             'read', 'message_deleted') THEN 'cancelled'
                         WHEN why.reason = 'expired' THEN 'failed'
                         WHEN why.reason IS NOT NULL THEN 'suppressed'
                         ELSE 'pending'
                    END AS state,
                    CASE WHEN s.sms_id IS NOT NULL THEN s.reason
                         ELSE coalesce(c.reason, why.reason) END AS reason,
                    coalesce(s.attempts, 0) AS attempts, s.segments, s.sent_at, s.opened_at,
                    coalesce(c.read_at, CASE WHEN r.last_read_seq >= m.seq THEN r.read_at END) AS read_at,
                    covering.message_id AS covered_by,
                    CASE WHEN s.state = 'pending' THEN s.next_attempt_at
                         WHEN c.to_seq IS NULL AND why.reason IS NULL THEN t.wake_at END AS due_at
             FROM thread_members tm
             JOIN threads t ON t.family_id = tm.family_id AND t.thread_id = tm.thread_id
             JOIN users u ON u.family_id = tm.family_id AND u.user_id = tm.user_id
             LEFT JOIN reach r ON r.family_id = tm.family_id AND r.thread_id = tm.thread_id
                 AND r.user_id = tm.user_id
             LEFT JOIN LATERAL (
                 SELECT * FROM sms_covers
                 WHERE family_id = tm.family_id AND thread_id = tm.thread_id AND user_id = tm.user_id
                   AND to_seq >= m.seq
                 ORDER BY to_seq LIMIT 1
             ) c ON c.from_seq <= m.seq
             LEFT JOIN sms s ON s.family_id = c.family_id AND s.sms_id = c.sms_id
             LEFT JOIN LATERAL (
                 SELECT max(to_seq) AS seq FROM sms_covers
                 WHERE family_id = c.family_id AND sms_id = c.sms_id
             ) last ON c.sms_id IS NOT NULL
             LEFT JOIN messages covering ON covering.family_id = tm.family_id
                 AND covering.thread_id = tm.thread_id AND covering.seq = last.seq AND last.seq > m.seq
             CROSS JOIN LATERAL (
                 SELECT CASE WHEN r.last_read_seq >= m.seq THEN 'read'
                             WHEN m.deleted_at IS NOT NULL THEN 'message_deleted'
                        ",
            $crate::delivery::not_active!(),
            $crate::delivery::suppressed!(),
            "               WHEN m.created_at <= now() - interval '72 hours' THEN 'expired'
                            WHEN m.created_at <= ",
            $crate::delivery::floor!(),
            "               THEN CASE WHEN m.created_at <= greatest(tm.texts_from, tm.muted_until)
                                      THEN 'muted' ELSE 'opted_out' END
                        END AS reason
             ) why
             WHERE tm.family_id = $1 AND tm.thread_id = m.thread_id AND tm.user_id <> m.author_id
               AND (c.to_seq IS NOT NULL
                    -- What was covered, and is so no more, is as old as that.
                    OR (m.seq > coalesce(r.covered_seq, 0) AND tm.joined_seq < m.seq
                        AND coalesce(tm.left_seq >= m.seq, true)))
               AND m.created_at > now() - interval '90 days' "
        )
    };
}

/// The deliveries of the message `m` of the family `$1`, as JSON of [`Delivery`].
macro_rules! deliveries_json {
    () => {
        concat!(
            "SELECT coalesce(json_agg(json_build_object(
                        'recipient_id', d.recipient_id, 'state', d.state, 'reason', d.reason,
                        'attempts', d.attempts, 'segments', d.segments, 'sent_at', d.sent_at,
                        'opened_at', d.opened_at, 'read_at', d.read_at,
                        'covered_by', 'msg_' || replace(d.covered_by::text, '-', ''), 'due_at', d.due_at
                    ) ORDER BY d.recipient_id), '[]')
             FROM (",
            $crate::delivery::ledger!(),
            ") d "
        )
    };
}
pub(crate) use {deliveries_json, ledger};

/// Returns the deliveries of a message in a thread of the actor.
pub(in super::super) async fn list(
    tx: &mut PgConnection,
    actor: &Actor,
    thread_id: ThreadId,
    message_id: MessageId,
) -> Result<Vec<Delivery>> {
    let rows = sqlx::query(concat!(
        "SELECT m.message_id, d.*
         FROM thread_members me
         LEFT JOIN messages m ON m.family_id = me.family_id AND m.thread_id = me.thread_id
             AND m.message_id = $4
         LEFT JOIN LATERAL (",
        ledger!(),
        ") d ON true
         WHERE me.family_id = $1 AND me.thread_id = $2 AND me.user_id = $3 AND me.status = 'active'
         ORDER BY d.recipient_id",
    ))
    .bind(&actor.family)
    .bind(thread_id)
    .bind(&actor.user)
    .bind(message_id)
    .fetch_all(tx)
    .await?;
    let first = rows.first().ok_or(Error::ThreadNotFound)?;
    first.try_get::<Option<MessageId>, _>("message_id")?.ok_or(Error::MessageNotFound)?;
    if first.try_get::<Option<UserId>, _>("recipient_id")?.is_none() {
        return Ok(Vec::new());
    }
    Ok(rows.iter().map(Delivery::from_row).collect::<Result<_, _>>()?)
}
