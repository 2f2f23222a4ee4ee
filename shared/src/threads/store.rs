//! SQL statements on threads and their members.

use sqlx::{FromRow, PgConnection, Row};

use super::{InboxCursor, InboxEntry, NewThread, Thread};
use crate::{
    Error, Result,
    ids::{FamilyId, ThreadId, UserId},
};

/// The columns of a [`Thread`], read from `threads t`.
macro_rules! thread_columns {
    () => {
        "t.thread_id, t.family_id, t.kind, t.title, t.member_key, t.last_seq, t.last_message_at,
         t.created_at, t.updated_at,
         (SELECT coalesce(json_agg(json_build_object(
                     'user_id', tm.user_id, 'name', u.name, 'role', tm.role, 'joined_at', tm.joined_at
                 ) ORDER BY tm.joined_at, tm.user_id), '[]')
          FROM thread_members tm
          JOIN users u ON u.family_id = tm.family_id AND u.user_id = tm.user_id
          WHERE tm.family_id = t.family_id AND tm.thread_id = t.thread_id AND tm.status = 'active'
         ) AS members"
    };
}

/// Selects the columns of an [`InboxEntry`] from one member's threads.
macro_rules! inbox {
    () => {
        concat!(
            "SELECT ",
            thread_columns!(),
            ", coalesce(t.last_message_at, t.created_at) AS active_at,
               t.last_seq - me.last_read_seq AS unread_count,
               m.author_id AS last_author_id, a.name AS last_author_name, m.body AS last_body,
               cardinality(m.file_ids) AS last_file_count
             FROM thread_members me
             JOIN threads t ON t.family_id = me.family_id AND t.thread_id = me.thread_id
             LEFT JOIN messages m
                 ON m.family_id = t.family_id AND m.thread_id = t.thread_id AND m.seq = t.last_seq
             LEFT JOIN users a ON a.family_id = m.family_id AND a.user_id = m.author_id
             WHERE me.family_id = $1 AND me.user_id = $2 AND me.status = 'active' "
        )
    };
}

/// The result of [`find_by_members`].
pub(super) struct MemberLookup {
    /// Requested members that are not active users of the family.
    pub(super) unknown: Vec<String>,
    /// The thread, with its active members.
    pub(super) thread: Option<Thread>,
}

pub(super) async fn find_by_members(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    new: &NewThread,
    member_key: &str,
) -> Result<MemberLookup> {
    let row = sqlx::query(concat!(
        "SELECT ARRAY(
             SELECT wanted FROM unnest($2::text[]) AS wanted
             WHERE NOT EXISTS (
                 SELECT FROM users u
                 WHERE u.family_id = $1 AND u.user_id = wanted AND u.deactivated_at IS NULL
             )
         ) AS unknown, ",
        thread_columns!(),
        " FROM (SELECT) AS nothing
         LEFT JOIN threads t
             ON t.family_id = $1 AND t.kind = $3 AND t.member_key = $4 AND NOT t.is_distinct AND NOT $5",
    ))
    .bind(family_id)
    .bind(new.members.ids())
    .bind(new.kind)
    .bind(member_key)
    .bind(new.distinct)
    .fetch_one(tx)
    .await?;
    let found: Option<ThreadId> = row.try_get("thread_id")?;
    Ok(MemberLookup {
        unknown: row.try_get("unknown")?,
        thread: found.map(|_| Thread::from_row(&row)).transpose()?,
    })
}

/// Creates the thread with its members. `None` if another call has just created it, or a member has just been
/// deactivated.
pub(super) async fn insert(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    caller: &UserId,
    new: &NewThread,
    member_key: &str,
) -> Result<Option<ThreadId>> {
    let created = sqlx::query_scalar(
        "WITH wanted AS (
             -- Locked, so that no member is deactivated before the commit.
             SELECT user_id FROM users
             WHERE family_id = $2 AND user_id = ANY($3) AND deactivated_at IS NULL
             ORDER BY user_id
             FOR SHARE
         ), created AS (
             INSERT INTO threads (thread_id, family_id, kind, title, member_key, is_distinct, created_by)
             SELECT $1, $2, $4, $5, $6, $7, $8
             WHERE (SELECT count(*) FROM wanted) = cardinality($3::text[])
             ON CONFLICT (family_id, kind, member_key) WHERE NOT is_distinct DO NOTHING
             RETURNING thread_id
         ), joined AS (
             INSERT INTO thread_members (family_id, thread_id, user_id, role)
             SELECT $2, c.thread_id, w.user_id, CASE WHEN w.user_id = $8 THEN 'OWNER' ELSE 'MEMBER' END
             FROM created c CROSS JOIN wanted w
         )
         SELECT thread_id FROM created",
    )
    .bind(ThreadId::new())
    .bind(family_id)
    .bind(new.members.ids())
    .bind(new.kind)
    .bind(&new.title)
    .bind(member_key)
    .bind(new.distinct)
    .bind(caller)
    .fetch_optional(tx)
    .await?;
    Ok(created)
}

/// Reactivates the memberships of users that left the thread, and returns the users.
pub(super) async fn rejoin(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    thread_id: ThreadId,
) -> Result<Vec<UserId>> {
    let back = sqlx::query_scalar(
        "WITH back AS (
             SELECT u.user_id FROM users u
             JOIN thread_members tm ON tm.family_id = u.family_id AND tm.user_id = u.user_id
             WHERE tm.family_id = $1 AND tm.thread_id = $2 AND tm.status = 'left'
               AND u.deactivated_at IS NULL
             ORDER BY u.user_id
             FOR SHARE OF u
         )
         UPDATE thread_members tm SET status = 'active', ended_at = NULL, joined_at = now()
         FROM back
         WHERE tm.family_id = $1 AND tm.thread_id = $2 AND tm.user_id = back.user_id
           AND tm.status = 'left'
         RETURNING tm.user_id",
    )
    .bind(family_id)
    .bind(thread_id)
    .fetch_all(tx)
    .await?;
    Ok(back)
}

pub(super) async fn get(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    thread_id: ThreadId,
) -> Result<Thread> {
    sqlx::query_as(concat!(
        "SELECT ",
        thread_columns!(),
        " FROM threads t WHERE t.family_id = $1 AND t.thread_id = $2",
    ))
    .bind(family_id)
    .bind(thread_id)
    .fetch_optional(tx)
    .await?
    .ok_or(Error::ThreadNotFound)
}

pub(super) async fn find_entry(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    caller: &UserId,
    thread_id: ThreadId,
) -> Result<Option<InboxEntry>> {
    let entry = sqlx::query_as(concat!(inbox!(), "AND me.thread_id = $3"))
        .bind(family_id)
        .bind(caller)
        .bind(thread_id)
        .fetch_optional(tx)
        .await?;
    Ok(entry)
}

pub(super) async fn list(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    caller: &UserId,
    scope: Option<&[ThreadId]>,
    after: Option<InboxCursor>,
    limit: usize,
) -> Result<Vec<InboxEntry>> {
    let entries = sqlx::query_as(concat!(
        inbox!(),
        "AND ($3::timestamptz IS NULL
              OR (coalesce(t.last_message_at, t.created_at), t.thread_id) < ($3, $4))
           AND ($6::uuid[] IS NULL OR me.thread_id = ANY($6))
         ORDER BY active_at DESC, t.thread_id DESC
         LIMIT $5",
    ))
    .bind(family_id)
    .bind(caller)
    .bind(after.map(|cursor| cursor.active_at))
    .bind(after.map(|cursor| cursor.thread_id))
    .bind(i64::try_from(limit).unwrap_or(i64::MAX))
    .bind(scope)
    .fetch_all(tx)
    .await?;
    Ok(entries)
}
