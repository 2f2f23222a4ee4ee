//! Opaque cursors: what a client hands back to read on.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use time::OffsetDateTime;

use crate::ids::{AuditEventId, ThreadId, UserId};

/// A cursor that is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed cursor")]
pub struct BadCursor;

/// The first byte, so that one kind of cursor is never taken for another.
const HISTORY: u8 = b'h';
const INBOX: u8 = b'i';
const AUDIT: u8 = b'a';
const EXPORT: u8 = b'e';
/// Far more than a thread will ever have, and far from where adding a page overflows.
const SEQ_MAX: i64 = i64::MAX / 2;

/// A place in a thread's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryCursor {
    /// The number of the message at this place; 0 is before the first.
    pub seq: i64,
    /// The newest number when the walk back began. It goes along, so that polling from the
    /// `latestCursor` of any page misses nothing, however long somebody scrolled back.
    pub latest: i64,
}

impl HistoryCursor {
    /// Its opaque form.
    #[must_use]
    pub fn encode(self) -> String {
        encode(HISTORY, self.seq.to_be_bytes(), self.latest.to_be_bytes())
    }

    /// Reads one back.
    ///
    /// # Errors
    /// [`BadCursor`] for anything that [`Self::encode`] can't have made.
    pub fn decode(text: &str) -> Result<Self, BadCursor> {
        let (seq, latest) = decode::<8, 8>(HISTORY, text)?;
        let cursor = Self { seq: i64::from_be_bytes(seq), latest: i64::from_be_bytes(latest) };
        let known = 0..=SEQ_MAX;
        if known.contains(&cursor.seq) && (cursor.seq..=SEQ_MAX).contains(&cursor.latest) {
            Ok(cursor)
        } else {
            Err(BadCursor)
        }
    }
}

/// A place in somebody's inbox: threads by their last activity, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxCursor {
    /// When the thread at this place was last active; whole microseconds, as PostgreSQL keeps them.
    pub active_at: OffsetDateTime,
    /// The thread at this place.
    pub thread_id: ThreadId,
}

impl InboxCursor {
    /// Its opaque form.
    #[must_use]
    pub fn encode(self) -> String {
        let micros = self.active_at.unix_timestamp_nanos() / 1000;
        // Year 9999 is far inside of i64 microseconds.
        let micros = i64::try_from(micros).unwrap_or(i64::MAX);
        encode(INBOX, micros.to_be_bytes(), self.thread_id.to_bytes())
    }

    /// Reads one back.
    ///
    /// # Errors
    /// [`BadCursor`] for anything that [`Self::encode`] can't have made.
    pub fn decode(text: &str) -> Result<Self, BadCursor> {
        let (micros, thread) = decode::<8, 16>(INBOX, text)?;
        let nanos = i128::from(i64::from_be_bytes(micros)) * 1000;
        let active_at = OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| BadCursor)?;
        // PostgreSQL's own range begins later than this type's.
        if !(1970..=9999).contains(&active_at.year()) {
            return Err(BadCursor);
        }
        Ok(Self { active_at, thread_id: ThreadId::from_bytes(thread) })
    }
}

/// A place in a family's audit trail, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditCursor {
    /// The event at this place.
    pub event: AuditEventId,
}

impl AuditCursor {
    /// Its opaque form.
    #[must_use]
    pub fn encode(self) -> String {
        encode(AUDIT, self.event.to_bytes(), [])
    }

    /// Reads one back.
    ///
    /// # Errors
    /// [`BadCursor`] for anything that [`Self::encode`] can't have made.
    pub fn decode(text: &str) -> Result<Self, BadCursor> {
        let (event, _) = decode::<16, 0>(AUDIT, text)?;
        Ok(Self { event: AuditEventId::from_bytes(event) })
    }
}

/// Where a part of a family's export begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportCursor {
    /// Which part it is, from 1.
    pub part: u32,
    /// What it begins with.
    pub place: ExportPlace,
}

/// A place in an export, whose order is people, threads, messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportPlace {
    /// Behind this member, or before the first.
    People {
        /// Who was last.
        after: Option<UserId>,
    },
    /// Behind this thread, or before the first.
    Threads {
        /// Which was last.
        after: Option<ThreadId>,
    },
    /// Behind this message, or before the first.
    Messages {
        /// Which was last: its thread and its number.
        after: Option<(ThreadId, i64)>,
    },
}

impl ExportCursor {
    /// Before everything.
    pub const FIRST: Self = Self { part: 1, place: ExportPlace::People { after: None } };

    /// Its opaque form.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = vec![EXPORT];
        bytes.extend_from_slice(&self.part.to_be_bytes());
        match &self.place {
            ExportPlace::People { after } => {
                bytes.push(b'p');
                bytes.extend_from_slice(after.as_ref().map_or("", UserId::as_str).as_bytes());
            }
            ExportPlace::Threads { after } => {
                bytes.push(b't');
                bytes.extend(after.iter().flat_map(|thread| thread.to_bytes()));
            }
            ExportPlace::Messages { after } => {
                bytes.push(b'm');
                if let Some((thread, seq)) = after {
                    bytes.extend_from_slice(&thread.to_bytes());
                    bytes.extend_from_slice(&seq.to_be_bytes());
                }
            }
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads one back.
    ///
    /// # Errors
    /// [`BadCursor`] for anything that [`Self::encode`] can't have made.
    pub fn decode(text: &str) -> Result<Self, BadCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadCursor)?;
        let Some((&[EXPORT, a, b, c, d, kind], rest)) = bytes.split_first_chunk::<6>() else {
            return Err(BadCursor);
        };
        let thread =
            |bytes: &[u8]| bytes.try_into().map(ThreadId::from_bytes).map_err(|_| BadCursor);
        let place = match (kind, rest) {
            (b'p', []) => ExportPlace::People { after: None },
            (b'p', id) => {
                let id = std::str::from_utf8(id).map_err(|_| BadCursor)?;
                ExportPlace::People { after: Some(id.parse().map_err(|_| BadCursor)?) }
            }
            (b't', []) => ExportPlace::Threads { after: None },
            (b't', id) => ExportPlace::Threads { after: Some(thread(id)?) },
            (b'm', []) => ExportPlace::Messages { after: None },
            (b'm', rest) => {
                let (id, seq) = rest.split_at_checked(16).ok_or(BadCursor)?;
                let seq = i64::from_be_bytes(seq.try_into().map_err(|_| BadCursor)?);
                let known = (0..=SEQ_MAX).contains(&seq);
                let after = known.then_some((thread(id)?, seq)).ok_or(BadCursor)?;
                ExportPlace::Messages { after: Some(after) }
            }
            _ => return Err(BadCursor),
        };
        Ok(Self { part: u32::from_be_bytes([a, b, c, d]), place })
    }
}

fn encode<const A: usize, const B: usize>(kind: u8, first: [u8; A], second: [u8; B]) -> String {
    let mut bytes = Vec::with_capacity(1 + A + B);
    bytes.push(kind);
    bytes.extend_from_slice(&first);
    bytes.extend_from_slice(&second);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode<const A: usize, const B: usize>(
    kind: u8,
    text: &str,
) -> Result<([u8; A], [u8; B]), BadCursor> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadCursor)?;
    let (&first_byte, rest) = bytes.split_first().ok_or(BadCursor)?;
    let (first, second) = rest.split_at_checked(A).ok_or(BadCursor)?;
    if first_byte != kind {
        return Err(BadCursor);
    }
    Ok((first.try_into().map_err(|_| BadCursor)?, second.try_into().map_err(|_| BadCursor)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_export_cursor_comes_back_from_every_place() {
        let thread = ThreadId::new();
        for place in [
            ExportPlace::People { after: None },
            ExportPlace::People { after: "auth0:g-1".parse().ok() },
            ExportPlace::Threads { after: None },
            ExportPlace::Threads { after: Some(thread) },
            ExportPlace::Messages { after: None },
            ExportPlace::Messages { after: Some((thread, 7)) },
        ] {
            let cursor = ExportCursor { part: 3, place };
            assert_eq!(ExportCursor::decode(&cursor.encode()), Ok(cursor));
        }
        for bad in ["ZQ", "ZQAAAAFwLA", "ZQAAAAF0AA", "ZQAAAAFtAA", "ZQAAAAF4", "aQAAAAFw"] {
            assert_eq!(ExportCursor::decode(bad), Err(BadCursor), "{bad}");
        }
    }

    #[test]
    fn an_audit_cursor_comes_back_as_no_other() {
        let cursor = AuditCursor { event: AuditEventId::new() };
        assert_eq!(AuditCursor::decode(&cursor.encode()), Ok(cursor));
        assert_eq!(HistoryCursor::decode(&cursor.encode()), Err(BadCursor));
        assert_eq!(AuditCursor::decode(&format!("{}AA", cursor.encode())), Err(BadCursor));
    }

    proptest! {
        #[test]
        fn a_history_cursor_comes_back(seq in 0..SEQ_MAX - 1000, more in 0..1000_i64) {
            let cursor = HistoryCursor { seq, latest: seq + more };
            prop_assert_eq!(HistoryCursor::decode(&cursor.encode()), Ok(cursor));
            prop_assert_eq!(InboxCursor::decode(&cursor.encode()), Err(BadCursor));
        }

        #[test]
        fn an_inbox_cursor_comes_back(micros in 0..253_402_300_799_999_999_i64) {
            let active_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
                .expect("in range");
            let cursor = InboxCursor { active_at, thread_id: ThreadId::new() };
            prop_assert_eq!(InboxCursor::decode(&cursor.encode()), Ok(cursor));
        }

        #[test]
        fn any_string_is_a_cursor_or_refused(text in any::<String>(), bytes in any::<[u8; 17]>()) {
            let _ = (HistoryCursor::decode(&text), InboxCursor::decode(&text));
            let _ = (AuditCursor::decode(&text), ExportCursor::decode(&text));
            let encoded = URL_SAFE_NO_PAD.encode(bytes);
            if let Ok(cursor) = HistoryCursor::decode(&encoded) {
                prop_assert_eq!(cursor.encode(), encoded);
            }
        }
    }
}
