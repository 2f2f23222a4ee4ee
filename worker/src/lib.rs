//! Kinline's worker, which handles batches of jobs from the queue, and the sweep.
//!
//! Records have only ids: the database has the work, and every outcome is stored there before its record is
//! acknowledged.

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
    delivery::Pacing,
    links::LinkKeys,
    queue::Job,
};

pub use self::sweep::{Swept, sweep};
use crate::{carriers::sns::Sns, record::Attributes, sms::Limits};

/// Minimum time to begin a batch: a send may take 5 s, and recording it must fit.
const LEAST_TIME: Duration = Duration::from_secs(8);

/// The worker's clients and settings. Cheap to clone.
#[derive(Clone)]
pub struct Worker {
    /// The connection pool, with the worker's role.
    pub db: Pool,
    /// The carrier.
    pub sns: Sns,
    /// The signing keys of links.
    pub keys: Arc<LinkKeys>,
    /// The base URL of links, without a slash at the end.
    pub public_url: Arc<str>,
    /// The maximum segments of an SMS.
    pub limits: Limits,
    /// How often SMS to a user must say how to opt out; `None` is never.
    pub stop_notices: Option<Duration>,
    /// The pace of a family's SMS.
    pub pacing: Pacing,
    /// The monthly cap of families without one, in segments; `None` is no cap.
    pub default_cap: Option<i32>,
}

/// Reads `KINLINE_SMS_STOP_NOTICE_DAYS`: how often SMS to a user say how to opt out, from the first SMS on. 0
/// by default, which is never.
///
/// # Errors
/// [`ConfigError`] when it is not a number of days up to ten years.
pub fn stop_notices_from_env() -> Result<Option<Duration>, ConfigError> {
    match config::SMS_STOP_NOTICE_DAYS.parsed(0_u32)? {
        0 => Ok(None),
        days if days <= 3650 => Ok(Some(Duration::from_hours(24 * u64::from(days)))),
        _ => Err(config::SMS_STOP_NOTICE_DAYS.invalid("must be 0 to 3650")),
    }
}

/// Reads `KINLINE_SMS_DEFAULT_CAP_SEGMENTS`: the monthly cap of families that have none of their own. 2,000 by
/// default; 0 is no cap.
///
/// # Errors
/// [`ConfigError`] when it is not such a number.
pub fn default_cap_from_env() -> Result<Option<i32>, ConfigError> {
    match config::SMS_DEFAULT_CAP_SEGMENTS.parsed(2000)? {
        0 => Ok(None),
        segments if segments > 0 => Ok(Some(segments)),
        _ => Err(config::SMS_DEFAULT_CAP_SEGMENTS.invalid("must be 0 or more")),
    }
}

impl Worker {
    /// Makes the worker from environment variables.
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
            pacing: Pacing::from_env()?,
            default_cap: default_cap_from_env()?,
        })
    }

    /// Handles the records of `event` and reports the failed ones: records that are not jobs, that could not
    /// be begun before `deadline`, or whose outcome could not be recorded.
    pub async fn handle_batch(&self, event: SqsEvent, deadline: Instant) -> SqsBatchResponse {
        let mut failed = Vec::new();
        let mut records = Vec::new();
        for mut record in event.records {
            let attributes = Attributes::of(&record);
            let Some(message_id) = record.message_id.take().filter(|id| !id.is_empty()) else {
                // Reporting it would fail the whole batch. The sweeper enqueues the work again.
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
                    "record is not a job"
                );
                failed.push(message_id);
            }
        }
        if records.is_empty() {
            // No record was a job.
        } else if deadline.saturating_duration_since(Instant::now()) < LEAST_TIME {
            tracing::warn!(records = records.len(), "not enough time left to begin");
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
