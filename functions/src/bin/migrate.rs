//! The Lambda function that migrates the schema when a new version is deployed.

use std::{process::ExitCode, time::SystemTime};

use functions::migrate::{self, Event};
use lambda_http::lambda_runtime::{self, Error, LambdaEvent, service_fn};

platform::set_allocator!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    platform::startup::run(async {
        let handle = |event: LambdaEvent<Event>| async move {
            let left = event.context.deadline().duration_since(SystemTime::now());
            let answer = Box::pin(migrate::answer(event.payload, left.unwrap_or_default())).await;
            answer.map_err(|error| Error::from(format!("{error:#}")))
        };
        lambda_runtime::run(service_fn(handle)).await
    })
    .await
}
