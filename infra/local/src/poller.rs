//! The queue's event source, as Lambda has it: polls the queue, invokes the worker, deletes the
//! records that it handled.

use std::time::{Duration, Instant};

use anyhow::Context;
use aws_lambda_events::sqs::SqsEvent;
use aws_sdk_sqs::{
    Client,
    types::{
        DeleteMessageBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName,
    },
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use worker::Worker;

use crate::{aws, sqs::WORKER_TIMEOUT};

/// Longest wait of one receive (Amazon SQS quotas).
const LONG_POLL: Duration = Duration::from_secs(20);

/// Polls one queue for one worker. Clones poll side by side.
#[derive(Clone)]
pub struct Poller {
    /// The engine.
    pub sqs: Client,
    /// The queue.
    pub queue_url: String,
    /// The worker that is invoked.
    pub worker: Worker,
}

impl Poller {
    /// Polls until `stop`, then finishes the batch at hand.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let batch = tokio::select! {
                () = stop.cancelled() => break,
                received = self.receive(LONG_POLL) => received,
            };
            let done = match batch {
                Ok(messages) => self.invoke(messages).await.map(|_| ()),
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                tracing::warn!(error = format!("{error:#}"), "queue can't be polled");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(Duration::from_millis(500)) => {}
                }
            }
        }
    }

    /// Handles one batch of the records that are in the queue now; returns how many it had.
    ///
    /// # Errors
    /// When the queue can't be reached.
    pub async fn poll_once(&self) -> anyhow::Result<usize> {
        let messages = self.receive(Duration::ZERO).await?;
        self.invoke(messages).await
    }

    async fn receive(&self, wait: Duration) -> anyhow::Result<Vec<Message>> {
        let received = self
            .sqs
            .receive_message()
            .queue_url(&self.queue_url)
            .max_number_of_messages(10)
            .wait_time_seconds(i32::try_from(wait.as_secs()).unwrap_or(0))
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .send()
            .await
            .context("can't receive")?;
        Ok(received.messages.unwrap_or_default())
    }

    async fn invoke(&self, messages: Vec<Message>) -> anyhow::Result<usize> {
        if messages.is_empty() {
            return Ok(0);
        }
        let event: SqsEvent = serde_json::from_value(event(&messages))?;
        let response = self.worker.handle_batch(event, Instant::now() + WORKER_TIMEOUT).await;
        let failed: Vec<&str> = response
            .batch_item_failures
            .iter()
            .map(|failure| failure.item_identifier.as_str())
            .collect();
        let mut delete = self.sqs.delete_message_batch().queue_url(&self.queue_url);
        let mut finished = 0;
        for (i, message) in messages.iter().enumerate() {
            let id = message.message_id.as_deref().unwrap_or_default();
            if !failed.contains(&id) {
                finished += 1;
                delete = delete.entries(
                    DeleteMessageBatchRequestEntry::builder()
                        .id(i.to_string())
                        .receipt_handle(message.receipt_handle.as_deref().unwrap_or_default())
                        .build()?,
                );
            }
        }
        // A failed record comes back when its visibility time-out ends.
        if finished > 0 {
            delete.send().await.context("can't delete")?;
        }
        Ok(messages.len())
    }
}

/// The attributes of a message, as Lambda writes them.
fn message_attributes(message: &Message) -> Value {
    let named = |(name, value): (&String, &MessageAttributeValue)| {
        let value = json!({
            "stringValue": value.string_value,
            "stringListValues": [],
            "binaryListValues": [],
            "dataType": value.data_type,
        });
        (name.clone(), value)
    };
    message.message_attributes.iter().flatten().map(named).collect()
}

/// The event as Lambda writes it.
#[must_use]
pub fn event(messages: &[Message]) -> Value {
    let records: Vec<Value> = messages
        .iter()
        .map(|message| {
            let attributes: serde_json::Map<String, Value> = message
                .attributes
                .iter()
                .flatten()
                .map(|(name, value)| (name.as_str().to_owned(), json!(value)))
                .collect();
            json!({
                "messageId": message.message_id,
                "receiptHandle": message.receipt_handle,
                "body": message.body,
                "attributes": attributes,
                "messageAttributes": message_attributes(message),
                "md5OfBody": message.md5_of_body,
                "eventSource": "aws:sqs",
                "eventSourceARN": format!("arn:aws:sqs:{}:000000000000:kinline-jobs", aws::REGION),
                "awsRegion": aws::REGION,
            })
        })
        .collect();
    json!({ "Records": records })
}
