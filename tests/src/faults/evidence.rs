//! Gathers what the checker judges: rows with their owner's eyes, texts as the carrier took them.

use shared::ids::MessageId;
use sqlx::Row;

use super::checker::{Acknowledged, Evidence, Notification, Text};
use crate::System;

/// All that there is to know of a run.
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
    let texts = system.stack.carrier.received(None);
    let texts = texts.into_iter().map(|sms| Text { said: said(&sms.body), phone: sms.phone });
    Evidence { acknowledged, notifications: notifications.collect(), texts: texts.collect() }
}

/// What a text says of its message: what stands between the sender and the link.
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
