//! The plan of every statement, as the role that executes it, on tables that the planner believes to
//! have ten million messages: no sequential scan of a table, no search of an index without its first
//! column, no step with too many rows, and the hot paths use their indexes.
//!
//! Statements are recorded on the wire, so a new one is checked automatically; one that
//! `everything_once` does not execute fails the test.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use postgres::testing;
use serde::Deserialize;
use shared::db::MIGRATOR;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, types::Json};
use tests::{
    System, dataset,
    faults::proxy::Prepared,
    statements::{everything_once, fragments, item_of, plain},
};

/// Number of messages, and the factor by which the planner's statistics multiply it.
const MESSAGES: i64 = 100_000;
const TIMES: i64 = 100;

/// Statements that may read a whole table, and why.
const WHOLE: [(&str, &str); 3] = [
    // The deleting role can't see the table's numbers. It only has the requests of the last hour.
    ("erasure::delete_requests", "link_requests"),
    // The table has one row.
    ("retention::lock_round", "sweeper_rounds"),
    ("retention::move_round", "sweeper_rounds"),
];

/// Most rows that a step may read each time, by the planner's estimate: twice the users of a family. A
/// step without its index reads at least a thread, which has 330.
const ROWS: f64 = 100.0;
/// Statements that may read more rows, how many, and why.
const MORE_ROWS: [(&str, f64); 1] = [
    // One for each thread of a family, by the planner's estimate for a hundred families.
    ("erasure::empty_some", 300.0),
];

/// The indexes that the hot paths must use, with the searched columns: post, history, claim, record,
/// mark as read, find a thread by its members, create one.
const USED: [(&str, &[&str]); 7] = [
    (
        "messages::insert",
        &[
            "messages_idempotency_key (thread_id, idempotency_key)",
            "thread_members_pkey (family_id, thread_id)",
            "thread_members_of_user (family_id, user_id, thread_id)",
            "threads_family_id_thread_id_key (family_id, thread_id)",
            "users_pkey (family_id, user_id)",
        ],
    ),
    (
        "messages::history!",
        &[
            "messages_pkey (thread_id, seq)",
            "thread_members_of_user (family_id, user_id, thread_id)",
            "threads_family_id_thread_id_key (family_id, thread_id)",
            "users_pkey (family_id, user_id)",
        ],
    ),
    (
        "delivery::claim_members!",
        &[
            "messages_pkey (thread_id, seq)",
            "reach_pkey (family_id, thread_id, user_id)",
            "sms_open (family_id, thread_id, user_id)",
            "thread_members_pkey (family_id, thread_id, user_id)",
            "users_pkey (family_id, user_id)",
        ],
    ),
    (
        "delivery::record!",
        &[
            "reach_pkey (family_id, thread_id, user_id)",
            "sms_pkey (sms_id, family_id)",
            "sms_spending_pkey (family_id, month)",
            "users_pkey (family_id, user_id)",
        ],
    ),
    (
        "members::mark_read",
        &[
            "reach_pkey (family_id, thread_id, user_id)",
            "sms_covers_pkey (family_id, thread_id, user_id, to_seq)",
            "thread_members_of_user (family_id, user_id, thread_id)",
            "threads_family_id_thread_id_key (family_id, thread_id)",
        ],
    ),
    (
        "threads::find_by_members",
        &[
            "thread_members_pkey (family_id, thread_id)",
            "threads_member_key (family_id, kind, member_key)",
            "users_pkey (family_id, user_id)",
        ],
    ),
    // Each member by its key, however many users the family has.
    ("threads::insert", &["users_pkey (family_id, user_id)"]),
];

/// The output of `EXPLAIN (FORMAT JSON)`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Explained {
    plan: Step,
}

/// A step of a plan.
#[derive(Deserialize)]
struct Step {
    #[serde(rename = "Node Type")]
    kind: String,
    /// `Outer`, `Inner`, `InitPlan`, …: how the step above uses this one.
    #[serde(rename = "Parent Relationship", default)]
    used_as: String,
    #[serde(rename = "Relation Name")]
    table: Option<String>,
    #[serde(rename = "Index Name")]
    index: Option<String>,
    #[serde(rename = "Index Cond")]
    condition: Option<String>,
    #[serde(rename = "Plan Rows")]
    rows: f64,
    #[serde(rename = "Plans", default)]
    below: Vec<Self>,
}

#[tokio::test]
async fn every_statement_uses_an_index_and_reads_no_large_table_whole() {
    let fragments = fragments();
    let statements = statements().await;
    let unsaid: Vec<&str> = fragments
        .iter()
        .filter(|fragment| !statements.iter().any(|s| plain(&s.text).contains(&fragment.text)))
        .map(|fragment| fragment.item.as_str())
        .collect();
    assert!(unsaid.is_empty(), "make everything_once() execute these: {unsaid:?}");

    let mut database = large_database().await;
    let leading = leading_columns(&mut database).await;
    let mut broken = Vec::new();
    let mut unmet = BTreeSet::from(WHOLE.map(|(item, _)| format!("WHOLE: {item}")));
    unmet.extend(MORE_ROWS.map(|(item, _)| format!("MORE_ROWS: {item}")));
    unmet.extend(USED.map(|(item, _)| format!("USED: {item}")));
    for statement in &statements {
        let Some(item) = item_of(&fragments, &statement.text) else { continue };
        let (plan, shown) = plan(&mut database, statement).await;
        let faults = plan.faults(&item, &leading, &mut unmet);
        if !faults.is_empty() {
            let faults = faults.join("; ");
            broken.push(format!("{item} as {}: {faults}\n{shown}", role(statement)));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(unmet.is_empty(), "no statement needs these entries: {unmet:?}");
}

impl Step {
    /// The rules that the plan of `item` breaks. Removes the entries of the lists above that it needs from
    /// `unmet`.
    fn faults(
        &self,
        item: &str,
        leading: &BTreeMap<String, String>,
        unmet: &mut BTreeSet<String>,
    ) -> Vec<String> {
        let mut faults = Vec::new();
        for table in self.read_whole() {
            if WHOLE.contains(&(item, table)) {
                unmet.remove(&format!("WHOLE: {item}"));
            } else {
                faults.push(format!("reads {table} from end to end"));
            }
        }
        for index in self.searched_without(leading) {
            faults.push(format!("searches {index} without its first column"));
        }
        let more = MORE_ROWS.iter().find(|(more, _)| *more == item).map(|(_, rows)| *rows);
        for (read, rows) in self.reads(false).into_iter().filter(|(_, rows)| *rows > ROWS) {
            if more.is_some_and(|more| rows <= more) {
                unmet.remove(&format!("MORE_ROWS: {item}"));
            } else {
                faults.push(format!("reads {rows} rows of {read}"));
            }
        }
        if let Some((_, indexes)) = USED.iter().find(|(hot, _)| *hot == item) {
            unmet.remove(&format!("USED: {item}"));
            let missed = indexes.iter().filter(|index| !self.uses(index));
            faults.extend(missed.map(|index| format!("does not use {index}")));
        }
        faults
    }

    /// This step and all below it.
    fn all(&self) -> impl Iterator<Item = &Self> {
        let mut steps = vec![self];
        let mut next = 0;
        while let Some(step) = steps.get(next).copied() {
            steps.extend(&step.below);
            next += 1;
        }
        steps.into_iter()
    }

    /// Whether a scan searches this index by these columns, as in `index (column, column)`.
    fn uses(&self, index: &str) -> bool {
        let mut columns = words(index);
        let name = columns.next();
        let columns: Vec<&str> = columns.collect();
        self.all().filter(|step| step.index.as_deref() == name).any(|step| {
            let condition: Vec<&str> =
                step.condition.as_deref().into_iter().flat_map(words).collect();
            columns.iter().all(|column| condition.contains(column))
        })
    }

    /// The tables that are read whole.
    fn read_whole(&self) -> impl Iterator<Item = &str> {
        self.all().filter(|step| step.kind == "Seq Scan").filter_map(|step| step.table.as_deref())
    }

    /// The indexes that are searched without their first column.
    fn searched_without(&self, leading: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
        self.all().filter_map(|step| {
            let (index, condition) = (step.index.as_deref()?, step.condition.as_deref()?);
            // Not known for an index on an expression.
            let first = leading.get(index)?;
            words(condition).all(|word| word != first).then_some(index)
        })
    }

    /// The tables and indexes that are read, with the estimated rows of one scan. Without scans directly
    /// below a `LIMIT`, which ends them: the planner does not know the parameter.
    fn reads(&self, limited: bool) -> Vec<(&str, f64)> {
        let read = self.index.as_deref().or(self.table.as_deref());
        let here = read.filter(|_| !limited && self.kind.ends_with("Scan"));
        // These nodes read all of their input before they return a row.
        let takes_all = ["Aggregate", "Bitmap", "Hash", "Sort"];
        let limits = self.kind == "Limit"
            || limited && !takes_all.iter().any(|kind| self.kind.starts_with(kind));
        let below = self.below.iter().flat_map(|step| {
            let passed_on = ["Outer", "Member", "Subquery"].contains(&step.used_as.as_str());
            step.reads(limits && passed_on)
        });
        here.map(|read| (read, self.rows)).into_iter().chain(below).collect()
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
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

/// The generic plan of a prepared statement, parsed and as text.
async fn plan(database: &mut PgConnection, statement: &Prepared) -> (Step, String) {
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
    let explained = format!("EXPLAIN (FORMAT JSON) EXECUTE it{nulls}");
    let explained = sqlx::raw_sql(AssertSqlSafe(explained)).fetch_one(&mut *tx).await;
    let explained = explained.unwrap_or_else(|error| panic!("{}: {error}", statement.text));
    let Json([Explained { plan }]): Json<[Explained; 1]> = explained.get(0);
    let shown = sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN EXECUTE it{nulls}")));
    let lines = shown.fetch_all(&mut *tx).await.expect("explained once more");
    sqlx::raw_sql("DEALLOCATE it").execute(&mut *tx).await.expect("forgotten");
    tx.rollback().await.expect("the end");
    let shown = lines.iter().fold(String::new(), |mut shown, line| {
        writeln!(shown, "  {}", line.get::<&str, _>(0)).expect("written");
        shown
    });
    (plan, shown)
}

/// Fills tables that the planner believes to be a hundred times as large, by changed statistics: rows a
/// page in `pg_class`, distinct values in `pg_statistic`.
async fn large_database() -> PgConnection {
    let database = testing::database(&MIGRATOR).await;
    dataset::fill(database.url(), MESSAGES, |_, _| ()).await.expect("data");
    let mut owner = PgConnection::connect(database.url()).await.expect("a database");
    for statement in [
        "SET session_replication_role = replica",
        // ANALYZE reads all rows, so that estimates are the same each time.
        "SET default_statistics_target = 1000",
        "DO $$ DECLARE t regclass; BEGIN
             FOR t IN SELECT oid FROM pg_class
                      WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
                 EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', t);
             END LOOP;
         END $$",
        // Some SMS of the newest messages wait, and fewer are being sent.
        "UPDATE sms SET state = 'pending', wake_at = now() + interval '1 hour'
         WHERE sms_id IN (SELECT sms_id FROM sms ORDER BY created_at DESC LIMIT 100)",
        "UPDATE sms SET state = 'sending', lease_token = uuid_v7(), lease_until = now() + interval '1 hour'
         WHERE sms_id IN (SELECT sms_id FROM sms ORDER BY created_at DESC LIMIT 20)",
        "UPDATE threads SET wake_at = now() + interval '1 hour'
         WHERE thread_id IN (SELECT thread_id FROM threads ORDER BY last_message_at DESC LIMIT 20)",
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
        "INSERT INTO thread_paces (family_id, user_id, due_at) SELECT family_id, user_id, now() FROM users",
        "INSERT INTO thread_counts (family_id, threads) SELECT family_id, count(*) FROM threads GROUP BY 1",
        "INSERT INTO sms_spending (family_id, month)
         SELECT family_id, '2026-01-01'::date + make_interval(months => m)
         FROM families, generate_series(0, 11) m",
        "INSERT INTO sms_pace (family_id, due_at, open_at, every, granted)
         SELECT family_id, now(), now(), 0.5, 1 FROM families",
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
         SET plan_cache_mode = force_generic_plan",
        dataset::USERS
    );
    sqlx::raw_sql(AssertSqlSafe(larger)).execute(&mut owner).await.expect("larger");
    owner
}

/// The statements of a system that executes every one of them.
async fn statements() -> BTreeSet<Prepared> {
    let (system, proxy) = System::start_watched().await;
    everything_once(&system).await;
    proxy.prepared()
}
