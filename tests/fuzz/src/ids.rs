//! Ids: refused, or in their only spelling, the same from a path and from JSON.

use std::{
    fmt::{Debug, Display},
    str::FromStr,
};

use serde_json::Value;
use shared::ids::{
    AuditEventId, FamilyId, FileId, LinkRequestId, MessageId, NotificationId, ThreadId, UserId,
};

/// Input: an id, parsed as each kind.
pub(crate) fn harness(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let host = [checked::<FamilyId>(&text), checked::<UserId>(&text), checked::<FileId>(&text)];
    let ours = [
        checked::<ThreadId>(&text),
        checked::<MessageId>(&text),
        checked::<NotificationId>(&text),
        checked::<LinkRequestId>(&text),
        checked::<AuditEventId>(&text),
    ];
    assert!(host.iter().all(|is| *is == host[0]));
    assert!(ours.into_iter().filter(|is| *is).count() <= 1, "an id of two kinds");
    if host[0] {
        assert!((1..=64).contains(&text.len()) && !text.contains([',', '\'', '/', '\0']));
    }
}

/// Whether `text` is a valid id; checks that its parsers agree.
fn checked<T>(text: &str) -> bool
where
    T: FromStr + Display + Debug + PartialEq + serde::de::DeserializeOwned,
{
    let parsed = text.parse::<T>().ok();
    let read = serde_json::from_value::<T>(Value::from(text)).ok();
    assert_eq!(parsed, read, "a path and JSON disagree");
    if let Some(id) = &parsed {
        assert_eq!(id.to_string(), text, "another spelling");
    }
    parsed.is_some()
}
