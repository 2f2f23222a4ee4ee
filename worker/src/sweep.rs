//! The sweep: independent steps, of which a failed or slow one does not stop the others.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::{
    Result,
    db::Pool,
    delivery::{self, Pacing},
    erasure, links,
    queue::Queue,
    retention,
};
use tokio::time::timeout;

/// Time limit of a step with one statement: longer than the server's statement time-out.
const STATEMENT: Duration = Duration::from_secs(4);
/// Time limit for enqueueing due jobs.
const WAKING: Duration = Duration::from_secs(4);
/// How long the last batch of due jobs may exceed that: two transactions and a send.
const LAST_BATCH: Duration = Duration::from_secs(8);
/// Time limit for retention.
const FORGETTING: Duration = Duration::from_secs(10);
/// Time limit for erasures.
const ERASING: Duration = Duration::from_secs(10);
/// How long a step may exceed its deadline. All limits together are below the function's time-out (55 s).
const GRACE: Duration = Duration::from_secs(2);

/// The result of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Jobs enqueued: those never enqueued, due again, or lost by the queue.
    pub enqueued: usize,
    /// Jobs that the queue did not accept; the next run tries again.
    pub not_taken: usize,
    /// Expired leases, whose SMS are `unknown` now.
    pub leases_expired: u64,
    /// Rows and keys deleted by retention.
    pub forgotten: u64,
    /// Batches of messages emptied for erasures.
    pub emptied: u64,
    /// The failed steps, of those that SMS depend on.
    pub failed: Vec<&'static str>,
}

impl Swept {
    /// Returns the function's response.
    ///
    /// # Errors
    /// The names of the failed steps.
    pub fn answer(&self) -> Result<Value, String> {
        if self.failed.is_empty() {
            Ok(json!({ "enqueued": self.enqueued, "notTaken": self.not_taken }))
        } else {
            Err(format!("these steps failed: {}", self.failed.join(", ")))
        }
    }
}

/// Expires leases, enqueues due jobs, and continues retention and erasure.
/// Concurrent runs are safe; each run is bounded.
pub async fn sweep(pool: &Pool, queue: &Queue, pacing: Pacing) -> Swept {
    let mut swept = Swept::default();
    match step("expired leases", STATEMENT, delivery::expire_leases(pool)).await {
        Ok(expired) => {
            metrics::counter!("TextsUnknown").increment(expired);
            swept.leases_expired = expired;
        }
        Err(step) => swept.failed.push(step),
    }
    let waking = delivery::wake_sms(pool, queue, Instant::now() + WAKING);
    let sms = step("due SMS", WAKING + LAST_BATCH, waking).await;
    let waking = delivery::wake_members(pool, queue, pacing, Instant::now() + WAKING);
    let members = step("due members", WAKING + LAST_BATCH, waking).await;
    let mut oldest = Duration::ZERO;
    for woken in [sms, members] {
        match woken {
            Ok(woken) => {
                oldest = oldest.max(woken.oldest);
                swept.enqueued += woken.enqueued;
                swept.not_taken += woken.not_taken;
            }
            Err(step) => swept.failed.push(step),
        }
    }
    metrics::gauge!("OutboxAgeSeconds").set(oldest.as_secs_f64());
    if let Ok(woken) = step("link requests", STATEMENT + GRACE, links::wake_due(pool, queue)).await
    {
        swept.enqueued += woken.enqueued;
        swept.not_taken += woken.not_taken;
    }
    swept.forgotten = retention::sweep(pool, Instant::now() + FORGETTING).await;
    let erasing = erasure::sweep(pool, Instant::now() + ERASING);
    if let Ok(batches) = step("erasures", ERASING + GRACE, erasing).await {
        swept.emptied = batches;
    }
    swept
}

/// Runs a step within `limit`. Logs an error and returns the step's name.
async fn step<T>(
    name: &'static str,
    limit: Duration,
    step: impl Future<Output = Result<T>>,
) -> Result<T, &'static str> {
    let error = match timeout(limit, step).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(error)) => error.with_causes(),
        Err(_) => format!("took longer than {} s", limit.as_secs()),
    };
    tracing::warn!(step = name, error, "sweep step failed");
    Err(name)
}
