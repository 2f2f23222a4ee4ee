//! The queue of jobs, which only wake the worker: the database has the work.

use std::time::Duration;

use platform::{config::ConfigError, sqs};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    config,
    ids::{FamilyId, LinkRequestId, NotificationId, SmsId, ThreadId, UserId},
};

/// Time limit for enqueueing. The sweeper enqueues the rest.
const BUDGET: Duration = Duration::from_secs(1);

/// A job of the worker: a message of the queue.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Job {
    /// A member of a thread may be due an SMS.
    Reach(Recipient),
    /// An SMS is due, again or for the first time.
    Sms(SmsJob),
    /// A link was requested.
    LinkRequest(LinkRequestId),
}

/// A member of a thread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::FromRow)]
pub struct Recipient {
    /// The family.
    pub family_id: FamilyId,
    /// The thread.
    pub thread_id: ThreadId,
    /// The user.
    pub user_id: UserId,
}

/// An SMS that has a row, with its family.
#[derive(Debug, Clone, PartialEq, Eq, Hash, sqlx::FromRow)]
pub struct SmsJob {
    /// The SMS's family.
    pub family_id: FamilyId,
    /// The SMS.
    pub sms_id: SmsId,
}

/// A body that is not a job of a supported version. Never holds the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a job")]
pub struct NotAJob;

/// The wire format of a job: only ids, so that the queue holds no personal data.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    v: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family_id: Option<FamilyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_id: Option<ThreadId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sms_id: Option<SmsId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_request_id: Option<LinkRequestId>,
    /// Of version 1, which had a notification for each recipient of a message: its SMS has its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_id: Option<NotificationId>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Reach,
    Sms,
    LinkRequest,
}

impl Job {
    const VERSION: u8 = 2;

    /// Parses a message's body, of this version or the one before.
    ///
    /// # Errors
    /// [`NotAJob`].
    pub fn parse(body: &str) -> Result<Self, NotAJob> {
        let Wire {
            v,
            kind,
            family_id,
            thread_id,
            user_id,
            sms_id,
            link_request_id,
            notification_id,
        } = serde_json::from_str(body).map_err(|_| NotAJob)?;
        let ids = (family_id, thread_id, user_id, sms_id, link_request_id, notification_id);
        match (v, kind, ids) {
            (
                Self::VERSION,
                Some(Kind::Reach),
                (Some(family_id), Some(thread_id), Some(user_id), None, None, None),
            ) => Ok(Self::Reach(Recipient { family_id, thread_id, user_id })),
            (
                Self::VERSION,
                Some(Kind::Sms),
                (Some(family_id), None, None, Some(sms_id), None, None),
            ) => Ok(Self::Sms(SmsJob { family_id, sms_id })),
            (Self::VERSION, Some(Kind::LinkRequest), (None, None, None, None, Some(id), None))
            | (1, None, (None, None, None, None, Some(id), None)) => Ok(Self::LinkRequest(id)),
            (1, None, (Some(family_id), None, None, None, None, Some(id))) => {
                let sms_id = SmsId::from_bytes(id.to_bytes());
                Ok(Self::Sms(SmsJob { family_id, sms_id }))
            }
            _ => Err(NotAJob),
        }
    }

    /// Returns the group that the message belongs to: its family, so that SMS of a family with a backlog do
    /// not delay another's. A digest, since metrics and logs of AWS show groups, but no bodies. A requested
    /// link has no family yet, so it waits for none.
    fn group(&self) -> Option<String> {
        let family_id = match self {
            Self::Reach(member) => &member.family_id,
            Self::Sms(sms) => &sms.family_id,
            Self::LinkRequest(_) => return None,
        };
        Some(hex::encode(Sha256::digest(format!("job-group:{}", family_id.as_str()))))
    }

    /// Returns the message.
    fn message(&self) -> Result<sqs::NewMessage, serde_json::Error> {
        Ok(sqs::NewMessage { body: self.body()?, group: self.group(), delay_seconds: 0 })
    }

    /// Returns the message's body.
    fn body(&self) -> Result<String, serde_json::Error> {
        let wire = Wire { v: Self::VERSION, ..Wire::default() };
        serde_json::to_string(&match self.clone() {
            Self::Reach(Recipient { family_id, thread_id, user_id }) => Wire {
                kind: Some(Kind::Reach),
                family_id: Some(family_id),
                thread_id: Some(thread_id),
                user_id: Some(user_id),
                ..wire
            },
            Self::Sms(SmsJob { family_id, sms_id }) => Wire {
                kind: Some(Kind::Sms),
                family_id: Some(family_id),
                sms_id: Some(sms_id),
                ..wire
            },
            Self::LinkRequest(id) => {
                Wire { kind: Some(Kind::LinkRequest), link_request_id: Some(id), ..wire }
            }
        })
    }
}

/// Empty polls in a row after which the queue counts as empty.
const EMPTY_POLLS: u32 = 5;

/// Visibility timeout of dead letters while they are moved, in seconds: longer than a redrive takes, so that
/// each is received once.
const REDRIVE_SECONDS: i32 = 60 * 60;

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
        self.send(jobs, 0).await
    }

    /// Sends `jobs`, as [`Self::enqueue`] does, that the worker gets a second later.
    pub async fn enqueue_later(&self, jobs: &[Job]) -> Vec<Job> {
        self.send(jobs, 1).await
    }

    async fn send(&self, jobs: &[Job], delay_seconds: i32) -> Vec<Job> {
        if jobs.is_empty() {
            return Vec::new();
        }
        let message = |job: &Job| Ok(sqs::NewMessage { delay_seconds, ..job.message()? });
        // Serializing a job can't fail.
        let messages: Result<Vec<_>, serde_json::Error> = jobs.iter().map(message).collect();
        let Ok(messages) = messages else {
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

    fn family() -> FamilyId {
        "fam".parse().expect("an id")
    }

    #[test]
    fn a_job_has_only_ids_and_round_trips() {
        let (thread_id, sms_id, request) = (ThreadId::new(), SmsId::new(), LinkRequestId::new());
        let user_id = "u1".parse().expect("an id");
        let reach = Job::Reach(Recipient { family_id: family(), thread_id, user_id });
        for (job, body) in [
            (
                reach,
                format!(
                    r#""kind":"reach","familyId":"fam","threadId":"{thread_id}","userId":"u1""#
                ),
            ),
            (
                Job::Sms(SmsJob { family_id: family(), sms_id }),
                format!(r#""kind":"sms","familyId":"fam","smsId":"{sms_id}""#),
            ),
            (
                Job::LinkRequest(request),
                format!(r#""kind":"link_request","linkRequestId":"{request}""#),
            ),
        ] {
            let body = format!(r#"{{"v":2,{body}}}"#);
            assert_eq!(job.body().expect("JSON"), body);
            assert_eq!(Job::parse(&body), Ok(job));
        }
    }

    #[test]
    fn jobs_of_a_family_have_its_group_which_does_not_name_it() {
        let group = |family: &str| {
            let family_id = family.parse().expect("an id");
            Job::Sms(SmsJob { family_id, sms_id: SmsId::new() }).group()
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
    fn jobs_of_version_1_are_understood() {
        let (id, request) = (NotificationId::new(), LinkRequestId::new());
        let sms_id = SmsId::from_bytes(id.to_bytes());
        for (job, body) in [
            (
                Job::Sms(SmsJob { family_id: family(), sms_id }),
                format!(r#"{{"v":1,"familyId":"fam","notificationId":"{id}"}}"#),
            ),
            (Job::LinkRequest(request), format!(r#"{{"v":1,"linkRequestId":"{request}"}}"#)),
        ] {
            assert_eq!(Job::parse(&body), Ok(job));
        }
    }

    #[test]
    fn other_bodies_are_refused() {
        let (id, request, thread) = (SmsId::new(), LinkRequestId::new(), ThreadId::new());
        for body in [
            String::new(),
            "{}".to_owned(),
            "null".to_owned(),
            r#"{"v":2}"#.to_owned(),
            r#"{"v":2,"kind":"sms","familyId":"fam"}"#.to_owned(),
            format!(r#"{{"v":3,"kind":"sms","familyId":"fam","smsId":"{id}"}}"#),
            format!(r#"{{"v":2,"familyId":"fam","smsId":"{id}"}}"#),
            format!(r#"{{"v":2,"kind":"reach","familyId":"fam","smsId":"{id}"}}"#),
            format!(r#"{{"v":2,"kind":"reach","familyId":"fam","threadId":"{thread}"}}"#),
            format!(r#"{{"v":1,"kind":"sms","familyId":"fam","smsId":"{id}"}}"#),
            format!(r#"{{"v":2,"kind":"sms","familyId":"a,b","smsId":"{id}"}}"#),
            format!(r#"{{"v":2,"kind":"sms","familyId":"fam","smsId":"{id}","phone":"+1"}}"#),
            format!(
                r#"{{"v":2,"kind":"sms","familyId":"fam","smsId":"{id}","linkRequestId":"{request}"}}"#
            ),
            r#"{"v":2,"kind":"sms","familyId":"fam","smsId":"msg_00"}"#.to_owned(),
            format!(r#"{{"v":1,"familyId":"fam","notificationId":"{id}"}}"#),
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
