//! Cursors: refused, or the one spelling of a place that the database can be asked for.

use shared::cursor::{BadCursor, HistoryCursor, InboxCursor};

use crate::input::byte;

/// A byte that says which: the rest as a cursor, or as the bytes that one is written from.
pub(crate) fn harness(bytes: &[u8]) {
    let (which, rest) = byte(bytes);
    let text = match (which % 2, std::str::from_utf8(rest)) {
        (0, Ok(text)) => text.to_owned(),
        _ => base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, rest),
    };
    let (history, inbox) = (HistoryCursor::decode(&text), InboxCursor::decode(&text));
    if let Ok(cursor) = history {
        assert_eq!(cursor.encode(), text, "another spelling");
        assert!(0 <= cursor.seq && cursor.seq <= cursor.latest);
        assert!(cursor.latest.checked_add(1_000_000).is_some(), "a page further overflows");
        assert_eq!(inbox, Err(BadCursor), "one cursor of two kinds");
    }
    if let Ok(cursor) = inbox {
        assert_eq!(cursor.encode(), text, "another spelling");
        assert!((1970..=9999).contains(&cursor.active_at.year()));
    }
}
