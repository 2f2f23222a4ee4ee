//! The Lambda function that says whether the system can work.

use functions::{Api, edge, routes};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    shared::logging::init();
    let router = routes::health::router(Api::from_env()?);
    lambda_http::run(edge(router)).await
}
