//! Request id and X-Ray trace, which travel with a job through the queue and connect the logs of API and
//! worker.

use crate::config;

tokio::task_local! {
    static REQUEST: String;
}

/// Runs `work` as part of the request with this id.
pub async fn within<F: Future>(request_id: String, work: F) -> F::Output {
    REQUEST.scope(request_id, work).await
}

/// Returns the id of the current request, if there is one.
#[must_use]
pub fn request_id() -> Option<String> {
    REQUEST.try_with(Clone::clone).ok()
}

/// Returns the AWS X-Ray trace header of this invocation, which Lambda's runtime sets.
#[must_use]
pub fn trace() -> Option<String> {
    config::TRACE.optional().filter(|trace| trace.starts_with("Root="))
}

/// Returns the trace id of a trace header.
#[must_use]
pub fn trace_id(header: &str) -> Option<&str> {
    header.split(';').find_map(|part| part.trim().strip_prefix("Root="))
}
