//! The Lambda function that says what the API is.

use std::process::ExitCode;

use functions::{edge, gateway, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::startup::run(async { gateway::run(edge(routes::docs::router())).await }).await
}
