//! The body of a message in the queue: refused, or exactly the job of its JSON.

use serde_json::{Value, json};
use shared::queue::Job;

/// Input: a body.
pub(crate) fn harness(bytes: &[u8]) {
    let body = String::from_utf8_lossy(bytes);
    let Ok(job) = Job::parse(&body) else { return };
    let expected = match job {
        Job::Notification(job) => {
            json!({ "v": 1, "familyId": job.family_id, "notificationId": job.notification_id })
        }
        Job::LinkRequest(id) => json!({ "v": 1, "linkRequestId": id }),
    };
    let mut said: Value = serde_json::from_str(&body).expect("JSON");
    if let Value::Object(fields) = &mut said {
        // A missing field may be null.
        fields.retain(|_, value| !value.is_null());
    }
    assert_eq!(said, expected);
}
