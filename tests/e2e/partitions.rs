//! A system whose messages, SMS and covers are split while it is in use.

use std::time::Duration;

use serde_json::json;
use shared::{
    db::{self, Database, Role},
    ids::FamilyId,
};
use sqlx::{AssertSqlSafe, PgPool, error::DatabaseError};
use tests::{Client, System, client::send, partitions, system::FAMILY};

/// Every constraint, index, policy, grant and the like by name, except those that splitting changes.
const HELD_BY: &str = "
    SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conparentid = 0
    UNION ALL
    SELECT 'index', tablename, indexname, replace(indexdef, ' ON ONLY ', ' ON ') FROM pg_indexes
    WHERE schemaname = 'public'
    UNION ALL
    SELECT 'policy', tablename, policyname, concat_ws(' | ', permissive, roles, cmd, qual, with_check)
    FROM pg_policies WHERE schemaname = 'public'
    UNION ALL
    SELECT 'grant', c.relname, g.grantee::regrole::text, string_agg(g.privilege_type, ' ' ORDER BY g.privilege_type)
    FROM pg_class c, aclexplode(c.relacl) g
    WHERE c.relnamespace = 'public'::regnamespace AND g.grantee <> c.relowner GROUP BY 2, 3
    UNION ALL
    SELECT 'column', table_name, column_name, concat_ws(' ', data_type, is_nullable, column_default)
    FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL
    SELECT 'row security', relname, relrowsecurity::text, relforcerowsecurity::text FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
    ORDER BY 1, 2, 3, 4";

async fn held_by(owner: &PgPool) -> Vec<String> {
    let rows: Vec<(String, String, String, String)> =
        sqlx::query_as(HELD_BY).fetch_all(owner).await.expect("a catalog");
    let of_a_part = |name: &str| {
        name.rsplit_once("_p")
            .is_some_and(|(_, part)| part.len() == 3 && part.parse::<u32>().is_ok())
    };
    rows.into_iter()
        .filter(|(_, table, ..)| !of_a_part(table))
        .map(|(kind, table, name, definition)| format!("{kind} {table} {name}: {definition}"))
        .collect()
}

#[tokio::test]
async fn splitting_changes_no_key() {
    let system = System::start().await;
    if partitions::wanted().is_some() {
        return;
    }
    let before = held_by(&system.owner).await;
    partitions::split(system.database_url(), 4).await.expect("split");
    let after = held_by(&system.owner).await;
    let gone: Vec<&String> = before.iter().filter(|line| !after.contains(line)).collect();
    let new: Vec<&String> = after.iter().filter(|line| !before.contains(line)).collect();
    insta::assert_json_snapshot!("split", json!({ "gone": gone, "new": new }));
    let again = partitions::split(system.database_url(), 4).await.expect_err("it is split already");
    assert!(again.to_string().contains("partitioned already"), "{again}");
    assert_eq!(held_by(&system.owner).await, after);
}

#[tokio::test]
async fn a_family_continues_on_split_tables() {
    let system = System::start().await;
    if partitions::wanted().is_some() {
        return;
    }
    let members = system.family(4).await;
    system.family_named("other", 3).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    let keyed = |client: &Client, body: &str| {
        let request = client.request(reqwest::Method::POST, &format!("/threads/{thread}/messages"));
        send(request.header("idempotency-key", "once").json(&json!({ "body": body })))
    };
    let posted = keyed(&u0, "before").await;
    system.deliver().await;
    for i in 0..10 {
        u0.say(&thread, &format!("Message {i}")).await;
        system.deliver().await;
    }
    let token = system.token_of(1);
    // Left pending, with its jobs in the queue.
    u0.say(&thread, "on its way").await;
    let path = format!("/threads/{thread}/messages");
    let history = u0.get(&path).await;

    partitions::split(system.database_url(), 4).await.expect("split");

    assert_eq!(u0.get(&path).await.body, history.body);
    let replayed = keyed(&u0, "before").await;
    assert_eq!(replayed.header("idempotency-replayed"), "true");
    assert_eq!(replayed.at("/message"), posted.at("/message"));
    assert_eq!(keyed(&u0, "changed").await.problem(), "422 idempotency_key_reused");
    // Pending SMS are sent once, new ones too, and the sweeper finds those that were never enqueued.
    system.deliver().await;
    let said = u0.say(&thread, "after").await;
    system.pass(Duration::from_secs(31)).await;
    assert_eq!(system.sweep().await.enqueued, 3);
    system.deliver().await;
    for i in 1..4 {
        assert_eq!(system.sms_of(i).len(), 13, "u{i}");
    }
    let message = said.text("/message/id");
    let deliveries = u0.get(&format!("{path}/{message}/deliveries")).await;
    assert_eq!(deliveries.at("/deliveries").as_array().map(Vec::len), Some(3));
    assert_eq!(deliveries.text("/deliveries/0/state"), "sent");
    // A link from before the split opens, and its delivery counts as opened.
    let opened = system.anonymous().post("/links/exchange", &json!({ "token": token })).await;
    assert_eq!(opened.status, 200, "{}", opened.as_text());
    let opened: i64 = sqlx::query_scalar("SELECT count(*) FROM sms WHERE opened_at IS NOT NULL")
        .fetch_one(&system.owner)
        .await
        .expect("a count");
    assert_eq!(opened, 1);
    // The same key from twenty callers at once: the index of a part refuses all but one.
    let all = (0..20).map(|_| {
        let request = u0.request(reqwest::Method::POST, &path);
        send(request.header("idempotency-key", "race").json(&json!({ "body": "at once" })))
    });
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|answer| answer.status == 201));
    assert!(all.iter().all(|answer| answer.at("/message/id") == all[0].at("/message/id")));
    let unknown = json!({ "body": "to nothing", "replyToId": shared::ids::MessageId::new() });
    assert_eq!(u0.post(&path, &unknown).await.problem(), "422 unknown_reply");

    // Row-level security holds for the table and for its parts.
    let pool = Database::new(system.database_url(), 1).expect("a URL").pool_as(Role::App);
    let other: FamilyId = "other".parse().expect("an id");
    let mut tx = db::begin_for_family(&pool, &other).await.expect("a transaction");
    let seen: (i64, i64) =
        sqlx::query_as("SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM sms)")
            .fetch_one(&mut *tx)
            .await
            .expect("counts");
    assert_eq!(seen, (0, 0));
    let past = sqlx::query("SELECT FROM messages_p000").execute(&mut *tx).await;
    let past = past.expect_err("no way past it");
    assert_eq!(past.as_database_error().and_then(DatabaseError::code).as_deref(), Some("42501"));
}

/// The number of parts of `table` that a statement reads, by its plan with a family's values.
async fn parts_read(system: &System, table: &str, statement: &str) -> usize {
    let mut tx = system.owner.begin().await.expect("a transaction");
    // As the planner decides for a large table.
    sqlx::raw_sql("SET LOCAL enable_seqscan = off").execute(&mut *tx).await.expect("set");
    let explain = format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {statement}");
    let plan: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut *tx).await.expect("a plan");
    let mut read: Vec<&str> = plan
        .iter()
        .filter(|line| !line.contains("never executed"))
        .filter_map(|line| {
            line.split_whitespace().find(|word| word.starts_with(&format!("{table}_p")))
        })
        .collect();
    read.sort_unstable();
    read.dedup();
    read.len()
}

#[tokio::test]
async fn a_request_reads_one_partition() {
    let system = System::start().await;
    if partitions::wanted().is_none() {
        partitions::split(system.database_url(), 8).await.expect("split");
    }
    let members = system.family(3).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    u0.say(&thread, "planned").await;
    system.deliver().await;
    let (thread, sms): (String, String) =
        sqlx::query_as("SELECT thread_id::text, sms_id::text FROM sms LIMIT 1")
            .fetch_one(&system.owner)
            .await
            .expect("a row");
    let history = format!(
        "SELECT * FROM messages WHERE family_id = '{FAMILY}' AND thread_id = '{thread}' AND seq <= 1"
    );
    assert_eq!(parts_read(&system, "messages", &history).await, 1);
    let covers = format!(
        "SELECT * FROM sms_covers c
         JOIN sms s ON s.family_id = c.family_id AND s.sms_id = c.sms_id
         WHERE c.family_id = '{FAMILY}' AND c.thread_id = '{thread}' AND c.to_seq >= 1"
    );
    assert_eq!(parts_read(&system, "sms_covers", &covers).await, 1);
    assert_eq!(parts_read(&system, "sms", &covers).await, 1);
    // A job's ids, which are known at run time only.
    let claim = format!(
        "SELECT * FROM unnest(ARRAY['{sms}']::uuid[], ARRAY['{FAMILY}']) AS job (sms_id, family_id)
         JOIN sms s ON s.sms_id = job.sms_id AND s.family_id = job.family_id
         LEFT JOIN LATERAL (
             SELECT * FROM messages WHERE thread_id = s.thread_id AND seq > 0 AND seq <= 1 LIMIT 1
         ) m ON true
         FOR UPDATE OF s SKIP LOCKED"
    );
    assert_eq!(parts_read(&system, "sms", &claim).await, 1);
    assert_eq!(parts_read(&system, "messages", &claim).await, 1);
}
