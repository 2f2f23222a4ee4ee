//! The Lambda function that provisions families and their people, and shows who did what.

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
