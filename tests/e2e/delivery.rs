//! From a post to the handsets, also without the queue.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use local::{poller::Poller, secrets::TokenClaims};
use serde_json::{Value, json};
use shared::{db, links::LinkId};
use sqlx::Row;
use tests::{
    System, peer,
    system::{FAMILY, phone},
};

#[tokio::test]
async fn each_member_but_the_author_gets_one_sms() {
    for size in [10, 50] {
        let system = System::start().await;
        let members = system.family(size).await;
        let u3 = system.member("u3");
        let thread = u3.thread(&members).await;
        let posted = u3.say(&thread, "Hello everyone").await;
        assert_eq!(posted.at("/notifications/queued"), json!(size - 1));
        system.deliver().await;

        let sent = system.sms();
        assert_eq!(sent.len(), size - 1);
        let numbers: BTreeSet<String> = sent.iter().map(|sms| sms.phone.clone()).collect();
        let expected: BTreeSet<String> = (0..size).filter(|&i| i != 3).map(phone).collect();
        assert_eq!(numbers, expected);
        assert!(sent.iter().all(|sms| sms.segments == 1));
        let bodies: BTreeSet<&str> = sent.iter().map(|sms| sms.body.as_str()).collect();
        assert_eq!(bodies.len(), size - 1, "every SMS has its own link");

        let message = posted.text("/message/id");
        let deliveries = system
            .member("u0")
            .get(&format!("/threads/{thread}/messages/{message}/deliveries"))
            .await;
        let deliveries = deliveries.at("/deliveries");
        let sent = deliveries.as_array().unwrap().iter().filter(|d| d["state"] == "sent").count();
        assert_eq!(sent, size - 1, "{deliveries}");
    }
}

#[tokio::test]
async fn an_sms_has_sender_preview_and_a_signed_link_with_a_row() {
    let system = System::start().await;
    system.family(2).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&["u1".to_owned()]).await;
    u0.say(&thread, "Pie at five?").await;
    system.deliver().await;

    let sent = system.sms_of(1);
    let [sms] = sent.as_slice() else { panic!("{} SMS", sent.len()) };
    let (said, token) = sms.body.split_once(" https://kin.example/l#").expect("a link");
    assert_eq!(said, "Name0: Pie at five?");
    let link: LinkId = system.secrets().link_keys().unwrap().verify(token).expect("signed by us");
    let row = sqlx::query(
        "SELECT l.user_id, l.thread_id, l.family_id, n.state, n.segments, n.carrier_message_id,
                l.expires_at > now() + interval '23 hours' AS lives,
                n.user_id = l.user_id AS theirs
         FROM magic_links l JOIN sms n USING (sms_id) WHERE l.jti = $1",
    )
    .bind(link.as_bytes().as_slice())
    .fetch_one(&system.owner)
    .await
    .expect("its row");
    assert_eq!(row.get::<String, _>("user_id"), "u1");
    assert_eq!(row.get::<String, _>("state"), "sent");
    assert_eq!(row.get::<i32, _>("segments"), 1);
    assert_eq!(row.get::<String, _>("carrier_message_id"), sms.message_id);
    assert!(row.get::<bool, _>("lives") && row.get::<bool, _>("theirs"));
}

#[tokio::test]
async fn the_queue_holds_ids_only() {
    let system = System::start().await;
    system.family(3).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&["u1".to_owned(), "u2".to_owned()]).await;
    u0.say(&thread, "a secret plan").await;
    if peer::address().is_some() {
        system.enqueue_overlooked().await;
    }
    let received = system
        .stack
        .sqs
        .client()
        .receive_message()
        .queue_url(&system.stack.sqs.queue_url)
        .max_number_of_messages(10)
        .send()
        .await
        .expect("a queue");
    let bodies: BTreeSet<String> =
        received.messages().iter().filter_map(|m| m.body.clone()).collect();
    assert_eq!(bodies.len(), 2);
    for body in bodies {
        let job: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let keys: Vec<&String> = job.as_object().expect("an object").keys().collect();
        assert_eq!(keys, ["familyId", "kind", "threadId", "userId", "v"]);
        assert_eq!((&job["kind"], &job["familyId"]), (&json!("reach"), &json!("fam")));
        assert!(job["userId"] == "u1" || job["userId"] == "u2");
    }
}

/// A fair queue tells the families apart by the groups.
#[tokio::test]
async fn jobs_have_their_family_as_an_opaque_group_also_after_a_redrive() {
    let system = System::start().await;
    for family in [FAMILY, "otherfam"] {
        let members = system.family_named(family, 3).await;
        let u0 = system.caller(&TokenClaims::member(family, "u0"));
        let thread = u0.thread(&members).await;
        u0.say(&thread, "Hello").await;
    }
    if peer::address().is_some() {
        system.enqueue_overlooked().await;
    }
    let groups = groups(&system).await;
    let distinct: BTreeSet<&String> = groups.values().collect();
    assert_eq!((groups.len(), distinct.len()), (4, 2), "{groups:?}");
    for (body, group) in &groups {
        assert!(!group.contains("fam"), "{group}");
        let family_of =
            |body: &str| serde_json::from_str::<Value>(body).unwrap()["familyId"].clone();
        for (other, others) in &groups {
            assert_eq!(group == others, family_of(body) == family_of(other));
        }
    }

    let dead = &system.stack.sqs.dead_letter_url;
    for body in groups.keys() {
        let send = system.stack.sqs.client().send_message().queue_url(dead).message_body(body);
        send.send().await.expect("a dead letter");
    }
    let redriven = system.stack.queue().redrive(dead).await.expect("moved");
    assert_eq!(redriven.moved, 4);
    assert_eq!(self::groups(&system).await, groups);
}

/// The group of each job that the queue can hand out now, by the job's body.
async fn groups(system: &System) -> BTreeMap<String, String> {
    let receive = system.stack.sqs.client().receive_message().max_number_of_messages(10);
    let receive =
        receive.message_system_attribute_names(MessageSystemAttributeName::MessageGroupId);
    let received = receive.queue_url(&system.stack.sqs.queue_url).send().await.expect("a queue");
    let group = |message: &Message| {
        let group = message.attributes()?.get(&MessageSystemAttributeName::MessageGroupId)?;
        Some((message.body.clone()?, group.clone()))
    };
    received.messages().iter().filter_map(group).collect()
}

#[tokio::test]
async fn while_the_queue_is_down_posts_succeed_and_the_sweeper_delivers_afterwards() {
    let mut system = System::start().await;
    let members = system.family(12).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    u0.say(&thread, "before").await;
    system.stack.sqs.stop().await;
    for i in 0..3 {
        let posted = u0.say(&thread, &format!("meanwhile {i}")).await;
        assert_eq!(posted.at("/notifications/queued"), json!(11));
    }
    // Down for the sweeper as well: the jobs stay in the outbox.
    system.pass(Duration::from_secs(31)).await;
    let swept = system.sweep().await;
    assert_eq!((swept.enqueued, swept.not_taken > 0), (0, true));

    system.stack.sqs.resume().await.expect("the port is free");
    // The first post's jobs are in the queue already: waking them again does no harm.
    assert_eq!(system.sweep_into_queue().await, 11);
    system.deliver().await;
    for i in 1..12 {
        let sent = system.sms_of(i);
        assert_eq!(sent.len(), 1, "u{i}");
        assert!(sent[0].body.contains("meanwhile 2"), "the newest of four: {}", sent[0].body);
    }
    assert_eq!(system.sms_of(0).len(), 0);
    // Nothing is left to do.
    system.pass(Duration::from_hours(1)).await;
    assert_eq!(system.sweep().await.enqueued, 0);
    system.deliver().await;
    assert_eq!(system.sms().len(), 11);
}

#[tokio::test]
async fn a_repeated_wake_up_sends_one_sms() {
    let system = System::start().await;
    system.family(2).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&["u1".to_owned()]).await;
    u0.say(&thread, "once").await;
    for _ in 0..4 {
        // Past the time at which an unanswered wake-up is repeated.
        system.pass(Duration::from_secs(301)).await;
        assert_eq!(system.sweep_into_queue().await, 1);
    }
    let pollers: Vec<_> = (0..5).map(|_| system.stack.poller()).collect();
    let polls = pollers.iter().map(Poller::poll_once);
    for polled in futures_util::future::join_all(polls).await {
        polled.expect("a queue");
    }
    system.deliver().await;
    assert_eq!(system.sms_of(1).len(), 1);
}

#[tokio::test]
async fn a_member_who_left_before_the_sms_gets_none() {
    let system = System::start().await;
    let members = system.family(3).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    let posted = u0.say(&thread, "for two").await;
    assert_eq!(system.host().delete("/families/fam/users/u1").await.status, 204);
    sqlx::query("UPDATE thread_members SET muted_until = 'infinity' WHERE user_id = 'u2'")
        .execute(&system.owner)
        .await
        .expect("muted");
    system.deliver().await;
    assert_eq!(system.sms().len(), 0);
    let message = posted.text("/message/id");
    let path = format!("/threads/{thread}/messages/{message}/deliveries");
    let deliveries = u0.get(&path).await;
    insta::assert_json_snapshot!("deliveries", deliveries.json());
    // The mute counts for the next post: no recipient is left.
    let next = u0.say(&thread, "without recipients").await;
    assert_eq!(next.at("/notifications/queued"), json!(0));
}

#[tokio::test]
async fn only_the_record_that_is_no_job_fails_its_batch() {
    let system = System::start().await;
    system.family(2).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&["u1".to_owned()]).await;
    u0.say(&thread, "good").await;
    let sqs = system.stack.sqs.client();
    for body in ["not JSON", "{}", r#"{"v":9}"#] {
        let url = &system.stack.sqs.queue_url;
        sqs.send_message().queue_url(url).message_body(body).send().await.expect("sent");
    }
    system.deliver().await;
    assert_eq!(system.sms_of(1).len(), 1);
    let left = sqs
        .get_queue_attributes()
        .queue_url(&system.stack.sqs.queue_url)
        .attribute_names("ApproximateNumberOfMessagesNotVisible".into())
        .send()
        .await
        .expect("attributes");
    let left: Vec<String> = left.attributes.unwrap_or_default().into_values().collect();
    assert_eq!(left, ["3"], "hidden until their next receive, then a dead letter");
}

/// Runs the statement of `docs/operations.md` for a database that was restored to an earlier moment.
#[tokio::test]
async fn after_a_restore_nothing_is_sent_that_may_have_been_sent_since() {
    let system = System::start().await;
    let members = system.family(4).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    u0.say(&thread, "before").await;
    system.deliver().await;
    // Open at the moment of the restore: one is being sent, the others wait.
    u0.say(&thread, "at that moment").await;
    sqlx::query(
        "INSERT INTO sms (sms_id, family_id, thread_id, user_id, kind, state, lease_token, lease_until,
                          expires_at)
         SELECT uuid_v7(), family_id, thread_id, user_id, 'message', 'sending', gen_random_uuid(), now(),
                now() + interval '1 day'
         FROM thread_members WHERE user_id = 'u1'",
    )
    .execute(&system.owner)
    .await
    .expect("being sent");
    let runbook = include_str!("../../docs/operations.md");
    let (_, rest) = runbook.split_once("```sql\n").expect("a statement");
    let (statement, _) = rest.split_once("```").expect("its end");
    let mut tx = db::begin_as_worker(&system.stack.worker.db).await.expect("a transaction");
    let settled = sqlx::raw_sql(statement).execute(&mut *tx).await;
    assert_eq!(settled.expect("settled").rows_affected(), 3);
    tx.commit().await.expect("committed");

    system.pass(Duration::from_hours(1)).await;
    system.sweep().await;
    system.deliver().await;
    assert_eq!(system.sms().len(), 3, "those of before");
    let states: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT state FROM sms WHERE reason = 'restored'")
            .fetch_all(&system.owner)
            .await
            .expect("states");
    assert_eq!(states, ["unknown"]);
    u0.say(&thread, "after").await;
    system.deliver().await;
    assert_eq!(system.sms().len(), 6);
}
