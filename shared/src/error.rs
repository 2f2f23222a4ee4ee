//! Errors of the domain, which `functions` maps to HTTP in one exhaustive match.

use std::time::Duration;

use platform::causes;
use sqlx::error::DatabaseError;

/// Result of a use case.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A use case's error. `Display` never shows a name, a phone number, a message or a token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The family does not exist, or is not the caller's.
    #[error("family not found")]
    FamilyNotFound,
    /// The family has no such user.
    #[error("user not found")]
    UserNotFound,
    /// The thread does not exist, or the caller is not an active member.
    #[error("thread not found")]
    ThreadNotFound,
    /// The thread has no such message.
    #[error("message not found")]
    MessageNotFound,
    /// These ids, as in the request, are not active users of the caller's family.
    #[error("unknown members")]
    UnknownMembers(Vec<String>),
    /// The link is unknown, expired or revoked, or bound to another browser.
    #[error("link invalid")]
    LinkInvalid,
    /// The browser has no session, or it has ended.
    #[error("no session")]
    NoSession,
    /// A rate limit is exceeded.
    #[error("too often")]
    TooOften {
        /// Time until the next allowed attempt.
        retry_after: Duration,
    },
    /// The phone number's country is not among those that the family's SMS may go to.
    #[error("region not allowed")]
    RegionNotAllowed,
    /// A direct message must have exactly two members.
    #[error("a direct message has exactly two members")]
    DmNeedsTwo,
    /// The thread would have more than [`crate::threads::MEMBERS_MAX`] members.
    #[error("too many members")]
    TooManyMembers,
    /// The family has [`crate::threads::THREADS_MAX`] threads.
    #[error("too many threads")]
    TooManyThreads,
    /// The message to reply to is not in the thread.
    #[error("the message that is replied to is not in this thread")]
    UnknownReply,
    /// The time zone is unknown.
    #[error("unknown time zone")]
    UnknownTimeZone,
    /// The idempotency key was used before with a different request.
    #[error("idempotency key reused with another request")]
    IdempotencyKeyReused,
    /// A transient database error: safe to retry.
    #[error("database unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// Any other database error: a bug.
    #[error("database error")]
    Database(#[source] sqlx::Error),
    /// A row violates an invariant: a bug.
    #[error("corrupt row: {0}")]
    Corrupt(&'static str),
}

impl Error {
    /// Formats the error and its causes as one line for the log. Of PostgreSQL's messages, which may repeat
    /// the values of a row, only codes and names are shown.
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

/// Whether the same statement may succeed a moment later.
fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        // The server closed the connection between two messages of the protocol.
        | sqlx::Error::Protocol(_)
        | sqlx::Error::BeginFailed => true,
        // Classes of SQLSTATE (PostgreSQL, appendix A): 08 connection, 28 login, since its
        // password may be changing, 40 serialization and deadlock, 53 resources, 57P operator
        // intervention; 25P02 failed transaction of a cancelled BEGIN, 25006 standby that is not yet a
        // primary, 25P03 idle time-out, 55000 database that accepts no connections, 55P03 lock time-out,
        // 57014 statement time-out.
        sqlx::Error::Database(db) => db.code().is_some_and(|code| {
            ["08", "28", "40", "53", "57P", "25P02", "25006", "25P03", "55000", "55P03", "57014"].iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

/// Whether the error has this SQLSTATE.
pub(crate) fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(DatabaseError::code).is_some_and(|found| found == code)
}

/// Returns the name of the violated constraint.
pub(crate) fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|db| db.constraint())
}
