//! Collects the checker's evidence: rows as the owner sees them, and SMS that the carrier accepted.

use shared::ids::MessageId;
use sqlx::Row;

use super::checker::{Acknowledged, Evidence, Notification, SentSms};
use crate::System;

/// The whole evidence of a run.
pub(super) async fn gather(system: &System, acknowledged: Vec<Acknowledged>) -> Evidence {
    let rows = sqlx::query(
        "SELECT n.message_id, m.body, u.phone, n.state, n.reason
         FROM notifications n
         JOIN messages m ON m.thread_id = n.thread_id AND m.message_id = n.message_id
         JOIN users u ON u.family_id = n.family_id AND u.user_id = n.recipient_id",
    )
    .fetch_all(&system.owner)
    .await
    .expect("rows");
    let notifications = rows.iter().map(|row| Notification {
        message_id: row.get::<MessageId, _>("message_id").to_string(),
        said: row.get("body"),
        phone: row.get("phone"),
        state: row.get("state"),
        reason: row.get("reason"),
    });
    let sms = system.stack.carrier.received(None);
    let sms = sms.into_iter().map(|sms| SentSms { said: said(&sms.body), phone: sms.phone });
    Evidence { acknowledged, notifications: notifications.collect(), sms: sms.collect() }
}

/// An SMS's preview of its message: the text between sender and link.
fn said(body: &str) -> String {
    let said = body.split_once(": ").map_or(body, |(_sender, said)| said);
    said.split_once(" https://").map_or(said, |(said, _link)| said).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preview_is_what_is_between_sender_and_link() {
        assert_eq!(said("Name0: post 17 https://kin.example/l#aXY.z"), "post 17");
        assert_eq!(said("something else"), "something else");
    }
}
