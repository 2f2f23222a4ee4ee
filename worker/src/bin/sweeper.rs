//! The scheduled Lambda function that does what the queue and the worker left undone.

use std::process::ExitCode;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use shared::{db::Database, delivery, queue::Queue};

platform::set_allocator!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    platform::startup::run(async {
        let db = Database::from_env().await?.pool();
        let queue = Queue::from_env()?;
        let handle = |_scheduled: LambdaEvent<Value>| {
            let (db, queue) = (db.clone(), queue.clone());
            async move {
                // Before the sweep: what it finds is how long texts have waited.
                let age = delivery::outbox_age(&db).await;
                let age = age.map_err(|error| error.with_causes())?;
                metrics::gauge!("OutboxAgeSeconds").set(age.as_secs_f64());
                let swept = delivery::sweep(&db, &queue).await;
                // Whatever came of it.
                platform::metrics::flush();
                let swept = swept.map_err(|error| error.with_causes())?;
                tracing::info!(?swept, "swept");
                let answer = json!({ "enqueued": swept.enqueued, "notTaken": swept.not_taken });
                Ok::<Value, Error>(answer)
            }
        };
        lambda_runtime::run(service_fn(handle)).await
    })
    .await
}
