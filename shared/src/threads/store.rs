//! SQL statements on threads and their members.

use std::time::Duration;

use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;

use super::{InboxCursor, InboxEntry, NewThread, THREADS_MAX, Thread};
use crate::{
    Result,
    actor::Actor,
    audit::{Action, note_thread},
    ids::{AuditEventId, FamilyId, ThreadId, UserId},
    limits::Pace,
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

/// Selects the columns of an [`InboxEntry`] from those of one member's threads that `$which` picks, in its order
/// and number. The rest is read for these alone, each by its key.
macro_rules! inbox {
    ($which:literal) => {
        concat!(
            "SELECT ",
            thread_columns!(),
            ", t.active_at, t.last_seq - coalesce(r.last_read_seq, 0) AS unread_count,
               m.author_id AS last_author_id, a.name AS last_author_name, m.body AS last_body,
               cardinality(m.file_ids) AS last_file_count
             FROM (
                 SELECT t.*, coalesce(t.last_message_at, t.created_at) AS active_at
                 FROM thread_members me
                 -- Fenced: as a join it may read all threads of the family for each membership.
                 CROSS JOIN LATERAL (
                     SELECT * FROM threads
                     WHERE family_id = me.family_id AND thread_id = me.thread_id OFFSET 0
                 ) t
                 WHERE me.family_id = $1 AND me.user_id = $2 AND me.status = 'active' ",
            $which,
            ") t
             LEFT JOIN LATERAL (
                 SELECT last_read_seq FROM reach
                 WHERE family_id = $1 AND thread_id = t.thread_id AND user_id = $2 LIMIT 1
             ) r ON true
             LEFT JOIN LATERAL (
                 SELECT author_id, body, file_ids FROM messages
                 WHERE family_id = $1 AND thread_id = t.thread_id AND seq = t.last_seq LIMIT 1
             ) m ON true
             LEFT JOIN users a ON a.family_id = $1 AND a.user_id = m.author_id
             ORDER BY t.active_at DESC, t.thread_id DESC"
        )
    };
}

/// Finds the thread of these members, with the active ones.
pub(super) async fn find_by_members(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    new: &NewThread,
    member_key: &str,
) -> Result<Option<Thread>> {
    let thread = sqlx::query_as(concat!(
        "SELECT ",
        thread_columns!(),
        " FROM threads t
         WHERE t.family_id = $1 AND t.kind = $2 AND t.member_key = $3 AND NOT t.is_distinct",
    ))
    .bind(family_id)
    .bind(new.kind)
    .bind(member_key)
    .fetch_optional(tx)
    .await?;
    Ok(thread)
}

/// Returns the ids that are not active users of the family.
pub(super) async fn list_unknown(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    user_ids: &[UserId],
) -> Result<Vec<String>> {
    let unknown = sqlx::query_scalar(
        "SELECT wanted FROM unnest($2::text[]) AS wanted
         WHERE NOT EXISTS (
             SELECT FROM users u
             WHERE u.family_id = $1 AND u.user_id = wanted AND u.deactivated_at IS NULL
         )",
    )
    .bind(family_id)
    .bind(user_ids)
    .fetch_all(tx)
    .await?;
    Ok(unknown)
}

/// The result of [`insert`].
#[derive(FromRow)]
pub(super) struct Inserted {
    /// Those of the wanted members that are active users of the family, in the database's order.
    pub(super) ids: Vec<UserId>,
    /// Their names.
    pub(super) names: Vec<String>,
    /// Whether the caller's pace allowed it.
    pub(super) paced: bool,
    /// Whether the family's number of threads allowed it.
    pub(super) counted: bool,
    /// When the thread was created; `None` if a limit or an unknown member forbade it, or another call has
    /// just created it.
    pub(super) created_at: Option<OffsetDateTime>,
}

/// Creates the thread with its members and its audit event, and counts it for both limits, in one statement.
/// If it creates none, the transaction must not be committed: the limits may have been counted.
pub(super) async fn insert(
    tx: &mut PgConnection,
    actor: &Actor,
    thread_id: ThreadId,
    new: &NewThread,
    member_key: &str,
    pace: Option<Pace>,
) -> Result<Inserted> {
    let inserted = sqlx::query_as(concat!(
        "WITH wanted AS MATERIALIZED (
             -- Each by its key, in order, and locked, so that no member is deactivated before the commit.
             SELECT u.user_id, u.name
             FROM (SELECT id FROM unnest($3::text[]) AS id ORDER BY id) w
             CROSS JOIN LATERAL (
                 SELECT user_id, name FROM users
                 WHERE family_id = $2 AND user_id = w.id AND deactivated_at IS NULL
                 FOR SHARE
             ) u
         ), members AS MATERIALIZED (
             -- An aggregate: all users are locked before the rows of the limits.
             SELECT coalesce(array_agg(user_id), '{}') AS ids, coalesce(array_agg(name), '{}') AS names
             FROM wanted
         ), paced AS (
             INSERT INTO thread_paces AS p (family_id, user_id, due_at)
             SELECT $2, $8, now() + make_interval(secs => $9) FROM members m
             WHERE cardinality(m.ids) = cardinality($3) AND $9::float8 IS NOT NULL
             ON CONFLICT (family_id, user_id) DO UPDATE
             SET due_at = greatest(p.due_at, now()) + make_interval(secs => $9)
             WHERE p.due_at <= now() + make_interval(secs => $10)
             RETURNING user_id
         ), counted AS (
             INSERT INTO thread_counts AS n (family_id, threads)
             SELECT $2, 1 FROM members m
             WHERE cardinality(m.ids) = cardinality($3)
               AND ($9::float8 IS NULL OR EXISTS (SELECT FROM paced))
             ON CONFLICT (family_id) DO UPDATE SET threads = n.threads + 1 WHERE n.threads < $11
             RETURNING family_id
         ), created AS (
             INSERT INTO threads (thread_id, family_id, kind, title, member_key, is_distinct, created_by)
             SELECT $1, $2, $4, $5, $6, $7, $8 FROM counted
             ON CONFLICT (family_id, kind, member_key) WHERE NOT is_distinct DO NOTHING
             RETURNING thread_id, created_at
         ), joined AS (
             INSERT INTO thread_members (family_id, thread_id, user_id, role)
             SELECT $2, c.thread_id, w.user_id, CASE WHEN w.user_id = $8 THEN 'OWNER' ELSE 'MEMBER' END
             FROM created c CROSS JOIN wanted w
         ), noted AS (",
        note_thread!(),
        ")
         SELECT m.ids, m.names, $9 IS NULL OR EXISTS (SELECT FROM paced) AS paced,
                EXISTS (SELECT FROM counted) AS counted, c.created_at
         FROM members m LEFT JOIN created c ON true",
    ))
    .bind(thread_id)
    .bind(&actor.family)
    .bind(new.members.ids())
    .bind(new.kind)
    .bind(&new.title)
    .bind(member_key)
    .bind(new.distinct)
    .bind(&actor.user)
    .bind(pace.map(Pace::every_seconds))
    .bind(pace.map(Pace::ahead_seconds))
    .bind(THREADS_MAX)
    .bind(AuditEventId::new())
    .bind(Action::ThreadCreated.as_str())
    .bind(actor.source.map(|source| source.to_string()))
    .fetch_one(tx)
    .await?;
    Ok(inserted)
}

/// Returns the time until the caller may create a thread, which may be over.
pub(super) async fn get_wait(tx: &mut PgConnection, actor: &Actor, pace: Pace) -> Result<Duration> {
    let seconds: Option<f64> = sqlx::query_scalar(
        "SELECT extract(epoch FROM due_at - now())::float8 - $3
         FROM thread_paces WHERE family_id = $1 AND user_id = $2",
    )
    .bind(&actor.family)
    .bind(&actor.user)
    .bind(pace.ahead_seconds())
    .fetch_optional(tx)
    .await?;
    Ok(Duration::from_secs_f64(seconds.unwrap_or_default().max(0.0)))
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
         UPDATE thread_members tm SET status = 'active', ended_at = NULL, joined_at = now(),
             joined_seq = t.last_seq, left_seq = NULL, texts_from = now()
         FROM back, threads t
         WHERE tm.family_id = $1 AND tm.thread_id = $2 AND tm.user_id = back.user_id
           AND tm.status = 'left' AND t.family_id = $1 AND t.thread_id = $2
         RETURNING tm.user_id",
    )
    .bind(family_id)
    .bind(thread_id)
    .fetch_all(tx)
    .await?;
    Ok(back)
}

pub(super) async fn find_entry(
    tx: &mut PgConnection,
    family_id: &FamilyId,
    caller: &UserId,
    thread_id: ThreadId,
) -> Result<Option<InboxEntry>> {
    let entry = sqlx::query_as(inbox!("AND me.thread_id = $3"))
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
    let entries = sqlx::query_as(inbox!(
        "AND ($3::timestamptz IS NULL
              OR (coalesce(t.last_message_at, t.created_at), t.thread_id) < ($3, $4))
           AND ($6::uuid[] IS NULL OR me.thread_id = ANY($6))
         ORDER BY active_at DESC, t.thread_id DESC
         LIMIT $5"
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
