//! One post's way through the processes: its request id and its trace join the lines of API, queue
//! and worker, and the figures count it.

use std::time::Duration;

use aws_sdk_sqs::types::MessageSystemAttributeName;
use axum::{Json, Router};
use local::{poller, secrets::TokenClaims};
use serde_json::{Value, json};
use tests::{
    System,
    events::{http_event, schedule_event},
    lambda::{Function, HttpAnswer, binary},
    system::FAMILY,
};
use tokio::{net::TcpListener, sync::mpsc};

const TIMEOUT: Duration = Duration::from_secs(30);

/// The lines of a log that are JSON.
fn lines(function: &Function) -> Vec<Value> {
    function.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What was counted under this name, in all lines of `CloudWatch`'s metric format; each declares it.
fn counted(lines: &[Value], name: &str) -> Vec<Value> {
    let declares = |line: &&Value| {
        let metrics = &line["_aws"]["CloudWatchMetrics"][0];
        let named = metrics["Metrics"].as_array().into_iter().flatten();
        metrics["Namespace"] == "Kinline/test" && named.into_iter().any(|m| m["Name"] == name)
    };
    lines.iter().filter(declares).map(|line| line[name].clone()).collect()
}

#[tokio::test]
async fn a_post_is_followed_from_the_api_through_the_queue_to_the_text() {
    let system = System::start().await;
    let members = system.family(3).await;
    let thread = system.member("u0").thread(&members).await;
    let environment = |role| {
        let mut environment = system.environment(system.database_url(), role);
        environment.push(("KINLINE_METRICS_NAMESPACE", "Kinline/test".to_owned()));
        environment
    };
    let messages = Function::start(&binary("messages"), &environment("kinline_app")).await;
    let worker = Function::start(&binary("worker"), &environment("kinline_worker")).await;
    let sweeper = Function::start(&binary("sweeper"), &environment("kinline_worker")).await;

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
    // What API Gateway's access log calls it.
    assert_eq!(answered["span"]["gateway.request_id"], "LV7fzho-PHcEJPw=");
    let trace = answered["span"]["trace.id"].as_str().expect("a trace").to_owned();
    assert!(trace.starts_with("1-"), "{trace}");

    let receive = system.stack.sqs.client().receive_message();
    let received = receive
        .queue_url(&system.stack.sqs.queue_url)
        .max_number_of_messages(10)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .message_attribute_names("All")
        .send()
        .await
        .expect("a queue")
        .messages
        .unwrap_or_default();
    assert_eq!(received.len(), 2);
    let mut event = poller::event(&received);
    for record in event["Records"].as_array_mut().expect("records") {
        let attribute = &record["messageAttributes"]["requestId"];
        assert_eq!(attribute["stringValue"], "the-evening's-first", "{record}");
        // SQS hands it on; the engine here keeps no system attributes. That it is sent, the next
        // test shows.
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
        assert!(line["span"]["notification.id"].is_string(), "{line}");
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
async fn the_trace_goes_to_the_queue_as_x_ray_wants_it() {
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
async fn the_outbox_is_as_old_as_what_has_been_due_for_longest() {
    let mut system = System::start().await;
    let members = system.family(2).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    let age = async |system: &System| {
        shared::notifications::outbox_age(&system.stack.worker.db).await.expect("an age").as_secs()
    };
    assert_eq!(age(&system).await, 0);
    system.stack.sqs.stop().await;
    u0.say(&thread, "waits").await;
    system.pass(Duration::from_secs(100)).await;
    assert!((100..200).contains(&age(&system).await));
    system.stack.sqs.resume().await.expect("the port is free");
    system.sweep().await;
    // Woken is not sent.
    assert!(age(&system).await >= 100);
    system.deliver().await;
    assert_eq!(age(&system).await, 0);
}
