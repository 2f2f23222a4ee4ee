//! The Lambda function that turns jobs of the queue into texts.

use std::time::{Instant, SystemTime};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use worker::Worker;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    shared::logging::init();
    let worker = Worker::from_env().await?;
    let handle = |event: LambdaEvent<SqsEvent>| {
        let worker = worker.clone();
        async move {
            let left = event
                .context
                .deadline()
                .duration_since(SystemTime::now())
                .unwrap_or_default();
            let deadline = Instant::now() + left;
            Ok::<SqsBatchResponse, Error>(worker.handle_batch(event.payload, deadline).await)
        }
    };
    lambda_runtime::run(service_fn(handle)).await
}
