//! PostgreSQL: migrations, roles, and transactions scoped to one family.

use std::{str::FromStr, time::Duration};

use serde::Deserialize;
use sqlx::{PgConnection, migrate::Migrator, postgres::PgConnectOptions};
use tokio::time::timeout;

use platform::{
    config::{ConfigError, ExposeSecret, SecretString, Variable},
    secrets,
};
mod pool;

pub use pool::{Pool, Transaction};

use crate::{Result, config, ids::FamilyId};

/// The schema's migrations, forward only.
pub static MIGRATOR: Migrator = sqlx::migrate!();

/// A database role of the schema's policies and grants. Owns nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The API: one family in each transaction.
    App,
    /// The worker and the sweeper: all families, few columns.
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

/// Login to the database, in the format of Secrets Manager and RDS: `{"username", "password"}`. Other
/// fields are ignored.
#[derive(Debug, Clone, Deserialize)]
pub struct Login {
    /// The role.
    pub username: String,
    /// Its password.
    pub password: SecretString,
}

impl Login {
    /// The login in the secret whose ARN is in `variable`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub async fn at(variable: Variable) -> Result<Self, ConfigError> {
        let secret = secrets::at(variable).await?;
        // The parser's own message may repeat what it read.
        serde_json::from_str(secret.expose_secret())
            .map_err(|_| variable.invalid(r#"the secret is not {"username", "password"}"#))
    }

    /// Returns `options` with this login.
    pub(crate) fn enter(&self, options: PgConnectOptions) -> PgConnectOptions {
        options.username(&self.username).password(self.password.expose_secret())
    }
}

/// Connection settings of the database.
#[derive(Clone)]
pub struct Database {
    options: PgConnectOptions,
    max_connections: u32,
    /// The variable with the ARN of the login's secret, if there is one.
    secret: Option<Variable>,
}

impl Database {
    /// Reads `DATABASE_URL` and `KINLINE_DATABASE_CONNECTIONS` (1 by default: a Lambda
    /// environment serves one request at a time), and the login in the secret of
    /// `KINLINE_DATABASE_SECRET_ARN`, if it is set. The pool reads the secret again when the database
    /// refuses the login.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub async fn from_env() -> Result<Self, ConfigError> {
        let url = config::DATABASE_URL.required()?;
        let max_connections = config::DATABASE_CONNECTIONS.parsed(1)?;
        let database = Self::new(&url, max_connections)?;
        let arn = config::DATABASE_SECRET_ARN;
        if arn.optional().is_none() {
            return Ok(database);
        }
        let database = database.with_login(&Login::at(arn).await?);
        Ok(Self { secret: Some(arn), ..database })
    }

    /// The same database, with another login.
    #[must_use]
    pub fn with_login(self, login: &Login) -> Self {
        Self { options: login.enter(self.options), secret: None, ..self }
    }

    /// The options of a single connection, outside of a pool.
    #[must_use]
    pub const fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// The database at `url`, with a pool of up to `max_connections`.
    ///
    /// # Errors
    /// [`ConfigError`] when the URL can't be read.
    pub fn new(url: &str, max_connections: u32) -> Result<Self, ConfigError> {
        let invalid = || {
            // The parser's own message may repeat the password.
            let why = "not a PostgreSQL URL, as postgres://user:password@host/database";
            config::DATABASE_URL.invalid(why)
        };
        // The parser takes any scheme.
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(invalid());
        }
        let options = PgConnectOptions::from_str(url).map_err(|_| invalid())?;
        let options = options.application_name("kinline");
        Ok(Self { options, max_connections, secret: None })
    }

    /// Makes a pool, which opens connections when they are needed, with the login of the URL.
    ///
    /// In production that login is a member of one of the [`Role`]s.
    #[must_use]
    pub fn pool(&self) -> Pool {
        self.pool_with(self.options.clone())
    }

    /// Like [`Self::pool`], with connections that switch to `role`: for the local stack and the tests,
    /// where the login owns the schema.
    #[must_use]
    pub fn pool_as(&self, role: Role) -> Pool {
        self.pool_with(self.options.clone().options([("role", role.name())]))
    }

    fn pool_with(&self, options: PgConnectOptions) -> Pool {
        // A Lambda environment has one connection for one request. A server's requests wait for theirs,
        // and under load a new one takes a while: with a short time-out it would be cancelled and begun
        // again and again.
        let acquire_timeout = Duration::from_secs(if self.max_connections == 1 { 3 } else { 10 });
        let size = usize::try_from(self.max_connections).unwrap_or(usize::MAX);
        match self.secret {
            Some(secret) => Pool::with_secret(options, size, acquire_timeout, secret),
            None => Pool::new(options, size, acquire_timeout),
        }
    }
}

/// Begins a transaction with time limits, so that a forgotten lock blocks others only for a short time,
/// and with generic plans: each statement has one plan that suits all parameters, which a test checks, and
/// planning takes longer than most statements run. Local settings, since a proxy that pools transactions
/// accepts no others.
macro_rules! begin {
    ($statement:literal) => {
        concat!(
            "BEGIN; SET LOCAL statement_timeout = '",
            $statement,
            "'; SET LOCAL lock_timeout = '2s'; SET LOCAL idle_in_transaction_session_timeout = '10s'",
            "; SET LOCAL plan_cache_mode = force_generic_plan"
        )
    };
}

/// Begins a transaction that reads and writes only the rows of one family.
///
/// `BEGIN` and the setting take one round trip. The setting ends with the transaction, so a pooled
/// connection does not keep it.
///
/// # Errors
/// [`crate::Error::Unavailable`] when there is no connection.
pub async fn begin_for_family(pool: &Pool, family: &FamilyId) -> Result<Transaction> {
    // `SET` takes no parameters. A family id has no character that could end the literal (`FamilyId`).
    let begin = format!(concat!(begin!("10s"), "; SET LOCAL app.family_id = '{}'"), family);
    Ok(pool.begin(&begin).await?)
}

/// Keys of rows that a caller presents before its family is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowKeys<'a> {
    /// A link with a valid signature.
    pub link: Option<&'a [u8]>,
    /// The hash of a browser's cookie.
    pub browser: Option<&'a [u8]>,
}

/// Begins a transaction that sees only the rows of `keys`. The family found there is then passed to
/// [`enter_family`].
///
/// # Errors
/// [`crate::Error::Unavailable`] when there is no connection.
pub async fn begin_by_keys(pool: &Pool, keys: RowKeys<'_>) -> Result<Transaction> {
    // `SET` takes no parameters, so the keys are written as hexadecimal digits.
    let [link, browser] =
        [keys.link, keys.browser].map(|key| key.map(hex::encode).unwrap_or_default());
    let begin = format!(
        concat!(begin!("10s"), "; SET LOCAL app.link = '{}'; SET LOCAL app.browser = '{}'"),
        link, browser
    );
    Ok(pool.begin(&begin).await?)
}

/// Begins a transaction that sees no family's rows, for writes before the family is known.
///
/// # Errors
/// [`crate::Error::Unavailable`] when there is no connection.
pub async fn begin_unscoped(pool: &Pool) -> Result<Transaction> {
    Ok(pool.begin(begin!("3s")).await?)
}

/// Scopes a transaction of [`begin_by_keys`] to `family`.
///
/// # Errors
/// Only database errors.
pub async fn enter_family(tx: &mut PgConnection, family: &FamilyId) -> Result<()> {
    sqlx::query("SELECT set_config('app.family_id', $1, true)").bind(family).execute(tx).await?;
    Ok(())
}

/// Begins a transaction of the worker or the sweeper, across all families. Its statements have three
/// seconds: a worker begins with eight seconds left, and a send takes five.
///
/// # Errors
/// [`crate::Error::Unavailable`] when there is no connection.
pub async fn begin_as_worker(pool: &Pool) -> Result<Transaction> {
    Ok(pool.begin(begin!("3s")).await?)
}

/// Checks that the database answers within two seconds.
///
/// # Errors
/// [`crate::Error::Unavailable`] if it does not.
pub async fn ping(pool: &Pool) -> Result<()> {
    let round_trip = async { begin_unscoped(pool).await?.commit().await.map_err(Into::into) };
    let answer = timeout(Duration::from_secs(2), round_trip).await;
    answer.unwrap_or(Err(sqlx::Error::PoolTimedOut.into()))
}
