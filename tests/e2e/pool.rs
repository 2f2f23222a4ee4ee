//! The connection pool: no request's state reaches the next one.

use futures_util::{FutureExt, future::join_all};
use shared::{
    Error,
    db::{self, Database, Pool, Role},
};
use sqlx::PgConnection;
use tests::System;

fn pool(system: &System, size: u32) -> Pool {
    Database::new(system.database_url(), size).expect("a URL").pool_as(Role::Worker)
}

async fn backend(tx: &mut PgConnection) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(tx).await.expect("a number")
}

async fn kill(system: &System, backend: i32) {
    // Returns once it is gone, within five seconds.
    let gone: bool = sqlx::query_scalar("SELECT pg_terminate_backend($1, 5000)")
        .bind(backend)
        .fetch_one(&system.owner)
        .await
        .expect("killed");
    assert!(gone);
}

#[tokio::test]
async fn a_connection_is_kept_and_uncommitted_work_is_rolled_back() {
    let system = System::start().await;
    let pool = pool(&system, 1);
    let mut tx = db::begin_as_worker(&pool).await.expect("a transaction");
    let first = backend(&mut tx).await;
    sqlx::raw_sql("CREATE TEMPORARY TABLE left_behind ()").execute(&mut *tx).await.expect("made");
    drop(tx);
    let mut tx = db::begin_as_worker(&pool).await.expect("a transaction");
    assert_eq!(backend(&mut tx).await, first);
    let left: Option<String> = sqlx::query_scalar("SELECT to_regclass('left_behind')::text")
        .fetch_one(&mut *tx)
        .await
        .expect("an answer");
    assert_eq!(left, None);
    // A statement that failed, or whose answer was not awaited, does not disturb the next one.
    sqlx::raw_sql("SELECT 1 / 0").execute(&mut *tx).await.expect_err("a division by zero");
    drop(tx);
    let mut tx = db::begin_as_worker(&pool).await.expect("a transaction");
    let asked = sqlx::raw_sql("SELECT pg_sleep(0.01)").execute(&mut *tx).now_or_never();
    assert!(asked.is_none(), "cancelled at once");
    drop(tx);
    let mut tx = db::begin_as_worker(&pool).await.expect("a transaction");
    assert_eq!(backend(&mut tx).await, first);
}

#[tokio::test]
async fn a_dead_idle_connection_is_replaced_without_an_error() {
    let system = System::start().await;
    let pool = pool(&system, 3);
    let mut all = join_all((0..3).map(|_| db::begin_as_worker(&pool))).await;
    let mut backends = Vec::new();
    for tx in &mut all {
        backends.push(backend(tx.as_mut().expect("a transaction")).await);
    }
    for tx in all {
        tx.expect("a transaction").commit().await.expect("committed");
    }
    for backend in &backends {
        kill(&system, *backend).await;
    }
    let mut tx = db::begin_as_worker(&pool).await.expect("another one");
    assert!(!backends.contains(&backend(&mut tx).await));
}

#[tokio::test]
async fn a_connection_that_dies_in_a_transaction_is_an_error_once() {
    let system = System::start().await;
    let pool = pool(&system, 1);
    let mut tx = db::begin_as_worker(&pool).await.expect("a transaction");
    let first = backend(&mut tx).await;
    kill(&system, first).await;
    let lost = sqlx::raw_sql("SELECT 1").execute(&mut *tx).await;
    assert!(matches!(Error::from(lost.expect_err("lost")), Error::Unavailable(_)));
    drop(tx);
    let mut tx = db::begin_as_worker(&pool).await.expect("a transaction");
    assert_ne!(backend(&mut tx).await, first);
}

#[tokio::test]
async fn a_cancelled_begin_or_commit_leaves_nothing_to_the_next() {
    let system = System::start().await;
    let pool = pool(&system, 1);
    db::begin_as_worker(&pool).await.expect("a transaction").commit().await.expect("committed");
    // Cancelled during the begin, and during the commit, unless the server is faster.
    drop(db::begin_as_worker(&pool).now_or_never());
    let tx = db::begin_as_worker(&pool).await.expect("a transaction");
    drop(tx.commit().now_or_never());
    let mut tx = db::begin_unscoped(&pool).await.expect("a transaction");
    // The server rolls back as soon as it sees that its client is gone.
    let open = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    while sqlx::query_scalar::<_, i64>(open).fetch_one(&mut *tx).await.expect("a number") > 0 {}
}

#[tokio::test]
async fn the_acquire_timeout_fails_one_caller_and_not_the_others() {
    let system = System::start().await;
    let pool = pool(&system, 1);
    let kept = db::begin_as_worker(&pool).await.expect("a transaction");
    let waiting = db::begin_as_worker(&pool).await;
    assert!(matches!(waiting, Err(Error::Unavailable(sqlx::Error::PoolTimedOut))));
    kept.commit().await.expect("committed");
    db::begin_as_worker(&pool).await.expect("a transaction");
    pool.close();
    let closed = db::begin_as_worker(&pool).await;
    assert!(matches!(closed, Err(Error::Unavailable(sqlx::Error::PoolClosed))));
}

#[tokio::test]
async fn a_read_only_transaction_ends_in_the_background() {
    let system = System::start().await;
    let pool = pool(&system, 1);
    let mut tx = db::begin_as_worker(&pool).await.expect("a transaction");
    let first = backend(&mut tx).await;
    tx.end();
    // The client sends nothing more: the server has all it needs.
    let state = "SELECT state FROM pg_stat_activity WHERE pid = $1";
    loop {
        let state: String =
            sqlx::query_scalar(state).bind(first).fetch_one(&system.owner).await.expect("a state");
        if state == "idle" {
            break;
        }
    }
    let mut tx = db::begin_as_worker(&pool).await.expect("a transaction");
    assert_eq!(backend(&mut tx).await, first);
    tx.end();
    kill(&system, first).await;
    let mut tx = db::begin_as_worker(&pool).await.expect("a transaction");
    assert_ne!(backend(&mut tx).await, first);
}
