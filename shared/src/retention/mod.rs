//! Retention: what is dropped once nobody has a use for it, a bounded piece at a time.

mod store;

use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::{
    Result,
    db::{self, Pool},
    delivery, limits, sessions,
};

/// How long a finished notification and its link are kept, in days: far longer than a session that
/// the link began can live, and long enough to ask who got a message.
const NOTIFICATION_DAYS: i32 = 90;
/// How long a post is known by its idempotency key, in days. The same key posts anew after that.
const KEY_DAYS: i32 = 7;
/// Most rows that one statement drops or changes.
const BATCH: i64 = 500;
/// How many threads one statement looks at for keys.
const THREADS: i64 = 100;
/// Most statements of each kind in one run: ten thousand rows a minute.
const STATEMENTS: usize = 20;

/// Drops what is too old of each kind, and says how many rows that were. What can't be dropped now is
/// dropped by a later run, and stops no other kind.
pub async fn sweep(pool: &Pool, deadline: Instant) -> u64 {
    let mut dropped = 0;
    for kind in [Kind::Limits, Kind::Sessions, Kind::Notifications, Kind::Keys] {
        let left = deadline.saturating_duration_since(Instant::now());
        dropped += kind.drop_old(pool, left).await;
    }
    dropped
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Limits,
    Sessions,
    Notifications,
    Keys,
}

impl Kind {
    async fn drop_old(self, pool: &Pool, within: Duration) -> u64 {
        let mut dropped = 0;
        let piece_by_piece = async {
            for _ in 0..STATEMENTS {
                let (rows, more) = self.drop_some(pool).await?;
                dropped += rows;
                if !more {
                    break;
                }
            }
            Ok(())
        };
        let done: Result<Result<()>, _> = timeout(within, piece_by_piece).await;
        match done {
            // Out of time: the next run goes on.
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = error.with_causes(), kind = ?self, "can't forget what is old");
            }
        }
        dropped
    }

    /// One transaction; how many rows it dropped, and whether there is more to be done.
    async fn drop_some(self, pool: &Pool) -> Result<(u64, bool)> {
        let mut tx = db::begin_as_worker(pool).await?;
        let dropped = match self {
            Self::Limits => limits::forget_old(&mut tx).await?,
            Self::Sessions => sessions::forget_old(&mut tx).await?,
            Self::Notifications => delivery::delete_old(&mut tx, NOTIFICATION_DAYS, BATCH).await?,
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

/// The next threads of the sweeper's round: with their old keys forgotten it goes on behind them, with
/// more left it comes back to them, and at the end it begins anew.
async fn forget_keys(tx: &mut sqlx::PgConnection) -> Result<(u64, bool)> {
    // Another sweeper is on its round: one is enough.
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
