//! What a record of the queue says beside its body: which request it came of, and when it was sent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::SqsMessage;
use platform::trace;
use shared::queue::REQUEST_ID;

/// Where a job came from, for the log and the figures; all of it may be missing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// The request that it came of.
    pub(crate) request_id: Option<String>,
    /// AWS X-Ray's trace, as its header says it.
    trace: Option<String>,
    /// When the queue took it.
    sent: Option<SystemTime>,
}

impl Origin {
    /// What `record` says.
    pub(crate) fn of(record: &SqsMessage) -> Self {
        let attribute = record.message_attributes.get(REQUEST_ID);
        let sent = record.attributes.get("SentTimestamp").and_then(|sent| sent.parse().ok());
        Self {
            request_id: attribute.and_then(|attribute| attribute.string_value.clone()),
            trace: record.attributes.get("AWSTraceHeader").cloned(),
            sent: sent.map(|milliseconds| UNIX_EPOCH + Duration::from_millis(milliseconds)),
        }
    }

    /// The id of the trace.
    pub(crate) fn trace_id(&self) -> Option<&str> {
        self.trace.as_deref().and_then(trace::trace_id)
    }

    /// How long ago the queue took it.
    pub(crate) fn waited(&self) -> Option<Duration> {
        self.sent.and_then(|sent| sent.elapsed().ok())
    }
}
