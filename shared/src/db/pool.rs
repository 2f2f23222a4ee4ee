//! Connections that are kept from one transaction to the next.
//!
//! sqlx's own pool asks the server before and after each use whether a connection is alive: two of a
//! request's five round trips. Here the `BEGIN` finds out, as it has to be sent anyway.

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

/// How long a connection is kept: what was moved behind its name is found in the end.
const LIFETIME: Duration = Duration::from_mins(30);
/// How long a login counts as read just now, whatever the database says of it.
const LOGIN_AGE: Duration = Duration::from_secs(5);
/// What undoing a transaction that nobody ended may take.
const UNDO_TIME: Duration = Duration::from_secs(5);

/// Up to so many connections, made when they are needed. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    connections: managed::Pool<Connector>,
    acquire_timeout: Duration,
}

impl fmt::Debug for Pool {
    /// Without the options, which have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("acquire_timeout", &self.acquire_timeout)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool that connects with `options`, and whose callers wait up to `acquire_timeout` for a connection.
    #[must_use]
    pub fn new(options: PgConnectOptions, size: usize, acquire_timeout: Duration) -> Self {
        Self::of(Connector::new(options, None), size, acquire_timeout)
    }

    /// Like [`Self::new`], with a login that is in the secret whose ARN the variable `secret` holds: a
    /// login that the database refuses is read anew, since it may have another password by now.
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
        // The one used last, whose caches are warm.
        let config = PoolConfig { queue_mode: QueueMode::Lifo, ..PoolConfig::new(size) };
        let builder = managed::Pool::builder(connector).config(config);
        // Fails for who sets time-outs of deadpool's own, which need a runtime to be named.
        let Ok(connections) = builder.build() else { unreachable!("no time-outs are set") };
        Self { connections, acquire_timeout }
    }

    /// Begins a transaction with these statements, the first of which is a `BEGIN`.
    ///
    /// # Errors
    /// [`sqlx::Error`]; `PoolTimedOut` when there is no connection in time.
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
                // Nothing has happened yet: if the server has gone since the last time, there may be
                // another by now.
                Err(error) if kept => tracing::info!(%error, "a connection is of no use any more"),
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes the connections that nobody uses, and lets nobody have one any more.
    pub fn close(&self) {
        self.connections.close();
    }
}

/// Makes connections.
struct Connector {
    options: Mutex<PgConnectOptions>,
    /// The variable that says where the login is kept.
    secret: Option<Variable>,
    /// When the login was last read because it was refused. Held by who reads it.
    read_anew: sync::Mutex<Option<Instant>>,
}

impl Connector {
    fn new(options: PgConnectOptions, secret: Option<Variable>) -> Self {
        let (options, read_anew) = (Mutex::new(options), sync::Mutex::default());
        Self { options, secret, read_anew }
    }

    fn options(&self) -> MutexGuard<'_, PgConnectOptions> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the login anew, unless somebody has just done so, and says whether there is one to read.
    async fn renew(&self) -> bool {
        let Some(secret) = self.secret else { return false };
        let mut read_anew = self.read_anew.lock().await;
        if read_anew.is_some_and(|at| at.elapsed() < LOGIN_AGE) {
            return true;
        }
        match Login::at(secret).await {
            Ok(login) => {
                tracing::info!("the login was refused, and read anew");
                let mut options = self.options();
                *options = login.enter(options.clone());
            }
            Err(error) => tracing::warn!(%error, "the login was refused, and can't be read anew"),
        }
        *read_anew = Some(Instant::now());
        true
    }
}

impl Manager for Connector {
    type Type = PgConnection;
    type Error = sqlx::Error;

    /// Waits for a server that is about to start, or has too many connections, as long as its caller
    /// does.
    async fn create(&self) -> Result<PgConnection, sqlx::Error> {
        let mut delay = Duration::from_millis(10);
        let mut renewed = false;
        loop {
            let options = self.options().clone();
            // Boxed: its future is large, in whatever awaits it, and seldom needed.
            match Box::pin(options.connect()).await {
                Err(error) if is_passing(&error) => {
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

fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        // Too many connections; starting up.
        sqlx::Error::Database(error) => {
            matches!(DatabaseError::code(&**error).as_deref(), Some("53300" | "57P03"))
        }
        _ => false,
    }
}

/// Whether the database does not believe the login, in either of the ways that it says so.
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

/// A transaction on a connection of its own. Dropping it undoes what it did.
pub struct Transaction {
    /// There until the end.
    connection: Option<Object<Connector>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Begun, and not ended.
    Open,
    /// Ended.
    Ended,
    /// Cut short while it began or ended.
    Unknown,
}

impl Transaction {
    /// Commits it.
    ///
    /// # Errors
    /// [`sqlx::Error`]; whether it was committed is unknown when the connection was lost.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.state = State::Unknown;
        simple(&mut self, "COMMIT").await?;
        self.state = State::Ended;
        Ok(())
    }

    /// Ends it, where it has only read: nobody has to wait for that. What the server answers is taken
    /// note of by the connection's next user. It is sent here and now, so that a Lambda environment
    /// which is frozen next leaves no transaction open; should a full socket not take it, the server
    /// ends what is idle in a transaction for ten seconds.
    pub fn end(mut self) {
        self.state = match simple(&mut self, "COMMIT").now_or_never() {
            Some(Err(_)) => State::Unknown,
            Some(Ok(())) | None => State::Ended,
        };
    }
}

/// Sends statements that have no parameters, in one round trip.
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
            // The server undoes what a connection leaves behind.
            (State::Open | State::Unknown, _) => drop(Object::take(connection)),
        }
    }
}
