//! The body of a message in the queue: refused, or exactly the job of its JSON.

use serde_json::{Value, json};
use shared::{ids::NotificationId, queue::Job};

/// Input: a body.
pub(crate) fn harness(bytes: &[u8]) {
    let body = String::from_utf8_lossy(bytes);
    let Ok(job) = Job::parse(&body) else { return };
    let mut said: Value = serde_json::from_str(&body).expect("JSON");
    let old = said["v"] == 1;
    let expected = match job {
        Job::Reach(of) => json!({
            "v": 2, "kind": "reach", "familyId": of.family_id, "threadId": of.thread_id, "userId": of.user_id,
        }),
        Job::Sms(of) if old => {
            let id = NotificationId::from_bytes(of.sms_id.to_bytes());
            json!({ "v": 1, "familyId": of.family_id, "notificationId": id })
        }
        Job::Sms(of) => {
            json!({ "v": 2, "kind": "sms", "familyId": of.family_id, "smsId": of.sms_id })
        }
        Job::LinkRequest(id) if old => json!({ "v": 1, "linkRequestId": id }),
        Job::LinkRequest(id) => json!({ "v": 2, "kind": "link_request", "linkRequestId": id }),
    };
    if let Value::Object(fields) = &mut said {
        // A missing field may be null.
        fields.retain(|_, value| !value.is_null());
    }
    assert_eq!(said, expected);
}
