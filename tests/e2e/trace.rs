//! A post's request id and trace in the logs of API, queue and worker, and its metrics.

use std::time::{Duration, Instant};

use aws_sdk_sqs::types::MessageSystemAttributeName;
use axum::{Json, Router};
use local::{poller, secrets::TokenClaims};
use serde_json::{Value, json};
use shared::delivery::{self, Pacing};
use tests::{
    System,
    events::{http_event, schedule_event},
    lambda::{Function, HttpAnswer, binary},
    system::{FAMILY, phone},
};
use tokio::{net::TcpListener, sync::mpsc};

const TIMEOUT: Duration = Duration::from_secs(30);

/// The lines of a log that are JSON.
fn lines(function: &Function) -> Vec<Value> {
    function.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The values of this metric in all lines of `CloudWatch`'s metric format, each of which declares it.
fn counted(lines: &[Value], name: &str) -> Vec<Value> {
    let declares = |line: &&Value| {
        let metrics = &line["_aws"]["CloudWatchMetrics"][0];
        let named = metrics["Metrics"].as_array().into_iter().flatten();
        metrics["Namespace"] == "Kinline/test" && named.into_iter().any(|m| m["Name"] == name)
    };
    lines.iter().filter(declares).map(|line| line[name].clone()).collect()
}

/// A function of the system, with metrics.
async fn start(system: &System, name: &str, role: &str) -> Function {
    let mut environment = system.environment(system.database_url(), role);
    environment.push(("KINLINE_METRICS_NAMESPACE", "Kinline/test".to_owned()));
    Function::start(&binary(name), &environment).await
}

/// The worker's event for up to ten records of the queue.
async fn queued(system: &System) -> Value {
    let receive = system.stack.sqs.client().receive_message();
    let received = receive
        .queue_url(&system.stack.sqs.queue_url)
        .max_number_of_messages(10)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .message_attribute_names("All")
        .send()
        .await
        .expect("a queue");
    poller::event(&received.messages.unwrap_or_default())
}

#[tokio::test]
async fn a_posts_request_id_and_trace_reach_its_sms() {
    let system = System::start().await;
    let members = system.family(3).await;
    let thread = system.member("u0").thread(&members).await;
    let messages = start(&system, "messages", "kinline_app").await;
    let worker = start(&system, "worker", "kinline_worker").await;
    let sweeper = start(&system, "sweeper", "kinline_worker").await;

    let token = system.secrets().token(&TokenClaims::member(FAMILY, "u0")).expect("a token");
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("x-request-id", "the-evening's-first"),
    ];
    let path = format!("/threads/{thread}/messages");
    let post = http_event("POST", &path, &headers, Some(br#"{"body":"Followed"}"#));
    let answer = messages.invoke(&post, TIMEOUT).await.expect("an answer");
    assert_eq!(HttpAnswer::from_gateway(&answer).status, 201);

    let said = lines(&messages);
    let answered = said.iter().find(|line| line["message"] == "answered").expect("a line");
    assert_eq!(answered["span"]["request.id"], "the-evening's-first");
    // Its id in API Gateway's access log.
    assert_eq!(answered["span"]["gateway.request_id"], "LV7fzho-PHcEJPw=");
    let trace = answered["span"]["trace.id"].as_str().expect("a trace").to_owned();
    assert!(trace.starts_with("1-"), "{trace}");

    let mut event = queued(&system).await;
    assert_eq!(event["Records"].as_array().map(Vec::len), Some(2));
    for record in event["Records"].as_array_mut().expect("records") {
        let attribute = &record["messageAttributes"]["requestId"];
        assert_eq!(attribute["stringValue"], "the-evening's-first", "{record}");
        // SQS passes it on; the local engine keeps no system attributes. Another test shows that it is
        // sent.
        record["attributes"]["AWSTraceHeader"] = json!(format!("Root={trace};Sampled=1"));
    }
    let done = worker.invoke(&event, TIMEOUT).await.expect("handled");
    assert_eq!(done, json!({ "batchItemFailures": [] }));
    let told = lines(&worker);
    let sent: Vec<&Value> = told.iter().filter(|line| line["message"] == "sent").collect();
    assert_eq!(sent.len(), 2);
    for line in sent {
        assert_eq!(line["span"]["request.id"], "the-evening's-first", "{line}");
        assert_eq!(line["span"]["trace.id"], json!(trace), "{line}");
        assert!(line["span"]["sms.id"].is_string(), "{line}");
    }

    sweeper.invoke(&schedule_event(), TIMEOUT).await.expect("swept");
    let one = vec![json!(1)];
    for name in ["Posts", "Answers", "ColdStarts"] {
        assert_eq!(counted(&said, name), one, "{name}");
    }
    assert_eq!(counted(&said, "ServerErrors"), Vec::<Value>::new());
    assert_eq!(counted(&told, "TextsSent"), [json!(2)]);
    assert_eq!(counted(&told, "Segments"), [json!(2)]);
    let waits = counted(&told, "QueueToTextMilliseconds");
    assert_eq!(waits[0].as_array().map(Vec::len), Some(2), "{waits:?}");
    assert_eq!(counted(&lines(&sweeper), "OutboxAgeSeconds"), [json!(0.0)]);
    for function in [&messages, &worker, &sweeper] {
        for secret in ["Followed", "+1555", "Name0", "eyJ"] {
            assert!(!function.log().contains(secret), "{secret} in the log");
        }
    }
}

#[tokio::test]
async fn posts_and_claims_count_their_outcomes() {
    let system = System::start().await;
    let members = system.family(7).await;
    let thread = system.member("u0").thread(&members).await;
    let execute = |sql: &'static str| sqlx::query(sql).execute(&system.owner);
    execute("UPDATE users SET phone = NULL, phone_region = NULL WHERE user_id = 'u6'")
        .await
        .expect("no number");
    let messages = start(&system, "messages", "kinline_app").await;
    let worker = start(&system, "worker", "kinline_worker").await;
    let token = system.secrets().token(&TokenClaims::member(FAMILY, "u0")).expect("a token");
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
        ("idempotency-key", "once"),
        ("x-request-id", "for-nobody"),
    ];
    let path = format!("/threads/{thread}/messages");
    let post = http_event("POST", &path, &headers, Some(br#"{"body":"Settled"}"#));
    for _ in 0..2 {
        messages.invoke(&post, TIMEOUT).await.expect("an answer");
    }
    assert_eq!(counted(&lines(&messages), "TextsSuppressed"), [json!(1)], "once, as it is posted");

    for sql in [
        "UPDATE thread_members SET muted_until = 'infinity' WHERE user_id = 'u1'",
        "UPDATE users SET opted_out_at = now() WHERE user_id = 'u2'",
        "UPDATE thread_members SET status = 'removed', ended_at = now() WHERE user_id = 'u3'",
        // Throttled until now, one of them for three days.
        "WITH throttled AS (
             INSERT INTO sms (sms_id, family_id, thread_id, user_id, kind, state, expires_at)
             SELECT uuid_v7(), family_id, thread_id, user_id, 'message', 'pending',
                    now() + CASE user_id WHEN 'u4' THEN interval '0' ELSE interval '1 day' END
             FROM thread_members WHERE user_id BETWEEN 'u1' AND 'u4'
             RETURNING *
         ), covered AS (
             INSERT INTO sms_covers (family_id, thread_id, user_id, from_seq, to_seq, sms_id)
             SELECT family_id, thread_id, user_id, 1, 1, sms_id FROM throttled
         )
         INSERT INTO reach (family_id, thread_id, user_id, covered_seq)
         SELECT family_id, thread_id, user_id, 1 FROM throttled",
    ] {
        execute(sql).await.expect(sql);
    }
    let event = queued(&system).await;
    assert_eq!(event["Records"].as_array().map(Vec::len), Some(5));
    worker.invoke(&event, TIMEOUT).await.expect("handled");
    // The same records again find nothing to settle, and count nothing.
    worker.invoke(&event, TIMEOUT).await.expect("handled");
    let told = lines(&worker);
    for (name, number) in
        [("TextsSent", 1), ("TextsSuppressed", 2), ("TextsCancelled", 1), ("TextsFailed", 1)]
    {
        assert_eq!(counted(&told, name), [json!(number)], "{name}");
    }
    let not_sent = told.iter().filter(|line| line["message"] == "not to be sent");
    let said = |line: &Value| {
        assert_eq!(line["request.id"], "for-nobody", "{line}");
        assert!(line["sms.id"].is_string(), "{line}");
        format!("{} {}", line["state"], line["reason"]).replace('"', "")
    };
    let mut reasons: Vec<String> = not_sent.map(said).collect();
    reasons.sort();
    assert_eq!(
        reasons,
        ["cancelled removed", "failed expired", "suppressed muted", "suppressed opted_out"]
    );
}

#[tokio::test]
async fn the_sweeper_counts_what_it_gives_up() {
    let system = System::start().await;
    let members = system.family(4).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    u0.say(&thread, "given up").await;
    sqlx::query(
        "INSERT INTO sms (sms_id, family_id, thread_id, user_id, kind, state, lease_token, lease_until,
                          expires_at)
         SELECT uuid_v7(), family_id, thread_id, user_id, 'message', 'sending', gen_random_uuid(), now(),
                now() + interval '1 day'
         FROM thread_members WHERE user_id = 'u1'",
    )
    .execute(&system.owner)
    .await
    .expect("late");
    let sweeper = start(&system, "sweeper", "kinline_worker").await;
    for _ in 0..2 {
        sweeper.invoke(&schedule_event(), TIMEOUT).await.expect("swept");
    }
    let said = lines(&sweeper);
    assert_eq!(counted(&said, "TextsUnknown"), [json!(1)]);
}

#[tokio::test]
async fn a_link_requests_ids_reach_its_sms() {
    let system = System::start().await;
    let members = system.family(2).await;
    system.member("u0").thread(&members).await;
    let links = start(&system, "links", "kinline_app").await;
    let worker = start(&system, "worker", "kinline_worker").await;
    let body = json!({ "phone": phone(1) }).to_string();
    let headers = [("content-type", "application/json"), ("x-request-id", "where-is-it")];
    let asked = http_event("POST", "/links/request", &headers, Some(body.as_bytes()));
    let answer = links.invoke(&asked, TIMEOUT).await.expect("an answer");
    assert_eq!(HttpAnswer::from_gateway(&answer).status, 202);
    let mut event = queued(&system).await;
    let trace = "1-67891233-abcdef012345678912345678";
    event["Records"][0]["attributes"]["AWSTraceHeader"] = json!(format!("Root={trace};Sampled=1"));
    worker.invoke(&event, TIMEOUT).await.expect("handled");
    let told = lines(&worker);
    let sent: Vec<&Value> = told.iter().filter(|line| line["message"] == "sent").collect();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0]["span"]["request.id"], "where-is-it");
    assert_eq!(sent[0]["span"]["trace.id"], trace);
    let waits = counted(&told, "QueueToTextMilliseconds");
    assert_eq!(waits.len(), 1, "one value from the queue to the SMS");
}

#[tokio::test]
async fn the_trace_header_goes_to_the_queue() {
    let system = System::start().await;
    let members = system.family(2).await;
    let thread = system.member("u0").thread(&members).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let (hears, mut batches) = mpsc::unbounded_channel::<Value>();
    let queue = Router::new().fallback(move |body: String| {
        let _ = hears.send(serde_json::from_str(&body).unwrap_or_default());
        async { Json(json!({ "Successful": [], "Failed": [] })) }
    });
    tokio::spawn(async move { axum::serve(listener, queue).await });
    let mut environment = system.environment(system.database_url(), "kinline_app");
    environment.push(("AWS_ENDPOINT_URL_SQS", endpoint));
    let messages = Function::start(&binary("messages"), &environment).await;
    let token = system.secrets().token(&TokenClaims::member(FAMILY, "u0")).expect("a token");
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let path = format!("/threads/{thread}/messages");
    let post = http_event("POST", &path, &headers, Some(br#"{"body":"Traced"}"#));
    messages.invoke(&post, TIMEOUT).await.expect("an answer");
    let sent = batches.recv().await.expect("a batch");
    let header = &sent["Entries"][0]["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"];
    let said = lines(&messages);
    let answered = said.iter().find(|line| line["message"] == "answered").expect("a line");
    let trace = answered["span"]["trace.id"].as_str().expect("a trace");
    assert!(header.as_str().is_some_and(|h| h.starts_with(&format!("Root={trace};"))), "{sent}");
}

#[tokio::test]
async fn outbox_age_is_that_of_the_oldest_due_sms() {
    let system = System::start().await;
    let members = system.family(2).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    let (db, queue) = (&system.stack.worker.db, system.stack.queue());
    let age = async || {
        let deadline = Instant::now() + Duration::from_secs(10);
        let members = delivery::wake_members(db, &queue, Pacing::default(), deadline).await;
        let sms = delivery::wake_sms(db, &queue, deadline).await;
        members.expect("woken").oldest.max(sms.expect("woken").oldest).as_secs()
    };
    let fault = async |fault| assert_eq!(u0.put("/dev/faults", &fault).await.status, 204);
    assert_eq!(age().await, 0);
    fault(json!({ "queue": { "mode": "down", "rate": 1 } })).await;
    u0.say(&thread, "waits").await;
    system.pass(Duration::from_secs(100)).await;
    assert!((100..200).contains(&age().await));
    // A wake-up is not a send.
    fault(json!({ "sms": { "mode": "throttle", "rate": 1 } })).await;
    assert!(age().await >= 100);
    system.deliver().await;
    system.pass(Duration::from_secs(100)).await;
    assert!(age().await >= 90, "the SMS waits for its next attempt");
    fault(json!({})).await;
    system.deliver().await;
    system.pass(Duration::from_mins(10)).await;
    assert_eq!(age().await, 0);
}
