//! The Lambda function that provisions families and their people, and shows who did what.

use std::process::ExitCode;

use functions::{Api, edge, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::startup::run(async {
        let api = Api::from_env()?;
        let router = routes::families::router(api.clone()).merge(routes::audit::router(api));
        lambda_http::run(edge(router)).await
    })
    .await
}
