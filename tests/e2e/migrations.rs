//! Migrations that change data, on data of the version before.

use std::{sync::LazyLock, time::Duration};

use postgres::testing;
use shared::db::MIGRATOR;
use sqlx::{AssertSqlSafe, Connection, PgConnection, migrate::Migrator};
use tests::System;
use uuid::Uuid;

const NAMES: &str = include_str!("../../shared/migrations/20261126000001_names.sql");
/// The version that replaced notifications by reach and SMS.
const REACH: i64 = 20_261_126_000_003;

static BEFORE_REACH: LazyLock<Migrator> = LazyLock::new(|| {
    let before = MIGRATOR.iter().filter(|migration| migration.version < REACH);
    Migrator { migrations: before.cloned().collect(), ..Migrator::DEFAULT }
});

/// The migration's own text, carried out by an owner that policies bind, as on Amazon RDS.
#[tokio::test]
async fn texts_that_stood_for_none_become_null() {
    let database = testing::database(&MIGRATOR).await;
    let mut owner = PgConnection::connect(database.url()).await.expect("a database");
    let role = format!("owner_{}", Uuid::new_v4().simple());
    let tables = ["families", "users", "threads"];
    let give = tables.map(|table| format!("ALTER TABLE {table} OWNER TO {role};")).concat();
    let setup = format!("CREATE ROLE {role}; GRANT USAGE ON SCHEMA public TO {role}; {give}");
    sqlx::raw_sql(AssertSqlSafe(setup)).execute(&mut owner).await.expect("an owner");
    sqlx::raw_sql(
        "INSERT INTO families (family_id, name) VALUES ('gone', 'Former family'), ('here', 'Us');
         INSERT INTO users (family_id, user_id, name, deactivated_at) VALUES
             ('here', 'erased', 'Former member', now()), ('here', 'namesake', 'Former member', NULL);
         INSERT INTO threads (thread_id, family_id, kind, title, member_key, is_distinct, created_by)
             SELECT uuid_v7(), 'here', kind, title, title, true, 'namesake'
             FROM (VALUES ('FAMILY', 'Family Chat'), ('DM', 'Direct Message'), ('GROUP', 'Sunday'))
                      AS old (kind, title)",
    )
    .execute(&mut owner)
    .await
    .expect("rows");

    let migration = format!("BEGIN; SET LOCAL ROLE {role}; {NAMES} COMMIT");
    sqlx::raw_sql(AssertSqlSafe(migration)).execute(&mut owner).await.expect("migrated");

    let column = async |owner: &mut PgConnection, sql: &'static str| -> Vec<Option<String>> {
        sqlx::query_scalar(sql).fetch_all(owner).await.expect("rows")
    };
    let families = column(&mut owner, "SELECT name FROM families ORDER BY family_id").await;
    assert_eq!(families, [None, Some("Us".to_owned())]);
    let users = column(&mut owner, "SELECT name FROM users ORDER BY user_id").await;
    assert_eq!(users, [None, Some("Former member".to_owned())]);
    let titles = column(&mut owner, "SELECT title FROM threads ORDER BY member_key").await;
    assert_eq!(titles, [None, None, Some("Sunday".to_owned())]);
    let forced: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_class
         WHERE relname IN ('families', 'users', 'threads') AND relforcerowsecurity",
    )
    .fetch_one(&mut owner)
    .await
    .expect("a count");
    assert_eq!(forced, 3, "row-level security is forced again");
}

/// The version before had a row for each recipient of a message. Its deliveries, links and spending go on,
/// carried over by an owner that policies bind.
#[tokio::test]
async fn deliveries_of_before_are_shown_and_finished() {
    let database = testing::database(&BEFORE_REACH).await;
    let mut owner = PgConnection::connect(database.url()).await.expect("a database");
    let role = format!("owner_{}", Uuid::new_v4().simple());
    let setup = format!(
        "CREATE ROLE {role}; GRANT USAGE, CREATE ON SCHEMA public TO {role};
         DO $$ DECLARE t regclass; BEGIN
             FOR t IN SELECT oid FROM pg_class
                      WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
                 EXECUTE format('ALTER TABLE %s OWNER TO {role}', t);
             END LOOP;
         END $$"
    );
    sqlx::raw_sql(AssertSqlSafe(setup)).execute(&mut owner).await.expect("an owner");
    sqlx::raw_sql(
        "INSERT INTO families (family_id, name) VALUES ('fam', 'Us');
         INSERT INTO users (family_id, user_id, name, phone)
             SELECT 'fam', 'u' || i, 'Name' || i, '+1555010000' || i FROM generate_series(0, 4) i;
         INSERT INTO threads (thread_id, family_id, kind, member_key, is_distinct, created_by, last_seq,
                              last_message_at)
             VALUES ('01936905-77db-7c77-8b5b-66da89f4f3ef', 'fam', 'FAMILY', '', true, 'u0', 2, now());
         INSERT INTO thread_members (family_id, thread_id, user_id, role, last_read_seq)
             SELECT 'fam', thread_id, user_id, 'MEMBER', 1 FROM threads, users;
         INSERT INTO messages (family_id, thread_id, seq, message_id, author_id, body, queued_count, created_at)
             SELECT 'fam', thread_id, seq, uuid_v7(), 'u0', 'Message ' || seq, 4, now()
             FROM threads, generate_series(1, 2) seq;
         INSERT INTO notifications (family_id, thread_id, message_id, recipient_id, state, reason, attempts,
                                    segments, sent_at, carrier_message_id, wake_at)
             SELECT 'fam', thread_id, message_id, user_id, CASE user_id WHEN 'u1' THEN 'sent'
                        WHEN 'u2' THEN 'unknown' WHEN 'u3' THEN 'suppressed' ELSE 'pending' END,
                    CASE user_id WHEN 'u2' THEN 'timeout' WHEN 'u3' THEN 'muted' END,
                    CASE user_id WHEN 'u1' THEN 1 ELSE 0 END, CASE user_id WHEN 'u1' THEN 1 END,
                    CASE user_id WHEN 'u1' THEN now() END, CASE user_id WHEN 'u1' THEN 'c' END, now()
             FROM messages, users WHERE user_id <> 'u0';
         INSERT INTO magic_links (jti, family_id, thread_id, user_id, notification_id, access_epoch, expires_at)
             SELECT decode('0102030405060708', 'hex'), 'fam', thread_id, 'u1', notification_id, 0,
                    now() + interval '1 day'
             FROM notifications WHERE recipient_id = 'u1' LIMIT 1",
    )
    .execute(&mut owner)
    .await
    .expect("rows");
    for migration in MIGRATOR.iter().filter(|migration| migration.version >= REACH) {
        let migration = format!("BEGIN; SET LOCAL ROLE {role}; {} COMMIT", migration.sql.as_str());
        sqlx::raw_sql(AssertSqlSafe(migration)).execute(&mut owner).await.expect("migrated");
    }
    let bound: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
             AND relname <> '_sqlx_migrations' AND NOT relforcerowsecurity",
    )
    .fetch_one(&mut owner)
    .await
    .expect("a count");
    assert_eq!(bound, 0, "row-level security is forced everywhere");

    let system = System::start_on(database.url()).await;
    let u0 = system.member("u0");
    let path = "/threads/th_0193690577db7c778b5b66da89f4f3ef/messages";
    let states = async || {
        let mut states = Vec::new();
        let messages = u0.get(path).await.at("/messages");
        for message in messages.as_array().expect("messages") {
            let id = message["id"].as_str().expect("an id");
            let deliveries = u0.get(&format!("{path}/{id}/deliveries")).await.at("/deliveries");
            let deliveries = deliveries.as_array().expect("deliveries").iter();
            states.push(
                deliveries
                    .map(|d| d["state"].as_str().expect("a state").to_owned())
                    .collect::<Vec<_>>(),
            );
        }
        states
    };
    assert_eq!(states().await, [["sent", "unknown", "suppressed", "pending"]; 2]);
    // Two SMS of one member wait, which the version before could have. Both go out.
    system.pass(Duration::from_mins(1)).await;
    assert_eq!(system.sweep().await.enqueued, 2);
    system.deliver().await;
    system.pass(Duration::from_mins(6)).await;
    system.sweep().await;
    system.deliver().await;
    assert_eq!(states().await, [["sent", "unknown", "suppressed", "sent"]; 2]);
    assert_eq!(system.sms().len(), 2);
    // A new message finds everyone who may be texted.
    u0.say("th_0193690577db7c778b5b66da89f4f3ef", "After").await;
    system.deliver().await;
    assert_eq!(system.sms().len(), 6);
}
