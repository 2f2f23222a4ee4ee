//! The Lambda function that handles jobs of the queue.

use std::{
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Context, Error, LambdaEvent, service_fn};
use worker::Worker;

/// Time limit of an invocation without a deadline: this function's time-out.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the time left for an invocation.
fn left(context: &Context) -> Duration {
    // cargo-lambda's emulator gives every invocation the same deadline, ten minutes into 1970, which
    // would leave no time.
    if Duration::from_millis(context.deadline) < Duration::from_hours(24) {
        return TIMEOUT;
    }
    context.deadline().duration_since(SystemTime::now()).unwrap_or_default()
}

platform::set_allocator!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    platform::startup::run(async {
        let worker = Worker::from_env().await?;
        let handle = |event: LambdaEvent<SqsEvent>| {
            let worker = worker.clone();
            async move {
                let deadline = Instant::now() + left(&event.context);
                let response = Box::pin(worker.handle_batch(event.payload, deadline)).await;
                platform::metrics::flush();
                Ok::<SqsBatchResponse, Error>(response)
            }
        };
        lambda_runtime::run(service_fn(handle)).await
    })
    .await
}
