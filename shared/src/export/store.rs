//! SQL statements of exports.

use sqlx::PgConnection;

use super::{ExportedMessage, ExportedThread, ExportedUser};
use crate::{
    Result,
    delivery::deliveries_json,
    erasure::{FORMER_FAMILY, FORMER_MEMBER},
    families::Family,
    ids::{FamilyId, ThreadId, UserId},
};

/// Maximum rows of a page. Rows that don't fit in a part are read again for the next one.
const USERS: i64 = 500;
const THREADS: i64 = 25;
const MESSAGES: i64 = 100;

pub(super) async fn find_family(
    tx: &mut PgConnection,
    family_id: &FamilyId,
) -> Result<Option<Family>> {
    let family = sqlx::query_as(
        "SELECT family_id, coalesce(name, $2) AS name, sms_monthly_cap_segments, region, sms_regions,
                sms_per_minute, created_at, updated_at
         FROM families WHERE family_id = $1",
    )
    .bind(family_id)
    .bind(FORMER_FAMILY)
    .fetch_optional(tx)
    .await?;
    Ok(family)
}

pub(super) async fn list_users(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    after: Option<&UserId>,
) -> Result<Vec<ExportedUser>> {
    let users = sqlx::query_as(
        "SELECT user_id, family_id, coalesce(name, $4) AS name, phone, locale, time_zone, quiet_from, quiet_to, created_at,
                updated_at, opted_out_at, deactivated_at
         FROM users WHERE family_id = $1 AND ($2::text IS NULL OR user_id > $2)
         ORDER BY user_id LIMIT $3",
    )
    .bind(family_id)
    .bind(after)
    .bind(USERS)
    .bind(FORMER_MEMBER)
    .fetch_all(tx)
    .await?;
    Ok(users)
}

pub(super) async fn list_threads(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    after: Option<ThreadId>,
) -> Result<Vec<ExportedThread>> {
    let threads = sqlx::query_as(
        "SELECT t.thread_id, t.kind, t.title, t.created_by, t.last_seq, t.last_message_at, t.created_at,
                (SELECT coalesce(json_agg(json_build_object(
                            'user_id', tm.user_id, 'role', tm.role, 'status', tm.status,
                            'last_read_seq', coalesce(r.last_read_seq, 0), 'joined_at', tm.joined_at,
                            'ended_at', tm.ended_at
                        ) ORDER BY tm.joined_at, tm.user_id), '[]')
                 FROM thread_members tm
                 LEFT JOIN reach r ON r.family_id = tm.family_id AND r.thread_id = tm.thread_id
                     AND r.user_id = tm.user_id
                 WHERE tm.family_id = t.family_id AND tm.thread_id = t.thread_id) AS members
         FROM threads t WHERE t.family_id = $1 AND ($2::uuid IS NULL OR t.thread_id > $2)
         ORDER BY t.thread_id LIMIT $3",
    )
    .bind(family_id)
    .bind(after)
    .bind(THREADS)
    .fetch_all(tx)
    .await?;
    Ok(threads)
}

/// Lists messages thread by thread, by primary key, from the end of the last page.
pub(super) async fn list_messages(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    after: Option<(ThreadId, i64)>,
) -> Result<Vec<ExportedMessage>> {
    let messages = sqlx::query_as(concat!(
        "SELECT m.*, a.name AS author_name, (",
        deliveries_json!(),
        ") AS deliveries
         FROM (
             SELECT own.message_id, own.thread_id, own.seq, own.author_id, own.body, own.file_ids,
                    own.reply_to_id, own.created_at, own.edited_at, own.deleted_at,
                    t.title AS thread_title, t.kind AS thread_kind
             FROM threads t
             CROSS JOIN LATERAL (
                 SELECT * FROM messages
                 WHERE family_id = $1 AND thread_id = t.thread_id
                   AND seq > CASE WHEN t.thread_id = $2 THEN $3 ELSE 0 END
                   -- Numbers have no gaps. With an upper bound, no plan reads a thread to its end.
                   AND seq <= CASE WHEN t.thread_id = $2 THEN $3 ELSE 0 END + $4
                 ORDER BY seq LIMIT $4
             ) own
             WHERE t.family_id = $1 AND ($2::uuid IS NULL OR t.thread_id >= $2)
             ORDER BY t.thread_id, own.seq LIMIT $4
         ) m
         JOIN users a ON a.family_id = $1 AND a.user_id = m.author_id
         ORDER BY m.thread_id, m.seq",
    ))
    .bind(family_id)
    .bind(after.map(|(thread_id, _)| thread_id))
    .bind(after.map_or(0, |(_, seq)| seq))
    .bind(MESSAGES)
    .fetch_all(tx)
    .await?;
    Ok(messages)
}
