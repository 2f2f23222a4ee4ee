//! Connection pool of transactions.
//!
//! sqlx's pool pings the server before and after each use of a connection: two of a request's five round
//! trips. Here the `BEGIN`, which is sent anyway, shows whether the connection is alive.

use std::{
    fmt, io,
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use deadpool::managed::{self, Manager, Metrics, Object, PoolConfig, PoolError, QueueMode};
use futures_util::FutureExt;
use platform::config::Variable;
use sqlx::{
    AssertSqlSafe, ConnectOptions, PgConnection, error::DatabaseError, postgres::PgConnectOptions,
};
use tokio::{
    runtime::Handle,
    sync,
    time::{sleep, timeout},
};

use super::Login;
use crate::error::has_code;

/// Maximum age of a connection, so that a change of the server behind its DNS name is noticed.
const LIFETIME: Duration = Duration::from_mins(30);
/// How long a login that was read is not read again, even if the database refuses it.
const LOGIN_AGE: Duration = Duration::from_secs(5);
/// Time limit for rolling back a dropped transaction.
const UNDO_TIME: Duration = Duration::from_secs(5);

/// Pool of connections, opened when they are needed. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    connections: managed::Pool<Connector>,
    acquire_timeout: Duration,
}

impl fmt::Debug for Pool {
    /// Without the options, which contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("acquire_timeout", &self.acquire_timeout)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool of up to `size` connections. Callers wait up to `acquire_timeout` for one.
    #[must_use]
    pub fn new(options: PgConnectOptions, size: usize, acquire_timeout: Duration) -> Self {
        Self::of(Connector::new(options, None), size, acquire_timeout)
    }

    /// Like [`Self::new`], with the login in a secret; the variable `secret` has its ARN. When the database
    /// refuses the login it is read again, since the password may have changed.
    #[must_use]
    pub fn with_secret(
        options: PgConnectOptions,
        size: usize,
        acquire_timeout: Duration,
        secret: Variable,
    ) -> Self {
        Self::of(Connector::new(options, Some(secret)), size, acquire_timeout)
    }

    fn of(connector: Connector, size: usize, acquire_timeout: Duration) -> Self {
        // The connection used last has warm caches.
        let config = PoolConfig { queue_mode: QueueMode::Lifo, ..PoolConfig::new(size) };
        let builder = managed::Pool::builder(connector).config(config);
        // Fails only with deadpool's own time-outs, which need a runtime.
        let Ok(connections) = builder.build() else { unreachable!("no time-outs are set") };
        Self { connections, acquire_timeout }
    }

    /// Begins a transaction with these statements, the first of which is `BEGIN`.
    ///
    /// # Errors
    /// [`sqlx::Error`]; `PoolTimedOut` if there is no connection in time.
    pub(crate) async fn begin(&self, statements: &str) -> Result<Transaction, sqlx::Error> {
        let begun = timeout(self.acquire_timeout, self.begin_on_any(statements)).await;
        begun.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    async fn begin_on_any(&self, statements: &str) -> Result<Transaction, sqlx::Error> {
        loop {
            let connection = self.connections.get().await.map_err(unavailable)?;
            let kept = Object::metrics(&connection).recycle_count > 0;
            let mut transaction =
                Transaction { connection: Some(connection), state: State::Unknown };
            match simple(&mut transaction, statements).await {
                Ok(()) => {
                    transaction.state = State::Open;
                    return Ok(transaction);
                }
                // Nothing was executed: the server closed the connection, and a new one may work.
                Err(error) if kept => tracing::info!(%error, "pooled connection is broken"),
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes idle connections, and refuses further transactions.
    pub fn close(&self) {
        self.connections.close();
    }
}

/// Opens connections.
struct Connector {
    options: Mutex<PgConnectOptions>,
    /// The variable with the ARN of the login's secret.
    secret: Option<Variable>,
    /// When the login was last read again. Locked while it is being read.
    renewed_at: sync::Mutex<Option<Instant>>,
}

impl Connector {
    fn new(options: PgConnectOptions, secret: Option<Variable>) -> Self {
        let (options, renewed_at) = (Mutex::new(options), sync::Mutex::default());
        Self { options, secret, renewed_at }
    }

    fn options(&self) -> MutexGuard<'_, PgConnectOptions> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the login again, unless that happened just now. Returns whether there is a secret to read.
    async fn renew(&self) -> bool {
        let Some(secret) = self.secret else { return false };
        let mut renewed_at = self.renewed_at.lock().await;
        if renewed_at.is_some_and(|at| at.elapsed() < LOGIN_AGE) {
            return true;
        }
        match Login::at(secret).await {
            Ok(login) => {
                tracing::info!("login was refused; read its secret again");
                let mut options = self.options();
                *options = login.enter(options.clone());
            }
            Err(error) => tracing::warn!(%error, "login was refused, and its secret can't be read"),
        }
        *renewed_at = Some(Instant::now());
        true
    }
}

impl Manager for Connector {
    type Type = PgConnection;
    type Error = sqlx::Error;

    /// Connects, and retries while the server is starting or has too many connections. The caller's
    /// acquire timeout ends it.
    async fn create(&self) -> Result<PgConnection, sqlx::Error> {
        let mut delay = Duration::from_millis(10);
        let mut renewed = false;
        loop {
            let options = self.options().clone();
            // Boxed: the future is large and seldom needed.
            match Box::pin(options.connect()).await {
                Err(error) if is_transient(&error) => {
                    sleep(delay).await;
                    delay = (delay * 2).min(Duration::from_millis(500));
                }
                Err(error) if is_refused(&error) && !renewed => {
                    renewed = true;
                    if !Box::pin(self.renew()).await {
                        return Err(error);
                    }
                }
                connected => return connected,
            }
        }
    }

    async fn recycle(
        &self,
        _: &mut PgConnection,
        metrics: &Metrics,
    ) -> managed::RecycleResult<sqlx::Error> {
        if metrics.age() > LIFETIME {
            return Err(managed::RecycleError::message("old"));
        }
        Ok(())
    }
}

fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        // Too many connections; starting up.
        sqlx::Error::Database(error) => {
            matches!(DatabaseError::code(&**error).as_deref(), Some("53300" | "57P03"))
        }
        _ => false,
    }
}

/// Whether the database refused the login, by either of its two codes.
fn is_refused(error: &sqlx::Error) -> bool {
    has_code(error, "28P01") || has_code(error, "28000")
}

fn unavailable(error: PoolError<sqlx::Error>) -> sqlx::Error {
    match error {
        PoolError::Backend(error) => error,
        PoolError::Closed => sqlx::Error::PoolClosed,
        _ => sqlx::Error::PoolTimedOut,
    }
}

/// A transaction on a pooled connection. Dropping it rolls back.
pub struct Transaction {
    /// `Some` until it is dropped.
    connection: Option<Object<Connector>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Begun, not ended.
    Open,
    /// Ended.
    Ended,
    /// Cancelled while it began or ended.
    Unknown,
}

impl Transaction {
    /// Commits it.
    ///
    /// # Errors
    /// [`sqlx::Error`]; if the connection was lost, it is unknown whether the transaction was committed.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.state = State::Unknown;
        simple(&mut self, "COMMIT").await?;
        self.state = State::Ended;
        Ok(())
    }

    /// Ends a transaction that has only read, without waiting: the connection's next user receives the
    /// server's answer. The `COMMIT` is sent at once, so that a Lambda environment that is frozen
    /// afterwards leaves no transaction open. If the socket is full, the server's idle time-out of ten
    /// seconds ends it.
    pub fn end(mut self) {
        self.state = match simple(&mut self, "COMMIT").now_or_never() {
            Some(Err(_)) => State::Unknown,
            Some(Ok(())) | None => State::Ended,
        };
    }
}

/// Sends statements without parameters, in one round trip.
async fn simple(connection: &mut PgConnection, statements: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(connection).await?;
    Ok(())
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("it is taken in Drop alone"),
        }
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("it is taken in Drop alone"),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        match (self.state, Handle::try_current()) {
            // Back to the pool.
            (State::Ended, _) => {}
            (State::Open, Ok(runtime)) => {
                runtime.spawn(async move {
                    let undone = timeout(UNDO_TIME, simple(&mut connection, "ROLLBACK")).await;
                    if !matches!(undone, Ok(Ok(()))) {
                        drop(Object::take(connection));
                    }
                });
            }
            // The server rolls back when the connection closes.
            (State::Open | State::Unknown, _) => drop(Object::take(connection)),
        }
    }
}
