//! Client of an Amazon SQS queue whose messages are strings.

use std::time::Duration;

use aws_sdk_sqs::{
    Client,
    config::{StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig},
    error::DisplayErrorContext,
    types::{
        MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
        SendMessageBatchRequestEntry,
    },
};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::{
    aws::{self, Service},
    config::ConfigError,
    http_client, trace,
};

pub use aws_sdk_sqs::{Error, config::Builder as Config};

/// Maximum entries of a `SendMessageBatch` and messages of a `ReceiveMessage` (Amazon SQS quotas).
const BATCH_MAX: usize = 10;
/// Time limit for opening a connection.
const CONNECT: Duration = Duration::from_millis(300);
/// How long a connection is kept for the next call.
const IDLE: Duration = Duration::from_secs(90);

/// Message attribute with the id of the request that sent the message. Not in the body, because consumers
/// refuse bodies with unknown fields.
pub const REQUEST_ID: &str = "requestId";

/// An SQS queue.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

/// A message to send.
#[derive(Debug)]
pub struct NewMessage {
    /// Its body.
    pub body: String,
    /// The tenant that it belongs to, in up to 128 characters. While one group has most of the messages in progress, SQS
    /// hands out those of the others first (Amazon SQS Developer Guide, Fair queues). Without a group, a
    /// message is a group by itself.
    pub group: Option<String>,
    /// How long it stays hidden at first, in seconds, at most 900 (Amazon SQS API Reference).
    pub delay_seconds: i32,
}

/// A received message.
#[derive(Debug)]
pub struct Message {
    /// Its body.
    pub body: String,
    receipt: Option<String>,
}

impl Queue {
    /// The queue at `url`, configured by the AWS SDK's environment variables.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env(url: String) -> Result<Self, ConfigError> {
        Ok(Self::new(Config::from(&aws::config(Service::Sqs)?), url))
    }

    /// The queue at `url`. Sending is retried: like SQS itself, it delivers at least once.
    #[must_use]
    pub fn new(config: Config, url: String) -> Self {
        // `send` limits the time of all attempts together.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(Duration::from_millis(500))
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(3)
            .with_initial_backoff(Duration::from_millis(50));
        let config = config
            .http_client(http_client::sdk(IDLE))
            .timeout_config(timeouts)
            .retry_config(retries)
            // Meant for bodies of unknown length. These have a few kilobytes, and time-outs.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Self { client: Client::from_conf(config), url }
    }

    /// Another queue, with the same client.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self { client: self.client.clone(), url: url.to_owned() }
    }

    /// Sends `messages` in concurrent batches of ten, within `budget` in all. Returns the indices of those that
    /// the queue did not accept, and logs the reason.
    pub async fn send(&self, messages: &[NewMessage], budget: Duration) -> Vec<usize> {
        let batches = messages.chunks(BATCH_MAX).enumerate().map(|(batch, messages)| async move {
            let not_taken = timeout(budget, self.send_batch(messages)).await.unwrap_or_else(|_| {
                tracing::warn!(jobs = messages.len(), "queue timed out");
                (0..messages.len()).collect()
            });
            not_taken.into_iter().map(|i| batch * BATCH_MAX + i).collect::<Vec<_>>()
        });
        join_all(batches).await.concat()
    }

    /// Sends up to ten messages and returns the indices of those not accepted.
    async fn send_batch(&self, messages: &[NewMessage]) -> Vec<usize> {
        let all = || (0..messages.len()).collect();
        let mut request = self.client.send_message_batch().queue_url(&self.url);
        let request_id = trace::request_id().and_then(|id| {
            MessageAttributeValue::builder().data_type("String").string_value(id).build().ok()
        });
        let trace = trace::trace().and_then(|header| {
            MessageSystemAttributeValue::builder()
                .data_type("String")
                .string_value(header)
                .build()
                .ok()
        });
        for (i, message) in messages.iter().enumerate() {
            let mut entry = SendMessageBatchRequestEntry::builder()
                .id(i.to_string())
                .message_body(&message.body)
                .set_message_group_id(message.group.clone())
                .set_delay_seconds((message.delay_seconds > 0).then_some(message.delay_seconds));
            if let Some(id) = request_id.clone() {
                entry = entry.message_attributes(REQUEST_ID, id);
            }
            // Lets AWS X-Ray show the consumer's invocation in the same trace.
            if let Some(trace) = trace.clone() {
                entry = entry.message_system_attributes(
                    MessageSystemAttributeNameForSends::AwsTraceHeader,
                    trace,
                );
            }
            // Can't fail: both required fields are set.
            let Ok(entry) = entry.build() else { return all() };
            request = request.entries(entry);
        }
        match request.send().await {
            Ok(done) => {
                let refused: Vec<usize> = done
                    .failed()
                    .iter()
                    .filter_map(|entry| entry.id().parse().ok())
                    .filter(|i| *i < messages.len())
                    .collect();
                if !refused.is_empty() {
                    tracing::warn!(jobs = refused.len(), "queue refused jobs");
                }
                refused
            }
            Err(error) => {
                let error = DisplayErrorContext(&error).to_string();
                tracing::warn!(jobs = messages.len(), error, "can't send jobs to the queue");
                all()
            }
        }
    }

    /// Receives up to ten messages by a short poll, with a visibility timeout of `seconds`.
    ///
    /// # Errors
    /// When the queue can't be reached.
    pub async fn receive(&self, seconds: i32) -> Result<Vec<Message>, Error> {
        let receive = self.client.receive_message().queue_url(&self.url);
        let receive = receive.visibility_timeout(seconds).max_number_of_messages(10);
        let messages = receive.send().await?.messages.unwrap_or_default();
        let message = |message: aws_sdk_sqs::types::Message| Message {
            body: message.body.unwrap_or_default(),
            receipt: message.receipt_handle,
        };
        Ok(messages.into_iter().map(message).collect())
    }

    /// Deletes a message.
    ///
    /// # Errors
    /// When the queue can't be reached.
    pub async fn delete(&self, message: Message) -> Result<(), Error> {
        let delete = self.client.delete_message().queue_url(&self.url);
        delete.set_receipt_handle(message.receipt).send().await?;
        Ok(())
    }

    /// Makes a received message visible again.
    ///
    /// # Errors
    /// When the queue can't be reached.
    pub async fn show(&self, message: Message) -> Result<(), Error> {
        let show = self.client.change_message_visibility().queue_url(&self.url);
        show.set_receipt_handle(message.receipt).visibility_timeout(0).send().await?;
        Ok(())
    }
}
