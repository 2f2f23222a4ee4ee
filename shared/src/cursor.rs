//! Opaque cursors, which a client sends back to get the next page.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ids::{AuditEventId, ThreadId, UserId};

/// A string that is not a valid cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed cursor")]
pub struct BadCursor;

/// Greatest message number in a cursor: more than any thread has, and adding a page does not overflow.
const SEQ_MAX: i64 = i64::MAX / 2;

/// The encoded form of all cursors, in postcard. Its first byte is the variant's index, so a cursor of one
/// kind is never read as another. Cursors of earlier releases began with a letter, which is not an index.
#[derive(Serialize, Deserialize)]
enum Cursor {
    History(HistoryCursor),
    Inbox(InboxCursor),
    Audit(AuditCursor),
    Export(ExportCursor),
}

impl Cursor {
    fn encode(&self) -> String {
        let Ok(bytes) = postcard::to_allocvec(self) else {
            unreachable!("the length of every field is known")
        };
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn decode(text: &str) -> Result<Self, BadCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadCursor)?;
        let cursor: Self = postcard::from_bytes(&bytes).map_err(|_| BadCursor)?;
        // postcard ignores trailing bytes and accepts numbers with more bytes than necessary.
        if cursor.is_in_range() && cursor.encode() == text { Ok(cursor) } else { Err(BadCursor) }
    }

    fn is_in_range(&self) -> bool {
        match self {
            Self::History(HistoryCursor { seq, latest }) => {
                (0..=SEQ_MAX).contains(seq) && (*seq..=SEQ_MAX).contains(latest)
            }
            // PostgreSQL's range begins later than this type's.
            Self::Inbox(cursor) => (1970..=9999).contains(&cursor.active_at.year()),
            Self::Audit(_) => true,
            Self::Export(ExportCursor { part, place }) => {
                *part > 0
                    && match place {
                        ExportPlace::Messages { after: Some((_, seq)) } => {
                            (0..=SEQ_MAX).contains(seq)
                        }
                        _ => true,
                    }
            }
        }
    }
}

/// A place in a thread's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryCursor {
    /// The number of the message at this place; 0 is before the first message.
    pub seq: i64,
    /// The newest number when paging backwards began. Every page keeps it, so that polling from the
    /// `latestCursor` of any page misses no message.
    pub latest: i64,
}

impl HistoryCursor {
    /// Returns the opaque form.
    #[must_use]
    pub fn encode(self) -> String {
        Cursor::History(self).encode()
    }

    /// Parses the opaque form.
    ///
    /// # Errors
    /// [`BadCursor`] for any string that [`Self::encode`] does not produce.
    pub fn decode(text: &str) -> Result<Self, BadCursor> {
        match Cursor::decode(text)? {
            Cursor::History(cursor) => Ok(cursor),
            _ => Err(BadCursor),
        }
    }
}

/// A place in a user's inbox: threads by their last activity, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxCursor {
    /// When the thread at this place was last active, in whole microseconds, as in PostgreSQL.
    #[serde(with = "time::serde::timestamp::microseconds")]
    pub active_at: OffsetDateTime,
    /// The thread at this place.
    pub thread_id: ThreadId,
}

impl InboxCursor {
    /// Returns the opaque form.
    #[must_use]
    pub fn encode(self) -> String {
        Cursor::Inbox(self).encode()
    }

    /// Parses the opaque form.
    ///
    /// # Errors
    /// [`BadCursor`] for any string that [`Self::encode`] does not produce.
    pub fn decode(text: &str) -> Result<Self, BadCursor> {
        match Cursor::decode(text)? {
            Cursor::Inbox(cursor) => Ok(cursor),
            _ => Err(BadCursor),
        }
    }
}

/// A place in a family's audit trail, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCursor {
    /// The event at this place.
    pub event: AuditEventId,
}

impl AuditCursor {
    /// Returns the opaque form.
    #[must_use]
    pub fn encode(self) -> String {
        Cursor::Audit(self).encode()
    }

    /// Parses the opaque form.
    ///
    /// # Errors
    /// [`BadCursor`] for any string that [`Self::encode`] does not produce.
    pub fn decode(text: &str) -> Result<Self, BadCursor> {
        match Cursor::decode(text)? {
            Cursor::Audit(cursor) => Ok(cursor),
            _ => Err(BadCursor),
        }
    }
}

/// The beginning of a part of a family's export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportCursor {
    /// The number of the part, from 1.
    pub part: u32,
    /// The place where it begins.
    pub place: ExportPlace,
}

/// A place in an export, whose order is users, threads, messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExportPlace {
    /// After this user, or before the first.
    Users {
        /// The last user.
        after: Option<UserId>,
    },
    /// After this thread, or before the first.
    Threads {
        /// The last thread.
        after: Option<ThreadId>,
    },
    /// After this message, or before the first.
    Messages {
        /// The last message: its thread and its number.
        after: Option<(ThreadId, i64)>,
    },
}

impl ExportCursor {
    /// The beginning of an export.
    pub const FIRST: Self = Self { part: 1, place: ExportPlace::Users { after: None } };

    /// Returns the opaque form.
    #[must_use]
    pub fn encode(&self) -> String {
        Cursor::Export(self.clone()).encode()
    }

    /// Parses the opaque form.
    ///
    /// # Errors
    /// [`BadCursor`] for any string that [`Self::encode`] does not produce.
    pub fn decode(text: &str) -> Result<Self, BadCursor> {
        match Cursor::decode(text)? {
            Cursor::Export(cursor) => Ok(cursor),
            _ => Err(BadCursor),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inbox(micros: i64, thread: u8) -> InboxCursor {
        let nanos = i128::from(micros) * 1000;
        let active_at = OffsetDateTime::from_unix_timestamp_nanos(nanos).expect("in range");
        InboxCursor { active_at, thread_id: ThreadId::from_bytes([thread; 16]) }
    }

    /// Cursors of every kind in the encoding before postcard: a letter, and fixed fields.
    const EARLIER: [&str; 14] = [
        "aAAAAAAAAAApAAAAAAAAACo",
        "aAAAAAAAAAAHAAAAAAAAAAk",
        "aAAAAAAAAAAAAAAAAAAAAAA",
        "aD__________P_________8",
        "aQAGQLXuzgAAAAAAAAAAAAAAAAAAAAAAAA",
        "aQAGYIsBYRJABwcHBwcHBwcHBwcHBwcHBw",
        "YQAAAAAAAAAAAAAAAAAAAAA",
        "YQcHBwcHBwcHBwcHBwcHBwc",
        "ZQAAAAFw",
        "ZQAAAANwdTE",
        "ZQAAAAN0",
        "ZQAAAAN0BwcHBwcHBwcHBwcHBwcHBw",
        "ZQAAAANt",
        "ZQAAAANtBwcHBwcHBwcHBwcHBwcHBwAAAAAAAAAq",
    ];

    /// The number of kinds as which `text` can be read, each of which encodes to `text` again.
    fn kinds(text: &str) -> usize {
        let written = [
            HistoryCursor::decode(text).map(HistoryCursor::encode),
            InboxCursor::decode(text).map(InboxCursor::encode),
            AuditCursor::decode(text).map(AuditCursor::encode),
            ExportCursor::decode(text).map(|cursor| cursor.encode()),
        ];
        written
            .into_iter()
            .flatten()
            .inspect(|written| assert_eq!(written, text, "another spelling"))
            .count()
    }

    #[test]
    fn encodings_do_not_change() {
        // A changed encoding breaks the cursors that clients hold: it needs a new kind.
        let thread = ThreadId::from_bytes([7; 16]);
        let event = AuditEventId::from_bytes([7; 16]);
        let export = |place| ExportCursor { part: 3, place }.encode();
        let written = [
            HistoryCursor { seq: 41, latest: 42 }.encode(),
            inbox(1_795_000_000_123_456, 7).encode(),
            AuditCursor { event }.encode(),
            export(ExportPlace::Users { after: "u1".parse().ok() }),
            export(ExportPlace::Threads { after: Some(thread) }),
            export(ExportPlace::Messages { after: Some((thread, 42)) }),
        ];
        let known = [
            "AFJU",
            "AYDJiJbgorAGBwcHBwcHBwcHBwcHBwcHBw",
            "AgcHBwcHBwcHBwcHBwcHBwc",
            "AwMAAQJ1MQ",
            "AwMBAQcHBwcHBwcHBwcHBwcHBwc",
            "AwMCAQcHBwcHBwcHBwcHBwcHBwdU",
        ];
        assert_eq!(written, known);
    }

    #[test]
    fn earlier_cursors_are_refused() {
        for earlier in EARLIER {
            assert_eq!(kinds(earlier), 0, "{earlier}");
        }
    }

    #[test]
    fn an_export_cursor_round_trips_from_every_place() {
        let thread = ThreadId::new();
        for place in [
            ExportPlace::Users { after: None },
            ExportPlace::Users { after: "auth0:g-1".parse().ok() },
            ExportPlace::Threads { after: None },
            ExportPlace::Threads { after: Some(thread) },
            ExportPlace::Messages { after: None },
            ExportPlace::Messages { after: Some((thread, 7)) },
        ] {
            let cursor = ExportCursor { part: 3, place };
            assert_eq!(kinds(&cursor.encode()), 1);
            assert_eq!(ExportCursor::decode(&cursor.encode()), Ok(cursor));
        }
    }

    #[test]
    fn no_cursor_is_long() {
        let history = HistoryCursor { seq: SEQ_MAX, latest: SEQ_MAX };
        assert_eq!(HistoryCursor::decode(&history.encode()), Ok(history));
        let inbox = inbox(253_402_300_799_999_999, u8::MAX);
        assert_eq!(InboxCursor::decode(&inbox.encode()), Ok(inbox));
        assert!(history.encode().len() <= 64 && inbox.encode().len() <= 64);
        let after = "u".repeat(64).parse().ok();
        // No family has enough users for so many parts.
        let export = ExportCursor { part: 16_383, place: ExportPlace::Users { after } };
        assert_eq!(export.encode().len(), 94);
        assert_eq!(ExportCursor::decode(&export.encode()), Ok(export));
    }

    #[test]
    fn impossible_places_are_refused() {
        let history = |seq, latest| HistoryCursor { seq, latest }.encode();
        let export = |part, seq| {
            let after = Some((ThreadId::new(), seq));
            ExportCursor { part, place: ExportPlace::Messages { after } }.encode()
        };
        for bad in [
            history(-1, 0),
            history(2, 1),
            history(0, SEQ_MAX + 1),
            history(i64::MIN, i64::MAX),
            inbox(-1, 7).encode(),
            export(0, 7),
            export(1, -1),
            export(1, SEQ_MAX + 1),
        ] {
            assert_eq!(kinds(&bad), 0, "{bad}");
        }
    }

    #[test]
    fn a_cursor_has_one_spelling() {
        // Seven and nine; one more byte; a seven in two bytes; bits that base64 ignores.
        let spelled = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let cursor = HistoryCursor { seq: 7, latest: 9 };
        assert_eq!(HistoryCursor::decode(&spelled(&[0, 14, 18])), Ok(cursor));
        assert_eq!(kinds(&spelled(&[0, 14, 18, 0])), 0);
        assert_eq!(kinds(&spelled(&[0, 0x8e, 0, 18])), 0);
        let export = ExportCursor { part: 1, place: ExportPlace::Threads { after: None } }.encode();
        assert_eq!((&*export, kinds(&export), kinds("AwEBAB")), ("AwEBAA", 1, 0));
    }

    proptest! {
        #[test]
        fn a_history_cursor_round_trips(seq in 0..SEQ_MAX - 1000, more in 0..1000_i64) {
            let cursor = HistoryCursor { seq, latest: seq + more };
            prop_assert_eq!(HistoryCursor::decode(&cursor.encode()), Ok(cursor));
            prop_assert_eq!(kinds(&cursor.encode()), 1);
        }

        #[test]
        fn an_inbox_cursor_round_trips(micros in 0..253_402_300_799_999_999_i64) {
            let cursor = inbox(micros, 7);
            prop_assert_eq!(InboxCursor::decode(&cursor.encode()), Ok(cursor));
            prop_assert_eq!(kinds(&cursor.encode()), 1);
        }

        #[test]
        fn an_audit_cursor_round_trips(event in any::<[u8; 16]>()) {
            let cursor = AuditCursor { event: AuditEventId::from_bytes(event) };
            prop_assert_eq!(AuditCursor::decode(&cursor.encode()), Ok(cursor));
            prop_assert_eq!(kinds(&cursor.encode()), 1);
        }

        #[test]
        fn any_string_is_one_kind_of_cursor_or_refused(
            text in any::<String>(),
            kind in 0..5_u8,
            rest in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            prop_assert!(kinds(&text) <= 1);
            prop_assert!(kinds(&URL_SAFE_NO_PAD.encode([&[kind][..], &rest].concat())) <= 1);
        }
    }
}
