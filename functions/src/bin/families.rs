//! The Lambda function that provisions families and users, and serves the audit trail.

use std::process::ExitCode;

use functions::{Api, edge, gateway, routes};

platform::set_allocator!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    platform::startup::run(async {
        let api = Api::from_env().await?;
        let router = routes::families::router(api.clone()).merge(routes::audit::router(api));
        gateway::run(edge(router)).await
    })
    .await
}
