//! PostgreSQL: migrations, pools and roles, and a transaction that is scoped to one family.

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

/// Who enters the database, as Secrets Manager and RDS keep it: `{"username", "password"}`. What
/// else stands there is not looked at.
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

    /// These options, with this login in the place of theirs.
    pub(crate) fn enter(&self, options: PgConnectOptions) -> PgConnectOptions {
        options.username(&self.username).password(self.password.expose_secret())
    }
}

/// How to reach the database.
#[derive(Clone)]
pub struct Database {
    options: PgConnectOptions,
    max_connections: u32,
    /// The variable that says where the login is kept, if it is.
    secret: Option<Variable>,
}

impl Database {
    /// Reads `DATABASE_URL` and `KINLINE_DATABASE_CONNECTIONS` (1 by default: a Lambda
    /// environment serves one request at a time), and the login in the secret that
    /// `KINLINE_DATABASE_SECRET_ARN` names, if it does. Its pool reads that again when the database
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

    /// The same database, entered as `login`.
    #[must_use]
    pub fn with_login(self, login: &Login) -> Self {
        Self { options: login.enter(self.options), secret: None, ..self }
    }

    /// How to connect, for who makes a connection of their own.
    #[must_use]
    pub const fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// A database by its URL, with a pool of up to `max_connections`.
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

    /// A pool whose connections are made when they are first needed, as the login of the URL.
    ///
    /// In production that login is a member of one of the [`Role`]s.
    #[must_use]
    pub fn pool(&self) -> Pool {
        self.pool_with(self.options.clone())
    }

    /// Like [`Self::pool`], for a login that may take `role`: the local stack and the tests,
    /// whose login owns the schema.
    #[must_use]
    pub fn pool_as(&self, role: Role) -> Pool {
        self.pool_with(self.options.clone().options([("role", role.name())]))
    }

    fn pool_with(&self, options: PgConnectOptions) -> Pool {
        // A Lambda environment has one connection and nobody to wait for. A server's callers queue
        // for theirs, and a new one takes a while to be made under load: cancelled too soon, it is
        // begun again and again.
        let acquire_timeout = Duration::from_secs(if self.max_connections == 1 { 3 } else { 10 });
        let size = usize::try_from(self.max_connections).unwrap_or(usize::MAX);
        match self.secret {
            Some(secret) => Pool::with_secret(options, size, acquire_timeout, secret),
            None => Pool::new(options, size, acquire_timeout),
        }
    }
}

/// What bounds every transaction, so that a lock that somebody forgot stops nobody else for long.
/// And what keeps plans: each statement here is written to have one good plan for whatever it is asked,
/// which a test looks at, and making one anew takes longer than most of them run. Local settings, since
/// a proxy that pools transactions takes no others.
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

/// Begins a transaction that sees and writes one family's rows and no other's.
///
/// `BEGIN` and the setting travel in one round trip; the setting ends with the transaction, so
/// a pooled connection never carries it on.
///
/// # Errors
/// [`crate::Error::Unavailable`] when no connection is to be had.
pub async fn begin_for_family(pool: &Pool, family: &FamilyId) -> Result<Transaction> {
    // A family id has no character that could end the literal (`FamilyId`), and `SET` takes
    // no parameters.
    let begin = format!(concat!(begin!("10s"), "; SET LOCAL app.family_id = '{}'"), family);
    Ok(pool.begin(&begin).await?)
}

/// The keys of rows that a caller presents before its family is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowKeys<'a> {
    /// A link whose signature holds.
    pub link: Option<&'a [u8]>,
    /// The hash of a browser's cookie.
    pub browser: Option<&'a [u8]>,
}

/// Begins a transaction that sees the rows of `keys` alone, and no family's yet. What they say of the
/// family goes to [`enter_family`].
///
/// # Errors
/// [`crate::Error::Unavailable`] when no connection is to be had.
pub async fn begin_by_keys(pool: &Pool, keys: RowKeys<'_>) -> Result<Transaction> {
    // Hexadecimal digits alone: `SET` takes no parameters.
    let [link, browser] =
        [keys.link, keys.browser].map(|key| key.map(hex::encode).unwrap_or_default());
    let begin = format!(
        concat!(begin!("10s"), "; SET LOCAL app.link = '{}'; SET LOCAL app.browser = '{}'"),
        link, browser
    );
    Ok(pool.begin(&begin).await?)
}

/// Begins a transaction that sees no family's rows, for what is noted before its family is known.
///
/// # Errors
/// [`crate::Error::Unavailable`] when no connection is to be had.
pub async fn begin_unscoped(pool: &Pool) -> Result<Transaction> {
    Ok(pool.begin(begin!("3s")).await?)
}

/// Scopes a transaction of [`begin_by_keys`] to `family`.
///
/// # Errors
/// [`crate::Error`] of the database alone.
pub async fn enter_family(tx: &mut PgConnection, family: &FamilyId) -> Result<()> {
    sqlx::query("SELECT set_config('app.family_id', $1, true)").bind(family).execute(tx).await?;
    Ok(())
}

/// Begins a transaction of the worker's or the sweeper's, who serve every family. Its statements
/// are short or not at all: a worker begins with eight seconds left, and a send takes five.
///
/// # Errors
/// [`crate::Error::Unavailable`] when no connection is to be had.
pub async fn begin_as_worker(pool: &Pool) -> Result<Transaction> {
    Ok(pool.begin(begin!("3s")).await?)
}

/// Whether the database answers, within two seconds.
///
/// # Errors
/// [`crate::Error::Unavailable`] when it does not.
pub async fn ping(pool: &Pool) -> Result<()> {
    let asked = async { begin_unscoped(pool).await?.commit().await.map_err(Into::into) };
    let answer = timeout(Duration::from_secs(2), asked).await;
    answer.unwrap_or(Err(sqlx::Error::PoolTimedOut.into()))
}
