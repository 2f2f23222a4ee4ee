//! The Lambda function that reads a thread's messages.

use std::process::ExitCode;

use functions::{Api, edge, gateway, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::startup::run(async {
        let router = routes::history::router(Api::from_env().await?);
        gateway::run(edge(router)).await
    })
    .await
}
