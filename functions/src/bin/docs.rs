//! The Lambda function that serves the API's document.

use std::process::ExitCode;

use functions::{DOCUMENT, edge, gateway, routes};

platform::set_allocator!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    platform::startup::run(async { gateway::run(edge(routes::docs::router(&DOCUMENT))).await })
        .await
}
