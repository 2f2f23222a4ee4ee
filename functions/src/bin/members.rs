//! The Lambda function that stores what members have read and whether they get SMS.

use std::process::ExitCode;

use functions::{Api, edge, gateway, routes};

platform::set_allocator!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    platform::startup::run(async {
        gateway::run(edge(routes::members::router(Api::from_env().await?))).await
    })
    .await
}
