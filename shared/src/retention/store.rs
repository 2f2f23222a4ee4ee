//! Every SQL statement on what is too old, but for what other modules drop of their own.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{BATCH, KEY_DAYS, THREADS};
use crate::{Result, ids::ThreadId};

/// Where the round is; `None` while another sweeper is on it.
pub(super) async fn lock_round(tx: &mut PgConnection) -> Result<Option<Uuid>> {
    let place = sqlx::query_scalar(
        "SELECT thread_id FROM sweeper_rounds WHERE name = 'idempotency_keys' FOR UPDATE SKIP LOCKED",
    )
    .fetch_optional(tx)
    .await?;
    Ok(place)
}

/// The threads behind `place` that hold keys, each found by one step into the index of keys.
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

/// Reads the keys that these threads hold, a week's as a rule, and forgets the older ones.
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

/// The round goes on behind this thread; with `None` it begins anew.
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
