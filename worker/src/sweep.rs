//! The sweep: what is due, each step by itself. One that fails, or takes too long, stops no other.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::{Result, db::Pool, delivery, erasure, links, queue::Queue, retention};
use tokio::time::timeout;

/// How long a step of one statement may take: longer than the server lets a statement run.
const STATEMENT: Duration = Duration::from_secs(4);
/// How long one run goes on waking the worker.
const WAKING: Duration = Duration::from_secs(10);
/// How long one run drops what is old.
const FORGETTING: Duration = Duration::from_secs(10);
/// How long one run goes on with erasures.
const ERASING: Duration = Duration::from_secs(10);
/// What a step may take beyond its own deadline. All together, a run ends before its function's
/// time-out (55 s).
const GRACE: Duration = Duration::from_secs(2);

/// What one run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Wake-up calls sent: never enqueued, due again, or lost by the queue.
    pub enqueued: usize,
    /// Due, but the queue did not take them; the next run tries again.
    pub not_taken: usize,
    /// Claims whose worker is gone: `unknown` from now on.
    pub leases_expired: u64,
    /// Not sent within their 24 hours: `failed` from now on.
    pub expired: u64,
    /// Rows that were dropped, or keys that were forgotten, since they are too old.
    pub forgotten: u64,
    /// Batches of messages that were emptied for an erasure.
    pub emptied: u64,
    /// The steps that failed of those that an SMS waits for.
    pub failed: Vec<&'static str>,
}

impl Swept {
    /// What the function answers.
    ///
    /// # Errors
    /// The steps that failed, by their names.
    pub fn answer(&self) -> Result<Value, String> {
        if self.failed.is_empty() {
            Ok(json!({ "enqueued": self.enqueued, "notTaken": self.not_taken }))
        } else {
            Err(format!("these steps failed: {}", self.failed.join(", ")))
        }
    }
}

/// Enqueues what waits, gives up what is too old, marks what a vanished worker left behind, and
/// goes on with retention and erasure. Several at once are safe; each run is bounded.
pub async fn sweep(pool: &Pool, queue: &Queue) -> Swept {
    let mut swept = Swept::default();
    // First: the sweep itself changes how long SMS have waited.
    match step("outbox age", STATEMENT, delivery::outbox_age(pool)).await {
        Ok(age) => metrics::gauge!("OutboxAgeSeconds").set(age.as_secs_f64()),
        Err(step) => swept.failed.push(step),
    }
    match step("expired leases", STATEMENT, delivery::expire_leases(pool)).await {
        Ok(expired) => {
            metrics::counter!("TextsUnknown").increment(expired);
            swept.leases_expired = expired;
        }
        Err(step) => swept.failed.push(step),
    }
    match step("expired SMS", STATEMENT, delivery::expire_unsent(pool)).await {
        Ok(expired) => {
            metrics::counter!("TextsFailed").increment(expired);
            swept.expired = expired;
        }
        Err(step) => swept.failed.push(step),
    }
    let waking = delivery::wake_due(pool, queue, Instant::now() + WAKING);
    match step("due SMS", WAKING + GRACE, waking).await {
        Ok(woken) => {
            swept.enqueued += woken.enqueued;
            swept.not_taken += woken.not_taken;
        }
        Err(step) => swept.failed.push(step),
    }
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

/// Does one step, for as long as `limit`; the error is its name, once the log has said why.
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
    tracing::warn!(step = name, error, "a step of the sweep failed");
    Err(name)
}
