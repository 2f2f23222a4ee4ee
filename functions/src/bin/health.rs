//! The Lambda function of the health check.

use std::process::ExitCode;

use functions::{edge, gateway, routes};
use shared::db::Database;

platform::set_allocator!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    platform::startup::run(async {
        let router = routes::health::router(Database::from_env().await?.pool());
        gateway::run(edge(router)).await
    })
    .await
}
