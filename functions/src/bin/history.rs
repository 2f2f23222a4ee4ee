//! The Lambda function that reads a thread's messages.

use functions::{Api, edge, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::logging::init();
    let router = routes::history::router(Api::from_env()?);
    lambda_http::run(edge(router)).await
}
