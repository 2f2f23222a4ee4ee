//! Cursors: refused, or the only spelling of a place that the database accepts.

use shared::cursor::{AuditCursor, ExportCursor, HistoryCursor, InboxCursor};

use crate::input::byte;

/// Input: a byte that selects the kind; then a cursor, or the bytes that one is encoded from.
pub(crate) fn harness(bytes: &[u8]) {
    let (which, rest) = byte(bytes);
    let text = match (which % 2, std::str::from_utf8(rest)) {
        (0, Ok(text)) => text.to_owned(),
        _ => base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, rest),
    };
    let history = HistoryCursor::decode(&text).ok();
    let inbox = InboxCursor::decode(&text).ok();
    let audit = AuditCursor::decode(&text).ok();
    let export = ExportCursor::decode(&text).ok();
    let written = [
        history.map(HistoryCursor::encode),
        inbox.map(InboxCursor::encode),
        audit.map(AuditCursor::encode),
        export.map(|export| export.encode()),
    ];
    let written: Vec<String> = written.into_iter().flatten().collect();
    assert!(written.len() <= 1, "one cursor of two kinds");
    assert!(written.iter().all(|written| *written == text), "another spelling");
    if let Some(cursor) = history {
        assert!(0 <= cursor.seq && cursor.seq <= cursor.latest);
        assert!(cursor.latest.checked_add(1_000_000).is_some(), "a page further overflows");
    }
    if let Some(cursor) = inbox {
        assert!((1970..=9999).contains(&cursor.active_at.year()));
    }
}
