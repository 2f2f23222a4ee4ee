//! The Lambda function that provisions families and their people, and shows who did what.

use std::process::ExitCode;

use functions::{Api, edge, gateway, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    shared::startup::run(async {
        let api = Api::from_env().await?;
        let router = routes::families::router(api.clone()).merge(routes::audit::router(api));
        gateway::run(edge(router)).await
    })
    .await
}
