//! The Lambda function that exchanges magic links and has new ones sent.

use std::{process::ExitCode, sync::Arc};

use functions::{Api, edge, gateway, routes};
use shared::{links::LinkKeys, queue::Queue};

platform::set_allocator!();

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    platform::startup::run(async {
        let keys = Arc::new(LinkKeys::from_env().await?);
        let router = routes::links::router(Api::from_env().await?, keys, Queue::from_env()?);
        gateway::run(edge(router)).await
    })
    .await
}
