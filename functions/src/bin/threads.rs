//! The Lambda function that resolves, creates and lists threads.

use std::process::ExitCode;

use functions::{Api, edge, gateway, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::startup::run(async {
        let router = routes::threads::router(Api::from_env().await?);
        gateway::run(edge(router)).await
    })
    .await
}
