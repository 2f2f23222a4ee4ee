//! What can go wrong in the domain; `functions` maps each to HTTP in one exhaustive match.

use std::time::Duration;

use platform::causes;
use sqlx::error::DatabaseError;

/// Result of a use case.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A use case's failure. `Display` never carries a name, a number, a text or a token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such family, or somebody else's.
    #[error("family not found")]
    FamilyNotFound,
    /// No such member in the family.
    #[error("user not found")]
    UserNotFound,
    /// No such thread, or the caller is not an active member of it.
    #[error("thread not found")]
    ThreadNotFound,
    /// No such message in that thread.
    #[error("message not found")]
    MessageNotFound,
    /// Some of these are not active users of the caller's family. As the caller wrote them.
    #[error("unknown members")]
    UnknownMembers(Vec<String>),
    /// A link that opens nothing (any more), or not in this browser.
    #[error("link invalid")]
    LinkInvalid,
    /// Somebody without a session, or one that has ended.
    #[error("no session")]
    NoSession,
    /// More often than may be.
    #[error("too often")]
    TooOften {
        /// When it may be again.
        retry_after: Duration,
    },
    /// A phone number of a country that this family's texts do not go to.
    #[error("region not allowed")]
    RegionNotAllowed,
    /// A direct message of more or fewer than two.
    #[error("a direct message has exactly two members")]
    DmNeedsTwo,
    /// More members than a thread may have ([`crate::threads::MEMBERS_MAX`]).
    #[error("too many members")]
    TooManyMembers,
    /// The message that is answered is not in that thread.
    #[error("the message that is replied to is not in this thread")]
    UnknownReply,
    /// Not the name of a time zone.
    #[error("unknown time zone")]
    UnknownTimeZone,
    /// The idempotency key was used before, with another request.
    #[error("idempotency key reused with another request")]
    IdempotencyKeyReused,
    /// A transient fault of the database: safe to retry.
    #[error("database unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// A fault of ours.
    #[error("database error")]
    Database(#[source] sqlx::Error),
    /// A row that breaks a rule of ours: a fault of ours.
    #[error("corrupt row: {0}")]
    Corrupt(&'static str),
}

impl Error {
    /// This error and what caused it, in one line for the log. Of PostgreSQL's own messages, which
    /// may repeat the values of a row, only codes and names are told.
    #[must_use]
    pub fn with_causes(&self) -> String {
        let Some(db) = causes::find(self).find_map(sqlx::Error::as_database_error) else {
            return causes::line(self);
        };
        let (code, table, constraint) =
            (db.code().unwrap_or_default(), db.table(), db.constraint());
        format!("{self}: SQLSTATE {code}, table {table:?}, constraint {constraint:?}")
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if is_transient(&error) { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

/// Whether the same statement may well succeed a moment later.
fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        // A server that goes away between two messages of the protocol.
        | sqlx::Error::Protocol(_)
        | sqlx::Error::BeginFailed => true,
        // Classes of SQLSTATE (PostgreSQL, appendix A): 08 connection, 28 a login whose password may
        // just be changing, 40 serialization and deadlock, 53 resources, 57P operator intervention;
        // 25P02 a transaction that a begin cut short left behind, 25006 a standby that is not yet a
        // primary, 25P03 idle for too long, 55000 a database that takes no connections, 55P03 a
        // lock and 57014 a statement that took too long.
        sqlx::Error::Database(db) => db.code().is_some_and(|code| {
            ["08", "28", "40", "53", "57P", "25P02", "25006", "25P03", "55000", "55P03", "57014"].iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

/// Whether PostgreSQL refused with this SQLSTATE.
pub(crate) fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(DatabaseError::code).is_some_and(|found| found == code)
}

/// The name of the constraint that a statement broke.
pub(crate) fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|db| db.constraint())
}
