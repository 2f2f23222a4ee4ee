//! The Lambda function that resolves, creates and lists threads.

use std::process::ExitCode;

use functions::{Api, edge, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::startup::run(async {
        let router = routes::threads::router(Api::from_env()?);
        lambda_http::run(edge(router)).await
    })
    .await
}
