//! PostgreSQL: migrations, pools and roles, and a transaction that is scoped to one family.

use std::{str::FromStr, time::Duration};

use sqlx::{
    AssertSqlSafe, PgPool, Postgres, Transaction,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{
    Result,
    config::{self, ConfigError},
    ids::FamilyId,
};

/// The schema, forward only.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// A role that owns nothing, which the schema's policies and grants know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The API: one family a transaction.
    App,
    /// The worker and the sweeper: every family, few columns.
    Worker,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::App => "kinline_app",
            Self::Worker => "kinline_worker",
        }
    }
}

/// How to reach the database.
#[derive(Clone)]
pub struct Database {
    options: PgConnectOptions,
    max_connections: u32,
}

impl Database {
    /// Reads `DATABASE_URL` and `KINLINE_DATABASE_CONNECTIONS` (1 by default: a Lambda
    /// environment serves one request at a time).
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        let url = config::required("DATABASE_URL", "where PostgreSQL is, as postgres://…")?;
        let max_connections = config::parsed("KINLINE_DATABASE_CONNECTIONS", 1)?;
        Self::new(&url, max_connections)
    }

    /// A database by its URL, with a pool of up to `max_connections`.
    ///
    /// # Errors
    /// [`ConfigError`] when the URL can't be read.
    pub fn new(url: &str, max_connections: u32) -> Result<Self, ConfigError> {
        let invalid = || ConfigError::Invalid {
            name: "DATABASE_URL",
            // The parser's own message may repeat the password.
            why: "not a PostgreSQL URL, as postgres://user:password@host/database".to_owned(),
        };
        // The parser takes any scheme.
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(invalid());
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| invalid())?;
        Ok(Self { options: options.application_name("kinline"), max_connections })
    }

    /// A pool whose connections are made when they are first needed, as the login of the URL.
    ///
    /// In production that login is a member of one of the [`Role`]s.
    #[must_use]
    pub fn pool(&self) -> PgPool {
        self.pool_with(self.options.clone())
    }

    /// Like [`Self::pool`], for a login that may take `role`: the local stack and the tests,
    /// whose login owns the schema.
    #[must_use]
    pub fn pool_as(&self, role: Role) -> PgPool {
        self.pool_with(self.options.clone().options([("role", role.name())]))
    }

    fn pool_with(&self, options: PgConnectOptions) -> PgPool {
        PgPoolOptions::new()
            .max_connections(self.max_connections)
            .acquire_timeout(Duration::from_secs(3))
            .connect_lazy_with(options)
    }
}

/// Begins a transaction that sees and writes one family's rows and no other's.
///
/// `BEGIN` and the setting travel in one round trip; the setting ends with the transaction, so
/// a pooled connection never carries it on.
///
/// # Errors
/// [`crate::Error::Unavailable`] when no connection is to be had.
pub async fn family(pool: &PgPool, family: &FamilyId) -> Result<Transaction<'static, Postgres>> {
    // A family id has no character that could end the literal (`FamilyId`), and `SET` takes
    // no parameters.
    let begin = format!("BEGIN; SET LOCAL app.family_id = '{family}'");
    Ok(pool.begin_with(AssertSqlSafe(begin)).await?)
}

/// Whether the database answers.
///
/// # Errors
/// [`crate::Error`] when it does not.
pub async fn ping(pool: &PgPool) -> Result<()> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}
