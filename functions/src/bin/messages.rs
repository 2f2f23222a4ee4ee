//! The Lambda function that posts messages.

use functions::{Api, edge, routes};
use shared::queue::Queue;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::logging::init();
    let router = routes::messages::router(Api::from_env()?, Queue::from_env().await?);
    lambda_http::run(edge(router)).await
}
