//! Judges a run by what the carrier accepted and clients were told, not by the states of rows.

use std::collections::{BTreeMap, BTreeSet};

/// Most broken rules that a verdict lists.
const SPELLED_OUT: usize = 10;

/// The outcome of a run, once nothing waits.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The posts that were acknowledged to a client.
    pub acknowledged: Vec<Acknowledged>,
    /// The row of every SMS about messages.
    pub rows: Vec<Row>,
    /// Every message that a recipient's covers hold.
    pub covered: Vec<Covered>,
    /// Every SMS that the carrier accepted.
    pub sms: Vec<SentSms>,
}

/// A post that was acknowledged to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// The message's id, as in the answer.
    pub message_id: String,
    /// The number of recipients whom the answer promised an SMS about it, or about it and more.
    pub queued: usize,
}

/// The row of an SMS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub sms_id: String,
    /// Its state.
    pub state: String,
    /// The reason for its state.
    pub reason: Option<String>,
}

/// A message and a recipient, in one of the recipient's covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// The message's id.
    pub message_id: String,
    /// The message's number in its thread.
    pub seq: i64,
    /// The message's text, which is unique in a run.
    pub said: String,
    /// The recipient's number.
    pub phone: String,
    /// The SMS that stands for it; `None` if there was none to send.
    pub sms_id: Option<String>,
}

/// An SMS that the carrier accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentSms {
    /// The handset's number.
    pub phone: String,
    /// The message that it quotes.
    pub said: String,
    /// How many more messages it says are waiting.
    pub more: usize,
}

/// The checker's verdict.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Most SMS that stand for one message to one recipient.
    pub sends_max: usize,
    /// Messages and recipients that an accepted SMS stands for.
    pub reached: usize,
    /// Promised recipients of messages for whom no SMS was sent or ended in a state with a reason.
    pub lost: usize,
    /// SMS in the state `unknown`.
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

/// Judges a run: every message is covered once for each recipient, no cover's SMS was sent twice, none is
/// lost, no state is false, and each SMS says what it stands for.
#[must_use]
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    let mut pairs: BTreeMap<(&str, &str), &Covered> = BTreeMap::new();
    let mut covers: BTreeMap<&str, Vec<&Covered>> = BTreeMap::new();
    for covered in &evidence.covered {
        let Covered { said, phone, sms_id, .. } = covered;
        let once = pairs.insert((said, phone), covered).is_none();
        verdict.must(once, || format!("'{said}' is covered twice for {phone}"));
        if let Some(sms_id) = sms_id {
            covers.entry(sms_id).or_default().push(covered);
        }
    }

    // What an SMS quotes leads to its row.
    let mut sends: BTreeMap<&str, usize> = BTreeMap::new();
    for SentSms { phone, said, more } in &evidence.sms {
        let quoted = pairs.get(&(said, phone)).copied();
        let Some((quoted, sms_id)) = quoted.and_then(|c| Some((c, c.sms_id.as_deref()?))) else {
            verdict.must(false, || format!("SMS '{said}' to {phone} has no row"));
            continue;
        };
        *sends.entry(sms_id).or_default() += 1;
        let stands_for = &covers[sms_id];
        let newest = stands_for.iter().map(|covered| covered.seq).max();
        verdict.must(newest == Some(quoted.seq), || {
            format!("SMS '{said}' to {phone} covers newer messages")
        });
        let others = stands_for.len() - 1;
        verdict.must(*more == others, || {
            format!("SMS '{said}' to {phone} says {more} more, and covers {others}")
        });
    }
    verdict.sends_max = sends.values().copied().max().unwrap_or_default();
    for (sms_id, count) in &sends {
        let said = &covers[sms_id][0].said;
        verdict.must(*count <= 1, || format!("{count} SMS stand for '{said}'"));
    }

    let mut accounted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for row in &evidence.rows {
        let Row { sms_id, state, reason } = row;
        known.insert(sms_id.as_str());
        let sent = sends.get(sms_id.as_str()).copied().unwrap_or_default();
        let stands_for = covers.get(sms_id.as_str()).map(Vec::as_slice).unwrap_or_default();
        verdict.must(!stands_for.is_empty(), || format!("SMS {sms_id} covers nothing"));
        let honest = is_honest(row, sent);
        verdict.must(honest, || {
            let said = stands_for.first().map_or("nothing", |covered| covered.said.as_str());
            format!("SMS of '{said}': {state} ({reason:?}) with {sent} sent")
        });
        verdict.unknown += usize::from(state == "unknown");
        verdict.reached += if sent > 0 { stands_for.len() } else { 0 };
        // An SMS that arrived isn't lost, in any state of its row.
        if honest || sent > 0 {
            for Covered { message_id, phone, .. } in stands_for {
                accounted.entry(message_id).or_default().insert(phone);
            }
        }
    }
    for sms_id in covers.keys().filter(|sms_id| !known.contains(*sms_id)) {
        verdict.must(false, || format!("covers of an SMS {sms_id} without a row"));
    }
    for Acknowledged { message_id, queued } in &evidence.acknowledged {
        let found = accounted.get(message_id.as_str()).map_or(0, BTreeSet::len);
        let lost = queued.saturating_sub(found);
        verdict.lost += lost;
        verdict
            .must(lost == 0, || format!("{lost} of {queued} recipients of {message_id} are lost"));
    }
    verdict
}

/// Whether a row is in a final state that agrees with what the carrier accepted.
fn is_honest(row: &Row, sent: usize) -> bool {
    match row.state.as_str() {
        "sent" => sent > 0,
        "unknown" => row.reason.is_some(),
        // Expired after three days: no run takes that long, so this one was lost.
        "failed" if row.reason.as_deref() == Some("expired") => false,
        "failed" | "suppressed" | "cancelled" => row.reason.is_some() && sent == 0,
        // Still waiting at the end of the run.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(phone: &str, state: &str, reason: Option<&str>) -> Row {
        Row {
            sms_id: format!("sms to {phone}"),
            state: state.to_owned(),
            reason: reason.map(str::to_owned),
        }
    }

    /// A message `pie` with the number `seq`, covered by the SMS to `phone`.
    fn covered(seq: i64, phone: &str) -> Covered {
        Covered {
            message_id: format!("msg_{seq}"),
            seq,
            said: format!("pie {seq}"),
            phone: phone.to_owned(),
            sms_id: Some(format!("sms to {phone}")),
        }
    }

    fn text(seq: i64, phone: &str, more: usize) -> SentSms {
        SentSms { phone: phone.to_owned(), said: format!("pie {seq}"), more }
    }

    fn acknowledged(seq: i64, queued: usize) -> Acknowledged {
        Acknowledged { message_id: format!("msg_{seq}"), queued }
    }

    /// Judges a run with one post, which each row's SMS covers.
    fn judged(rows: Vec<Row>, sms: Vec<SentSms>, queued: usize) -> Verdict {
        let phones = rows.iter().map(|row| row.sms_id.replace("sms to ", ""));
        let covered = phones.map(|phone| covered(1, &phone)).collect();
        judge(&Evidence { acknowledged: vec![acknowledged(1, queued)], rows, covered, sms })
    }

    /// Three posts that one SMS covers.
    fn covering() -> Evidence {
        Evidence {
            acknowledged: (1..=3).map(|seq| acknowledged(seq, 1)).collect(),
            rows: vec![row("1", "sent", None)],
            covered: (1..=3).map(|seq| covered(seq, "1")).collect(),
            sms: vec![text(3, "1", 2)],
        }
    }

    #[test]
    fn honest_outcomes_pass() {
        let rows = vec![
            row("1", "sent", None),
            row("2", "unknown", Some("timeout")),
            row("3", "unknown", Some("lease_expired")),
            row("4", "failed", Some("invalid_number")),
        ];
        let verdict = judged(rows, vec![text(1, "1", 0), text(1, "2", 0)], 4);
        assert_eq!(verdict.broken, Vec::<String>::new());
        let Verdict { sends_max, reached, lost, unknown, .. } = verdict;
        assert_eq!((sends_max, reached, lost, unknown), (1, 2, 0, 2));
    }

    #[test]
    fn an_sms_that_covers_three_posts_reaches_with_all() {
        let verdict = judge(&covering());
        assert_eq!(verdict.broken, Vec::<String>::new());
        assert_eq!((verdict.sends_max, verdict.reached, verdict.lost), (1, 3, 0));
    }

    #[test]
    fn an_sms_sent_twice_is_found() {
        let sms = vec![text(1, "1", 0), text(1, "1", 0)];
        let verdict = judged(vec![row("1", "sent", None)], sms, 1);
        assert_eq!((verdict.sends_max, verdict.lost), (2, 0));
        assert_eq!(verdict.broken, ["2 SMS stand for 'pie 1'"]);
        // Also where the second quotes another of its messages.
        let mut evidence = covering();
        evidence.sms.push(text(2, "1", 2));
        let verdict = judge(&evidence);
        assert_eq!(verdict.sends_max, 2);
        assert_eq!(
            verdict.broken,
            ["SMS 'pie 2' to 1 covers newer messages", "2 SMS stand for 'pie 1'"]
        );
    }

    #[test]
    fn a_message_covered_twice_is_found() {
        let mut evidence = covering();
        let sms_id = Some("sms to 1 again".to_owned());
        evidence.covered.push(Covered { sms_id, ..covered(1, "1") });
        evidence.rows.push(Row { sms_id: "sms to 1 again".to_owned(), ..row("1", "sent", None) });
        evidence.sms.push(text(1, "1", 0));
        let verdict = judge(&evidence);
        assert!(verdict.broken.contains(&"'pie 1' is covered twice for 1".to_owned()));
    }

    #[test]
    fn an_sms_that_counts_wrongly_is_found() {
        let mut evidence = covering();
        evidence.sms = vec![text(3, "1", 1)];
        assert_eq!(judge(&evidence).broken, ["SMS 'pie 3' to 1 says 1 more, and covers 2"]);
    }

    #[test]
    fn lost_sms_are_found() {
        // One without a row, and one that waits for ever.
        let verdict = judged(vec![row("1", "pending", None)], Vec::new(), 2);
        assert_eq!((verdict.sends_max, verdict.lost), (0, 2));
        assert_eq!(verdict.broken.len(), 2, "{:?}", verdict.broken);
        // A post that no cover holds.
        let mut evidence = covering();
        evidence.acknowledged.push(acknowledged(4, 1));
        assert_eq!(judge(&evidence).broken, ["1 of 1 recipients of msg_4 are lost"]);
    }

    #[test]
    fn a_false_state_is_found() {
        for (row, sms, lost) in [
            (row("1", "sent", None), vec![], 1),
            (row("1", "failed", Some("invalid_number")), vec![text(1, "1", 0)], 0),
            (row("1", "failed", None), vec![], 1),
            (row("1", "failed", Some("expired")), vec![], 1),
            (row("1", "unknown", None), vec![], 1),
            (row("1", "sending", None), vec![text(1, "1", 0)], 0),
        ] {
            let verdict = judged(vec![row.clone()], sms, 1);
            assert_eq!(verdict.lost, lost, "{row:?}");
            assert!(!verdict.broken.is_empty(), "{row:?}");
        }
    }

    #[test]
    fn rows_without_sms_and_sms_without_rows_are_found() {
        let sms = vec![text(1, "1", 0), text(1, "2", 0)];
        let verdict = judged(vec![row("1", "sent", None)], sms, 1);
        assert_eq!(verdict.broken, ["SMS 'pie 1' to 2 has no row"]);
        let mut evidence = covering();
        evidence.rows.push(row("2", "cancelled", Some("read")));
        assert_eq!(judge(&evidence).broken, ["SMS sms to 2 covers nothing"]);
        evidence = covering();
        evidence.rows.clear();
        assert!(
            judge(&evidence).broken.contains(&"covers of an SMS sms to 1 without a row".into())
        );
    }

    #[test]
    fn a_long_list_is_cut() {
        let rows = (0..50).map(|i| row(&i.to_string(), "sent", None)).collect();
        let verdict = judged(rows, Vec::new(), 50);
        assert_eq!((verdict.broken.len(), verdict.lost), (SPELLED_OUT + 1, 50));
    }
}
