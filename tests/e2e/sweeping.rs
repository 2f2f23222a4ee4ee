//! The sweep: each step stands by itself, and each goes round by families.

use std::time::Duration;

use local::faults::{Rated, SmsFault};
use serde_json::json;
use shared::delivery::Pacing;
use tests::System;
use uuid::Uuid;

#[tokio::test]
async fn a_step_that_fails_stops_no_other() {
    let system = System::start().await;
    let members = system.family(3).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    let down = json!({ "queue": { "mode": "down", "rate": 1 } });
    assert_eq!(u0.put("/dev/faults", &down).await.status, 204);
    u0.say(&thread, "Anyone?").await;
    assert_eq!(u0.put("/dev/faults", &json!({})).await.status, 204);
    system.pass(Duration::from_mins(1)).await;

    // One SMS was left behind by its worker, another member is due. The step that gives up
    // expired leases fails, and so do those of link requests and erasures.
    sqlx::query(
        "INSERT INTO sms (sms_id, family_id, thread_id, user_id, kind, state, attempts, lease_token,
                          lease_until, expires_at)
         SELECT uuid_v7(), family_id, thread_id, user_id, 'message', 'sending', 1, $1,
                now() - interval '1 minute', now() + interval '1 day'
         FROM thread_members WHERE user_id = 'u1'",
    )
    .bind(Uuid::new_v4())
    .execute(&system.owner)
    .await
    .expect("an expired lease");
    sqlx::raw_sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'refused by the test'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON sms FOR EACH ROW
             WHEN (NEW.state = 'unknown') EXECUTE FUNCTION refuse();
         REVOKE ALL ON link_requests, erasures FROM kinline_worker",
    )
    .execute(&system.owner)
    .await
    .expect("steps that fail");

    let swept =
        worker::sweep(&system.stack.worker.db, &system.stack.queue(), Pacing::default()).await;
    assert_eq!((swept.failed.as_slice(), swept.enqueued), (&["expired leases"][..], 1));
    let error = swept.answer().expect_err("the function fails, which an alarm watches");
    assert!(error.contains("expired leases"), "{error}");
    system.deliver().await;
    assert_eq!(system.sms_of(2).len(), 1, "the SMS that was due has gone out");

    sqlx::raw_sql(
        "DROP TRIGGER refuse ON sms;
         GRANT SELECT, INSERT, UPDATE, DELETE ON link_requests, erasures TO kinline_worker",
    )
    .execute(&system.owner)
    .await
    .expect("steps that work");
    assert_eq!(system.sweep().await.leases_expired, 1, "the next run does what this one could not");
}

#[tokio::test]
async fn retries_go_on_while_due_members_can_not_be_found() {
    let system = System::start().await;
    let members = system.family(2).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    let faults = &system.stack.carrier.faults;
    faults.set(Some(Rated { fault: SmsFault::Throttle, rate: 1.0 }), None, Some(1));
    u0.say(&thread, "Again?").await;
    system.deliver().await;
    faults.set(None, None, Some(1));
    system.pass(Duration::from_mins(1)).await;
    sqlx::raw_sql("REVOKE UPDATE (wake_at) ON threads FROM kinline_worker")
        .execute(&system.owner)
        .await
        .expect("a step that fails");
    let swept =
        worker::sweep(&system.stack.worker.db, &system.stack.queue(), Pacing::default()).await;
    assert_eq!((swept.failed.as_slice(), swept.enqueued), (&["due members"][..], 1));
    system.deliver().await;
    assert_eq!(system.sms_of(1).len(), 1);
}

/// One family with thousands of due threads, more families with a few than one transaction visits, and
/// one, the last of all by its id, with a single one.
#[tokio::test]
async fn a_family_with_much_waiting_keeps_no_other_waiting_within_a_run() {
    let system = System::start().await;
    sqlx::raw_sql(
        "CREATE TEMPORARY TABLE wanted AS
             SELECT 'a' AS family_id, 2000 AS threads
             UNION ALL SELECT 'f' || lpad(f::text, 3, '0'), 5 FROM generate_series(1, 110) f
             UNION ALL SELECT 'z', 1;
         INSERT INTO families (family_id, name) SELECT family_id, 'Family' FROM wanted;
         INSERT INTO users (family_id, user_id, name, phone)
             SELECT family_id, u, 'Name', '+15550100001' FROM wanted, unnest(ARRAY['u0', 'u1']) u;
         INSERT INTO threads (family_id, thread_id, kind, member_key, is_distinct, created_by, last_seq,
                              last_message_at, last_loud_seq, last_loud_at, wake_at)
             SELECT family_id, uuid_v7(), 'GROUP', t::text, true, 'u0', 1, now(), 1, now(), now()
             FROM wanted, generate_series(1, threads) t;
         INSERT INTO thread_members (family_id, thread_id, user_id, role)
             SELECT family_id, thread_id, u, 'MEMBER' FROM threads, unnest(ARRAY['u0', 'u1']) u;
         INSERT INTO reach (family_id, thread_id, user_id, last_read_seq)
             SELECT family_id, thread_id, 'u0', 1 FROM threads;
         INSERT INTO messages (family_id, thread_id, seq, message_id, author_id, body, queued_count,
                               created_at)
             SELECT family_id, thread_id, 1, uuid_v7(), 'u0', 'Due', 1, now() FROM threads",
    )
    .execute(&system.owner)
    .await
    .expect("due threads");
    // The worst case: no pace holds the first family back.
    let unlimited = Pacing { per_minute: 0 };
    worker::sweep(&system.stack.worker.db, &system.stack.queue(), unlimited).await;

    // A share of a hundred for the first hundred families, and of another for the rest.
    let mut before = 0;
    let sqs = &system.stack.sqs;
    loop {
        let request = sqs.client().receive_message().queue_url(&sqs.queue_url);
        let received = request.max_number_of_messages(10).send().await.expect("a queue");
        let records = received.messages.unwrap_or_default();
        assert!(!records.is_empty(), "{before} records, and none of the last family");
        let last =
            |body: Option<&str>| body.is_some_and(|body| body.contains("\"familyId\":\"z\""));
        if let Some(place) = records.iter().position(|record| last(record.body())) {
            before += place;
            break;
        }
        before += records.len();
    }
    assert!(before < 200, "{before} jobs before that of the last family");
}
