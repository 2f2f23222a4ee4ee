//! The Lambda function that says what the API is.

use std::process::ExitCode;

use functions::{edge, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::startup::run(async { lambda_http::run(edge(routes::docs::router())).await }).await
}
