//! The Lambda function that finds, creates and lists threads.

use std::process::ExitCode;

use functions::{Api, edge, gateway, routes};

platform::set_allocator!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    platform::startup::run(async {
        let router = routes::threads::router(Api::from_env().await?);
        gateway::run(edge(router)).await
    })
    .await
}
