//! The plan of every statement of the product's, on tables of ten million messages by what the
//! planner is told of them: a lost index, or a plan that reads a table from end to end, fails here.
//!
//! Statements are taken as they come over the wire while the system does all that it does, so a new
//! one is in here the day it comes; one that nothing here makes the system say is a failure too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use postgres::testing;
use shared::db::MIGRATOR;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tests::{
    System, dataset,
    faults::proxy::Prepared,
    statements::{everything_once, fragments, item_of, plain},
};

/// How many messages are there, and how many there are of each by what the planner is told.
const MESSAGES: i64 = 100_000;
const TIMES: i64 = 100;
/// The version of PostgreSQL whose plans the snapshots are.
const PLANNER: i32 = 15;
/// Who reads which table from end to end, and why that is all right.
const WHOLE: [(&str, &str); 3] = [
    // Its numbers are hidden from who deletes by them. There are as many as were asked for just now.
    ("erasure::delete_requests", "link_requests"),
    // One row.
    ("retention::lock_round", "sweeper_rounds"),
    ("retention::move_round", "sweeper_rounds"),
];

#[tokio::test]
async fn every_statement_keeps_its_plan() {
    let fragments = fragments();
    let statements = statements().await;
    let unsaid: Vec<&str> = fragments
        .iter()
        .filter(|fragment| !statements.iter().any(|s| plain(&s.text).contains(&fragment.text)))
        .map(|fragment| fragment.item.as_str())
        .collect();
    assert!(unsaid.is_empty(), "say in everything_once() how it comes to these: {unsaid:?}");

    let mut database = large_database().await;
    let mut plans = BTreeMap::<String, Vec<(String, String)>>::new();
    let (mut whole, mut wholly) = (BTreeSet::new(), BTreeSet::new());
    let leading = leading_columns(&mut database).await;
    for statement in &statements {
        let Some(item) = item_of(&fragments, &statement.text) else { continue };
        let plan = plan(&mut database, statement).await;
        for line in plan.lines() {
            if let Some((_, table)) = line.split_once("Seq Scan on ") {
                let table = table.split(' ').next().unwrap_or_default();
                whole.insert((item.clone(), table.to_owned()));
            }
        }
        wholly.extend(searched(&plan, &leading).map(|index| (item.clone(), index.to_owned())));
        plans.entry(item).or_default().push((role(statement).to_owned(), plan));
    }
    let allowed = WHOLE.map(|(item, table)| (item.to_owned(), table.to_owned()));
    assert_eq!(whole, BTreeSet::from(allowed), "these read a table from end to end");
    assert_eq!(
        wholly,
        BTreeSet::new(),
        "these know nothing of an index's first column, so read it all"
    );

    let version: String = sqlx::query_scalar("SHOW server_version_num")
        .fetch_one(&mut database)
        .await
        .expect("a version");
    if version.parse::<i32>().expect("a number") / 10_000 != PLANNER {
        skipped(&version);
        return;
    }
    let mut modules = BTreeMap::<String, String>::new();
    for (item, plans) in plans {
        let (module, _) = item.split_once("::").expect("a module");
        let page = modules.entry(module.to_owned()).or_default();
        for (nth, (role, plan)) in plans.iter().enumerate() {
            let nth = if plans.len() > 1 { format!(", {}", nth + 1) } else { String::new() };
            write!(page, "{item}{nth} ({role})\n{plan}\n").expect("written");
        }
    }
    for (module, page) in modules {
        insta::assert_snapshot!(module, page.trim_end());
    }
}

#[expect(clippy::print_stderr, reason = "who reads a test's output should know what it skipped")]
fn skipped(version: &str) {
    eprintln!("not compared: these are plans of PostgreSQL {PLANNER}, and this is {version}");
}

fn role(statement: &Prepared) -> &str {
    statement.role.as_deref().expect("each connection takes a role")
}

/// The first column of each index that begins with one.
async fn leading_columns(database: &mut PgConnection) -> BTreeMap<String, String> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.relname, a.attname
         FROM pg_index i
         JOIN pg_class c ON c.oid = i.indexrelid
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]",
    )
    .fetch_all(database)
    .await
    .expect("indexes");
    columns.into_iter().collect()
}

/// The indexes of a plan that are searched by other columns than their first.
fn searched<'a>(
    plan: &'a str,
    leading: &BTreeMap<String, String>,
) -> impl Iterator<Item = &'a str> {
    plan.lines().zip(plan.lines().skip(1)).filter_map(|(scan, next)| {
        let condition = next.trim_start().strip_prefix("Index Cond: ")?;
        let (_, index) = scan.split_once(" using ").or_else(|| scan.split_once("Scan on "))?;
        let index = index.split(' ').next()?;
        // Nothing is known of one on an expression.
        let first = leading.get(index)?;
        let mut words = condition.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.all(|word| word != first).then_some(index)
    })
}

/// The plan that the statement is carried out by once it is prepared: for any parameters.
async fn plan(database: &mut PgConnection, statement: &Prepared) -> String {
    let mut tx = database.begin().await.expect("a transaction");
    let types: Vec<String> = sqlx::query_scalar(
        "SELECT CASE oid WHEN 0 THEN 'unknown' ELSE format_type(oid, NULL) END
         FROM unnest($1::oid[]) WITH ORDINALITY AS types (oid, number) ORDER BY number",
    )
    .bind(statement.types.iter().map(|oid| sqlx::postgres::types::Oid(*oid)).collect::<Vec<_>>())
    .fetch_all(&mut *tx)
    .await
    .expect("types");
    let nulls = vec!["NULL"; types.len()].join(", ");
    let (types, nulls) = if types.is_empty() {
        (String::new(), String::new())
    } else {
        (format!("({})", types.join(", ")), format!("({nulls})"))
    };
    let prepare = format!(
        "SET LOCAL ROLE {}; SET LOCAL app.family_id = 'f7'; PREPARE it{types} AS {}",
        role(statement),
        statement.text
    );
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *tx).await.expect("prepared");
    let explain = format!("EXPLAIN (COSTS OFF) EXECUTE it{nulls}");
    let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut *tx).await;
    let rows = rows.unwrap_or_else(|error| panic!("{}: {error}", statement.text));
    sqlx::raw_sql("DEALLOCATE it").execute(&mut *tx).await.expect("forgotten");
    tx.rollback().await.expect("the end");
    rows.iter().fold(String::new(), |mut plan, row| {
        let line: &str = sqlx::Row::get(row, 0);
        writeln!(plan, "  {line}").expect("written");
        plan
    })
}

/// Tables that the planner takes for a hundred times as large as they are, which takes no longer to
/// fill than they do: rows are counted by what `pg_class` says of a page, and values by what
/// `pg_statistic` does.
async fn large_database() -> PgConnection {
    let database = testing::database(&MIGRATOR).await;
    dataset::fill(database.url(), MESSAGES, |_, _| ()).await.expect("data");
    let mut owner = PgConnection::connect(database.url()).await.expect("a database");
    for statement in [
        "SET session_replication_role = replica",
        // All rows are looked at, so that nothing is left to chance.
        "SET default_statistics_target = 1000",
        "DO $$ DECLARE t regclass; BEGIN
             FOR t IN SELECT oid FROM pg_class
                      WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
                 EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', t);
             END LOOP;
         END $$",
        // Some texts of the newest messages wait, and fewer are just being sent.
        "UPDATE notifications SET state = 'pending', wake_at = now() + interval '1 hour'
         WHERE notification_id IN (
             SELECT notification_id FROM notifications ORDER BY created_at DESC LIMIT 100)",
        "UPDATE notifications SET state = 'sending', lease_token = uuid_v7(), lease_until = now() + interval '1 hour'
         WHERE notification_id IN (
             SELECT notification_id FROM notifications ORDER BY created_at DESC LIMIT 20)",
        "INSERT INTO sessions (browser, family_id, thread_id, user_id, access_epoch, expires_at)
         SELECT sha256(convert_to(family_id || user_id, 'UTF8')), family_id, thread_id, user_id, 0,
                now() + interval '30 days'
         FROM thread_members",
        "INSERT INTO audit_events (family_id, actor, action, user_id)
         SELECT family_id, 'host', 'member.provisioned', user_id FROM users",
        "INSERT INTO rate_limits (subject, hits)
         SELECT sha256(convert_to(phone, 'UTF8')), ARRAY[now()] FROM users",
        "INSERT INTO link_requests (link_request_id, phone, wake_at)
         SELECT uuid_v7(), phone, now() + interval '1 hour' + row_number() OVER () * interval '1 second'
         FROM users",
        "INSERT INTO erasures (family_id, thread_id, user_id, up_to_seq)
         SELECT family_id, thread_id, 'u1', last_seq FROM threads",
        "INSERT INTO sms_spending (family_id, month)
         SELECT family_id, '2026-01-01'::date + make_interval(months => m)
         FROM families, generate_series(0, 11) m",
        "VACUUM (ANALYZE)",
    ] {
        let done = sqlx::raw_sql(statement).execute(&mut owner).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let larger = format!(
        "-- Of what there is more of than a family has members, there is more in a larger database.
         UPDATE pg_statistic s SET stadistinct = -s.stadistinct / c.reltuples
         FROM pg_class c
         WHERE c.oid = s.starelid AND c.relnamespace = 'public'::regnamespace
           AND s.stadistinct > {};
         UPDATE pg_class SET reltuples = reltuples * {TIMES}
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
           AND relname <> 'sweeper_rounds' AND reltuples > 0;
         SET plan_cache_mode = force_generic_plan;
         SET jit = off",
        dataset::USERS
    );
    sqlx::raw_sql(AssertSqlSafe(larger)).execute(&mut owner).await.expect("larger");
    owner
}

/// What a system asks its database when it does everything that it can.
async fn statements() -> BTreeSet<Prepared> {
    let (system, proxy) = System::start_watched().await;
    everything_once(&system).await;
    proxy.prepared()
}
