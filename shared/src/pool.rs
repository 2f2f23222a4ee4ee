//! Connections that are kept from one transaction to the next.
//!
//! sqlx's own pool asks the server before and after each use whether a connection is alive: two of a
//! request's five round trips. Here the `BEGIN` finds out, as it has to be sent anyway.

use std::{
    fmt, io,
    ops::{Deref, DerefMut},
    time::Duration,
};

use deadpool::managed::{self, Manager, Metrics, Object, PoolConfig, PoolError, QueueMode};
use sqlx::{
    AssertSqlSafe, ConnectOptions, PgConnection, error::DatabaseError, postgres::PgConnectOptions,
};
use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};

/// How long a connection is kept: what was moved behind its name is found in the end.
const LIFETIME: Duration = Duration::from_mins(30);
/// What undoing a transaction that nobody ended may take.
const UNDO_TIME: Duration = Duration::from_secs(5);

/// Up to so many connections, made when they are needed. Cheap to clone.
#[derive(Clone)]
pub struct Pool {
    connections: managed::Pool<Connector>,
    patience: Duration,
}

impl fmt::Debug for Pool {
    /// Without the options, which have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool that connects with `options`, and whose callers wait up to `patience` for a connection.
    #[must_use]
    pub fn new(options: PgConnectOptions, size: usize, patience: Duration) -> Self {
        // The one used last, whose caches are warm.
        let config = PoolConfig { queue_mode: QueueMode::Lifo, ..PoolConfig::new(size) };
        let builder = managed::Pool::builder(Connector { options }).config(config);
        // Fails for who sets time-outs of deadpool's own, which need a runtime to be named.
        let Ok(connections) = builder.build() else { unreachable!("no time-outs are set") };
        Self { connections, patience }
    }

    /// Begins a transaction with these statements, the first of which is a `BEGIN`.
    ///
    /// # Errors
    /// [`sqlx::Error`]; `PoolTimedOut` when there is no connection in time.
    pub(crate) async fn begin(&self, statements: &str) -> Result<Transaction, sqlx::Error> {
        let begun = timeout(self.patience, self.begin_on_any(statements)).await;
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
    options: PgConnectOptions,
}

impl Manager for Connector {
    type Type = PgConnection;
    type Error = sqlx::Error;

    /// Waits for a server that is about to start, or has too many connections, as long as its caller
    /// does.
    async fn create(&self) -> Result<PgConnection, sqlx::Error> {
        let mut pause = Duration::from_millis(10);
        loop {
            // Boxed: its future is large, in whatever awaits it, and seldom needed.
            match Box::pin(self.options.connect()).await {
                Err(error) if is_passing(&error) => {
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(500));
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
