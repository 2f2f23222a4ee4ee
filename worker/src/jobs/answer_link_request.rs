//! Link requests: each becomes an SMS to every user with the number, if there is one.

use std::collections::HashMap;

use shared::{ids::LinkRequestId, links, queue::Job};

use crate::{Worker, record::Attributes};

/// Turns `requests` into SMS, each with its request. `None` if they can't be answered now.
///
/// The SMS are committed: if this worker stops, the sweeper enqueues them.
pub(crate) async fn answer(
    worker: &Worker,
    requests: &HashMap<LinkRequestId, &Attributes>,
) -> Option<Vec<(LinkRequestId, Job)>> {
    if requests.is_empty() {
        return Some(Vec::new());
    }
    for attributes in requests.values() {
        let (request, trace) = (attributes.request_id.as_deref(), attributes.trace_id());
        tracing::info!(request.id = request, trace.id = trace, "link requested");
    }
    let ids: Vec<LinkRequestId> = requests.keys().copied().collect();
    match links::answer(&worker.db, &ids).await {
        Ok(due) => Some(due),
        Err(error) => {
            let error = error.with_causes();
            tracing::error!(requests = requests.len(), error, "can't answer link requests");
            None
        }
    }
}
