//! Moves the jobs of the dead-letter queue back to the queue, from an operator's terminal:
//! `KINLINE_QUEUE_URL=… KINLINE_DEAD_LETTER_URL=… cargo run -p worker --example redrive`.

#![expect(clippy::print_stdout, reason = "the terminal is its interface")]

use shared::{config, queue::Queue};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let from = config::url("KINLINE_DEAD_LETTER_URL", "the SQS queue of dead letters")?;
    let queue = Queue::from_env().await?;
    let redriven = queue.redrive(&from).await?;
    println!(
        "{} jobs moved back; {} records are no jobs and stay as evidence",
        redriven.moved, redriven.left
    );
    Ok(())
}
