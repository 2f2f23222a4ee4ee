//! Requests for a link: each becomes an SMS to every member with the number, or to none.

use std::collections::HashMap;

use shared::{ids::LinkRequestId, links, queue::NotificationJob};

use crate::{Worker, record::Attributes};

/// The SMS that `requests` come to, each with its request; `None` when they can't be answered now.
///
/// They are committed: should this worker go no further, the sweeper finds them.
pub(crate) async fn answer(
    worker: &Worker,
    requests: &HashMap<LinkRequestId, &Attributes>,
) -> Option<Vec<(LinkRequestId, NotificationJob)>> {
    if requests.is_empty() {
        return Some(Vec::new());
    }
    for attributes in requests.values() {
        let (request, trace) = (attributes.request_id.as_deref(), attributes.trace_id());
        tracing::info!(request.id = request, trace.id = trace, "a link is asked for");
    }
    let ids: Vec<LinkRequestId> = requests.keys().copied().collect();
    match links::answer(&worker.db, &ids).await {
        Ok(due) => Some(due),
        Err(error) => {
            let error = error.with_causes();
            tracing::error!(requests = requests.len(), error, "can't answer requests");
            None
        }
    }
}
