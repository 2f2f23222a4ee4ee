//! Sessions: a browser's access to a thread, as the user whose link it opened.
//!
//! A browser has one secret, in its cookie, and a session for each thread that a link opened in it.

mod store;

use std::{fmt, str::FromStr, time::Duration};

use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Error, Result,
    audit::{self, Action, Event, Principal},
    db::{self, Pool, RowKeys},
    ids::{FamilyId, ThreadId, UserId},
};

/// Maximum life of a session.
pub const LIFE: Duration = Duration::from_hours(30 * 24);

/// Whether a row of `sessions` has not expired and was used in the last seven days.
macro_rules! live {
    ($row:literal) => {
        concat!(
            $row,
            ".expires_at > now() AND ",
            $row,
            ".last_seen_at > now() - interval '7 days' "
        )
    };
}
pub(crate) use live;

/// A browser's secret: 64 hex digits of 244 random bits, or of a digest of such. Hidden in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct BrowserSecret(String);

/// A string that is not a [`BrowserSecret`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed browser secret")]
pub struct BadSecret;

impl BrowserSecret {
    /// Makes a new secret from the operating system's random numbers.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "every call gives another secret")]
    pub fn new() -> Self {
        Self(format!("{}{}", Uuid::new_v4().as_simple(), Uuid::new_v4().as_simple()))
    }

    /// Returns the secret, for the browser's cookie.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the browser's secret after `token` has begun its first session. It can't be computed from
    /// this secret without the token.
    #[must_use]
    pub fn next(&self, token: &str) -> Self {
        let digest = Sha256::digest(format!("next-secret:{}:{token}", self.0));
        Self(hex::encode(digest))
    }

    /// Returns the hash, which the database stores.
    #[must_use]
    pub fn hash(&self) -> BrowserHash {
        BrowserHash(Sha256::digest(&self.0).into())
    }
}

impl FromStr for BrowserSecret {
    type Err = BadSecret;

    fn from_str(value: &str) -> Result<Self, BadSecret> {
        let hex = value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex && value.len() == 64 { Ok(Self(value.to_owned())) } else { Err(BadSecret) }
    }
}

impl fmt::Debug for BrowserSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrowserSecret(…)")
    }
}

/// SHA-256 of a [`BrowserSecret`]. The hash alone gives no access.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BrowserHash([u8; 32]);

impl BrowserHash {
    /// The value in the database.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for BrowserHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BrowserHash(…)")
    }
}

/// The key of a browser's sessions, before its family is known.
fn keys_of(browser: &BrowserHash) -> RowKeys<'_> {
    RowKeys { link: None, browser: Some(browser.as_bytes()) }
}

/// A browser's sessions as one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSessions {
    /// The user's family.
    pub family_id: FamilyId,
    /// The user.
    pub user_id: UserId,
    /// The threads of the user's sessions in this browser.
    pub threads: Vec<ThreadId>,
}

/// Finds the user of `browser`: the one whose link opened `thread` last or, without a thread, whose link was
/// opened last. `member` limits it to one user, where several share a browser and a page was made for one of
/// them. Memberships are checked.
///
/// # Errors
/// [`Error::NoSession`]; [`Error::ThreadNotFound`] if the sessions are for other threads.
pub async fn find(
    pool: &Pool,
    browser: &BrowserHash,
    thread: Option<ThreadId>,
    member: Option<&UserId>,
) -> Result<MemberSessions> {
    let mut tx = db::begin_by_keys(pool, keys_of(browser)).await?;
    // Usually there is one family, and its first session is the result.
    for family_id in store::list_families(&mut tx, browser, thread).await? {
        db::enter_family(&mut tx, &family_id).await?;
        let mut sessions = store::list(&mut tx, &family_id, browser, thread).await?;
        if let Some(member) = member {
            sessions.retain(|session| session.user_id == *member);
        }
        let Some(first) = sessions.first() else { continue };
        if thread.is_some_and(|thread| thread != first.thread_id) {
            return Err(Error::ThreadNotFound);
        }
        if first.is_stale {
            store::mark_seen(&mut tx, &family_id, browser, first).await?;
        }
        tx.commit().await?;
        let user_id = first.user_id.clone();
        let own = sessions.iter().filter(|session| session.user_id == user_id);
        let threads = own.map(|session| session.thread_id).collect();
        return Ok(MemberSessions { family_id, user_id, threads });
    }
    Err(Error::NoSession)
}

/// Ends all sessions of a browser. A repeated call changes nothing.
///
/// # Errors
/// Only database errors.
pub async fn end(pool: &Pool, principal: &Principal, browser: &BrowserHash) -> Result<()> {
    let mut tx = db::begin_by_keys(pool, keys_of(browser)).await?;
    let mut ended = store::delete(&mut tx, browser).await?;
    ended.sort();
    // Usually there is one family.
    for sessions in ended.chunk_by(|one, other| one.0 == other.0) {
        let event = |(_, user_id, thread_id): &(FamilyId, UserId, ThreadId)| {
            Event::of(Action::SessionEnded, user_id).in_thread(*thread_id)
        };
        let events: Vec<Event> = sessions.iter().map(event).collect();
        let Some((family_id, ..)) = sessions.first() else { continue };
        db::enter_family(&mut tx, family_id).await?;
        audit::record(&mut tx, family_id, principal, &events).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Deletes expired sessions, up to 500. Returns their number.
///
/// # Errors
/// Only database errors.
pub(crate) async fn forget_old(tx: &mut PgConnection) -> Result<u64> {
    store::delete_idle(tx).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_parsed_from_its_cookie_only() {
        let secret = BrowserSecret::new();
        let back: BrowserSecret = secret.reveal().parse().expect("a secret");
        assert_eq!(back.hash(), secret.hash());
        assert_ne!(BrowserSecret::new().hash(), secret.hash());
        assert_eq!(secret.next("a").hash(), back.next("a").hash());
        assert_ne!(secret.next("a").hash(), secret.next("b").hash());
        let next: BrowserSecret = secret.next("a").reveal().parse().expect("a secret");
        assert_ne!(next.hash(), secret.hash());
        assert_eq!(format!("{secret:?}{:?}", secret.hash()), "BrowserSecret(…)BrowserHash(…)");
        for bad in ["", "0", &"g".repeat(64), &"A".repeat(64), &"a".repeat(65), &"é".repeat(32)] {
            assert_eq!(bad.parse::<BrowserSecret>(), Err(BadSecret));
        }
    }
}
