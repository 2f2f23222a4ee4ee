//! The queue of jobs, which only wake the worker: the database has the work.

use std::time::Duration;

use platform::{config::ConfigError, sqs};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    config,
    ids::{FamilyId, LinkRequestId, NotificationId},
};

/// Time limit for enqueueing. The sweeper enqueues the rest.
const BUDGET: Duration = Duration::from_secs(1);

/// A job of the worker: a message of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// A notification is due.
    Notification(NotificationJob),
    /// A link was requested.
    LinkRequest(LinkRequestId),
}

/// A notification to send, with its family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationJob {
    /// The notification's family.
    pub family_id: FamilyId,
    /// The notification.
    pub notification_id: NotificationId,
}

/// A body that is not a job of the supported version. Never holds the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a job")]
pub struct NotAJob;

/// The wire format of a job: only ids, so that the queue holds no personal data.
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

    /// Makes a job for this notification.
    #[must_use]
    pub const fn notification(family_id: FamilyId, notification_id: NotificationId) -> Self {
        Self::Notification(NotificationJob { family_id, notification_id })
    }

    /// Parses a message's body.
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

    /// Returns the group that the message belongs to: its family, so that SMS of a family with a backlog do
    /// not delay another's. A digest, since metrics and logs of AWS show groups, but no bodies. A requested
    /// link has no family yet, so it waits for none.
    fn group(&self) -> Option<String> {
        let family_id = match self {
            Self::Notification(job) => &job.family_id,
            Self::LinkRequest(_) => return None,
        };
        Some(hex::encode(Sha256::digest(format!("job-group:{}", family_id.as_str()))))
    }

    /// Returns the message.
    fn message(&self) -> Result<sqs::NewMessage, serde_json::Error> {
        Ok(sqs::NewMessage { body: self.body()?, group: self.group() })
    }

    /// Returns the message's body.
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

/// Empty polls in a row after which the queue counts as empty.
const EMPTY_POLLS: u32 = 5;

/// Visibility timeout of dead letters while they are moved, in seconds: longer than a redrive takes, so that
/// each is received once.
const REDRIVE_SECONDS: i32 = 60 * 60;

/// The result of enqueueing due jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Woken {
    /// Jobs that the queue accepted.
    pub enqueued: usize,
    /// Jobs that it did not accept: they are due again.
    pub not_taken: usize,
}

/// The result of a redrive of dead letters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Redriven {
    /// Jobs moved back to the queue.
    pub moved: usize,
    /// Records that stay in the dead-letter queue.
    pub left: usize,
    /// Whether the queue refused jobs, which ended the redrive. If not, the records left are not jobs.
    pub refused: bool,
}

/// Client of the queue.
#[derive(Debug, Clone)]
pub struct Queue(sqs::Queue);

impl Queue {
    /// The queue at `KINLINE_QUEUE_URL`, configured by the AWS SDK's environment variables.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self(sqs::Queue::from_env(config::QUEUE_URL.url()?)?))
    }

    /// The queue at `url`. Sending is retried, since a repeated job is harmless.
    #[must_use]
    pub fn new(config: sqs::Config, url: String) -> Self {
        Self(sqs::Queue::new(config, url))
    }

    /// Sends `jobs` within one second in all, and returns those that the queue did not accept.
    ///
    /// Never fails: the sweeper will send the returned jobs.
    pub async fn enqueue(&self, jobs: &[Job]) -> Vec<Job> {
        // Serializing a job can't fail.
        let Ok(messages) = jobs.iter().map(Job::message).collect::<Result<Vec<_>, _>>() else {
            return jobs.to_vec();
        };
        let not_taken = self.0.send(&messages, BUDGET).await;
        not_taken.into_iter().filter_map(|i| jobs.get(i).cloned()).collect()
    }

    /// Moves the jobs of a dead-letter queue back to this queue. Other records stay as evidence.
    ///
    /// Each job is sent before it is deleted, so it may be delivered twice, which sends no second SMS.
    ///
    /// # Errors
    /// When either queue can't be reached; moved jobs stay moved.
    pub async fn redrive(&self, dead_letter_url: &str) -> Result<Redriven, sqs::Error> {
        let dead_letters = self.0.at(dead_letter_url);
        let (mut moved, mut left, mut empty, mut refused) = (0, Vec::new(), 0, false);
        // A short poll asks only some of the queue's servers, so one empty answer proves nothing.
        while empty < EMPTY_POLLS && !refused {
            let received = dead_letters.receive(REDRIVE_SECONDS).await?;
            empty = if received.is_empty() { empty + 1 } else { 0 };
            let parsed = |message: &sqs::Message| Job::parse(&message.body).ok();
            let jobs: Vec<Job> = received.iter().filter_map(parsed).collect();
            let not_taken = self.enqueue(&jobs).await;
            refused = !not_taken.is_empty();
            for message in received {
                if parsed(&message).is_some_and(|job| !not_taken.contains(&job)) {
                    dead_letters.delete(message).await?;
                    moved += 1;
                } else {
                    left.push(message);
                }
            }
        }
        let redriven = Redriven { moved, left: left.len(), refused };
        // Visible again for a later redrive.
        for message in left {
            dead_letters.show(message).await?;
        }
        Ok(redriven)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_job_has_only_ids_and_round_trips() {
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
    fn jobs_of_a_family_have_its_group_which_does_not_name_it() {
        let group = |family: &str| {
            Job::notification(family.parse().expect("an id"), NotificationId::new()).group()
        };
        let of_kin = group("kin").expect("a group");
        assert_eq!(group("kin").as_ref(), Some(&of_kin));
        assert_ne!(group("kin2").as_ref(), Some(&of_kin));
        // At most 128 letters, digits and marks (Amazon SQS API Reference, SendMessageBatchRequestEntry). No
        // hex digit is in the family's id.
        assert!(of_kin.len() == 64 && of_kin.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(Job::LinkRequest(LinkRequestId::new()).group(), None);
    }

    #[test]
    fn other_bodies_are_refused() {
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
        fn any_string_is_refused(body in any::<String>()) {
            prop_assert_eq!(Job::parse(&body), Err(NotAJob));
        }
    }
}
