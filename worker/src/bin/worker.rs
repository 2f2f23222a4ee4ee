//! The Lambda function that turns jobs of the queue into texts.

use std::{
    process::ExitCode,
    time::{Instant, SystemTime},
};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use worker::Worker;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::startup::run(async {
        let worker = Worker::from_env().await?;
        let handle = |event: LambdaEvent<SqsEvent>| {
            let worker = worker.clone();
            async move {
                let deadline = event.context.deadline();
                let left = deadline.duration_since(SystemTime::now()).unwrap_or_default();
                let response = worker.handle_batch(event.payload, Instant::now() + left).await;
                Ok::<SqsBatchResponse, Error>(response)
            }
        };
        lambda_runtime::run(service_fn(handle)).await
    })
    .await
}
