//! The scheduled Lambda function that sweeps: wake-up calls, expiry, retention, erasure.

use std::process::ExitCode;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use shared::{db::Database, delivery::Pacing, queue::Queue};

platform::set_allocator!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    platform::startup::run(async {
        let db = Database::from_env().await?.pool();
        let (queue, pacing) = (Queue::from_env()?, Pacing::from_env()?);
        let handle = |_scheduled: LambdaEvent<Value>| {
            let (db, queue) = (db.clone(), queue.clone());
            async move {
                let swept = worker::sweep(&db, &queue, pacing).await;
                platform::metrics::flush();
                tracing::info!(?swept, "swept");
                Ok::<Value, Error>(swept.answer()?)
            }
        };
        lambda_runtime::run(service_fn(handle)).await
    })
    .await
}
