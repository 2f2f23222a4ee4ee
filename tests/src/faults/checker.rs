//! Judges a run from what the carrier took and what clients were told, not from what rows claim.

use std::collections::{BTreeMap, BTreeSet};

/// Most broken rules that a verdict spells out: past that they repeat themselves.
const SPELLED_OUT: usize = 10;

/// What a run leaves behind once nothing waits any more.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The posts that a client was told are there.
    pub acknowledged: Vec<Acknowledged>,
    /// Every notification's row.
    pub notifications: Vec<Notification>,
    /// Every text that the carrier took.
    pub texts: Vec<Text>,
}

/// A post that a client was told is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// The message's id, as in the answer.
    pub message_id: String,
    /// How many texts the answer promised.
    pub queued: usize,
}

/// A notification's row, as far as it says something about a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The message's id.
    pub message_id: String,
    /// What the message says; no two messages of a run say the same.
    pub said: String,
    /// The recipient's number.
    pub phone: String,
    /// Its state.
    pub state: String,
    /// Why it is in that state.
    pub reason: Option<String>,
}

/// A text that the carrier took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The handset's number.
    pub phone: String,
    /// What it says of the message.
    pub said: String,
}

/// What the checker found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Most texts about one message to one recipient.
    pub sends_max: usize,
    /// Promised texts that neither went out nor ended in a state that says why not.
    pub lost: usize,
    /// Notifications of which nobody can know whether the text went out.
    pub unknown: usize,
    /// The rules that were broken, in words. Empty: all held.
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

/// Judges a run. Never twice, never lost, and no state that says what isn't so.
#[must_use]
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    let mut sends: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for text in &evidence.texts {
        *sends.entry((&text.said, &text.phone)).or_default() += 1;
    }
    verdict.sends_max = sends.values().copied().max().unwrap_or_default();
    for ((said, phone), count) in &sends {
        verdict.must(*count <= 1, || format!("{count} texts '{said}' to {phone}"));
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
            format!("'{}' to {}: {state} ({reason:?}) with {sent} texts", pair.0, pair.1)
        });
        verdict.unknown += usize::from(row.state == "unknown");
        // A text that arrived isn't lost, whatever its row says.
        if honest || sent > 0 {
            *accounted.entry(&row.message_id).or_default() += 1;
        }
    }
    for (said, phone) in sends.keys().filter(|pair| !known.contains(*pair)) {
        verdict.must(false, || format!("text '{said}' to {phone} has no row"));
    }
    for Acknowledged { message_id, queued } in &evidence.acknowledged {
        let found = accounted.get(message_id.as_str()).copied().unwrap_or_default();
        let lost = queued.saturating_sub(found);
        verdict.lost += lost;
        verdict.must(lost == 0, || format!("{lost} of {queued} texts of {message_id} are lost"));
    }
    verdict
}

/// Whether a row is in a state it can stay in, and that agrees with what the carrier took.
fn is_honest(row: &Notification, sent: usize) -> bool {
    match row.state.as_str() {
        "sent" => sent > 0,
        "unknown" => row.reason.is_some(),
        // Given up after a day: nothing here takes a day, so somebody was forgotten.
        "failed" if row.reason.as_deref() == Some("expired") => false,
        "failed" | "suppressed" | "merged" | "cancelled" => row.reason.is_some() && sent == 0,
        // Still waiting: nothing was to wait any more.
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

    fn text(phone: &str) -> Text {
        Text { phone: phone.to_owned(), said: "pie".to_owned() }
    }

    fn judged(rows: Vec<Notification>, texts: Vec<Text>, queued: usize) -> Verdict {
        let acknowledged = vec![acknowledged(queued)];
        judge(&Evidence { acknowledged, notifications: rows, texts })
    }

    #[test]
    fn what_went_well_and_what_is_shown_as_it_is_are_fine() {
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
    fn a_text_that_came_twice_is_found() {
        let verdict = judged(vec![row("1", "sent", None)], vec![text("1"), text("1")], 1);
        assert_eq!((verdict.sends_max, verdict.lost), (2, 0));
        assert_eq!(verdict.broken, ["2 texts 'pie' to 1"]);
    }

    #[test]
    fn what_is_lost_is_found() {
        // No row at all, and one that would wait for ever.
        let verdict = judged(vec![row("1", "pending", None)], Vec::new(), 2);
        assert_eq!((verdict.sends_max, verdict.lost), (0, 2));
        assert_eq!(verdict.broken.len(), 2, "{:?}", verdict.broken);
    }

    #[test]
    fn a_state_that_says_what_is_not_so_is_found() {
        for (row, texts, lost) in [
            (row("1", "sent", None), vec![], 1),
            (row("1", "failed", Some("invalid_number")), vec![text("1")], 0),
            (row("1", "failed", None), vec![], 1),
            (row("1", "failed", Some("expired")), vec![], 1),
            (row("1", "unknown", None), vec![], 1),
            (row("1", "sending", None), vec![text("1")], 0),
        ] {
            let verdict = judged(vec![row.clone()], texts, 1);
            assert_eq!(verdict.lost, lost, "{row:?}");
            assert!(!verdict.broken.is_empty(), "{row:?}");
        }
    }

    #[test]
    fn a_text_of_nobodys_is_found() {
        let verdict = judged(vec![row("1", "sent", None)], vec![text("1"), text("2")], 1);
        assert_eq!(verdict.broken, ["text 'pie' to 2 has no row"]);
    }

    #[test]
    fn a_long_list_is_cut() {
        let rows = (0..50).map(|i| row(&i.to_string(), "sent", None)).collect();
        let verdict = judged(rows, Vec::new(), 50);
        assert_eq!((verdict.broken.len(), verdict.lost), (SPELLED_OUT + 1, 50));
    }
}
