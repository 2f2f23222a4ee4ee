//! Redrives the dead-letter queue, from an operator's terminal:
//! `KINLINE_QUEUE_URL=… KINLINE_DEAD_LETTER_URL=… cargo run -p worker --example redrive`.
//!
//! Finds credentials and region as the AWS CLI does: environment, profile (`AWS_PROFILE`), SSO.

#![expect(clippy::print_stdout, reason = "a command-line tool")]

use std::time::Duration;

use anyhow::ensure;
use platform::{aws, http_client, sqs};
use shared::{
    config::{DEAD_LETTER_URL, QUEUE_URL},
    queue::Queue,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let from = DEAD_LETTER_URL.url()?;
    let to = QUEUE_URL.url()?;
    ensure!(from != to, "KINLINE_DEAD_LETTER_URL and KINLINE_QUEUE_URL are the same queue");
    let http = http_client::sdk(Duration::from_secs(90));
    let aws = aws_config::defaults(aws::behavior_version()).http_client(http).load().await;
    let redriven = Queue::new(sqs::Config::from(&aws), to).redrive(&from).await?;
    println!("{} jobs moved back, {} records left", redriven.moved, redriven.left);
    ensure!(
        !redriven.refused,
        "the queue did not accept all jobs: check KINLINE_QUEUE_URL, then run this again"
    );
    println!("records left are not jobs; they stay as evidence");
    Ok(())
}
