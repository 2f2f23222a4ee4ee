//! The Lambda function that posts messages and serves their deliveries.

use std::process::ExitCode;

use functions::{Api, edge, gateway, routes};
use shared::queue::Queue;

platform::set_allocator!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    platform::startup::run(async {
        let router = routes::messages::router(Api::from_env().await?, Queue::from_env()?);
        gateway::run(edge(router)).await
    })
    .await
}
