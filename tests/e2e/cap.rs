//! A family's monthly cap on SMS.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tests::{System, system::FAMILY};

/// A family of `size` with a cap, and its thread.
async fn capped(size: usize, cap: i64) -> (System, String) {
    let system = System::start().await;
    let members = system.family(size).await;
    let family = json!({ "name": "Family", "smsMonthlyCapSegments": cap });
    assert_eq!(system.host().put(&format!("/families/{FAMILY}"), &family).await.status, 200);
    let thread = system.member("u0").thread(&members).await;
    (system, thread)
}

async fn spent(system: &System) -> i64 {
    sqlx::query_scalar("SELECT coalesce(sum(segments), 0) FROM sms_spending")
        .fetch_one(&system.owner)
        .await
        .expect("a sum")
}

/// The number of pending SMS.
async fn pending(system: &System) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM sms WHERE state = 'pending'")
        .fetch_one(&system.owner)
        .await
        .expect("a count")
}

/// The number of SMS by state and reason.
async fn states(system: &System) -> Vec<(String, Option<String>, i64)> {
    sqlx::query_as("SELECT state, reason, count(*) FROM sms GROUP BY 1, 2 ORDER BY 1, 2")
        .fetch_all(&system.owner)
        .await
        .expect("counts")
}

#[tokio::test]
async fn a_hundred_payments_at_once_do_not_exceed_the_cap() {
    let (system, _) = capped(6, 137).await;
    let members: Vec<String> = (0..6).map(|i| format!("u{i}")).collect();
    // Each in its own thread: what is posted to one thread before its SMS are sent is one SMS.
    for i in 0..100 {
        let client = system.member(&format!("u{}", i % 6));
        let thread = client.new_thread(&members).await;
        client.say(&thread, &format!("Message {i}")).await;
    }
    // Eight workers at once.
    join_all((0..8).map(|_| system.deliver())).await;
    // SMS in flight may be refunded, so some wait for their outcome.
    while pending(&system).await > 0 {
        system.pass(Duration::from_mins(1)).await;
        system.sweep().await;
        system.deliver().await;
    }
    let sent = system.sms();
    assert_eq!(sent.iter().map(|sms| sms.segments).sum::<u32>(), 137);
    assert_eq!(spent(&system).await, 137);
    let capped = ("suppressed".to_owned(), Some("cap_reached".to_owned()), 500 - 137);
    assert_eq!(states(&system).await, [("sent".to_owned(), None, 137), capped]);
}

#[tokio::test]
async fn an_sms_that_is_not_sent_is_refunded() {
    let (system, thread) = capped(3, 3).await;
    let u0 = system.member("u0");
    let fault = |sms: Value| {
        let u0 = u0.clone();
        async move { assert!(u0.put("/dev/faults", &sms).await.status < 300) }
    };
    fault(json!({ "sms": { "mode": "throttle", "rate": 1 } })).await;
    u0.say(&thread, "Throttled").await;
    system.deliver().await;
    assert_eq!(spent(&system).await, 0);
    fault(json!({})).await;
    system.pass(Duration::from_mins(1)).await;
    system.sweep().await;
    system.deliver().await;
    assert_eq!(spent(&system).await, 2);

    // It is unknown whether it was sent, so it may have cost something.
    fault(json!({ "sms": { "mode": "http500", "rate": 1 } })).await;
    u0.say(&thread, "Perhaps").await;
    system.deliver().await;
    // The other one waited for that outcome: it might have been refunded.
    system.pass(Duration::from_mins(1)).await;
    system.sweep().await;
    system.deliver().await;
    assert_eq!(spent(&system).await, 3);
    assert_eq!(
        states(&system).await,
        [
            ("sent".to_owned(), None, 2),
            ("suppressed".to_owned(), Some("cap_reached".to_owned()), 1),
            ("unknown".to_owned(), Some("carrier_error".to_owned()), 1),
        ]
    );
    // Deliveries show each state and reason; without a call of the carrier there is no attempt.
    let history = u0.get(&format!("/threads/{thread}/messages?limit=1")).await;
    let message = history.text("/messages/0/id");
    let deliveries = u0.get(&format!("/threads/{thread}/messages/{message}/deliveries")).await;
    let deliveries = deliveries.at("/deliveries");
    let capped = deliveries.as_array().expect("a list").iter().find(|d| d["state"] == "suppressed");
    assert_eq!(capped.expect("a row")["attempts"], json!(0));
}

#[tokio::test]
async fn an_sms_waits_for_segments_that_may_be_refunded() {
    let (system, thread) = capped(3, 1).await;
    let u0 = system.member("u0");
    // One segment is left, and two SMS are claimed together. The first pays for it and is refused.
    u0.put("/dev/faults", &json!({ "sms": { "mode": "opted_out", "rate": 1 } })).await;
    u0.say(&thread, "Hello").await;
    system.deliver().await;
    assert_eq!(spent(&system).await, 0);
    assert_eq!(pending(&system).await, 1, "the other one still waits");
    u0.put("/dev/faults", &json!({})).await;
    system.pass(Duration::from_mins(1)).await;
    system.sweep().await;
    system.deliver().await;
    assert_eq!(system.sms().len(), 1);
    assert_eq!(spent(&system).await, 1);
    // A lost worker leaves its SMS unknown, and paid for: it may have cost something.
    let paid: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sms WHERE state = 'sent' AND paid_segments = 1")
            .fetch_one(&system.owner)
            .await
            .expect("a count");
    assert_eq!(paid, 1);
}

#[tokio::test]
async fn a_cap_counts_segments_and_starts_again_each_month() {
    let (system, thread) = capped(2, 2).await;
    let u0 = system.member("u0");
    // Two segments in Cyrillic, one in Latin.
    u0.say(&thread, "Kurz").await;
    system.deliver().await;
    u0.say(&thread, "Приезжайте все к нам в воскресенье на обед, бабушка печёт пироги").await;
    system.deliver().await;
    u0.say(&thread, "Kurz").await;
    system.deliver().await;
    let sent = system.sms_of(1);
    assert_eq!(sent.iter().map(|sms| sms.segments).collect::<Vec<_>>(), [1, 1]);
    u0.say(&thread, "Zu viel").await;
    system.deliver().await;
    assert_eq!(system.sms_of(1).len(), 2);
    sqlx::query("UPDATE sms_spending SET month = month - interval '1 month'")
        .execute(&system.owner)
        .await
        .expect("time passed");
    u0.say(&thread, "Wieder").await;
    system.deliver().await;
    assert_eq!(system.sms_of(1).len(), 3);
    // A cap of 0 sends nothing; without a cap, spending is not recorded.
    let family = |cap: Value| json!({ "name": "Family", "smsMonthlyCapSegments": cap });
    for (cap, sms) in [(json!(0), 3), (json!(null), 4)] {
        system.host().put(&format!("/families/{FAMILY}"), &family(cap)).await;
        u0.say(&thread, "Na also").await;
        system.deliver().await;
        assert_eq!(system.sms_of(1).len(), sms);
    }
}
