//! Collects the checker's evidence: rows as the owner sees them, and SMS that the carrier accepted.

use shared::ids::{MessageId, SmsId};
use sqlx::Row as _;

use super::checker::{Acknowledged, Covered, Evidence, Row, SentSms};
use crate::System;

/// The whole evidence of a run.
pub(super) async fn gather(system: &System, acknowledged: Vec<Acknowledged>) -> Evidence {
    let rows = sqlx::query("SELECT sms_id, state, reason FROM sms WHERE kind = 'message'")
        .fetch_all(&system.owner)
        .await
        .expect("rows");
    let rows = rows.iter().map(|row| Row {
        sms_id: row.get::<SmsId, _>("sms_id").to_string(),
        state: row.get("state"),
        reason: row.get("reason"),
    });
    let covered = sqlx::query(
        "SELECT m.message_id, m.seq, m.body, u.phone, c.sms_id
         FROM sms_covers c
         JOIN messages m ON m.family_id = c.family_id AND m.thread_id = c.thread_id
             AND m.seq BETWEEN c.from_seq AND c.to_seq AND m.author_id <> c.user_id
         JOIN users u ON u.family_id = c.family_id AND u.user_id = c.user_id",
    )
    .fetch_all(&system.owner)
    .await
    .expect("covers");
    let covered = covered.iter().map(|row| Covered {
        message_id: row.get::<MessageId, _>("message_id").to_string(),
        seq: row.get("seq"),
        said: row.get("body"),
        phone: row.get("phone"),
        sms_id: row.get::<Option<SmsId>, _>("sms_id").map(|id| id.to_string()),
    });
    let sms = system.stack.carrier.received(None);
    let sms = sms.into_iter().map(|sms| {
        let (more, said) = said(&sms.body);
        SentSms { more, said: said.to_owned(), phone: sms.phone }
    });
    Evidence { acknowledged, rows: rows.collect(), covered: covered.collect(), sms: sms.collect() }
}

/// What an SMS says of its messages: how many more are waiting, and the preview of the newest, which is
/// between the sender and the link.
fn said(body: &str) -> (usize, &str) {
    let (head, said) = body.split_once(": ").unwrap_or(("", body));
    let more = head.split_once(" +").map_or("0", |(_sender, rest)| rest);
    let more = more.split(' ').next().unwrap_or_default().parse().unwrap_or_default();
    (more, said.split_once(" https://").map_or(said, |(said, _link)| said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preview_is_what_is_between_sender_and_link() {
        assert_eq!(said("Name0: post 17 https://kin.example/l#aXY.z"), (0, "post 17"));
        assert_eq!(
            said("Name0 +12 in Family Chat: post 17 https://kin.example/l#aXY.z"),
            (12, "post 17")
        );
        assert_eq!(said("something else"), (0, "something else"));
    }
}
