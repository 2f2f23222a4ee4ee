//! The attributes of a queue's record.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::SqsMessage;
use platform::{sqs::REQUEST_ID, trace};

/// A record's attributes, for logs and metrics. All are optional.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes {
    /// The id of the request that sent it.
    pub(crate) request_id: Option<String>,
    /// The AWS X-Ray trace header.
    trace_header: Option<String>,
    /// When the queue accepted it.
    sent_at: Option<SystemTime>,
}

impl Attributes {
    /// Reads the attributes of `record`.
    pub(crate) fn of(record: &SqsMessage) -> Self {
        let attribute = record.message_attributes.get(REQUEST_ID);
        let sent = record.attributes.get("SentTimestamp").and_then(|sent| sent.parse().ok());
        Self {
            request_id: attribute.and_then(|attribute| attribute.string_value.clone()),
            trace_header: record.attributes.get("AWSTraceHeader").cloned(),
            sent_at: sent.map(|milliseconds| UNIX_EPOCH + Duration::from_millis(milliseconds)),
        }
    }

    /// Returns the id in the trace header.
    pub(crate) fn trace_id(&self) -> Option<&str> {
        self.trace_header.as_deref().and_then(trace::trace_id)
    }

    /// Returns the time since the queue accepted it.
    pub(crate) fn waited(&self) -> Option<Duration> {
        self.sent_at.and_then(|sent_at| sent_at.elapsed().ok())
    }
}
