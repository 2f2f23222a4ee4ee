//! Migrations that change data, on data of the version before.

use postgres::testing;
use shared::db::MIGRATOR;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

const NAMES: &str = include_str!("../../shared/migrations/20261126000001_names.sql");

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
