//! Transactions of many families on few connections, through `PgBouncer` (tests/pooler/run.sh).

use futures_util::future::join_all;
use shared::{
    db::{self, Database, Pool, Role},
    ids::FamilyId,
};
use sqlx::{Connection, PgConnection, Row};
use tests::{
    System,
    pooler::{Pooler, Pooling},
    system::FAMILY,
};

/// The names of visible families, the setting, and the connection.
const SEEN: &str = "SELECT array(SELECT family_id FROM families), \
    current_setting('app.family_id', true), pg_backend_pid()";
type Seen = (Vec<String>, Option<String>, i32);

/// A system with two families, and a pooler in front of its database.
async fn pooled(pooling: Pooling) -> (System, Pooler) {
    let system = System::start().await;
    system.family(2).await;
    system.family_named("other", 3).await;
    let program = Pooler::program().expect("KINLINE_TEST_POOLER says where PgBouncer is");
    let pooler = Pooler::start(&program, system.database_url(), pooling);
    (system, pooler)
}

/// A pool of one connection, as in an environment of Lambda.
fn environment(pooler: &Pooler) -> Pool {
    Database::new(&pooler.url(Role::App), 1).expect("a URL").pool_as(Role::App)
}

fn family(name: &str) -> FamilyId {
    name.parse().expect("an id")
}

#[tokio::test]
#[ignore = "needs PgBouncer: tests/pooler/run.sh"]
async fn no_familys_setting_reaches_the_next_transaction_on_a_connection() {
    let (_system, pooler) = pooled(Pooling::default()).await;
    let (a, b) = (environment(&pooler), environment(&pooler));
    let mut tx = db::begin_for_family(&a, &family(FAMILY)).await.expect("a transaction");
    let (seen, _, connection): Seen = sqlx::query_as(SEEN).fetch_one(&mut *tx).await.expect("seen");
    assert_eq!(seen, [FAMILY]);
    tx.commit().await.expect("committed");
    // Another transaction without a family, and a statement outside of any transaction.
    let mut tx = db::begin_unscoped(&b).await.expect("a transaction");
    let seen: Seen = sqlx::query_as(SEEN).fetch_one(&mut *tx).await.expect("seen");
    assert_eq!(seen, (vec![], Some(String::new()), connection), "the same connection");
    drop(tx);
    let mut plain = PgConnection::connect(&pooler.url(Role::App)).await.expect("connected");
    let seen: Seen = sqlx::query_as(SEEN).fetch_one(&mut plain).await.expect("seen");
    assert_eq!(seen, (vec![], Some(String::new()), connection));

    // The family's setting ends with a client that disconnects in a transaction.
    let mut gone = PgConnection::connect(&pooler.url(Role::App)).await.expect("connected");
    sqlx::raw_sql("BEGIN; SET LOCAL app.family_id = 'other'")
        .execute(&mut gone)
        .await
        .expect("begun");
    gone.close_hard().await.expect("gone");
    let mut tx = db::begin_for_family(&b, &family(FAMILY)).await.expect("a transaction");
    let (seen, ..): Seen = sqlx::query_as(SEEN).fetch_one(&mut *tx).await.expect("seen");
    assert_eq!(seen, [FAMILY]);
}

#[tokio::test]
#[ignore = "needs PgBouncer: tests/pooler/run.sh"]
async fn many_clients_of_two_families_see_their_own_through_two_connections() {
    let (_system, pooler) = pooled(Pooling { connections: 2, ..Pooling::default() }).await;
    let clients = (0..16).map(|i| {
        let pool = environment(&pooler);
        async move {
            let name = if i % 2 == 0 { FAMILY } else { "other" };
            let mut connections = Vec::new();
            for round in 0..50 {
                let mut tx =
                    db::begin_for_family(&pool, &family(name)).await.expect("a transaction");
                let (seen, _, connection): Seen =
                    sqlx::query_as(SEEN).fetch_one(&mut *tx).await.expect("seen");
                assert_eq!(seen, [name]);
                connections.push(connection);
                // Every other transaction is rolled back.
                if round % 3 == 0 { drop(tx) } else { tx.commit().await.expect("committed") }
            }
            connections
        }
    });
    let mut connections = join_all(clients).await.concat();
    connections.sort_unstable();
    connections.dedup();
    assert!(connections.len() <= 2, "sixteen clients shared two: {connections:?}");
}

/// Shows what a pooler does that forwards names of prepared statements without tracking them. So
/// `docs/operations.md` asks for one that tracks them.
#[tokio::test]
#[ignore = "needs PgBouncer: tests/pooler/run.sh"]
async fn a_pooler_that_does_not_follow_statements_runs_somebody_elses() {
    for (prepared_statements, answer) in [(200, "text of a"), (0, "text of b")] {
        let pooling = Pooling { connections: 2, prepared_statements, pinned: false };
        let (_system, pooler) = pooled(pooling).await;
        let (a, b) = (environment(&pooler), environment(&pooler));
        let ask = async |tx: &mut PgConnection, statement: &'static str| {
            sqlx::query_scalar::<_, String>(statement).bind("text").fetch_one(tx).await
        };
        // Each on its own connection; both use the same name for their first statement.
        let (of_a, of_b) = ("SELECT $1 || ' of a'", "SELECT $1 || ' of b'");
        let mut first = db::begin_unscoped(&a).await.expect("a transaction");
        let mut second = db::begin_unscoped(&b).await.expect("a transaction");
        assert_eq!(ask(&mut first, of_a).await.expect("an answer"), "text of a");
        assert_eq!(ask(&mut second, of_b).await.expect("an answer"), "text of b");
        let theirs = backend(&mut second).await;
        first.commit().await.expect("committed");
        second.commit().await.expect("committed");
        // Another client holds a's connection, so that only b's is free.
        let others = [environment(&pooler), environment(&pooler)];
        let mut kept = db::begin_unscoped(&others[0]).await.expect("a transaction");
        let mut left = db::begin_unscoped(&others[1]).await.expect("a transaction");
        if backend(&mut kept).await == theirs {
            (kept, left) = (left, kept);
        }
        left.commit().await.expect("ended");
        let mut third = db::begin_unscoped(&a).await.expect("a transaction");
        assert_eq!(backend(&mut third).await, theirs);
        assert_eq!(ask(&mut third, of_a).await.expect("an answer"), answer);
        drop(kept);
    }
}

/// The backend of a transaction, queried without a prepared statement.
async fn backend(tx: &mut PgConnection) -> String {
    let row = sqlx::raw_sql("SELECT pg_backend_pid()::text").fetch_one(tx).await.expect("a row");
    row.get(0)
}
