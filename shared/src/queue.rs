//! The queue: a wake-up call for the worker. What is to be done stands in the database.

use std::time::Duration;

use aws_sdk_sqs::{
    Client,
    config::{
        BehaviorVersion, StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
    },
    types::{
        Message, MessageAttributeValue, MessageSystemAttributeNameForSends,
        MessageSystemAttributeValue, SendMessageBatchRequestEntry,
    },
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::ids::{FamilyId, LinkRequestId, NotificationId};
use platform::{
    aws::{self, Service},
    config::{self, ConfigError},
    http_client, trace,
};

/// Most entries of one `SendMessageBatch` (Amazon SQS quotas).
const BATCH_MAX: usize = 10;
/// What a post may spend on waking the worker. The sweeper does what is left.
const BUDGET: Duration = Duration::from_secs(1);
/// What a connection may take to stand.
const CONNECT: Duration = Duration::from_millis(300);
/// How long a connection is kept for the next call.
const IDLE: Duration = Duration::from_secs(90);

/// The message attribute that names the request a job came of. Beside the body, which workers of
/// before would refuse with it.
pub const REQUEST_ID: &str = "requestId";

/// What a message of the queue wakes the worker for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// A text is due.
    Notification(NotificationJob),
    /// Somebody wants to be sent a link.
    LinkRequest(LinkRequestId),
}

/// A notification to send, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationJob {
    /// Whose notification.
    pub family_id: FamilyId,
    /// The notification to send.
    pub notification_id: NotificationId,
}

/// A body that is no job of a version we know. Never carries the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a job")]
pub struct NotAJob;

/// The wire format of a job: ids alone, so that the queue never holds a person's data.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    v: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    family_id: Option<FamilyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_id: Option<NotificationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_request_id: Option<LinkRequestId>,
}

impl Job {
    const VERSION: u8 = 1;

    /// A job to send this notification.
    #[must_use]
    pub const fn notification(family_id: FamilyId, notification_id: NotificationId) -> Self {
        Self::Notification(NotificationJob { family_id, notification_id })
    }

    /// Reads a message's body.
    ///
    /// # Errors
    /// [`NotAJob`].
    pub fn parse(body: &str) -> Result<Self, NotAJob> {
        match serde_json::from_str(body).map_err(|_| NotAJob)? {
            Wire {
                v: Self::VERSION,
                family_id: Some(family_id),
                notification_id: Some(notification_id),
                link_request_id: None,
            } => Ok(Self::notification(family_id, notification_id)),
            Wire {
                v: Self::VERSION,
                family_id: None,
                notification_id: None,
                link_request_id: Some(id),
            } => Ok(Self::LinkRequest(id)),
            _ => Err(NotAJob),
        }
    }

    /// Its body as a message.
    fn body(&self) -> Result<String, serde_json::Error> {
        let (notification, link_request_id) = match self {
            Self::Notification(job) => (Some(job.clone()), None),
            Self::LinkRequest(id) => (None, Some(*id)),
        };
        let (family_id, notification_id) =
            notification.map(|job| (job.family_id, job.notification_id)).unzip();
        let v = Self::VERSION;
        serde_json::to_string(&Wire { v, family_id, notification_id, link_request_id })
    }
}

/// How often a queue must be found empty in a row.
const EMPTY_POLLS: u32 = 5;

/// How long a record is hidden from others while dead letters are moved, in seconds: longer than
/// that takes, so that each is looked at once.
const REDRIVE_SECONDS: i32 = 60 * 60;

/// What waking the worker for what is due came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Woken {
    /// Jobs that the queue took.
    pub enqueued: usize,
    /// Jobs that it did not take: they are due again.
    pub not_taken: usize,
}

/// What moving dead letters back came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Jobs that are in the queue again.
    pub moved: usize,
    /// Records that stay where they were.
    pub left: usize,
    /// The queue took none or not all of the last jobs, so the rest was left alone; else what is
    /// left is no job.
    pub refused: bool,
}

/// The queue, to send to.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// The queue at `KINLINE_QUEUE_URL`, reached as the AWS SDK's own variables say.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        let url = config::url("KINLINE_QUEUE_URL", "the SQS queue of jobs")?;
        let config = aws_sdk_sqs::config::Builder::from(&aws::config(Service::Sqs)?);
        Ok(Self::new(config.behavior_version(BehaviorVersion::latest()), url))
    }

    /// The queue at `url`. A job sent twice does no harm, so sending is retried within the budget.
    #[must_use]
    pub fn new(config: aws_sdk_sqs::config::Builder, url: String) -> Self {
        // `enqueue` has a budget for all of them.
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
            // For bodies of unknown length; these are a few kilobytes, and have time-outs of their own.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Self { client: Client::from_conf(config), url }
    }

    /// Sends `jobs` in batches of ten side by side, within one second in all, and returns those
    /// that the queue did not take.
    ///
    /// Never fails: a job not taken is one that the sweeper will send.
    pub async fn enqueue(&self, jobs: &[Job]) -> Vec<Job> {
        let batches = jobs.chunks(BATCH_MAX).map(|batch| async move {
            timeout(BUDGET, self.send(batch)).await.unwrap_or_else(|_| {
                tracing::warn!(jobs = batch.len(), "queue did not answer in time");
                batch.to_vec()
            })
        });
        join_all(batches).await.concat()
    }

    /// Moves the jobs of a dead-letter queue back here; what is no job stays there as evidence.
    ///
    /// Each job is sent before it is deleted, so one may come twice, which sends no second text.
    ///
    /// # Errors
    /// When either queue can't be reached; what was moved by then has been moved.
    pub async fn redrive(&self, dead_letter_url: &str) -> Result<Redriven, aws_sdk_sqs::Error> {
        let (mut moved, mut left, mut empty, mut refused) = (0, Vec::new(), 0, false);
        // A short poll asks some of the queue's servers: one that finds nothing proves nothing.
        while empty < EMPTY_POLLS && !refused {
            let receive = self.client.receive_message().queue_url(dead_letter_url);
            let receive = receive.visibility_timeout(REDRIVE_SECONDS).max_number_of_messages(10);
            let received = receive.send().await?;
            empty = if received.messages().is_empty() { empty + 1 } else { 0 };
            let parsed = |message: &Message| Job::parse(message.body().unwrap_or_default()).ok();
            let jobs: Vec<Job> = received.messages().iter().filter_map(parsed).collect();
            let not_taken = self.enqueue(&jobs).await;
            refused = !not_taken.is_empty();
            for message in received.messages() {
                let receipt = message.receipt_handle.clone();
                if parsed(message).is_some_and(|job| !not_taken.contains(&job)) {
                    let delete = self.client.delete_message().queue_url(dead_letter_url);
                    delete.set_receipt_handle(receipt).send().await?;
                    moved += 1;
                } else {
                    left.push(receipt);
                }
            }
        }
        let redriven = Redriven { moved, left: left.len(), refused };
        // Hidden until now, so that each was looked at once; whoever comes next sees them again.
        for receipt in left {
            let show = self.client.change_message_visibility().queue_url(dead_letter_url);
            show.set_receipt_handle(receipt).visibility_timeout(0).send().await?;
        }
        Ok(redriven)
    }

    /// Sends up to ten jobs and returns those not taken.
    async fn send(&self, jobs: &[Job]) -> Vec<Job> {
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
        for (i, job) in jobs.iter().enumerate() {
            let entry = job.body().ok().and_then(|body| {
                let mut entry =
                    SendMessageBatchRequestEntry::builder().id(i.to_string()).message_body(body);
                if let Some(id) = request_id.clone() {
                    entry = entry.message_attributes(REQUEST_ID, id);
                }
                // By it, AWS X-Ray draws the worker's run as the next part of this one's trace.
                if let Some(trace) = trace.clone() {
                    entry = entry.message_system_attributes(
                        MessageSystemAttributeNameForSends::AwsTraceHeader,
                        trace,
                    );
                }
                entry.build().ok()
            });
            // Neither a job's JSON nor an entry with both its fields can fail to be made.
            let Some(entry) = entry else {
                return jobs.to_vec();
            };
            request = request.entries(entry);
        }
        match request.send().await {
            Ok(done) => {
                let refused: Vec<Job> = done
                    .failed()
                    .iter()
                    .filter_map(|entry| jobs.get(entry.id().parse::<usize>().ok()?).cloned())
                    .collect();
                if !refused.is_empty() {
                    tracing::warn!(jobs = refused.len(), "queue refused jobs");
                }
                refused
            }
            Err(error) => {
                let error = aws_sdk_sqs::error::DisplayErrorContext(&error).to_string();
                tracing::warn!(jobs = jobs.len(), error, "queue took no jobs");
                jobs.to_vec()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_job_carries_ids_alone_and_comes_back() {
        let (id, request) = (NotificationId::new(), LinkRequestId::new());
        let job = Job::notification("fam".parse().expect("an id"), id);
        for (job, body) in [
            (job, format!(r#"{{"v":1,"familyId":"fam","notificationId":"{id}"}}"#)),
            (Job::LinkRequest(request), format!(r#"{{"v":1,"linkRequestId":"{request}"}}"#)),
        ] {
            assert_eq!(job.body().expect("JSON"), body);
            assert_eq!(Job::parse(&body), Ok(job));
        }
    }

    #[test]
    fn what_is_no_job_is_refused() {
        let (id, request) = (NotificationId::new(), LinkRequestId::new());
        for body in [
            String::new(),
            "{}".to_owned(),
            "null".to_owned(),
            r#"{"v":1}"#.to_owned(),
            r#"{"v":1,"familyId":"fam"}"#.to_owned(),
            format!(r#"{{"v":2,"familyId":"fam","notificationId":"{id}"}}"#),
            format!(r#"{{"v":2,"linkRequestId":"{request}"}}"#),
            format!(r#"{{"v":1,"familyId":"a,b","notificationId":"{id}"}}"#),
            format!(r#"{{"v":1,"familyId":"fam","notificationId":"{id}","phone":"+1"}}"#),
            format!(
                r#"{{"v":1,"familyId":"fam","notificationId":"{id}","linkRequestId":"{request}"}}"#
            ),
            r#"{"v":1,"familyId":"fam","notificationId":"msg_00"}"#.to_owned(),
        ] {
            assert_eq!(Job::parse(&body), Err(NotAJob), "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_a_job_or_refused(body in any::<String>()) {
            prop_assert_eq!(Job::parse(&body), Err(NotAJob));
        }
    }
}
