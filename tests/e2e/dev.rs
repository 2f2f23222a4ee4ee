//! The local-only endpoints.

use serde_json::json;
use tests::{Client, System, client::send, system};

#[tokio::test]
async fn dev_token_makes_tokens_of_any_role() {
    let system = System::start().await;
    system.family(1).await;
    let anonymous = system.anonymous();
    let body = json!({ "userId": "u0", "familyId": "fam", "name": "N", "expiresIn": 60 });
    let token = anonymous.post("/dev/token", &body).await.text("/token");
    assert_eq!(Client::new(&system.url, Some(token)).get("/threads").await.status, 200);
    let token = anonymous.post("/dev/token", &json!({ "role": "service" })).await.text("/token");
    let service = Client::new(&system.url, Some(token));
    assert_eq!(service.put("/families/new", &json!({ "name": "New" })).await.status, 201);
    for body in [json!({}), json!({ "userId": "a,b" }), json!({ "userId": "u0", "familyId": "" })] {
        assert_eq!(
            anonymous.post("/dev/token", &body).await.problem(),
            "422 invalid_field",
            "{body}"
        );
    }
}

#[tokio::test]
async fn sms_are_listed_and_deleted() {
    let system = System::start().await;
    system.family(3).await;
    let (u0, anonymous) = (system.member("u0"), system.anonymous());
    let thread = u0.thread(&["u1".to_owned(), "u2".to_owned()]).await;
    u0.say(&thread, "one").await;
    system.deliver().await;
    let inbound = json!({ "from": "+15550100001", "body": "thanks" });
    assert_eq!(anonymous.post("/dev/inbound", &inbound).await.status, 202);

    let all = anonymous.get("/dev/sms").await;
    assert_eq!(all.at("/messages").as_array().map(Vec::len), Some(2), "received SMS only");
    for query in ["to=+15550100001", "to=%2B15550100001", "to=15550100001"] {
        let one = anonymous.get(&format!("/dev/sms?{query}")).await;
        assert_eq!(one.at("/messages").as_array().map(Vec::len), Some(1), "{query}");
    }
    insta::assert_json_snapshot!("sms", anonymous.get("/dev/sms?to=+15550100001").await.json(), {
        ".**.body" => insta::dynamic_redaction(|body, _| {
            body.as_str().unwrap_or_default().split('#').next().unwrap_or_default().to_owned()
        }),
        ".**.at" => "[time]", ".**.messageId" => "[id]",
    });
    assert_eq!(anonymous.delete("/dev/sms").await.status, 204);
    assert_eq!(anonymous.get("/dev/sms").await.at("/messages"), json!([]));
    for body in [json!({}), json!({ "from": "x", "body": "y" }), json!({ "from": "+15550100001" })]
    {
        assert_eq!(anonymous.post("/dev/inbound", &body).await.status, 422, "{body}");
    }
}

#[tokio::test]
async fn the_root_redirects_to_the_wall() {
    let system = System::start().await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = client.build().expect("a client");
    let answer = client.get(format!("{}/", system.url)).send().await.expect("an answer");
    assert_eq!(answer.status(), 307);
    assert_eq!(answer.headers()["location"], "/dev");
    // The API has no such route.
    assert_eq!(
        system.anonymous().get("/dev/phones/+15550100000/").await.problem(),
        "404 not_found"
    );
}

#[tokio::test]
async fn the_wall_shows_every_handset_and_gets_an_event_for_every_sms() {
    let system = System::start().await;
    system.family(2).await;
    let anonymous = system.anonymous();
    let page = anonymous.get("/dev").await;
    assert!(page.header("content-type").starts_with("text/html"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-src 'self'"));
    let data = anonymous.get("/dev/wall.json").await;
    assert_eq!(
        data.at("/families/0/members/1"),
        json!({ "userId": "u1", "name": "Name1", "phone": "+15550100001" })
    );

    let mut events =
        anonymous.request(reqwest::Method::GET, "/dev/events").send().await.expect("a stream");
    let mut next = async || events.chunk().await.expect("a stream").expect("an event");
    let hello = next().await;
    assert!(hello.starts_with(b"retry: 1000"), "{hello:?}");
    let inbound = json!({ "from": "+15550100001", "body": "thanks" });
    anonymous.post("/dev/inbound", &inbound).await;
    let event = next().await;
    assert!(event.starts_with(b"event: changed\ndata: "), "{event:?}");
    let data = anonymous.get("/dev/wall.json").await;
    assert_eq!(data.at("/texts/0/direction"), "sent");
    assert_eq!(data.at("/texts/0/body"), "thanks");
}

#[tokio::test]
async fn phones_reach_the_product_but_not_the_local_only_endpoints() {
    let system = System::start().await;
    system.family(1).await;
    let (u0, anonymous) = (system.member("u0"), system.anonymous());
    let phone = "/dev/phones/+15550100000";
    assert_eq!(anonymous.get(&format!("{phone}/health")).await.status, 200);
    assert_eq!(anonymous.get(&format!("{phone}/threads")).await.problem(), "401 unauthenticated");
    assert_eq!(u0.get(&format!("{phone}/threads?limit=0")).await.problem(), "400 bad_limit");
    let new = json!({ "memberIds": ["u0"], "title": "x".repeat(1 << 20) });
    let direct = u0.post("/threads", &new).await.problem();
    assert_eq!(u0.post(&format!("{phone}/threads"), &new).await.problem(), direct);

    for path in ["/dev", "/dev/sms", "/dev/phones/+15550100000/health", "/nowhere"] {
        let answer = anonymous.get(&format!("{phone}{path}")).await;
        assert_eq!(answer.problem(), "404 not_found", "{path}");
    }
    for phone in ["grandma", "15550100000", "+1 555 010 0000"] {
        let answer = anonymous.get(&format!("/dev/phones/{phone}/health")).await;
        assert_eq!(answer.problem(), "404 not_found", "{phone}");
        assert_eq!(anonymous.delete(&format!("/dev/phones/{phone}")).await.status, 404, "{phone}");
    }
    assert_eq!(anonymous.delete(phone).await.status, 204);
}

#[tokio::test]
async fn each_phone_is_a_separate_browser() {
    let system = System::start().await;
    system.family(3).await;
    let (u0, anonymous) = (system.member("u0"), system.anonymous());
    let thread = u0.thread(&["u1".to_owned(), "u2".to_owned()]).await;
    u0.say(&thread, "one").await;
    system.deliver().await;
    let token = |i: usize| json!({ "token": system.token_of(i) });
    let phone = |i: usize| format!("/dev/phones/{}", system::phone(i));
    let open = async |i: usize, token: &serde_json::Value| {
        // As a page on the wall sends it: with the wall's address, not that of the links.
        let path = format!("{}/links/exchange", phone(i));
        let request = anonymous.request(reqwest::Method::POST, &path).header("origin", &system.url);
        send(request.json(token)).await
    };
    let history = async |i: usize| {
        anonymous.get(&format!("{}/threads/{thread}/messages", phone(i))).await.status
    };

    for i in [1, 2] {
        let opened = open(i, &token(i)).await;
        assert_eq!(opened.text("/userId"), format!("u{i}"), "side by side");
        assert_eq!(opened.header("set-cookie"), "", "the phone's, not the real browser's");
        assert_eq!(history(i).await, 200);
        for page in ["l".to_owned(), format!("t/{thread}")] {
            let page = anonymous.get(&format!("{}/{page}", phone(i))).await;
            assert_eq!((page.status, page.header("set-cookie")), (200, ""));
            let policy = page.header("content-security-policy");
            assert!(policy.contains("frame-ancestors 'self'"), "{policy}");
        }
    }
    assert_eq!(open(2, &token(1)).await.problem(), "401 link_invalid", "forwarded");
    assert_eq!(anonymous.get(&format!("/threads/{thread}/messages")).await.status, 401);

    assert_eq!(anonymous.delete(&phone(1)).await.status, 204);
    assert_eq!((history(1).await, history(2).await), (401, 200), "one phone is new");
    assert_eq!(open(1, &token(1)).await.problem(), "401 link_invalid");
    let ended = format!("{}/sessions/end", phone(2));
    let request = anonymous.request(reqwest::Method::POST, &ended);
    let evil = request.header("origin", "https://evil.example");
    assert_eq!(send(evil).await.problem(), "403 cross_site");
    assert_eq!(anonymous.post(&ended, &json!({})).await.status, 204);
    assert_eq!(history(2).await, 401);
}

#[tokio::test]
async fn faults_can_be_set_and_are_survived() {
    let system = System::start().await;
    let members = system.family(3).await;
    let (u0, anonymous) = (system.member("u0"), system.anonymous());
    let thread = u0.thread(&members).await;
    let faults = async |body: serde_json::Value| anonymous.put("/dev/faults", &body).await;
    for body in [
        json!({ "sms": { "mode": "sulk" } }),
        json!({ "sms": { "mode": "throttle", "rate": 1.5 } }),
        json!({ "queue": { "mode": "throttle" } }),
        json!({ "queue": { "rate": 1 } }),
        json!({ "seed": -1 }),
    ] {
        assert_eq!(faults(body.clone()).await.problem(), "422 invalid_field", "{body}");
    }
    let states = async |posted: &tests::Answer| {
        let message = posted.text("/message/id");
        let thread = posted.text("/message/threadId");
        let path = format!("/threads/{thread}/messages/{message}/deliveries");
        let deliveries = u0.get(&path).await.at("/deliveries");
        let deliveries = deliveries.as_array().expect("deliveries").clone();
        deliveries.iter().map(|d| format!("{} {}", d["state"], d["reason"])).collect::<Vec<_>>()
    };
    for (mode, state) in [
        ("throttle", r#""pending" "throttled""#),
        ("refuse", r#""pending" "refused""#),
        ("http500", r#""unknown" "carrier_error""#),
        ("opted_out", r#""failed" "opted_out""#),
    ] {
        assert_eq!(faults(json!({ "sms": { "mode": mode }, "seed": 7 })).await.status, 204);
        // In a thread each: while an SMS waits, the next message waits for it.
        let thread = u0.new_thread(&members).await;
        let posted = u0.say(&thread, mode).await;
        system.deliver().await;
        assert_eq!(states(&posted).await, [state, state], "{mode}");
    }
    assert_eq!(system.sms().len(), 0);

    // Without faults, rejected SMS are sent, except to the number that has opted out.
    assert_eq!(faults(json!({})).await.status, 204);
    let posted = u0.say(&thread, "after").await;
    assert_eq!(posted.at("/notifications/queued"), json!(0));
    assert_eq!(states(&posted).await, [r#""suppressed" "opted_out""#; 2]);

    // The queue may fail partly or wholly: the answer is the same, and the outbox has the jobs.
    for queue in ["down", "partial"] {
        let back = json!({ "name": "Name1", "phone": format!("+1555010900{}", queue.len()) });
        system.host().put("/families/fam/users/u1", &back).await;
        assert_eq!(faults(json!({ "queue": { "mode": queue } })).await.status, 204);
        let posted = u0.say(&thread, queue).await;
        assert_eq!(posted.at("/notifications/queued"), json!(1));
        faults(json!({})).await;
        system.deliver().await;
        assert_eq!(states(&posted).await[0], r#""pending" null"#);
        system.pass(std::time::Duration::from_secs(31)).await;
        system.sweep().await;
        system.deliver().await;
        assert_eq!(states(&posted).await[0], r#""sent" null"#);
    }
}
