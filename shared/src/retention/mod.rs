//! Retention: deletion of old data, in bounded batches.

mod store;

use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::{
    Result,
    db::{self, Pool},
    delivery, limits, sessions,
};

/// Retention of finished SMS with their links and covers, in days: longer than a link's session lives, and long
/// enough to look up deliveries.
const SMS_DAYS: i32 = 90;
/// Retention of idempotency keys, in days. A later request with the same key posts again.
const KEY_DAYS: i32 = 7;
/// Maximum rows that one statement deletes or changes.
const BATCH: i64 = 500;
/// Threads in which one statement looks for keys.
const THREADS: i64 = 100;
/// Maximum statements of each kind in a run: ten thousand rows a minute.
const STATEMENTS: usize = 20;

/// Deletes old data of each kind and returns the number of rows. A kind that fails is left to a later run and
/// does not stop the others.
pub async fn sweep(pool: &Pool, deadline: Instant) -> u64 {
    let mut dropped = 0;
    for kind in [Kind::Limits, Kind::Sessions, Kind::Sms, Kind::Keys] {
        let left = deadline.saturating_duration_since(Instant::now());
        dropped += kind.drop_old(pool, left).await;
    }
    dropped
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Limits,
    Sessions,
    Sms,
    Keys,
}

impl Kind {
    async fn drop_old(self, pool: &Pool, within: Duration) -> u64 {
        let mut dropped = 0;
        let batches = async {
            for _ in 0..STATEMENTS {
                let (rows, more) = self.drop_some(pool).await?;
                dropped += rows;
                if !more {
                    break;
                }
            }
            Ok(())
        };
        let done: Result<Result<()>, _> = timeout(within, batches).await;
        match done {
            // Out of time: the next run continues.
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = error.with_causes(), kind = ?self, "can't delete old data");
            }
        }
        dropped
    }

    /// Runs one transaction. Returns the number of rows, and whether there may be more.
    async fn drop_some(self, pool: &Pool) -> Result<(u64, bool)> {
        let mut tx = db::begin_as_worker(pool).await?;
        let dropped = match self {
            Self::Limits => limits::forget_old(&mut tx).await?,
            Self::Sessions => sessions::forget_old(&mut tx).await?,
            Self::Sms => delivery::delete_old(&mut tx, SMS_DAYS, BATCH).await?,
            Self::Keys => {
                let done = forget_keys(&mut tx).await?;
                tx.commit().await?;
                return Ok(done);
            }
        };
        tx.commit().await?;
        Ok((dropped, dropped >= BATCH.unsigned_abs()))
    }
}

/// Deletes old keys in the next threads of the sweeper's round. The round advances once they have no more old
/// keys, and starts again after the last thread.
async fn forget_keys(tx: &mut sqlx::PgConnection) -> Result<(u64, bool)> {
    // Another sweeper has the lock.
    let Some(place) = store::lock_round(tx).await? else { return Ok((0, false)) };
    let threads = store::next_threads(tx, place).await?;
    let forgotten = store::forget_keys(tx, &threads).await?;
    if forgotten >= BATCH.unsigned_abs() {
        return Ok((forgotten, true));
    }
    let full = usize::try_from(THREADS).is_ok_and(|most| threads.len() >= most);
    let next = threads.last().copied().filter(|_| full);
    store::move_round(tx, next).await?;
    Ok((forgotten, next.is_some()))
}
