//! The scheduled Lambda function that does what the queue and the worker left undone.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use shared::{db::Database, notifications, queue::Queue};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::logging::init();
    let db = Database::from_env()?.pool();
    let queue = Queue::from_env().await?;
    let handle = |_scheduled: LambdaEvent<Value>| {
        let (db, queue) = (db.clone(), queue.clone());
        async move {
            let swept = notifications::sweep(&db, &queue).await?;
            tracing::info!(
                enqueued = swept.enqueued,
                not_taken = swept.not_taken,
                leases_expired = swept.leases_expired,
                expired = swept.expired,
                "swept"
            );
            Ok::<Value, Error>(json!({ "enqueued": swept.enqueued, "notTaken": swept.not_taken }))
        }
    };
    lambda_runtime::run(service_fn(handle)).await
}
