//! What a request reads in a family with 5,000 threads of one member, a thread of 256, and 200,000 messages:
//! blocks, which are counted and do not depend on the machine.

use std::fmt::Write;

use postgres::testing;
use shared::{
    db::{Database, MIGRATOR, Pool, Role},
    members,
    messages::{self, NewMessage, Range},
    threads,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tests::large::{self, Large};

/// The requests, with the most blocks that each may read or write, of tables and indexes: what it needs
/// and some more. In the worst case, each message and recipient is in a block of its own.
const BOUNDS: [(&str, i64); 6] = [
    ("post to two", 120),
    ("post to 256", 5_000),
    ("newest of two", 220),
    ("newest of 256", 280),
    ("mark as read", 60),
    // Some blocks for each of 5,000 threads, to find the latest.
    ("inbox of 5,000 threads", 60_000),
];

#[tokio::test]
async fn requests_read_few_blocks_in_a_large_family() {
    let database = testing::database(&MIGRATOR).await;
    let large = large::fill(database.url()).await.expect("data");
    let mut owner = PgConnection::connect(database.url()).await.expect("a database");
    for mode in ["force_custom_plan", "force_generic_plan"] {
        let broken = broken(&mut owner, database.url(), &large, mode).await;
        assert!(broken.is_empty(), "{mode}:\n{broken}");
    }

    // An index of a user's memberships without the thread once made every request read all of them.
    sqlx::raw_sql(
        "DROP INDEX thread_members_of_user;
         CREATE INDEX thread_members_of_user ON thread_members (family_id, user_id) WHERE status = 'active'",
    )
    .execute(&mut owner)
    .await
    .expect("another index");
    let broken = broken(&mut owner, database.url(), &large, "force_generic_plan").await;
    for request in ["post to two", "newest of two", "mark as read"] {
        assert!(broken.contains(request), "{request} is not noticed:\n{broken}");
    }
}

/// The requests that exceed their bounds.
async fn broken(owner: &mut PgConnection, url: &str, large: &Large, mode: &str) -> String {
    let name: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(&mut *owner)
        .await
        .expect("a name");
    let set = format!("ALTER DATABASE \"{name}\" SET plan_cache_mode = {mode}");
    sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut *owner).await.expect("set");
    let mut broken = String::new();
    for (request, bound) in BOUNDS {
        let before = blocks(owner).await;
        // A connection counts for others at the latest when it ends.
        let pool = Database::new(url, 1).expect("a URL").pool_as(Role::App);
        make(&pool, large, request).await;
        pool.close();
        drop(pool);
        while others(owner).await > 0 {
            tokio::task::yield_now().await;
        }
        let read = blocks(owner).await - before;
        if read > bound {
            writeln!(broken, "{request}: {read} blocks, more than {bound}").expect("written");
        }
    }
    broken
}

async fn make(pool: &Pool, large: &Large, request: &str) {
    let Large { member, narrow, wide } = large;
    let new = NewMessage::new(Some("One more".to_owned()), vec![], None).expect("a text");
    match request {
        "post to two" | "post to 256" => {
            let thread = if request == "post to two" { narrow } else { wide };
            messages::post(pool, member, *thread, &new, None, None).await.expect("posted");
        }
        "newest of two" | "newest of 256" => {
            let thread = if request == "newest of two" { narrow } else { wide };
            let page = messages::history(pool, member, *thread, Range::Newest, 50).await;
            assert!(page.expect("a page").messages.len() >= 30);
        }
        "mark as read" => members::mark_read(pool, member, *narrow, 5).await.expect("marked"),
        "inbox of 5,000 threads" => {
            let (page, next) = threads::list(pool, member, None, 50).await.expect("a page");
            assert!(page.len() == 50 && next.is_some());
        }
        other => panic!("no request {other}"),
    }
}

/// Blocks of the tables that requests read, in sum, that were read, from disk or memory.
async fn blocks(owner: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT sum(coalesce(heap_blks_read + heap_blks_hit, 0) + coalesce(idx_blks_read + idx_blks_hit, 0))::bigint
         FROM pg_statio_user_tables
         WHERE relname IN ('families', 'users', 'threads', 'thread_members', 'messages', 'reach', 'sms',
                           'sms_covers', 'sms_pace')",
    )
    .fetch_one(owner)
    .await
    .expect("counted")
}

/// The number of other connections to the database.
async fn others(owner: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
    )
    .fetch_one(owner)
    .await
    .expect("connections")
}
