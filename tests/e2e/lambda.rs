//! The Lambda binaries as processes under a Runtime API: they answer byte for byte as the local server
//! does.

use std::{collections::BTreeSet, time::Duration};

use local::secrets::TokenClaims;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    Client, System,
    client::send,
    events::{http_event, schedule_event, sqs_event},
    lambda::{Function, FunctionError, HttpAnswer, binary},
    peer,
    provider::{Provider, Reply},
    system::FAMILY,
};

use crate::routes::declared;

/// The functions' time-out in the template.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The environment of a deployed function on a test's system.
fn environment(system: &System, role: &str) -> Vec<(&'static str, String)> {
    system.environment(system.database_url(), role)
}

/// A request that is sent to the function and to the local server.
struct Call<'a> {
    function: &'a Function,
    method: Method,
    path: String,
    token: Option<&'a str>,
    headers: Vec<(&'a str, &'a str)>,
    body: Option<Vec<u8>>,
}

impl Call<'_> {
    async fn to_lambda(&self) -> HttpAnswer {
        let bearer = self.token.map(|token| format!("Bearer {token}"));
        let mut headers = self.headers.clone();
        if let Some(bearer) = &bearer {
            headers.push(("authorization", bearer));
        }
        let event = http_event(self.method.as_str(), &self.path, &headers, self.body.as_deref());
        let answer = self.function.invoke(&event, TIMEOUT).await;
        HttpAnswer::from_gateway(&answer.unwrap_or_else(|error| panic!("{error}")))
    }

    /// Sends it to both and compares the whole responses.
    async fn compare(&self, system: &System) -> HttpAnswer {
        let client = Client::new(&system.url, self.token.map(str::to_owned));
        let mut request = client.request(self.method.clone(), &self.path);
        for (name, value) in &self.headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let local = send(request).await;
        let lambda = self.to_lambda().await;
        let shown = format!("{} {}", self.method, self.path);
        assert_eq!(lambda.status, local.status, "{shown}");
        assert_eq!(
            String::from_utf8_lossy(&lambda.body),
            String::from_utf8_lossy(&local.body),
            "{shown}"
        );
        // Except for headers that the transport adds.
        let ours = |name: &str| {
            !["date", "content-length", "connection", "transfer-encoding"].contains(&name)
        };
        let of_lambda: Vec<(&str, &str)> = lambda
            .headers
            .iter()
            .filter(|(name, _)| ours(name))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut of_local: Vec<(&str, &str)> = local
            .headers
            .iter()
            .filter(|(name, _)| ours(name.as_str()))
            .map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII")))
            .collect();
        of_local.sort_unstable();
        assert_eq!(of_lambda, of_local, "{shown}");
        lambda
    }
}

#[tokio::test]
async fn a_familys_evening_goes_through_the_lambda_binaries() {
    let system = System::start().await;
    let api = environment(&system, "kinline_app");
    let families = Function::start(&binary("families"), &api).await;
    let threads = Function::start(&binary("threads"), &api).await;
    let messages = Function::start(&binary("messages"), &api).await;
    let history = Function::start(&binary("history"), &api).await;
    let health = Function::start(&binary("health"), &api).await;
    let token = |claims| system.secrets().token(&claims).expect("a token");
    let (host, u0) = (token(TokenClaims::service()), token(TokenClaims::member(FAMILY, "u0")));
    let json = ("content-type", "application/json");
    let id = ("x-request-id", "the-same");
    let call = |function, method, path: &str, token, body: Option<Value>| Call {
        function,
        method,
        path: path.to_owned(),
        token: Some(token),
        headers: vec![json, id],
        body: body.map(|body| body.to_string().into_bytes()),
    };

    // Written through Lambda, read through both.
    let family = json!({ "name": "Family" });
    let made = call(&families, Method::PUT, "/families/fam", &host, Some(family)).to_lambda().await;
    assert_eq!(made.status, 201, "{}", made.json());
    for i in 0..3 {
        let user = json!({ "name": format!("Name{i}"), "phone": tests::system::phone(i) });
        let path = format!("/families/fam/users/u{i}");
        assert_eq!(
            call(&families, Method::PUT, &path, &host, Some(user)).to_lambda().await.status,
            201
        );
    }
    let members = json!({ "memberIds": ["u0", "u1", "u2"] });
    let thread =
        call(&threads, Method::POST, "/threads", &u0, Some(members.clone())).to_lambda().await;
    assert_eq!(thread.status, 201);
    let thread_id = thread.json()["thread"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(thread.headers["location"], format!("/threads/{thread_id}"));
    let path = format!("/threads/{thread_id}/messages");
    let text = json!({ "body": "Ünïcode 👋 through the gateway" });
    let mut post = call(&messages, Method::POST, &path, &u0, Some(text));
    post.headers.push(("idempotency-key", "evening-1"));
    let posted = post.to_lambda().await;
    assert_eq!(posted.status, 201);
    assert_eq!(posted.json()["notifications"]["queued"], 2);
    let message_id = posted.json()["message"]["id"].as_str().expect("an id").to_owned();

    // The same responses: successes, replays, errors of every kind.
    let replay = post.compare(&system).await;
    assert_eq!((replay.status, replay.headers["idempotency-replayed"].as_str()), (201, "true"));
    assert_eq!(replay.body, posted.body);
    let found = call(&threads, Method::POST, "/threads", &u0, Some(members)).compare(&system).await;
    assert_eq!(found.status, 200);
    let page =
        call(&history, Method::GET, &format!("{path}?limit=1"), &u0, None).compare(&system).await;
    assert_eq!(page.status, 200);
    let etag = page.headers["etag"].clone();
    let deliveries = format!("{path}/{message_id}/deliveries");
    for (call, status) in [
        (call(&threads, Method::GET, "/threads?limit=2", &u0, None), 200),
        (call(&threads, Method::GET, &format!("/threads/{thread_id}"), &u0, None), 200),
        (call(&threads, Method::GET, "/threads/th_0", &u0, None), 404),
        (call(&threads, Method::GET, "/threads/a%20b", &u0, None), 404),
        (call(&threads, Method::GET, "/threads?cursor=x", &u0, None), 400),
        (call(&threads, Method::POST, "/threads", &u0, Some(json!({ "memberIds": ["x"] }))), 422),
        (call(&threads, Method::GET, "/threads", "not-a-token", None), 401),
        (call(&threads, Method::DELETE, "/threads", &u0, None), 405),
        (call(&threads, Method::GET, "/nothing", &u0, None), 404),
        (call(&messages, Method::GET, &deliveries, &u0, None), 200),
        (call(&messages, Method::POST, &path, &u0, Some(json!({}))), 400),
        (
            call(
                &messages,
                Method::POST,
                &path,
                &u0,
                Some(json!({ "body": "x".repeat(65 * 1024) })),
            ),
            413,
        ),
        (call(&history, Method::GET, &format!("{path}?limit=500"), &u0, None), 400),
        (call(&history, Method::GET, &path, &host, None), 403),
        (call(&health, Method::GET, "/health", &u0, None), 200),
        (call(&families, Method::PUT, "/families/fam", &u0, Some(json!({ "name": "x" }))), 403),
        (
            Call {
                headers: vec![id, ("if-none-match", &etag)],
                ..call(&history, Method::GET, &format!("{path}?limit=1"), &u0, None)
            },
            304,
        ),
        (
            Call {
                headers: vec![id, ("content-type", "application/octet-stream")],
                body: Some(vec![0, 159, 146, 150]),
                ..call(&messages, Method::POST, &path, &u0, None)
            },
            415,
        ),
        (
            Call {
                body: Some(b"{\"body\":\"\xff\"}".to_vec()),
                ..call(&messages, Method::POST, &path, &u0, None)
            },
            400,
        ),
    ] {
        assert_eq!(call.compare(&system).await.status, status, "{}", call.path);
    }
    for function in [&families, &threads, &messages, &history, &health] {
        assert_eq!(function.refused(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_link_opens_through_the_lambda_binaries() {
    let system = System::start().await;
    let members = system.family(2).await;
    let path = format!("/threads/{}", system.member("u0").thread(&members).await);
    system.member("u0").say(&path[9..], "Hello").await;
    system.deliver().await;
    let api = environment(&system, "kinline_app");
    let links = Function::start(&binary("links"), &api).await;
    let noting = Function::start(&binary("members"), &api).await;
    let history = Function::start(&binary("history"), &api).await;
    let messages = Function::start(&binary("messages"), &api).await;
    let web = Function::start(&binary("web"), &api).await;
    let planted = format!("__Host-kin={}", "0123456789abcdef".repeat(4));
    let token = json!({ "token": system.token_of(1) });
    let mut exchange = Call {
        function: &links,
        method: Method::POST,
        path: "/links/exchange".to_owned(),
        token: None,
        headers: vec![
            ("content-type", "application/json"),
            ("x-request-id", "the-same"),
            ("cookie", &planted),
        ],
        body: Some(token.to_string().into_bytes()),
    };
    let opened = exchange.compare(&system).await;
    assert_eq!(opened.status, 200);
    let cookie = opened.headers["set-cookie"].split(';').next().unwrap_or_default().to_owned();
    exchange.headers[2].1 = &cookie;
    let call = |function, method, path: &str, body: Option<Value>| Call {
        function,
        method,
        path: path.to_owned(),
        token: None,
        headers: exchange.headers.clone(),
        body: body.map(|body| body.to_string().into_bytes()),
    };
    let history_path = format!("{path}/messages");
    for (call, status) in [
        (call(&links, Method::POST, "/links/exchange", Some(json!({ "token": "x" }))), 401),
        (call(&links, Method::POST, "/links/exchange", Some(token.clone())), 200),
        (call(&links, Method::GET, "/links/exchange", None), 405),
        (call(&web, Method::GET, "/l", None), 200),
        (call(&web, Method::GET, &format!("/t/{}", &path[9..]), None), 200),
        (call(&web, Method::GET, "/t/nobody", None), 404),
        (call(&history, Method::GET, &history_path, None), 200),
        (call(&messages, Method::POST, &history_path, Some(json!({}))), 400),
        (call(&noting, Method::PUT, &format!("{path}/read"), Some(json!({ "seq": 1 }))), 204),
        (call(&noting, Method::PUT, &format!("{path}/texts"), Some(json!({ "state": "on" }))), 200),
        (call(&noting, Method::PUT, &format!("{path}/texts"), Some(json!({}))), 422),
        (call(&links, Method::POST, "/links/renew", Some(token)), 202),
        (call(&links, Method::POST, "/links/request", Some(json!({ "phone": "+15550100" }))), 202),
        (call(&links, Method::POST, "/sessions/end", Some(json!({}))), 204),
        (call(&history, Method::GET, &history_path, None), 401),
    ] {
        assert_eq!(call.compare(&system).await.status, status, "{}", call.path);
    }
    let mut small = call(&web, Method::GET, "/l", None);
    small.headers.push(("accept-encoding", "gzip"));
    let small = small.compare(&system).await;
    assert_eq!(small.headers["content-encoding"], "gzip");
    assert!(small.body.starts_with(&[0x1f, 0x8b]) && small.body.len() < 14 * 1024);
    // The worker sends the jobs that Lambda enqueued: one renewal, though both were asked.
    system.deliver().await;
    assert_eq!(system.sms_of(1).len(), 2);
    for function in [&links, &noting, &history, &messages, &web] {
        assert_eq!(function.refused(), Vec::<String>::new());
        for secret in ["0123456789abcdef", "eyJ", "+1555", "Hello"] {
            assert!(!function.log().contains(secret), "{secret} in the log");
        }
    }
}

/// Each binary serves the declared routes of its function, and no others.
#[tokio::test]
async fn every_binary_serves_the_routes_that_are_declared_for_it() {
    let system = System::start().await;
    let routes = declared();
    let names: BTreeSet<&str> = routes.keys().map(|route| route.function.as_str()).collect();
    let paths: BTreeSet<&str> = routes.keys().map(|route| route.path.as_str()).collect();
    for name in names {
        let function = Function::start(&binary(name), &environment(&system, "kinline_app")).await;
        for path in &paths {
            let of_path = routes.keys().filter(|r| r.function == name && r.path == *path);
            let mut methods: BTreeSet<&str> = of_path.map(|route| route.method.as_str()).collect();
            if methods.contains("GET") {
                methods.insert("HEAD");
            }
            // With a method that no route has, the response lists the path's methods.
            let event = http_event("PATCH", &path.replace(['{', '}'], ""), &[], None);
            let answer = function.invoke(&event, TIMEOUT).await;
            let answer = HttpAnswer::from_gateway(&answer.unwrap_or_else(|e| panic!("{e}")));
            let allowed = answer.headers.get("allow").map_or("", String::as_str);
            let served = allowed.split(',').filter(|method| !method.is_empty()).collect();
            assert_eq!(methods, served, "the binary {name} at {path}");
            assert_eq!(answer.status, if methods.is_empty() { 404 } else { 405 }, "{name} {path}");
        }
    }
}

#[tokio::test]
async fn the_documentation_is_a_separate_lambda_function() {
    let system = System::start().await;
    // It needs no variables.
    let docs = Function::start(&binary("docs"), &[]).await;
    for path in ["/docs", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/openapi.json"] {
        let call = Call {
            function: &docs,
            method: Method::GET,
            path: path.to_owned(),
            token: None,
            headers: vec![("x-request-id", "the-same"), ("accept-encoding", "gzip")],
            body: None,
        };
        assert_eq!(call.compare(&system).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn worker_and_sweeper_work_as_lambda_functions() {
    let mut system = System::start().await;
    let members = system.family(4).await;
    let worker = Function::start(&binary("worker"), &environment(&system, "kinline_worker")).await;
    let sweeper =
        Function::start(&binary("sweeper"), &environment(&system, "kinline_worker")).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    // The queue is down, so only the sweeper can wake the worker.
    system.stack.sqs.stop().await;
    u0.say(&thread, "as a Lambda").await;
    system.stack.sqs.resume().await.expect("the port is free");
    let early = sweeper.invoke(&schedule_event(), TIMEOUT).await.expect("swept");
    assert_eq!(early, json!({ "enqueued": 0, "notTaken": 0 }));
    system.pass(Duration::from_secs(31)).await;
    let mut swept = sweeper.invoke(&schedule_event(), TIMEOUT).await.expect("swept");
    while swept["notTaken"] != 0 && peer::address().is_some() {
        // Moto was slower than the sweeper waits.
        swept = sweeper.invoke(&schedule_event(), TIMEOUT).await.expect("swept");
    }
    assert_eq!(swept, json!({ "enqueued": 3, "notTaken": 0 }));

    let received = system.stack.sqs.client().receive_message();
    let received = received.queue_url(&system.stack.sqs.queue_url).max_number_of_messages(10);
    let received = received.send().await.expect("a queue").messages.unwrap_or_default();
    let mut records: Vec<(&str, &str)> = received
        .iter()
        .filter_map(|message| Some((message.message_id.as_deref()?, message.body.as_deref()?)))
        .collect();
    // Moto may have taken a job that it answered too late, and then once more.
    records.sort_unstable_by_key(|(_, body)| *body);
    records.dedup_by_key(|(_, body)| *body);
    assert_eq!(records.len(), 3);
    // One malformed record, and one twice.
    records.push(("broken", "not a job"));
    records.push(("again", records[0].1));
    let answer = worker.invoke(&sqs_event(&records), TIMEOUT).await.expect("handled");
    assert_eq!(answer, json!({ "batchItemFailures": [{ "itemIdentifier": "broken" }] }));
    for i in 1..4 {
        let sms = system.sms_of(i);
        assert_eq!(sms.len(), 1);
        assert!(sms[0].body.starts_with("Name0: as a Lambda https://kin.example/l#a"));
    }
    // The whole batch again sends nothing; with too little time, every record is given back.
    let again = worker.invoke(&sqs_event(&records[..3]), TIMEOUT).await.expect("handled");
    assert_eq!(again, json!({ "batchItemFailures": [] }));
    let late = worker.invoke(&sqs_event(&records[..3]), Duration::from_secs(7)).await;
    assert_eq!(late.expect("handled")["batchItemFailures"].as_array().map(Vec::len), Some(3));
    assert_eq!(system.sms().len(), 3);
    for secret in ["as a Lambda", "+1555", "Name0", "eyJ"] {
        assert!(!worker.log().contains(secret), "{secret} in the log");
    }
}

#[tokio::test]
async fn a_missing_variable_stops_the_start_and_is_named() {
    let system = System::start().await;
    for (name, variable) in [
        ("threads", "KINLINE_AUTH_SECRET"),
        ("messages", "KINLINE_QUEUE_URL"),
        ("history", "DATABASE_URL"),
        ("families", "DATABASE_URL"),
        ("health", "DATABASE_URL"),
        ("links", "KINLINE_LINK_KEYS"),
        ("links", "KINLINE_QUEUE_URL"),
        ("members", "KINLINE_PUBLIC_URL"),
        ("worker", "KINLINE_PUBLIC_URL"),
        ("worker", "KINLINE_LINK_KEYS"),
        ("sweeper", "KINLINE_QUEUE_URL"),
    ] {
        for value in [None, Some("x")] {
            let mut environment = environment(&system, "kinline_app");
            environment.retain(|(name, _)| *name != variable);
            environment.extend(value.map(|value| (variable, value.to_owned())));
            let function = Function::start(&binary(name), &environment).await;
            let failed = function.invoke(&json!({}), TIMEOUT).await.expect_err("it can't start");
            let FunctionError::Exited { log, .. } = &failed else { panic!("{failed}") };
            assert!(log.contains(variable), "{name}: {log}");
        }
    }
}

#[tokio::test]
async fn the_queue_is_reached_over_https_with_the_systems_certificates() {
    let system = System::start().await;
    let members = system.family(2).await;
    let thread = system.member("u0").thread(&members).await;
    let reply = json!({ "Successful": [{ "Id": "0", "MessageId": "m", "MD5OfMessageBody": "" }] });
    let (queue, certificate) = Provider::start_https(Reply::Body(200, reply.to_string())).await;
    let (_, other) = Provider::start_https(Reply::Silence).await;
    let folder = tempfile::tempdir().expect("a folder");
    let token = system.secrets().token(&TokenClaims::member(FAMILY, "u0")).expect("a token");
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let path = format!("/threads/{thread}/messages");
    let post = http_event("POST", &path, &headers, Some(br#"{"body":"By TLS"}"#));
    for (trusted, asked) in [(other, 0), (certificate, 1)] {
        let file = folder.path().join("trusted.pem");
        std::fs::write(&file, trusted).expect("a file");
        let mut environment = system.environment(system.database_url(), "kinline_app");
        environment.push(("AWS_ENDPOINT_URL_SQS", queue.url.replace("/jwks.json", "")));
        environment.push(("SSL_CERT_FILE", file.display().to_string()));
        let messages = Function::start(&binary("messages"), &environment).await;
        let answer = messages.invoke(&post, TIMEOUT).await.expect("an answer");
        assert_eq!(answer["statusCode"], 201, "posted, with or without the queue");
        assert_eq!(queue.asked(), asked, "{}", messages.log());
        assert_eq!(messages.log().contains("certificate"), asked == 0, "{}", messages.log());
    }
}
