//! The Lambda function that serves the pages a family member sees.

use std::process::ExitCode;

use functions::{Api, edge, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::startup::run(async {
        let router = routes::web::router(Api::from_env()?);
        lambda_http::run(edge(router)).await
    })
    .await
}
