//! How often something may be done, across everything that does it.
//!
//! Two algorithms, on purpose. Links are promised by the hour and by the day, which windows count
//! exactly: a due time with a burst of three lets five through in an hour. A post's pace is a due time
//! in a row that the post locks anyway: windows would rewrite hundreds of times with every post.

use std::{net::IpAddr, time::Duration};

use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use crate::{
    Error, Result, config,
    db::{self, Pool},
    ids::{FamilyId, UserId},
};
use platform::config::ConfigError;

/// At most this often in any hour and in any day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// In any 60 minutes.
    pub hourly: i32,
    /// In any 24 hours. Also the most times that are kept.
    pub daily: i32,
}

/// How often a member, or a phone number, is sent a link that was asked for.
pub const FRESH_LINKS: Limit = Limit { hourly: 3, daily: 10 };
/// How often the members of a family together are.
pub const FAMILY_LINKS: Limit = Limit { hourly: 20, daily: 50 };
/// How often one source may ask for a link. A carrier puts thousands of phones behind one address,
/// few of which ask on one day.
pub const SOURCE_LINKS: Limit = Limit { hourly: 30, daily: 100 };
/// How many tokens that nobody signed are looked at for one source.
pub const SOURCE_GUESSES: Limit = Limit { hourly: 100, daily: 500 };

/// What is limited, by its SHA-256: a number that somebody typed is not kept in plain text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject([u8; 32]);

impl Subject {
    /// The links that a member is sent on request.
    #[must_use]
    pub fn member_links(family_id: &FamilyId, user_id: &UserId) -> Self {
        // No id has a comma.
        Self::new("member-links", &format!("{family_id},{user_id}"))
    }

    /// The links that a family's members are sent on request.
    #[must_use]
    pub fn family_links(family_id: &FamilyId) -> Self {
        Self::new("family-links", family_id.as_str())
    }

    /// The links that are asked for from one source.
    #[must_use]
    pub fn source_links(source: Option<IpAddr>) -> Self {
        Self::new("source-links", &network(source))
    }

    /// The tokens of nobody's that come from one source.
    #[must_use]
    pub fn source_guesses(source: Option<IpAddr>) -> Self {
        Self::new("source-guesses", &network(source))
    }

    /// The links that a phone number is sent on request.
    #[must_use]
    pub fn phone_links(phone: &crate::phone::PhoneNumber) -> Self {
        Self::new("phone-links", phone.e164())
    }

    fn new(what: &str, whose: &str) -> Self {
        Self(Sha256::digest(format!("{what}:{whose}")).into())
    }

    /// As the database keeps it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// What one customer of a network has: an address of IPv4, 64 bits of IPv6 (RFC 6177). All whose
/// address nobody knows are one.
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

/// The statement of [`take`]; `$1` the subject, `$2` a limit an hour, `$3` a day. Its row's lock
/// puts those in order who come at the same moment.
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

/// Counts one time, and says whether it was still allowed. What was not is not counted: asking in
/// vain puts nothing off.
///
/// # Errors
/// [`crate::Error`] of the database alone.
pub async fn take(tx: &mut PgConnection, subject: Subject, limit: Limit) -> Result<bool> {
    let done = sqlx::query(take_statement!())
        .bind(subject.0.as_slice())
        .bind(limit.hourly)
        .bind(limit.daily);
    Ok(done.execute(tx).await?.rows_affected() == 1)
}

/// Counts one time, as [`take`] does, for who may be told that it was one too many.
///
/// # Errors
/// [`Error::TooOften`].
pub async fn demand(tx: &mut PgConnection, subject: Subject, limit: Limit) -> Result<()> {
    if take(tx, subject, limit).await? {
        return Ok(());
    }
    // The limit holds until the oldest of those times is out of the hour, and of the day.
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

/// Counts a token that nobody signed, and says what its bearer is told.
pub(crate) async fn guess(pool: &Pool, source: Option<IpAddr>) -> Error {
    let counted = async {
        let mut tx = db::begin_unscoped(pool).await?;
        demand(&mut tx, Subject::source_guesses(source), SOURCE_GUESSES).await?;
        tx.commit().await?;
        Ok(())
    };
    match counted.await {
        Err(error @ Error::TooOften { .. }) => error,
        // Counted or not, it opens nothing.
        Ok(()) | Err(_) => Error::LinkInvalid,
    }
}

/// How fast somebody may do something: evenly, but for some at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    every: Duration,
    at_once: u32,
}

impl Pace {
    /// `hourly` an hour, a tenth of them at once, ten at least; `None` for 0, which is as fast as
    /// they like.
    #[must_use]
    pub fn hourly(hourly: u32) -> Option<Self> {
        let every = Duration::from_hours(1).checked_div(hourly)?;
        Some(Self { every, at_once: (hourly / 10).max(10) })
    }

    /// Reads `KINLINE_POSTS_PER_HOUR`: how fast a member may post. 600 an hour where nothing is said.
    ///
    /// # Errors
    /// [`ConfigError`] when it is no number.
    pub fn of_posts() -> Result<Option<Self>, ConfigError> {
        Ok(Self::hourly(config::POSTS_PER_HOUR.parsed(600)?))
    }

    /// From one to the next, in seconds.
    pub(crate) fn every_seconds(self) -> f64 {
        self.every.as_secs_f64()
    }

    /// How far ahead of the even pace they may be, in seconds.
    pub(crate) fn ahead_seconds(self) -> f64 {
        self.every.as_secs_f64() * f64::from(self.at_once - 1)
    }
}

/// Forgets what was counted of these.
///
/// # Errors
/// [`crate::Error`] of the database alone.
pub(crate) async fn forget(tx: &mut PgConnection, subjects: &[Subject]) -> Result<()> {
    let subjects: Vec<Vec<u8>> = subjects.iter().map(|subject| subject.0.to_vec()).collect();
    sqlx::query("DELETE FROM rate_limits WHERE subject = ANY($1)")
        .bind(subjects)
        .execute(tx)
        .await?;
    Ok(())
}

/// Forgets what no limit looks at any more, up to 500 at a time; says how many.
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
    fn a_pace_is_even_but_for_a_tenth_at_once() {
        let pace = Pace::hourly(600).expect("a pace");
        assert_eq!((pace.every_seconds(), pace.ahead_seconds()), (6.0, 6.0 * 59.0));
        let slow = Pace::hourly(1).expect("a pace");
        assert_eq!((slow.every_seconds(), slow.at_once), (3600.0, 10));
        assert_eq!(Pace::hourly(0), None);
    }

    #[test]
    fn a_customers_network_is_one_source() {
        let network = |address: &str| network(Some(address.parse().expect("an address")));
        assert_eq!(network("2001:db8:1:2::7"), network("2001:db8:1:2:ffff::"));
        assert_ne!(network("2001:db8:1:2::7"), network("2001:db8:1:3::7"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
