//! How often something may be done, across everything that does it.

use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use crate::{
    Result,
    ids::{FamilyId, UserId},
};

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
