//! The sweep's steps: each stands by itself.

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
    system.pass(std::time::Duration::from_mins(1)).await;

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

    let swept = worker::sweep(&system.stack.worker.db, &system.stack.queue(), Pacing::default()).await;
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
