//! Kinline's worker: a batch of wake-up calls from the queue becomes SMS. And the sweep.
//!
//! The records say only which notifications are due; the database says what is to be done, and
//! every outcome goes there before its record is acknowledged.

pub mod carriers;
mod jobs;
mod record;
pub mod sms;
mod sweep;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use platform::config::ConfigError;
use shared::{
    config,
    db::{Database, Pool},
    links::LinkKeys,
    queue::Job,
};

pub use self::sweep::{Swept, sweep};
use crate::{carriers::sns::Sns, record::Attributes, sms::Limits};

/// With less time left than this nothing is begun: a send may take 5 s, and recording it must fit.
const LEAST_TIME: Duration = Duration::from_secs(8);

/// All that turning jobs into texts needs. Cheap to clone.
#[derive(Clone)]
pub struct Worker {
    /// The pool, of the worker's role.
    pub db: Pool,
    /// The way to the carrier.
    pub sns: Sns,
    /// What signs the links.
    pub keys: Arc<LinkKeys>,
    /// What the links begin with: scheme and host, no slash at the end.
    pub public_url: Arc<str>,
    /// How long a text may be.
    pub limits: Limits,
    /// How often a member is told how to opt out; `None` is never.
    pub stop_notices: Option<Duration>,
}

/// Reads `KINLINE_SMS_STOP_NOTICE_DAYS`: how often a member's texts say how to opt out, the first one
/// being the first time. 0 by default, which is never.
///
/// # Errors
/// [`ConfigError`] when it is no number of days up to ten years.
pub fn stop_notices_from_env() -> Result<Option<Duration>, ConfigError> {
    match config::SMS_STOP_NOTICE_DAYS.parsed(0_u32)? {
        0 => Ok(None),
        days if days <= 3650 => Ok(Some(Duration::from_hours(24 * u64::from(days)))),
        _ => Err(config::SMS_STOP_NOTICE_DAYS.invalid("must be 0 to 3650")),
    }
}

impl Worker {
    /// What the Lambda function's environment says.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub async fn from_env() -> Result<Self, ConfigError> {
        let url = config::PUBLIC_URL.url()?;
        let url = url.trim_end_matches('/');
        let limits = Limits::from_env()?;
        let stop_notices = stop_notices_from_env()?;
        limits.check_url(config::PUBLIC_URL, url, stop_notices.is_some())?;
        Ok(Self {
            db: Database::from_env().await?.pool(),
            sns: Sns::from_env()?,
            keys: Arc::new(LinkKeys::from_env().await?),
            public_url: url.into(),
            limits,
            stop_notices,
        })
    }

    /// Sends what the records of `event` wake it for, and names those that must come back: a
    /// record that is no job, that could not be begun before `deadline`, or whose outcome could
    /// not be written down. Every other record has done its work.
    pub async fn handle_batch(&self, event: SqsEvent, deadline: Instant) -> SqsBatchResponse {
        let mut failed = Vec::new();
        let mut records = Vec::new();
        for mut record in event.records {
            let attributes = Attributes::of(&record);
            let Some(message_id) = record.message_id.take().filter(|id| !id.is_empty()) else {
                // Naming it would fail the whole batch; the database knows what it was for.
                tracing::error!("record without an id");
                continue;
            };
            if let Ok(job) = Job::parse(record.body.as_deref().unwrap_or_default()) {
                records.push((message_id, job, attributes));
            } else {
                let request_id = attributes.request_id.as_deref();
                tracing::error!(
                    record.id = message_id,
                    request.id = request_id,
                    "record is no job"
                );
                failed.push(message_id);
            }
        }
        if records.is_empty() {
            // Nothing of it was a job.
        } else if deadline.saturating_duration_since(Instant::now()) < LEAST_TIME {
            tracing::warn!(records = records.len(), "no time left to begin");
            failed.extend(records.into_iter().map(|(message_id, ..)| message_id));
        } else {
            failed.extend(jobs::handle(self, records, deadline).await);
        }
        let mut response = SqsBatchResponse::default();
        for message_id in failed {
            response.add_failure(message_id);
        }
        response
    }
}
