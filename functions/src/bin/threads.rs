//! The Lambda function that resolves, creates and lists threads.

use functions::{Api, edge, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::logging::init();
    let router = routes::threads::router(Api::from_env()?);
    lambda_http::run(edge(router)).await
}
