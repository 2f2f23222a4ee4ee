//! The Lambda function that exports families.

use std::process::ExitCode;

use functions::{Api, edge, gateway, routes};

platform::set_allocator!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    platform::startup::run(async {
        let router = routes::export::router(Api::from_env().await?);
        gateway::run(edge(router)).await
    })
    .await
}
