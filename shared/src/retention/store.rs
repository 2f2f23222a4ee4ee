//! SQL statements of retention, except those in the modules of the data.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{BATCH, KEY_DAYS, THREADS};
use crate::{Result, ids::ThreadId};

/// Locks the round and returns its position; `None` if another sweeper has locked it.
pub(super) async fn lock_round(tx: &mut PgConnection) -> Result<Option<Uuid>> {
    let place = sqlx::query_scalar(
        "SELECT thread_id FROM sweeper_rounds WHERE name = 'idempotency_keys' FOR UPDATE SKIP LOCKED",
    )
    .fetch_optional(tx)
    .await?;
    Ok(place)
}

/// Returns the threads after `place` with keys, each found by one step in the index of keys.
pub(super) async fn next_threads(tx: &mut PgConnection, place: Uuid) -> Result<Vec<ThreadId>> {
    let threads = sqlx::query_scalar(
        "WITH RECURSIVE round AS (
             (SELECT thread_id, 1 AS nth FROM messages
              WHERE idempotency_key IS NOT NULL AND thread_id > $1 ORDER BY thread_id LIMIT 1)
             UNION ALL
             SELECT next.thread_id, nth + 1
             FROM round
             CROSS JOIN LATERAL (
                 SELECT m.thread_id FROM messages m
                 WHERE m.idempotency_key IS NOT NULL AND m.thread_id > round.thread_id
                 ORDER BY m.thread_id LIMIT 1
             ) next
             WHERE nth < $2
         )
         SELECT thread_id FROM round ORDER BY nth",
    )
    .bind(place)
    .bind(THREADS)
    .fetch_all(tx)
    .await?;
    Ok(threads)
}

/// Deletes the old keys of `threads`. It reads all their keys, usually those of a week.
pub(super) async fn forget_keys(tx: &mut PgConnection, threads: &[ThreadId]) -> Result<u64> {
    let done = sqlx::query(
        "WITH old AS (
             SELECT family_id, thread_id, seq FROM messages
             WHERE thread_id = ANY($1) AND idempotency_key IS NOT NULL
               AND created_at < now() - make_interval(days => $2)
             LIMIT $3 FOR UPDATE SKIP LOCKED
         )
         UPDATE messages m SET idempotency_key = NULL, request_hash = NULL
         FROM old
         WHERE m.family_id = old.family_id AND m.thread_id = old.thread_id AND m.seq = old.seq",
    )
    .bind(threads)
    .bind(KEY_DAYS)
    .bind(BATCH)
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

/// Moves the round to after this thread; with `None` to the beginning.
pub(super) async fn move_round(tx: &mut PgConnection, place: Option<ThreadId>) -> Result<()> {
    sqlx::query(
        "UPDATE sweeper_rounds SET thread_id = coalesce($1, '00000000-0000-0000-0000-000000000000')
         WHERE name = 'idempotency_keys'",
    )
    .bind(place)
    .execute(tx)
    .await?;
    Ok(())
}
