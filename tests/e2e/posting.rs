//! Posting messages.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Answer, Client, System, client::send};

/// The string at a pointer of a JSON value.
pub(crate) fn text_of<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {value}"))
}

async fn post_with_key(client: &Client, thread: &str, key: &str, body: &Value) -> Answer {
    let path = format!("/threads/{thread}/messages");
    send(client.request(Method::POST, &path).header("idempotency-key", key).json(body)).await
}

#[tokio::test]
async fn a_post_is_numbered_and_says_how_many_sms_are_queued() {
    let system = System::start().await;
    let members = system.family(4).await;
    // A member without a number gets no SMS.
    system.host().put("/families/fam/users/u3", &json!({ "name": "Name3" })).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    let first = u0.say(&thread, "Hello\n\tall of you 👋").await;
    insta::assert_json_snapshot!("posted", first.json(), {
        ".**.id" => "[id]", ".**.threadId" => "[id]", ".**.createdAt" => "[time]",
    });
    let files =
        json!({ "body": " ", "fileIds": ["f1", "f2"], "replyToId": first.at("/message/id") });
    let second = u0.post(&format!("/threads/{thread}/messages"), &files).await;
    assert_eq!(second.status, 201, "{}", second.as_text());
    assert_eq!(second.at("/message/seq"), json!(2));
    assert_eq!(second.at("/message/body"), Value::Null);
    assert_eq!(second.at("/message/fileIds"), json!(["f1", "f2"]));
    assert_eq!(second.at("/message/replyToId"), first.at("/message/id"));
    assert_eq!(second.at("/notifications/queued"), json!(2));
    // Nothing is written for a recipient before an SMS is sent.
    assert_eq!((system.count("sms").await, system.count("sms_covers").await), (0, 0));
}

#[tokio::test]
async fn the_same_key_posts_once() {
    let system = System::start().await;
    let members = system.family(3).await;
    let (u0, u1) = (system.member("u0"), system.member("u1"));
    let thread = u0.thread(&members).await;
    let body = json!({ "body": "once" });
    let first = post_with_key(&u0, &thread, "key-1", &body).await;
    let again = post_with_key(&u0, &thread, "key-1", &json!({"fileIds": [], "body": "once"})).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (201, ""));
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"));
    assert_eq!(first.json(), again.json());

    let other = post_with_key(&u0, &thread, "key-1", &json!({ "body": "twice" })).await;
    assert_eq!(other.problem(), "422 idempotency_key_reused");
    // A key belongs to an author and a thread.
    assert_eq!(post_with_key(&u1, &thread, "key-1", &body).await.at("/message/seq"), json!(2));
    let elsewhere = u0.thread(&["u1".to_owned()]).await;
    assert_eq!(post_with_key(&u0, &elsewhere, "key-1", &body).await.at("/message/seq"), json!(1));
    for bad in ["", "a b", &"k".repeat(256)] {
        let answer = post_with_key(&u0, &thread, bad, &body).await;
        assert_eq!(answer.problem(), "400 bad_idempotency_key", "{bad:?}");
    }
    assert_eq!(system.count("messages").await, 3);
    system.deliver().await;
    assert_eq!(system.sms_of(2).len(), 1, "two messages, one SMS");
}

#[tokio::test]
async fn thirty_two_callers_with_one_key_get_one_message_and_equal_answers() {
    let system = System::start().await;
    let members = system.family(5).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    let body = json!({ "body": "once" });
    let answers = join_all((0..32).map(|_| post_with_key(&u0, &thread, "the-key", &body))).await;
    let bodies: BTreeSet<String> = answers.iter().map(Answer::as_text).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert!(answers.iter().all(|answer| answer.status == 201));
    let first = answers.iter().filter(|a| a.header("idempotency-replayed").is_empty()).count();
    assert_eq!(first, 1);
    assert_eq!(system.count("messages").await, 1);
    system.deliver().await;
    // The lost races used no number.
    assert_eq!(u0.say(&thread, "next").await.at("/message/seq"), json!(2));
    system.deliver().await;
    assert_eq!(system.sms_of(1).len(), 2);
}

#[tokio::test]
async fn an_invalid_post_is_refused_and_stores_nothing() {
    let system = System::start().await;
    system.family(3).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&["u1".to_owned()]).await;
    let elsewhere = u0.thread(&["u2".to_owned()]).await;
    let other = u0.say(&elsewhere, "elsewhere").await.text("/message/id");
    let path = format!("/threads/{thread}/messages");
    let files: Vec<String> = (0..11).map(|i| format!("f{i}")).collect();
    let before = system.count("messages").await;
    for (body, problem) in [
        (json!({}), "400 empty_message"),
        (json!({ "body": "" }), "400 empty_message"),
        (json!({ "body": " \n\t " }), "400 empty_message"),
        (json!({ "body": null, "fileIds": [] }), "400 empty_message"),
        (json!({ "body": "a\u{0}b" }), "422 invalid_text"),
        (json!({ "body": "a\u{1b}[2Jb" }), "422 invalid_text"),
        (json!({ "body": "x".repeat(4001) }), "422 text_too_long"),
        (json!({ "body": "é".repeat(4001) }), "422 text_too_long"),
        (json!({ "body": "x", "fileIds": files }), "422 too_many_files"),
        (json!({ "body": "x", "fileIds": ["a/b"] }), "422 invalid_file_id"),
        (json!({ "body": "x", "replyToId": "msg_nonsense" }), "422 unknown_reply"),
        (json!({ "body": "x", "replyToId": other }), "422 unknown_reply"),
        (json!({ "body": "x", "authorId": "u1" }), "422 unknown_field"),
        (json!({ "body": 7 }), "422 invalid_field"),
        (json!({ "body": "x".repeat(65 * 1024) }), "413 body_too_large"),
    ] {
        let answer = u0.post(&path, &body).await;
        let shown: String = body.to_string().chars().take(80).collect();
        assert_eq!(answer.problem(), problem, "{shown}");
    }
    let raw = |content_type: &'static str, body: Vec<u8>| {
        send(u0.request(Method::POST, &path).header("content-type", content_type).body(body))
    };
    for (content_type, body, problem) in [
        ("application/json", b"".to_vec(), "400 invalid_json"),
        ("application/json", b"{\"body\":\"\xff\xfe\"}".to_vec(), "400 invalid_json"),
        ("application/json", b"{\"body\":\"\\ud800\"}".to_vec(), "400 invalid_json"),
        ("application/json", b"{\"body\":".to_vec(), "400 invalid_json"),
        ("application/json", b"{\"body\":\"x\"} {}".to_vec(), "400 invalid_json"),
        ("application/json", b"[\"x\"]".to_vec(), "400 invalid_json"),
        ("application/json", b"null".to_vec(), "400 invalid_json"),
        ("application/json", b"{\"body\":\"x\",\"body\":\"y\"}".to_vec(), "422 invalid_field"),
        ("application/json", [b"[".repeat(60_000), b"".to_vec()].concat(), "400 invalid_json"),
        ("text/plain", b"{\"body\":\"x\"}".to_vec(), "415 unsupported_media_type"),
        ("application/x-www-form-urlencoded", b"body=x".to_vec(), "415 unsupported_media_type"),
    ] {
        let answer = raw(content_type, body.clone()).await;
        assert_eq!(answer.problem(), problem, "{content_type} {}", body.len());
    }
    assert_eq!(system.count("messages").await, before);
    assert_eq!(u0.get(&format!("/threads/{thread}")).await.at("/thread/lastSeq"), json!(0));

    // At the limits.
    assert_eq!(u0.say(&thread, &"é".repeat(4000)).await.at("/message/seq"), json!(1));
    let charset = raw("application/json; charset=utf-8", b" {\"body\":\"x\"}\n".to_vec()).await;
    assert_eq!(charset.status, 201);
}

#[tokio::test]
async fn text_is_normalized_and_has_one_direction() {
    let system = System::start().await;
    let members = system.family(2).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    let path = format!("/threads/{thread}/messages");
    let post = |body: &str| {
        let request = u0.request(Method::POST, &path).header("idempotency-key", "one");
        send(request.json(&json!({ "body": body })))
    };
    let posted = post("Zoe\u{308}\u{202e} says hi\u{202c}").await;
    assert_eq!(posted.text("/message/body"), "Zo\u{eb} says hi");
    // The same text after normalisation, so the same request.
    let again = post("Zo\u{eb} says hi").await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"));
    for unseen in ["\u{200b}", "\u{2066}\u{2069}", " \u{3164}\n"] {
        let answer = u0.post(&path, &json!({ "body": unseen })).await;
        assert_eq!(answer.problem(), "400 empty_message", "{unseen:?}");
        let user = json!({ "name": unseen });
        let named = system.host().put("/families/fam/users/u9", &user).await;
        assert_eq!(named.status, 422, "{unseen:?}");
    }
    let titled = json!({ "memberIds": members, "distinct": true, "title": "\u{202e}Cafe\u{301}" });
    assert_eq!(u0.post("/threads", &titled).await.text("/thread/title"), "Caf\u{e9}");
}
