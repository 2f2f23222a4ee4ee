//! What began the work at hand: the request's id and AWS X-Ray's trace go with a job through the
//! queue, so that the lines of API, queue and worker can be put together.

use crate::config;

tokio::task_local! {
    static REQUEST: String;
}

/// Does `work` on behalf of the request of this id.
pub async fn within<F: Future>(request_id: String, work: F) -> F::Output {
    REQUEST.scope(request_id, work).await
}

/// The id of the request that is being worked for, if any is.
#[must_use]
pub fn request_id() -> Option<String> {
    REQUEST.try_with(Clone::clone).ok()
}

/// The trace of this invocation as AWS writes it in headers, which Lambda's runtime keeps there.
#[must_use]
pub fn trace() -> Option<String> {
    config::TRACE.optional().filter(|trace| trace.starts_with("Root="))
}

/// The id of a trace alone, of its header.
#[must_use]
pub fn trace_id(header: &str) -> Option<&str> {
    header.split(';').find_map(|part| part.trim().strip_prefix("Root="))
}
