//! The Lambda function that serves a thread's messages.

use std::process::ExitCode;

use functions::{Api, edge, gateway, routes};

platform::set_allocator!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    platform::startup::run(async {
        let router = routes::history::router(Api::from_env().await?);
        gateway::run(edge(router)).await
    })
    .await
}
