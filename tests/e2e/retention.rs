//! Retention: what the sweeper deletes, and what it keeps.

use reqwest::Method;
use serde_json::json;
use shared::delivery::Pacing;
use tests::{Answer, Client, System, client::send};

/// Moves every SMS back by `days`: its times, and its id, which begins with the time.
async fn age_sms(system: &System, days: i32) {
    let mut tx = system.owner.begin().await.expect("a transaction");
    let aged =
        "(lpad(to_hex(('x' || substr(replace(sms_id::text, '-', ''), 1, 12))::bit(48)::bigint
                             - $1::bigint * 86400000), 12, '0')
                 || substr(replace(sms_id::text, '-', ''), 13))::uuid";
    sqlx::raw_sql("SET LOCAL session_replication_role = 'replica'")
        .execute(&mut *tx)
        .await
        .expect("no foreign keys");
    for (table, more) in [
        ("sms", ", created_at = created_at - make_interval(days => $1)"),
        ("sms_covers", ""),
        ("magic_links", ", expires_at = expires_at - make_interval(days => $1)"),
    ] {
        let sql = format!("UPDATE {table} SET sms_id = {aged}{more}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(days).execute(&mut *tx).await.expect("aged");
    }
    tx.commit().await.expect("committed");
}

#[tokio::test]
async fn finished_sms_with_links_and_covers_go_after_ninety_days() {
    let system = System::start().await;
    let members = system.family(3).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    let message = u0.say(&thread, "Long ago").await.text("/message/id");
    system.deliver().await;
    let token = system.token_of(1);
    // A pending one is not finished, however old.
    sqlx::query(
        "UPDATE sms SET state = 'pending', next_attempt_at = now() + interval '1 year', wake_at = now() + interval '1 year'
         WHERE user_id = 'u2'",
    )
    .execute(&system.owner)
    .await
    .expect("waits");
    age_sms(&system, 89).await;
    assert_eq!(system.sweep().await.forgotten, 0);
    assert_eq!((system.count("sms").await, system.count("magic_links").await), (2, 2));
    age_sms(&system, 2).await;
    u0.say(&thread, "Today").await;
    system.deliver().await;
    assert_eq!(system.sweep().await.forgotten, 1);
    // Today's SMS to one of them, and the old one to the other, which still waits.
    assert_eq!((system.count("sms").await, system.count("magic_links").await), (2, 2));
    assert_eq!(system.count("sms_covers").await, 2);
    // The message stays; its deliveries are gone, and its link opens nothing.
    let deliveries = u0.get(&format!("/threads/{thread}/messages/{message}/deliveries")).await;
    assert_eq!(deliveries.at("/deliveries/0/userId"), "u2");
    assert_eq!(deliveries.at("/deliveries/1"), json!(null));
    let tapped = system.anonymous().post("/links/exchange", &json!({ "token": token })).await;
    assert_eq!(tapped.problem(), "401 link_invalid");
    assert_eq!(system.count("messages").await, 2);
    assert_eq!(system.sweep().await.forgotten, 0);
}

async fn post(member: &Client, thread: &str, key: &str) -> Answer {
    let request = member.request(Method::POST, &format!("/threads/{thread}/messages"));
    send(request.header("idempotency-key", key).json(&json!({ "body": key }))).await
}

/// Moves the messages of these keys back by `days`.
async fn age_messages(system: &System, like: &str, days: i32) {
    sqlx::query(
        "UPDATE messages SET created_at = created_at - make_interval(days => $2)
         WHERE idempotency_key LIKE $1",
    )
    .bind(like)
    .bind(days)
    .execute(&system.owner)
    .await
    .expect("aged");
}

#[tokio::test]
async fn an_idempotency_key_is_kept_for_a_week() {
    let system = System::start().await;
    let members = system.family(2).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    let mut ids = Vec::new();
    for key in ["old", "fresh"] {
        ids.push(post(&u0, &thread, key).await.text("/message/id"));
    }
    u0.say(&thread, "without one").await;
    age_messages(&system, "old", 8).await;
    age_messages(&system, "fresh", 6).await;
    assert_eq!(system.sweep().await.forgotten, 1);
    let again = post(&u0, &thread, "fresh").await;
    assert_eq!(
        (again.header("idempotency-replayed"), again.text("/message/id")),
        ("true", ids.remove(1))
    );
    let anew = post(&u0, &thread, "old").await;
    assert_eq!((anew.status, anew.header("idempotency-replayed")), (201, ""));
    assert_ne!(anew.text("/message/id"), ids[0]);
    // A message without a key has no hash.
    let kept: i64 = sqlx::query_scalar("SELECT count(request_hash) FROM messages")
        .fetch_one(&system.owner)
        .await
        .expect("a count");
    assert_eq!(kept, 2);
}

#[tokio::test]
async fn the_sweep_of_old_keys_reaches_every_thread() {
    let system = System::start().await;
    system.family(2).await;
    let u0 = system.member("u0");
    let first = u0.thread(&["u1".to_owned()]).await;
    // 1,200 keys in one thread, and one in each of 230 others.
    let sql = "WITH many AS (
                   SELECT n, uuid_v7() AS thread_id FROM generate_series(1, 230) n
               ), threads AS (
                   INSERT INTO threads (thread_id, family_id, kind, title, member_key, is_distinct,
                                        created_by, last_seq)
                   SELECT thread_id, 'fam', 'GROUP', '', '', true, 'u0', 1 FROM many
               ), members AS (
                   INSERT INTO thread_members (family_id, thread_id, user_id, role)
                   SELECT 'fam', thread_id, 'u0', 'OWNER' FROM many
               )
               INSERT INTO messages (family_id, thread_id, seq, message_id, author_id, body,
                                     queued_count, idempotency_key, request_hash, created_at)
               SELECT 'fam', thread_id, 1, uuid_v7(), 'u0', 'x', 0, 'key', '\\x00'::bytea,
                      now() - CASE WHEN n % 2 = 0 THEN interval '8 days' ELSE interval '1 day' END
               FROM many
               UNION ALL
               SELECT 'fam', $1::uuid, n, uuid_v7(), 'u0', 'x', 0, 'key ' || n, '\\x00'::bytea,
                      now() - interval '8 days'
               FROM generate_series(1, 1200) n";
    sqlx::query(sql).bind(first.replace("th_", "")).execute(&system.owner).await.expect("messages");
    // Two sweepers at once: one of them does the work.
    let (pool, queue) = (&system.stack.worker.db, system.stack.queue());
    let sweep = || worker::sweep(pool, &queue, Pacing::default());
    let (one, two) = tokio::join!(sweep(), sweep());
    let forgotten = one.forgotten + two.forgotten;
    let again = system.sweep().await.forgotten;
    assert_eq!(forgotten + again, 1200 + 115);
    let left: i64 = sqlx::query_scalar("SELECT count(idempotency_key) FROM messages")
        .fetch_one(&system.owner)
        .await
        .expect("a count");
    assert_eq!(left, 115);
    assert_eq!(system.sweep().await.forgotten, 0);
}
