//! Typed ids: those chosen by the host application, and generated ones.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::{Uuid, fmt::Simple};

/// A string that is not a valid id. Never holds the string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed id")]
pub struct MalformedId;

/// Maximum length of a host application's id, in ASCII characters.
pub const HOST_ID_MAX: usize = 64;

/// Whether `value` matches `^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$`. Without commas, ids can be joined by one.
fn is_host_id(value: &str) -> bool {
    let mut bytes = value.bytes();
    value.len() <= HOST_ID_MAX
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-'))
}

macro_rules! host_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, sqlx::Type)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(String);

        impl $name {
            /// Returns the id as the host application wrote it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            fn from_str(value: &str) -> Result<Self, MalformedId> {
                is_host_id(value).then(|| Self(value.to_owned())).ok_or(MalformedId)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, sqlx::Type)]
        #[sqlx(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id; ids made later sort later (UUIDv7, RFC 9562).
            #[must_use]
            #[expect(clippy::new_without_default, reason = "every call gives another id")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The 16 bytes of the UUID.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; 16] {
                self.0.into_bytes()
            }

            /// The id of these 16 bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            fn from_str(value: &str) -> Result<Self, MalformedId> {
                // `Uuid::try_parse` also takes braces, hyphens and capitals: one id would have
                // many spellings.
                let hex = value.strip_prefix($prefix).ok_or(MalformedId)?;
                let canonical =
                    hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                let uuid = canonical.then(|| Uuid::try_parse(hex).ok()).flatten();
                uuid.map(Self).ok_or(MalformedId)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.as_simple())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                const LENGTH: usize = $prefix.len();
                // In cursors: the 16 bytes.
                if !serializer.is_human_readable() {
                    return self.to_bytes().serialize(serializer);
                }
                let mut text = [0; LENGTH + Simple::LENGTH];
                let (prefix, id) = text.split_at_mut(LENGTH);
                prefix.copy_from_slice($prefix.as_bytes());
                self.0.as_simple().encode_lower(id);
                match std::str::from_utf8(&text) {
                    Ok(text) => serializer.serialize_str(text),
                    Err(_) => unreachable!("letters and digits"),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if !deserializer.is_human_readable() {
                    return <[u8; 16]>::deserialize(deserializer).map(Self::from_bytes);
                }
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

host_id!(
    /// A family's id, chosen by the host application.
    FamilyId
);
host_id!(
    /// A user's id, chosen by the host application. Unique within the family.
    UserId
);
host_id!(
    /// A file's id, chosen by the host application.
    FileId
);
typed_id!(
    /// A thread's id: `th_` and 32 hex digits.
    ThreadId, "th_"
);
typed_id!(
    /// A message's id: `msg_` and 32 hex digits.
    MessageId, "msg_"
);
typed_id!(
    /// An SMS's id: `sms_` and 32 hex digits.
    SmsId, "sms_"
);
typed_id!(
    /// The id by which jobs of version 1 name an SMS: `ntf_` and 32 hex digits.
    NotificationId, "ntf_"
);
typed_id!(
    /// A link request's id: `lrq_` and 32 hex digits.
    LinkRequestId, "lrq_"
);
typed_id!(
    /// An audit event's id: `aud_` and 32 hex digits.
    AuditEventId, "aud_"
);

/// A link's id: 64 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LinkId([u8; 8]);

impl LinkId {
    /// Makes a new id from the operating system's random numbers.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "every call gives another id")]
    pub fn new() -> Self {
        // The first and last 32 bits of a version 4 UUID are random; version and variant are between.
        let (high, low) = Uuid::new_v4().as_u64_pair();
        Self(((high & 0xffff_ffff_0000_0000) | (low & 0xffff_ffff)).to_be_bytes())
    }

    /// The value in the database.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for LinkId {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: Vec<u8>) -> Result<Self, Self::Error> {
        bytes.as_slice().try_into().map(Self)
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkId(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn host_ids_follow_the_contract() {
        let longest = "a".repeat(64);
        for good in ["a", "7", "user_a", "auth0:5f-1.2", &longest] {
            assert_eq!(good.parse::<UserId>().expect(good).as_str(), good);
        }
        let too_long = "a".repeat(65);
        for bad in ["", "_a", "-", "a b", "a,b", "a\0", "é", "a/b", "a\n", "a'b", &too_long] {
            assert!(bad.parse::<UserId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn typed_ids_have_one_spelling() {
        let id = ThreadId::new();
        let text = id.to_string();
        assert_eq!(text.len(), 35);
        assert_eq!(text.parse(), Ok(id));
        let hex = &text[3..];
        for bad in [
            hex.to_owned(),
            format!("msg_{hex}"),
            format!("th_{}", hex.to_uppercase().replace(char::is_numeric, "A")),
            format!("th_{}", Uuid::now_v7()),
            format!("th_{{{hex}}}"),
            format!("th_{hex}0"),
            "th_".to_owned(),
            String::new(),
        ] {
            assert!(bad.parse::<ThreadId>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_string_is_an_id_or_refused(value in ".{0,80}") {
            if let Ok(id) = value.parse::<UserId>() {
                prop_assert_eq!(id.as_str(), &value);
                prop_assert!(!value.contains(','));
            }
            if let Ok(id) = value.parse::<MessageId>() {
                prop_assert_eq!(id.to_string(), value);
            }
        }
    }
}
