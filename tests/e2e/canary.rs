//! A canary in every flow: content and credentials are in no log, queue, dead letter, error or audit
//! event.

use std::{collections::BTreeMap, time::Duration};

use local::secrets::TokenClaims;
use platform::config::ExposeSecret;
use serde_json::{Value, json};
use tests::{
    System,
    events::{http_event, schedule_event, sqs_event},
    lambda::{Function, HttpAnswer, binary},
    system::{FAMILY, token_in},
};

const TIMEOUT: Duration = Duration::from_secs(30);
const PHONE: &str = "+15550148888";

/// The functions as processes, and the outputs that must not hold a canary.
struct Stage {
    system: System,
    functions: BTreeMap<&'static str, Function>,
    /// Secrets made on the way, by kind.
    secrets: Vec<(&'static str, String)>,
    errors: Vec<String>,
    queued: Vec<String>,
}

impl Stage {
    async fn new() -> Self {
        let system = System::start().await;
        let mut functions = BTreeMap::new();
        for (role, names) in [
            (
                "kinline_app",
                &[
                    "export", "families", "history", "links", "members", "messages", "threads",
                    "web",
                ][..],
            ),
            ("kinline_worker", &["sweeper", "worker"]),
        ] {
            let environment = system.environment(system.database_url(), role);
            for name in names {
                functions.insert(*name, Function::start(&binary(name), &environment).await);
            }
        }
        // A function whose database can't be reached.
        let nowhere =
            system.environment("postgres://u:Canary-Password@127.0.0.1:1/x", "kinline_app");
        functions.insert("nowhere", Function::start(&binary("messages"), &nowhere).await);
        let url = system.database_url().to_owned();
        let password = url.split([':', '@']).nth(2).expect("a password").to_owned();
        let secrets = vec![
            ("name", "Canary-Name".to_owned()),
            ("family", "Canary-Family".to_owned()),
            ("title", "Canary-Title".to_owned()),
            ("text", "Canary-Text".to_owned()),
            ("idempotency key", "Canary-Key".to_owned()),
            ("phone", PHONE[3..].to_owned()),
            (
                "service secret",
                system.secrets().auth().expect("a secret").expose_secret().to_owned(),
            ),
            (
                "link key",
                system.secrets().link_pairs().split_once('=').expect("a key").1.to_owned(),
            ),
            ("database password", password),
            ("another database's password", "Canary-Password".to_owned()),
        ];
        Self { system, functions, secrets, errors: Vec::new(), queued: Vec::new() }
    }

    /// Calls a function with `credentials`, a header, and keeps the body of an error.
    async fn ask(
        &mut self,
        function: &str,
        request: &str,
        credentials: Option<(&str, &str)>,
        body: Option<&str>,
    ) -> HttpAnswer {
        let (method, path) = request.split_once(' ').expect("a method and a path");
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(credentials);
        let event = http_event(method, path, &headers, body.map(str::as_bytes));
        let answer = self.functions[function].invoke(&event, TIMEOUT).await;
        let answer = HttpAnswer::from_gateway(&answer.unwrap_or_else(|error| panic!("{error}")));
        if answer.status >= 400 {
            self.errors.push(String::from_utf8_lossy(&answer.body).into_owned());
        }
        answer
    }

    /// A token of the host application, which is a secret too.
    fn bearer(&mut self, claims: &TokenClaims<'_>) -> String {
        let token = self.system.secrets().token(claims).expect("a token");
        self.secrets.push(("token", token.clone()));
        format!("Bearer {token}")
    }

    /// Lets the worker handle the queue, and records that are no jobs.
    async fn work(&mut self) {
        let sqs = self.system.stack.sqs.client().clone();
        let url = self.system.stack.sqs.queue_url.clone();
        let received = sqs.receive_message().queue_url(&url).max_number_of_messages(10);
        let received = received.send().await.expect("a queue").messages.unwrap_or_default();
        let mut records: Vec<(&str, &str)> = Vec::new();
        for message in &received {
            let (Some(id), Some(body)) = (&message.message_id, &message.body) else { continue };
            self.queued.push(body.clone());
            records.push((id, body));
        }
        records.push(("broken", "{\"Canary-Text\":\"Canary-Name\",\"phone\":\"+15550148888\"}"));
        let event = sqs_event(&records);
        self.functions["worker"].invoke(&event, TIMEOUT).await.expect("handled");
        for message in &received {
            let delete = sqs.delete_message().queue_url(&url);
            let delete = delete.set_receipt_handle(message.receipt_handle.clone());
            delete.send().await.expect("deleted");
        }
    }

    /// The dead letters, after a job that fails every time.
    async fn dead_letters(&mut self) -> Vec<String> {
        let sqs = self.system.stack.sqs.client().clone();
        let (url, dead) =
            (&self.system.stack.sqs.queue_url, &self.system.stack.sqs.dead_letter_url);
        for _ in 0..6 {
            let receive = sqs.receive_message().queue_url(url).visibility_timeout(0);
            receive.max_number_of_messages(10).send().await.expect("a queue");
        }
        let receive = sqs.receive_message().queue_url(dead).max_number_of_messages(10);
        let letters = receive.send().await.expect("a queue").messages.unwrap_or_default();
        letters.into_iter().filter_map(|letter| letter.body).collect()
    }

    /// The kinds of secrets that are in `text`.
    fn found(&self, text: &str) -> Vec<&'static str> {
        let found = self.secrets.iter().filter(|(_, secret)| text.contains(secret.as_str()));
        found.map(|(what, _)| *what).collect()
    }
}

#[tokio::test]
async fn content_and_credentials_appear_in_no_log_queue_or_error() {
    let mut stage = Stage::new().await;
    let host = stage.bearer(&TokenClaims::service());
    let u0 = stage.bearer(&TokenClaims::member(FAMILY, "u0"));
    let (host, u0) = (Some(("authorization", host.as_str())), Some(("authorization", u0.as_str())));

    // Provisioning, valid and invalid.
    let family = json!({ "name": "Canary-Family" }).to_string();
    assert_eq!(stage.ask("families", "PUT /families/fam", host, Some(&family)).await.status, 201);
    for (i, phone) in [(0, "+15550148887"), (1, PHONE)] {
        let user = json!({ "name": format!("Canary-Name{i}"), "phone": phone }).to_string();
        let path = format!("PUT /families/fam/users/u{i}");
        assert_eq!(stage.ask("families", &path, host, Some(&user)).await.status, 201);
    }
    for body in [
        r#"{"name":"Canary-Name","phone":"+155501488880000000"}"#,
        r#"{"name":"Canary-Name\u0000"}"#,
        r#"{"name":["Canary-Name"]}"#,
        r#"{"name":"Canary-Name","timeZone":"Canary-Text"}"#,
        r#"{"name":"Canary-Name","quietHours":{"from":"Canary-Text","to":"+15550148888"}}"#,
        r#"{"name":"Canary-Name","more":"Canary-Text"}"#,
        r#"{"name":"Canary-Name""#,
        "Canary-Text +15550148888",
    ] {
        let answer = stage.ask("families", "PUT /families/fam/users/u1", host, Some(body)).await;
        assert!((400..500).contains(&answer.status), "{body}");
    }

    // A thread and posts, valid and invalid.
    let new = json!({ "memberIds": ["u1"], "title": "Canary-Title" }).to_string();
    let created = stage.ask("threads", "POST /threads", u0, Some(&new)).await;
    let thread = created.json()["thread"]["id"].as_str().expect("an id").to_owned();
    let post = format!("POST /threads/{thread}/messages");
    let text = json!({ "body": "Canary-Text" }).to_string();
    let text = Some(text.as_str());
    assert_eq!(stage.ask("messages", &post, u0, text).await.status, 201);
    for body in [
        r#"{"body":"Canary-Text\u0007"}"#,
        r#"{"body":"Canary-Text","fileIds":["Canary Text"]}"#,
        r#"{"body":"Canary-Text","replyToId":"Canary-Text"}"#,
        r#"{"body":{"Canary-Text":1}}"#,
        r#"{"body":"Canary-Text"#,
    ] {
        assert!(stage.ask("messages", &post, u0, Some(body)).await.status >= 400, "{body}");
    }
    // Refused by the database, whose error messages repeat values; and without a database.
    let owner = stage.system.owner.clone();
    let check = "ALTER TABLE messages ADD CONSTRAINT no CHECK (body <> 'Canary-Text refused')";
    sqlx::query(check).execute(&owner).await.expect("a constraint");
    let refused = json!({ "body": "Canary-Text refused" }).to_string();
    assert_eq!(stage.ask("messages", &post, u0, Some(&refused)).await.status, 500);
    assert_eq!(stage.ask("nowhere", &post, u0, text).await.status, 503);

    // SMS, also with a failing carrier.
    let dev = stage.system.member("u0");
    for mode in ["http500", "throttle", "refuse"] {
        let faults = json!({ "sms": { "mode": mode, "rate": 1 } });
        assert!(dev.put("/dev/faults", &faults).await.status < 300, "{mode}");
        assert_eq!(stage.ask("messages", &post, u0, text).await.status, 201);
        stage.work().await;
    }
    dev.put("/dev/faults", &json!({})).await;
    stage.system.pass(Duration::from_mins(1)).await;
    stage.system.sweep().await;
    assert_eq!(stage.ask("messages", &post, u0, text).await.status, 201);
    stage.work().await;
    let sms = stage.system.stack.carrier.received(Some(PHONE)).pop().expect("an SMS");
    let of_both = sms.body.contains("Canary-Name0") && sms.body.contains(": Canary-Text");
    assert!(of_both, "the handset gets it");
    let token = token_in(&sms);
    stage.secrets.push(("link", token.clone()));

    // The link: exchanged, invalid, renewed, requested.
    let with_token = json!({ "token": token }).to_string();
    stage.ask("web", "GET /l", None, None).await;
    let opened = stage.ask("links", "POST /links/exchange", None, Some(&with_token)).await;
    assert_eq!(opened.status, 200);
    let cookie = opened.headers["set-cookie"].split(';').next().unwrap_or_default().to_owned();
    stage.secrets.push(("cookie", cookie.split_once('=').expect("a cookie").1.to_owned()));
    let browser = Some(("cookie", cookie.as_str()));
    for (function, request, body, status) in [
        ("links", "POST /links/exchange".to_owned(), Some(with_token.clone()), 401),
        (
            "links",
            "POST /links/exchange".to_owned(),
            Some(format!("{{\"token\":[\"{token}\"]}}")),
            422,
        ),
        ("links", "POST /links/exchange".to_owned(), Some(token.clone()), 400),
        ("links", "POST /links/renew".to_owned(), Some(with_token.clone()), 202),
        (
            "links",
            "POST /links/request".to_owned(),
            Some(json!({ "phone": PHONE }).to_string()),
            202,
        ),
        (
            "links",
            "POST /links/request".to_owned(),
            Some(json!({ "phone": [PHONE] }).to_string()),
            422,
        ),
        ("web", format!("GET /l/{token}"), None, 404),
        ("web", format!("GET /t/{token}"), None, 401),
    ] {
        let answer = stage.ask(function, &request, None, body.as_deref()).await;
        assert_eq!(answer.status, status, "{request} {body:?}");
    }
    stage.work().await;
    let path = format!("/threads/{thread}");
    for (function, request, body, status) in [
        ("history", format!("GET {path}/messages"), None, 200),
        ("history", format!("GET {path}/messages?before=Canary-Text"), None, 400),
        ("web", format!("GET /t/{thread}"), None, 200),
        ("messages", format!("POST {path}/messages"), text, 201),
        ("members", format!("PUT {path}/read"), Some(r#"{"seq":"Canary-Text"}"#), 422),
        ("members", format!("PUT {path}/texts"), Some(r#"{"state":"Canary-Text"}"#), 422),
        ("threads", "GET /threads".to_owned(), None, 200),
        ("links", "POST /sessions/end".to_owned(), Some("{}"), 204),
        ("history", format!("GET {path}/messages"), None, 401),
    ] {
        assert_eq!(stage.ask(function, &request, browser, body).await.status, status, "{request}");
    }
    let forged = "Bearer eyJhbGciOiJub25lIn0.Canary-Text.Canary-Name";
    let forged = Some(("authorization", forged));
    assert_eq!(
        stage.ask("history", &format!("GET {path}/messages"), forged, None).await.status,
        401
    );

    let letters = stage.dead_letters().await;
    assert!(!letters.is_empty(), "the answer's jobs become dead letters");
    let opted_out = json!({ "sms": { "mode": "opted_out", "rate": 1 } });
    dev.put("/dev/faults", &opted_out).await;
    assert_eq!(stage.ask("messages", &post, u0, text).await.status, 201);
    stage.work().await;

    // The export, the erasure, the sweeper.
    for request in ["GET /families/fam/export", "GET /families/fam/export?cursor=Canary-Text"] {
        stage.ask("export", request, host, None).await;
    }
    for request in
        ["DELETE /families/fam/users/u1?erase=Canary-Text", "DELETE /families/fam?erase=true"]
    {
        stage.ask("families", request, host, None).await;
    }
    stage.functions["sweeper"].invoke(&schedule_event(), TIMEOUT).await.expect("swept");
    stage.functions["worker"]
        .invoke(&sqs_event(&[("none", "Canary-Text")]), TIMEOUT)
        .await
        .expect("handled");

    let trail: Vec<Value> = sqlx::query_scalar("SELECT to_jsonb(e) FROM audit_events e")
        .fetch_all(&owner)
        .await
        .expect("a trail");
    let trail = trail.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let mut places = vec![
        ("errors", stage.errors.join("\n")),
        ("queue", stage.queued.join("\n")),
        ("dead letters", letters.join("\n")),
        ("audit trail", trail),
    ];
    for (name, function) in &stage.functions {
        places.push((name, function.log()));
    }
    for (place, text) in &places {
        assert!(text.len() > 50, "{place} has nothing to search: {text}");
        assert_eq!(stage.found(text), Vec::<&str>::new(), "in {place}");
        // The search itself finds each of them.
        for (what, secret) in &stage.secrets {
            let with_one = format!("{text} {secret}");
            assert!(stage.found(&with_one).contains(what), "{what}");
        }
    }
}
