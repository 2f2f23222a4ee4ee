//! The queue: a wake-up call for the worker. What is to be done stands in the database.

use std::time::Duration;

use platform::{config::ConfigError, sqs};
use serde::{Deserialize, Serialize};

use crate::{
    config,
    ids::{FamilyId, LinkRequestId, NotificationId},
};

/// What a post may spend on waking the worker. The sweeper does what is left.
const BUDGET: Duration = Duration::from_secs(1);

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
pub struct Queue(sqs::Queue);

impl Queue {
    /// The queue at `KINLINE_QUEUE_URL`, reached as the AWS SDK's own variables say.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self(sqs::Queue::from_env(config::QUEUE_URL.url()?)?))
    }

    /// The queue at `url`. A job sent twice does no harm, so sending is retried within the budget.
    #[must_use]
    pub fn new(config: sqs::Config, url: String) -> Self {
        Self(sqs::Queue::new(config, url))
    }

    /// Sends `jobs` within one second in all, and returns those that the queue did not take.
    ///
    /// Never fails: a job not taken is one that the sweeper will send.
    pub async fn enqueue(&self, jobs: &[Job]) -> Vec<Job> {
        // A job's JSON can't fail to be made.
        let Ok(bodies) = jobs.iter().map(Job::body).collect::<Result<Vec<_>, _>>() else {
            return jobs.to_vec();
        };
        let not_taken = self.0.send(&bodies, BUDGET).await;
        not_taken.into_iter().filter_map(|i| jobs.get(i).cloned()).collect()
    }

    /// Moves the jobs of a dead-letter queue back here; what is no job stays there as evidence.
    ///
    /// Each job is sent before it is deleted, so one may come twice, which sends no second text.
    ///
    /// # Errors
    /// When either queue can't be reached; what was moved by then has been moved.
    pub async fn redrive(&self, dead_letter_url: &str) -> Result<Redriven, sqs::Error> {
        let dead_letters = self.0.at(dead_letter_url);
        let (mut moved, mut left, mut empty, mut refused) = (0, Vec::new(), 0, false);
        // A short poll asks some of the queue's servers: one that finds nothing proves nothing.
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
        // Hidden until now, so that each was looked at once; a later redrive sees them again.
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
