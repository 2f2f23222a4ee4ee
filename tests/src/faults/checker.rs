//! Judges a run by what the carrier accepted and clients were told, not by the states of rows.

use std::collections::{BTreeMap, BTreeSet};

/// Most broken rules that a verdict lists.
const SPELLED_OUT: usize = 10;

/// The outcome of a run, once no notification waits.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The posts that were acknowledged to a client.
    pub acknowledged: Vec<Acknowledged>,
    /// Every notification's row.
    pub notifications: Vec<Notification>,
    /// Every SMS that the carrier accepted.
    pub sms: Vec<SentSms>,
}

/// A post that was acknowledged to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// The message's id, as in the answer.
    pub message_id: String,
    /// The number of SMS that the answer promised.
    pub queued: usize,
}

/// The columns of a notification that are about its SMS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The message's id.
    pub message_id: String,
    /// The message's text, which is unique in a run.
    pub said: String,
    /// The recipient's number.
    pub phone: String,
    /// Its state.
    pub state: String,
    /// The reason for its state.
    pub reason: Option<String>,
}

/// An SMS that the carrier accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentSms {
    /// The handset's number.
    pub phone: String,
    /// Its preview of the message.
    pub said: String,
}

/// The checker's verdict.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Most SMS about one message to one recipient.
    pub sends_max: usize,
    /// Promised SMS that were neither sent nor ended in a state with a reason.
    pub lost: usize,
    /// Notifications in the state `unknown`.
    pub unknown: usize,
    /// The rules that were broken, in words; empty if all held.
    pub broken: Vec<String>,
    broken_count: usize,
}

impl Verdict {
    /// Records a broken rule unless `held`.
    pub fn must(&mut self, held: bool, rule: impl FnOnce() -> String) {
        if held {
            return;
        }
        self.broken_count += 1;
        match self.broken_count {
            ..=SPELLED_OUT => self.broken.push(rule()),
            n if n == SPELLED_OUT + 1 => self.broken.push("and more".to_owned()),
            _ => {}
        }
    }
}

/// Judges a run: no SMS sent twice, none lost, no false state.
#[must_use]
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    let mut sends: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for text in &evidence.sms {
        *sends.entry((&text.said, &text.phone)).or_default() += 1;
    }
    verdict.sends_max = sends.values().copied().max().unwrap_or_default();
    for ((said, phone), count) in &sends {
        verdict.must(*count <= 1, || format!("{count} SMS '{said}' to {phone}"));
    }

    let mut accounted: BTreeMap<&str, usize> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for row in &evidence.notifications {
        let pair = (row.said.as_str(), row.phone.as_str());
        verdict.must(known.insert(pair), || format!("two rows of '{}' to {}", pair.0, pair.1));
        let sent = sends.get(&pair).copied().unwrap_or_default();
        let honest = is_honest(row, sent);
        verdict.must(honest, || {
            let Notification { state, reason, .. } = row;
            format!("'{}' to {}: {state} ({reason:?}) with {sent} SMS", pair.0, pair.1)
        });
        verdict.unknown += usize::from(row.state == "unknown");
        // An SMS that arrived isn't lost, in any state of its row.
        if honest || sent > 0 {
            *accounted.entry(&row.message_id).or_default() += 1;
        }
    }
    for (said, phone) in sends.keys().filter(|pair| !known.contains(*pair)) {
        verdict.must(false, || format!("SMS '{said}' to {phone} has no row"));
    }
    for Acknowledged { message_id, queued } in &evidence.acknowledged {
        let found = accounted.get(message_id.as_str()).copied().unwrap_or_default();
        let lost = queued.saturating_sub(found);
        verdict.lost += lost;
        verdict.must(lost == 0, || format!("{lost} of {queued} SMS of {message_id} are lost"));
    }
    verdict
}

/// Whether a row is in a final state that agrees with what the carrier accepted.
fn is_honest(row: &Notification, sent: usize) -> bool {
    match row.state.as_str() {
        "sent" => sent > 0,
        "unknown" => row.reason.is_some(),
        // Expired after a day: no run takes a day, so this one was lost.
        "failed" if row.reason.as_deref() == Some("expired") => false,
        "failed" | "suppressed" | "merged" | "cancelled" => row.reason.is_some() && sent == 0,
        // Still waiting at the end of the run.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledged(queued: usize) -> Acknowledged {
        Acknowledged { message_id: "msg_1".to_owned(), queued }
    }

    fn row(phone: &str, state: &str, reason: Option<&str>) -> Notification {
        Notification {
            message_id: "msg_1".to_owned(),
            said: "pie".to_owned(),
            phone: phone.to_owned(),
            state: state.to_owned(),
            reason: reason.map(str::to_owned),
        }
    }

    fn text(phone: &str) -> SentSms {
        SentSms { phone: phone.to_owned(), said: "pie".to_owned() }
    }

    fn judged(rows: Vec<Notification>, sms: Vec<SentSms>, queued: usize) -> Verdict {
        let acknowledged = vec![acknowledged(queued)];
        judge(&Evidence { acknowledged, notifications: rows, sms })
    }

    #[test]
    fn honest_outcomes_pass() {
        let rows = vec![
            row("1", "sent", None),
            row("2", "unknown", Some("timeout")),
            row("3", "unknown", Some("lease_expired")),
            row("4", "failed", Some("invalid_number")),
        ];
        let verdict = judged(rows, vec![text("1"), text("2")], 4);
        assert_eq!(verdict.broken, Vec::<String>::new());
        assert_eq!((verdict.sends_max, verdict.lost, verdict.unknown), (1, 0, 2));
    }

    #[test]
    fn an_sms_sent_twice_is_found() {
        let verdict = judged(vec![row("1", "sent", None)], vec![text("1"), text("1")], 1);
        assert_eq!((verdict.sends_max, verdict.lost), (2, 0));
        assert_eq!(verdict.broken, ["2 SMS 'pie' to 1"]);
    }

    #[test]
    fn lost_sms_are_found() {
        // One without a row, and one that waits for ever.
        let verdict = judged(vec![row("1", "pending", None)], Vec::new(), 2);
        assert_eq!((verdict.sends_max, verdict.lost), (0, 2));
        assert_eq!(verdict.broken.len(), 2, "{:?}", verdict.broken);
    }

    #[test]
    fn a_false_state_is_found() {
        for (row, sms, lost) in [
            (row("1", "sent", None), vec![], 1),
            (row("1", "failed", Some("invalid_number")), vec![text("1")], 0),
            (row("1", "failed", None), vec![], 1),
            (row("1", "failed", Some("expired")), vec![], 1),
            (row("1", "unknown", None), vec![], 1),
            (row("1", "sending", None), vec![text("1")], 0),
        ] {
            let verdict = judged(vec![row.clone()], sms, 1);
            assert_eq!(verdict.lost, lost, "{row:?}");
            assert!(!verdict.broken.is_empty(), "{row:?}");
        }
    }

    #[test]
    fn an_sms_without_a_row_is_found() {
        let verdict = judged(vec![row("1", "sent", None)], vec![text("1"), text("2")], 1);
        assert_eq!(verdict.broken, ["SMS 'pie' to 2 has no row"]);
    }

    #[test]
    fn a_long_list_is_cut() {
        let rows = (0..50).map(|i| row(&i.to_string(), "sent", None)).collect();
        let verdict = judged(rows, Vec::new(), 50);
        assert_eq!((verdict.broken.len(), verdict.lost), (SPELLED_OUT + 1, 50));
    }
}
