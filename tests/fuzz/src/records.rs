//! An event of the queue: no record is lost, with any others in its batch, and none is reported twice.

use std::time::{Duration, Instant};

use aws_lambda_events::sqs::SqsEvent;

use crate::nowhere;

/// Input: an event. The worker has no database, so every record must be reported as failed.
pub(crate) fn harness(bytes: &[u8]) {
    let Ok(event) = serde_json::from_slice::<SqsEvent>(bytes) else { return };
    let ids = event.records.iter().filter_map(|record| record.message_id.clone());
    let mut sent: Vec<String> = ids.filter(|id| !id.is_empty()).collect();
    nowhere::with(|nowhere| {
        let deadline = Instant::now() + Duration::from_mins(1);
        let response = nowhere.runtime.block_on(nowhere.worker.handle_batch(event, deadline));
        let failures = response.batch_item_failures.into_iter();
        let mut back: Vec<String> = failures.map(|failure| failure.item_identifier).collect();
        sent.sort_unstable();
        back.sort_unstable();
        assert_eq!(back, sent);
        serde_json::to_string(&back).expect("what the runtime sends is JSON");
    });
}
