//! Rate limits, kept in the database.
//!
//! Two algorithms, on purpose. Limits of links are by the hour and day, which sliding windows count exactly;
//! a due time with a burst of three would allow five in an hour. The pace of posts and of new threads is a due
//! time, that of posts in a row that the post locks anyway; windows would rewrite hundreds of timestamps with
//! every post.

use std::{net::IpAddr, time::Duration};

use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use crate::{
    Error, Result, config,
    db::{self, Pool},
    ids::{FamilyId, UserId},
};
use platform::config::ConfigError;

/// Limit by the hour and by the day, as sliding windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Maximum in any 60 minutes.
    pub hourly: i32,
    /// Maximum in any 24 hours, and of stored timestamps.
    pub daily: i32,
}

/// Limit of requested links for a user or a phone number.
pub const FRESH_LINKS: Limit = Limit { hourly: 3, daily: 10 };
/// Limit of requested links for all users of a family.
pub const FAMILY_LINKS: Limit = Limit { hourly: 20, daily: 50 };
/// Limit of link requests from one source address. A carrier has thousands of phones behind one address, few
/// of which request a link on one day.
pub const SOURCE_LINKS: Limit = Limit { hourly: 30, daily: 100 };
/// Limit of tokens without a valid signature from one source address.
pub const SOURCE_GUESSES: Limit = Limit { hourly: 100, daily: 500 };

/// Default of `KINLINE_THREADS_PER_HOUR`.
pub const THREADS_PER_HOUR: u32 = 60;
/// New threads of a member at once: a host application brings its conversations, or a member's contacts.
const THREADS_BURST: u32 = 200;

/// The subject of a limit, as a SHA-256: phone numbers from requests are not stored in plain text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject([u8; 32]);

impl Subject {
    /// Requested links of a user.
    #[must_use]
    pub fn member_links(family_id: &FamilyId, user_id: &UserId) -> Self {
        // No id has a comma.
        Self::new("member-links", &format!("{family_id},{user_id}"))
    }

    /// Requested links of a family's users.
    #[must_use]
    pub fn family_links(family_id: &FamilyId) -> Self {
        Self::new("family-links", family_id.as_str())
    }

    /// Link requests from a source address.
    #[must_use]
    pub fn source_links(source: Option<IpAddr>) -> Self {
        Self::new("source-links", &network(source))
    }

    /// Tokens without a valid signature from a source address.
    #[must_use]
    pub fn source_guesses(source: Option<IpAddr>) -> Self {
        Self::new("source-guesses", &network(source))
    }

    /// Requested links of a phone number.
    #[must_use]
    pub fn phone_links(phone: &crate::phone::PhoneNumber) -> Self {
        Self::new("phone-links", phone.e164())
    }

    fn new(kind: &str, key: &str) -> Self {
        Self(Sha256::digest(format!("{kind}:{key}")).into())
    }

    /// The value in the database.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The network of one customer: an IPv4 address, or 64 bits of an IPv6 address (RFC 6177). Requests without
/// a source address share one.
fn network(source: Option<IpAddr>) -> String {
    match source {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}")
        }
    }
}

/// The statement of [`take`]; `$1` is the subject, `$2` the hourly limit, `$3` the daily one. The row's lock
/// serializes concurrent requests.
macro_rules! take_statement {
    () => {
        "INSERT INTO rate_limits AS l (subject, hits) VALUES ($1, ARRAY[now()])
         ON CONFLICT (subject) DO UPDATE SET
             hits = (SELECT array_agg(hit ORDER BY hit) FROM unnest(l.hits) hit
                     WHERE hit > now() - interval '1 day') || now()
         WHERE (SELECT count(*) FILTER (WHERE hit > now() - interval '1 hour') < $2
                       AND count(*) FILTER (WHERE hit > now() - interval '1 day') < $3
                FROM unnest(l.hits) hit)"
    };
}
pub(crate) use take_statement;

/// Counts one use and returns whether it is allowed. A refused use is not counted, so it does not postpone
/// the next allowed one.
///
/// # Errors
/// Only database errors.
pub async fn take(tx: &mut PgConnection, subject: Subject, limit: Limit) -> Result<bool> {
    let done = sqlx::query(take_statement!())
        .bind(subject.0.as_slice())
        .bind(limit.hourly)
        .bind(limit.daily);
    Ok(done.execute(tx).await?.rows_affected() == 1)
}

/// Counts one use, as [`take`] does, and fails if it is not allowed.
///
/// # Errors
/// [`Error::TooOften`].
pub async fn demand(tx: &mut PgConnection, subject: Subject, limit: Limit) -> Result<()> {
    if take(tx, subject, limit).await? {
        return Ok(());
    }
    // Allowed again once the oldest counted use has left the hour and the day.
    let seconds: Option<f64> = sqlx::query_scalar(
        "SELECT extract(epoch FROM greatest(
             hits[cardinality(hits) - $2 + 1] + interval '1 hour',
             hits[cardinality(hits) - $3 + 1] + interval '1 day') - now())::float8
         FROM rate_limits WHERE subject = $1",
    )
    .bind(subject.0.as_slice())
    .bind(limit.hourly)
    .bind(limit.daily)
    .fetch_optional(tx)
    .await?
    .flatten();
    Err(Error::TooOften { retry_after: Duration::from_secs_f64(seconds.unwrap_or(1.0).max(1.0)) })
}

/// Counts a token without a valid signature. Returns the error for the caller.
pub(crate) async fn guess(pool: &Pool, source: Option<IpAddr>) -> Error {
    let counted = async {
        let mut tx = db::begin_unscoped(pool).await?;
        demand(&mut tx, Subject::source_guesses(source), SOURCE_GUESSES).await?;
        tx.commit().await?;
        Ok(())
    };
    match counted.await {
        Err(error @ Error::TooOften { .. }) => error,
        // The token is invalid, even if counting failed.
        Ok(()) | Err(_) => Error::LinkInvalid,
    }
}

/// A rate with an even interval and a burst.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    every: Duration,
    burst: u32,
}

impl Pace {
    /// A pace of `hourly` an hour, with a burst of a tenth, at least ten. `None` for 0, which is unlimited.
    #[must_use]
    pub fn hourly(hourly: u32) -> Option<Self> {
        let every = Duration::from_hours(1).checked_div(hourly)?;
        Some(Self { every, burst: (hourly / 10).max(10) })
    }

    /// Reads `KINLINE_POSTS_PER_HOUR`, the pace of a member's posts. 600 by default.
    ///
    /// # Errors
    /// [`ConfigError`] when it is not a number.
    pub fn of_posts() -> Result<Option<Self>, ConfigError> {
        Ok(Self::hourly(config::POSTS_PER_HOUR.parsed(600)?))
    }

    /// A pace of `hourly` new threads an hour, with a burst of 200. `None` for 0, which is unlimited.
    #[must_use]
    pub fn of_threads_hourly(hourly: u32) -> Option<Self> {
        Some(Self { burst: THREADS_BURST, ..Self::hourly(hourly)? })
    }

    /// Reads `KINLINE_THREADS_PER_HOUR`, the pace of a member's new threads. 60 by default.
    ///
    /// # Errors
    /// [`ConfigError`] when it is not a number.
    pub fn of_threads() -> Result<Option<Self>, ConfigError> {
        Ok(Self::of_threads_hourly(config::THREADS_PER_HOUR.parsed(THREADS_PER_HOUR)?))
    }

    /// The interval, in seconds.
    pub(crate) fn every_seconds(self) -> f64 {
        self.every.as_secs_f64()
    }

    /// How far ahead of the even pace a member may be, in seconds.
    pub(crate) fn ahead_seconds(self) -> f64 {
        self.every.as_secs_f64() * f64::from(self.burst - 1)
    }
}

/// Deletes the counts of `subjects`.
///
/// # Errors
/// Only database errors.
pub(crate) async fn forget(tx: &mut PgConnection, subjects: &[Subject]) -> Result<()> {
    let subjects: Vec<Vec<u8>> = subjects.iter().map(|subject| subject.0.to_vec()).collect();
    sqlx::query("DELETE FROM rate_limits WHERE subject = ANY($1)")
        .bind(subjects)
        .execute(tx)
        .await?;
    Ok(())
}

/// Deletes counts that are older than every limit, up to 500. Returns their number.
pub(crate) async fn forget_old(tx: &mut PgConnection) -> Result<u64> {
    let done = sqlx::query(
        "DELETE FROM rate_limits WHERE subject = ANY(ARRAY(
             SELECT subject FROM rate_limits
             WHERE hits[array_upper(hits, 1)] < now() - interval '1 day'
             ORDER BY hits[array_upper(hits, 1)] LIMIT 500 FOR UPDATE SKIP LOCKED
         ))",
    )
    .execute(tx)
    .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_even_with_a_burst_of_a_tenth() {
        let pace = Pace::hourly(600).expect("a pace");
        assert_eq!((pace.every_seconds(), pace.ahead_seconds()), (6.0, 6.0 * 59.0));
        let slow = Pace::hourly(1).expect("a pace");
        assert_eq!((slow.every_seconds(), slow.burst), (3600.0, 10));
        assert_eq!(Pace::hourly(0), None);
    }

    #[test]
    fn two_hundred_threads_at_once_are_allowed_at_any_pace() {
        let pace = Pace::of_threads_hourly(THREADS_PER_HOUR).expect("a pace");
        assert_eq!((pace.every_seconds(), pace.ahead_seconds()), (60.0, 60.0 * 199.0));
        assert_eq!(Pace::of_threads_hourly(7200).map(|pace| pace.burst), Some(200));
        assert_eq!(Pace::of_threads_hourly(0), None);
    }

    #[test]
    fn a_customers_network_is_one_source() {
        let network = |address: &str| network(Some(address.parse().expect("an address")));
        assert_eq!(network("2001:db8:1:2::7"), network("2001:db8:1:2:ffff::"));
        assert_ne!(network("2001:db8:1:2::7"), network("2001:db8:1:3::7"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
