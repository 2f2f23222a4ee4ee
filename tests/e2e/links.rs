//! Magic links, from the exchange to the end of the session.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;
use shared::{
    ids::LinkRequestId,
    links::{LinkId, LinkKeys},
};
use tests::{
    Answer, Client, System,
    client::send,
    system::{FAMILY, phone},
};

/// A system in which `u0` has posted, and the others' SMS have arrived.
pub(crate) async fn texted(size: usize) -> (System, String) {
    let system = System::start().await;
    let members = system.family(size).await;
    let thread = system.member("u0").thread(&members).await;
    system.member("u0").say(&thread, "Hello").await;
    system.deliver().await;
    (system, thread)
}

/// The cookie that an answer set.
fn cookie(answer: &Answer) -> String {
    let cookie = answer.header("set-cookie");
    let (pair, attributes) = cookie.split_once("; ").expect("attributes");
    assert_eq!(attributes, "HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=2592000");
    assert!(pair.starts_with("__Host-kin="));
    pair.to_owned()
}

async fn tap(client: &Client, token: &str) -> Answer {
    client.post("/links/exchange", &json!({ "token": token })).await
}

#[tokio::test]
async fn a_tap_opens_the_thread_and_an_answer_goes_back() {
    let (system, thread) = texted(3).await;
    let opened = tap(&system.anonymous(), &system.token_of(1)).await;
    assert_eq!(opened.status, 200, "{}", opened.as_text());
    assert_eq!(opened.text("/userId"), "u1");
    assert_eq!(opened.text("/familyId"), FAMILY);
    assert_eq!(opened.text("/threadId"), thread);
    assert!(opened.text("/expiresAt").ends_with('Z'));

    let browser = system.browser(&cookie(&opened));
    let messages = browser.get(&format!("/threads/{thread}/messages")).await;
    assert_eq!(messages.text("/messages/0/body"), "Hello");
    let posted = browser.say(&thread, "Hello yourself").await;
    assert_eq!(posted.text("/message/authorId"), "u1");
    let message = posted.text("/message/id");
    let deliveries = format!("/threads/{thread}/messages/{message}/deliveries");
    assert_eq!(browser.get(&deliveries).await.status, 200);
    system.deliver().await;
    assert!(system.sms_of(0)[0].body.starts_with("Name1: Hello yourself https://kin.example/l#"));

    // Its delivery counts as opened; the other's does not.
    let first = messages.text("/messages/0/id");
    let deliveries = format!("/threads/{thread}/messages/{first}/deliveries");
    let seen = system.member("u0").get(&deliveries).await;
    assert!(seen.at("/deliveries/0/openedAt").is_string());
    assert!(seen.at("/deliveries/1/openedAt").is_null());
}

#[tokio::test]
async fn the_first_browser_keeps_the_link() {
    let (system, thread) = texted(2).await;
    let token = system.token_of(1);
    let anonymous = system.anonymous();
    let taps = join_all((0..50).map(|_| tap(&anonymous, &token))).await;
    let (opened, refused): (Vec<Answer>, Vec<Answer>) =
        taps.into_iter().partition(|answer| answer.status == 200);
    assert_eq!(opened.len(), 1);
    for answer in refused {
        assert_eq!(answer.problem(), "401 link_invalid");
        assert_eq!(answer.header("set-cookie"), "");
    }
    assert_eq!(system.count("sessions").await, 1);

    // The same browser can open it again, even after the link has expired.
    let browser = system.browser(&cookie(&opened[0]));
    system.age_links(Duration::from_hours(25)).await;
    let again = tap(&browser, &token).await;
    assert_eq!((again.status, again.text("/threadId")), (200, thread.clone()));
    assert_eq!(again.text("/expiresAt"), opened[0].text("/expiresAt"));
    assert_eq!(system.count("sessions").await, 1);
}

#[tokio::test]
async fn the_same_browser_can_repeat_an_exchange_whose_answer_was_lost() {
    let (system, thread) = texted(2).await;
    // The browser has its cookie from an earlier page; it never got this answer.
    let browser = system.browser(&format!("__Host-kin={}", "0123456789abcdef".repeat(4)));
    assert_eq!(tap(&browser, &system.token_of(1)).await.status, 200);
    let again = tap(&browser, &system.token_of(1)).await;
    assert_eq!(again.status, 200);
    let browser = system.browser(&cookie(&again));
    assert_eq!(browser.get(&format!("/threads/{thread}/messages")).await.status, 200);
    assert_eq!(system.count("sessions").await, 1);
}

#[tokio::test]
async fn one_browser_taps_twenty_times_at_once() {
    let (system, _) = texted(2).await;
    let token = system.token_of(1);
    let browser = system.browser(&format!("__Host-kin={}", "0123456789abcdef".repeat(4)));
    let taps = join_all((0..20).map(|_| tap(&browser, &token))).await;
    let mut cookies: Vec<String> = taps.iter().map(cookie).collect();
    cookies.dedup();
    assert_eq!(cookies.len(), 1, "and is one browser afterwards");
    assert_eq!(system.count("sessions").await, 1);
}

#[tokio::test]
async fn a_planted_or_copied_cookie_gives_no_access_later() {
    let (system, thread) = texted(2).await;
    let history = format!("/threads/{thread}/messages");
    let planted = system.browser(&format!("__Host-kin={}", "0123456789abcdef".repeat(4)));
    let opened = tap(&planted, &system.token_of(1)).await;
    let browser = system.browser(&cookie(&opened));
    assert_eq!(browser.get(&history).await.status, 200);
    assert_eq!(planted.get(&history).await.problem(), "401 unauthenticated");

    // A cookie is copied; the number changes, which ends all sessions; a new link is opened in the same
    // browser.
    for number in [phone(21), phone(1)] {
        let user = json!({ "name": "Name1", "phone": number });
        assert_eq!(system.host().put("/families/fam/users/u1", &user).await.status, 200);
    }
    system.anonymous().post("/links/request", &json!({ "phone": phone(1) })).await;
    system.deliver().await;
    let again = tap(&browser, &system.token_of(1)).await;
    assert_eq!(system.browser(&cookie(&again)).get(&history).await.status, 200);
    assert_eq!(
        browser.get(&history).await.problem(),
        "401 unauthenticated",
        "the copy is worthless"
    );
}

#[tokio::test]
async fn a_browser_can_hold_sessions_of_two_families() {
    let (system, thread) = texted(2).await;
    let members = system.family_named("other", 2).await;
    let other = system.caller(&local::secrets::TokenClaims::member("other", "u0"));
    let elsewhere = other.thread(&members).await;
    let first = tap(&system.anonymous(), &system.token_of(1)).await;
    let browser = system.browser(&cookie(&first));
    other.say(&elsewhere, "Hello there").await;
    system.deliver().await;
    let second = tap(&browser, &system.token_of(1)).await;
    assert_eq!(second.text("/familyId"), "other");
    assert_eq!(cookie(&second), cookie(&first), "its first session goes on");
    for thread in [&thread, &elsewhere] {
        assert_eq!(browser.get(&format!("/threads/{thread}/messages")).await.status, 200);
    }
    // A session that one family ends leaves the other's.
    let revoke = "UPDATE thread_members SET access_epoch = 9 WHERE family_id = 'other'";
    sqlx::query(revoke).execute(&system.owner).await.expect("revoked");
    assert_eq!(browser.get("/threads").await.text("/threads/0/id"), thread);
    let answer = browser.get(&format!("/threads/{elsewhere}/messages")).await;
    assert_eq!(answer.problem(), "404 thread_not_found");
}

#[tokio::test]
async fn every_invalid_link_gets_the_same_answer() {
    let (system, _) = texted(5).await;
    let keys = system.secrets().link_keys().expect("keys");
    let stranger = LinkKeys::parse("a=0123456789abcdef0123456789abcdef").expect("keys");
    let good = system.token_of(1);
    let mut tokens = vec![
        String::new(),
        "x".to_owned(),
        "a".repeat(60_000),
        "é\0".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        keys.sign(LinkId::new()).expect("signed"),
        stranger.sign(LinkId::new()).expect("signed"),
    ];
    // Expired, revoked, and of a member who has left.
    for (i, change) in [
        (1, "UPDATE magic_links SET expires_at = now() WHERE user_id = 'u1'"),
        (2, "UPDATE magic_links SET revoked_at = now() WHERE user_id = 'u2'"),
        (3, "UPDATE thread_members SET status = 'removed' WHERE user_id = 'u3'"),
        (4, "UPDATE thread_members SET access_epoch = 7 WHERE user_id = 'u4'"),
    ] {
        sqlx::query(change).execute(&system.owner).await.expect("changed");
        tokens.push(system.token_of(i));
    }
    let mut answers = Vec::new();
    for token in &tokens {
        let request = system.anonymous().request(Method::POST, "/links/exchange");
        let request = request.header("x-request-id", "same").json(&json!({ "token": token }));
        let answer = send(request).await;
        assert_eq!(answer.problem(), "401 link_invalid", "{token:.20}");
        assert_eq!(answer.header("set-cookie"), "");
        answers.push(answer.body);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "one answer for all");
    assert_eq!(system.count("sessions").await, 0);
    for body in [json!({}), json!({ "token": 1 }), json!({ "token": good, "browser": "x" })] {
        assert_eq!(system.anonymous().post("/links/exchange", &body).await.status, 422, "{body}");
    }
}

#[tokio::test]
async fn a_session_is_for_its_thread_and_ends_with_the_membership() {
    let (system, thread) = texted(4).await;
    let other = system.member("u0").thread(&["u1".to_owned()]).await;
    system.member("u0").say(&other, "Only for you").await;
    let mut browsers = Vec::new();
    for i in 1..4 {
        let opened = tap(&system.anonymous(), &system.token_of(i)).await;
        browsers.push(system.browser(&cookie(&opened)));
    }
    let history = format!("/threads/{thread}/messages");

    // u1 is in another thread too, which this link did not open.
    let u1 = &browsers[0];
    for path in [format!("/threads/{other}"), format!("/threads/{other}/messages")] {
        assert_eq!(u1.get(&path).await.problem(), "404 thread_not_found");
    }
    let inbox = u1.get("/threads").await;
    assert_eq!(inbox.at("/threads").as_array().map(Vec::len), Some(1));
    assert_eq!(inbox.text("/threads/0/id"), thread);
    let begun = u1.post("/threads", &json!({ "memberIds": ["u2"] })).await;
    assert_eq!(begun.problem(), "403 forbidden");
    assert_eq!(u1.get("/threads/th_nonsense").await.problem(), "404 thread_not_found");
    assert_eq!(u1.put("/families/fam", &json!({ "name": "Mine" })).await.status, 401);
    // That thread's link opens it, in the same browser.
    system.deliver().await;
    assert_eq!(tap(u1, &system.token_of(1)).await.text("/threadId"), other);
    for path in [format!("/threads/{other}/messages"), history.clone()] {
        assert_eq!(u1.get(&path).await.status, 200);
    }
    assert_eq!(u1.get("/threads").await.at("/threads").as_array().map(Vec::len), Some(2));

    // Removed by the host, epoch raised, number changed: the session ends at once.
    let gone = system.host().delete("/families/fam/users/u1").await;
    assert_eq!(gone.status, 204);
    assert_eq!(u1.get(&history).await.problem(), "401 unauthenticated");
    assert_eq!(u1.get("/threads").await.problem(), "401 unauthenticated");
    sqlx::query("UPDATE thread_members SET access_epoch = access_epoch + 1 WHERE user_id = 'u2'")
        .execute(&system.owner)
        .await
        .expect("bumped");
    assert_eq!(browsers[1].get(&history).await.problem(), "401 unauthenticated");
    let moved = json!({ "name": "Name3", "phone": phone(33) });
    assert_eq!(browsers[2].get(&history).await.status, 200);
    assert_eq!(system.host().put("/families/fam/users/u3", &moved).await.status, 200);
    assert_eq!(browsers[2].get(&history).await.problem(), "401 unauthenticated");
    assert_eq!(tap(&system.anonymous(), &system.token_of(3)).await.problem(), "401 link_invalid");
}

#[tokio::test]
async fn sessions_end_by_age_by_idleness_and_by_hand() {
    let (system, thread) = texted(4).await;
    let history = format!("/threads/{thread}/messages");
    let mut browsers = Vec::new();
    for (i, change) in [
        (1, "SET expires_at = expires_at - interval '30 days'"),
        (2, "SET last_seen_at = last_seen_at - interval '7 days'"),
        (3, "SET last_seen_at = last_seen_at - interval '6 days 23 hours'"),
    ] {
        let opened = tap(&system.anonymous(), &system.token_of(i)).await;
        let sql = format!("UPDATE sessions {change} WHERE user_id = 'u{i}'");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&system.owner).await.expect("aged");
        browsers.push(system.browser(&cookie(&opened)));
    }
    for browser in &browsers[..2] {
        assert_eq!(browser.get(&history).await.problem(), "401 unauthenticated");
    }
    // A request keeps the session alive.
    assert_eq!(browsers[2].get(&history).await.status, 200);
    let idle: bool = sqlx::query_scalar(
        "SELECT last_seen_at < now() - interval '1 minute' FROM sessions WHERE user_id = 'u3'",
    )
    .fetch_one(&system.owner)
    .await
    .expect("a session");
    assert!(!idle);

    let ended = browsers[2].post("/sessions/end", &json!({})).await;
    assert_eq!(ended.status, 204);
    assert!(
        ended.header("set-cookie").contains("__Host-kin=; ")
            && ended.header("set-cookie").contains("Max-Age=0")
    );
    assert_eq!(browsers[2].get(&history).await.problem(), "401 unauthenticated");
    // With the old cookie, too, the link opens nothing any more.
    assert_eq!(tap(&browsers[2], &system.token_of(3)).await.problem(), "401 link_invalid");
    let without_body = system.anonymous().request(Method::POST, "/sessions/end");
    assert_eq!(send(without_body).await.status, 204, "ending nothing is no error");
}

#[tokio::test]
async fn a_page_of_another_site_can_not_write() {
    let (system, thread) = texted(2).await;
    let token = system.token_of(1);
    let opened = tap(&system.anonymous(), &token).await;
    let browser = system.browser(&cookie(&opened));
    let body = json!({ "body": "Forged" });
    let path = format!("/threads/{thread}/messages");
    for (name, value) in
        [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
    {
        for (path, body) in [
            (path.as_str(), &body),
            ("/links/exchange", &json!({ "token": token })),
            ("/links/renew", &json!({ "token": token })),
            ("/links/request", &json!({ "phone": phone(1) })),
            ("/sessions/end", &json!({})),
        ] {
            let request = browser.request(Method::POST, path).header(name, value).json(body);
            assert_eq!(send(request).await.problem(), "403 cross_site", "{path}");
        }
    }
    // A form can't send JSON without a preflight.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let form = browser.request(Method::POST, &path).header("content-type", kind);
        let answer = send(form.body(body.to_string())).await;
        assert_eq!(answer.problem(), "415 unsupported_media_type");
    }
    let own = browser.request(Method::POST, &path).header("origin", "https://kin.example");
    assert_eq!(send(own.json(&json!({ "body": "Mine" }))).await.status, 201);
    assert_eq!(system.count("messages").await, 2);
}

/// Renews a link and returns the number of SMS that `u{i}` has then.
async fn renew(system: &System, token: &str, i: usize) -> usize {
    let answer = system.anonymous().post("/links/renew", &json!({ "token": token })).await;
    assert_eq!((answer.status, answer.as_text().as_str()), (202, "{}"));
    system.deliver().await;
    system.sms_of(i).len()
}

#[tokio::test]
async fn a_spent_link_brings_a_fresh_one_to_the_number_on_file() {
    let (system, thread) = texted(4).await;
    let token = system.token_of(1);
    // Unused and valid: there is nothing to renew.
    assert_eq!(renew(&system, &token, 1).await, 1);
    tap(&system.anonymous(), &token).await;
    assert_eq!(renew(&system, &token, 1).await, 2);
    let text = system.sms_of(1).pop().expect("an SMS").body;
    assert!(text.starts_with("Family Chat: here is your link https://kin.example/l#"), "{text}");
    assert_ne!(system.token_of(1), token);
    let opened = tap(&system.anonymous(), &system.token_of(1)).await;
    assert_eq!((opened.status, opened.text("/threadId")), (200, thread));

    // No SMS for a member who has left or opted out, or for a token with another signature.
    system.age_links(Duration::from_hours(25)).await;
    let (left, out) = (system.token_of(2), system.token_of(3));
    system.host().delete("/families/fam/users/u2").await;
    sqlx::query("UPDATE users SET opted_out_at = now() WHERE user_id = 'u3'")
        .execute(&system.owner)
        .await
        .expect("opted out");
    assert_eq!(renew(&system, &left, 2).await, 1);
    assert_eq!(renew(&system, &out, 3).await, 1);
    for token in ["", "x", &left[..40]] {
        renew(&system, token, 1).await;
    }
    assert_eq!(system.sms_of(1).len(), 2);
}

#[tokio::test]
async fn fresh_links_are_three_an_hour_and_ten_a_day() {
    let (system, _) = texted(2).await;
    let token = system.token_of(1);
    system.age_links(Duration::from_hours(25)).await;
    let mut sent = 1;
    for hour in 0..5 {
        for _ in 0..5 {
            let now = renew(&system, &token, 1).await;
            assert!(now <= sent + 1);
            sent = now;
        }
        let allowed = [4, 7, 10, 11, 11][hour];
        assert_eq!(sent, allowed, "after hour {hour}");
        system.age_limits(Duration::from_hours(1)).await;
    }
    system.age_limits(Duration::from_hours(24)).await;
    assert_eq!(renew(&system, &token, 1).await, 12);
    // The sweeper deletes hits that no limit counts any more, and nothing else.
    system.sweep().await;
    assert_eq!(system.count("rate_limits").await, 3, "the member's, the family's, the source's");
    system.age_limits(Duration::from_hours(25)).await;
    system.sweep().await;
    assert_eq!(system.count("rate_limits").await, 0);
    // Fifty requests at once send one SMS.
    system.age_limits(Duration::from_hours(25)).await;
    let anonymous = system.anonymous();
    let body = json!({ "token": token });
    join_all((0..50).map(|_| anonymous.post("/links/renew", &body))).await;
    system.deliver().await;
    assert_eq!(system.sms_of(1).len(), 13, "one is on its way already");
}

#[tokio::test]
async fn a_link_request_by_number_tells_nothing_about_the_number() {
    let (system, thread) = texted(3).await;
    let ask = |number: String| {
        let anonymous = system.anonymous();
        async move { anonymous.post("/links/request", &json!({ "phone": number })).await }
    };
    let mut answers = Vec::new();
    for number in
        [phone(1), phone(77), "+1 (555) 010-0002".to_owned(), "nonsense".to_owned(), String::new()]
    {
        let answer = ask(number).await;
        assert_eq!(answer.status, 202);
        answers.push(answer.body);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    assert_eq!(system.count("link_requests").await, 3, "known or not, it is stored");
    system.deliver().await;
    assert_eq!(system.count("link_requests").await, 0);
    assert_eq!([0, 1, 2].map(|i| system.sms_of(i).len()), [0, 2, 2]);
    assert_eq!(system.sms().len(), 4);
    let opened = tap(&system.anonymous(), &system.token_of(1)).await;
    assert_eq!((opened.status, opened.text("/threadId")), (200, thread));
    // Renewals and requests by number share the limit of three an hour.
    for _ in 0..5 {
        assert_eq!(ask(phone(1)).await.status, 202);
        system.deliver().await;
    }
    assert_eq!(system.sms_of(1).len(), 4);
    for body in [json!({}), json!({ "phone": 5 }), json!({ "phone": null })] {
        assert_eq!(system.anonymous().post("/links/request", &body).await.status, 422);
    }
    // The API's role can insert a request, and read none.
    let app = shared::db::Database::new(system.database_url(), 1).expect("a URL");
    let app = app.pool_as(shared::db::Role::App);
    let mut tx = shared::db::begin_unscoped(&app).await.expect("a transaction");
    let refused = sqlx::query("SELECT phone FROM link_requests").fetch_all(&mut *tx).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn a_household_shares_a_number_and_a_browser() {
    let system = System::start().await;
    let members = system.family(3).await;
    for id in ["u1", "u2"] {
        let user = json!({ "name": format!("Name of {id}"), "phone": phone(9) });
        system.host().put(&format!("/families/fam/users/{id}"), &user).await;
    }
    let thread = system.member("u0").thread(&members).await;
    system.member("u0").say(&thread, "Hello both").await;
    system.deliver().await;
    let tokens: Vec<String> = system.sms_of(9).iter().map(tests::system::token_in).collect();
    assert_eq!(tokens.len(), 2);
    let first = tap(&system.anonymous(), &tokens[0]).await;
    let browser = system.browser(&cookie(&first));
    let second = tap(&browser, &tokens[1]).await;
    assert_eq!(second.status, 200);
    assert_ne!(first.text("/userId"), second.text("/userId"));
    // The member whose link was opened last is the author.
    let posted = browser.say(&thread, "One").await;
    assert_eq!(posted.text("/message/authorId"), second.text("/userId"));
    assert_eq!(tap(&browser, &tokens[0]).await.status, 200);
    let posted = browser.say(&thread, "Two").await;
    assert_eq!(posted.text("/message/authorId"), first.text("/userId"));

    // A page made for one of them does nothing as the other.
    for (member, status) in [(&first, 201), (&second, 201)] {
        let request = browser.request(Method::POST, &format!("/threads/{thread}/messages"));
        let request = request.header("x-kin-member", member.text("/userId"));
        let posted = send(request.json(&json!({ "body": "Mine" }))).await;
        assert_eq!(
            (posted.status, posted.text("/message/authorId")),
            (status, member.text("/userId"))
        );
    }
    for stranger in ["u0", "nobody", "\u{1}", ""] {
        let request = browser.request(Method::GET, &format!("/threads/{thread}/messages"));
        let value = reqwest::header::HeaderValue::from_bytes(stranger.as_bytes());
        let Ok(value) = value else { continue };
        let answer = send(request.header("x-kin-member", value)).await;
        assert_eq!(answer.problem(), "401 unauthenticated", "{stranger}");
    }

    // A request by number reaches both.
    system.deliver().await;
    let before = system.sms_of(9).len();
    system.anonymous().post("/links/request", &json!({ "phone": phone(9) })).await;
    system.deliver().await;
    assert_eq!(system.sms_of(9).len(), before + 2);
}

#[tokio::test]
async fn a_request_that_the_queue_lost_is_answered_by_the_sweeper() {
    let (system, _) = texted(2).await;
    // As if the API was killed between its commit and the queue.
    sqlx::query("INSERT INTO link_requests (link_request_id, phone) VALUES ($1, $2)")
        .bind(LinkRequestId::new())
        .bind(phone(1))
        .execute(&system.owner)
        .await
        .expect("noted");
    assert_eq!(system.sweep().await.enqueued, 0);
    sqlx::query("UPDATE link_requests SET wake_at = wake_at - interval '30 seconds'")
        .execute(&system.owner)
        .await
        .expect("time passed");
    assert_eq!(system.sweep_into_queue().await, 1);
    system.deliver().await;
    assert_eq!(system.sms_of(1).len(), 2);
    // A request that is too old is dropped.
    sqlx::query("INSERT INTO link_requests (link_request_id, phone, created_at) VALUES ($1, $2, now() - interval '2 hours')")
        .bind(LinkRequestId::new())
        .bind(phone(1))
        .execute(&system.owner)
        .await
        .expect("noted");
    system.sweep().await;
    assert_eq!(system.count("link_requests").await, 0);
}

#[tokio::test]
async fn reading_marks_read_and_only_forward() {
    let (system, thread) = texted(2).await;
    for text in ["Two", "Three"] {
        system.member("u0").say(&thread, text).await;
    }
    let u1 = system.member("u1");
    let unread = || async { u1.get(&format!("/threads/{thread}")).await.at("/thread/unreadCount") };
    assert_eq!(unread().await, json!(3));
    let read = |seq: i64| {
        let (u1, path) = (u1.clone(), format!("/threads/{thread}/read"));
        async move { u1.put(&path, &json!({ "seq": seq })).await.status }
    };
    for (seq, left) in [(2, 1), (1, 1), (0, 1), (i64::MAX, 0), (1, 0)] {
        assert_eq!(read(seq).await, 204);
        assert_eq!(unread().await, json!(left), "after {seq}");
    }
    let marked: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sms_covers WHERE read_at IS NOT NULL")
            .fetch_one(&system.owner)
            .await
            .expect("a count");
    assert_eq!(marked, 1, "the SMS about the first; the others were read before theirs");
    assert_eq!(read(-1).await, 422);
    let path = format!("/threads/{thread}/read");
    assert_eq!(u1.put(&path, &json!({})).await.problem(), "422 invalid_field");
    system.family_named("other", 2).await;
    let stranger = local::secrets::TokenClaims::member("other", "u1");
    let answer = system.caller(&stranger).put(&path, &json!({ "seq": 1 })).await;
    assert_eq!(answer.problem(), "404 thread_not_found");
}

#[tokio::test]
async fn mutes_and_opt_outs_stop_sms_until_lifted() {
    let (system, thread) = texted(2).await;
    let path = format!("/threads/{thread}/texts");
    let (u0, u1) = (system.member("u0"), system.member("u1"));
    let queued = || async { u0.say(&thread, "More").await.at("/notifications/queued") };
    let muted = u1.put(&path, &json!({ "state": "muted", "hours": 8 })).await;
    assert_eq!((muted.status, muted.text("/state")), (200, "muted".to_owned()));
    assert!(muted.at("/mutedUntil").is_string());
    assert_eq!(queued().await, json!(0));
    let muted = u1.put(&path, &json!({ "state": "muted" })).await;
    assert_eq!(muted.json(), json!({ "state": "muted", "mutedUntil": null }));
    assert_eq!(queued().await, json!(0));
    let off = u1.put(&path, &json!({ "state": "off" })).await;
    assert_eq!(off.text("/state"), "off");
    assert_eq!(queued().await, json!(0));
    let on = u1.put(&path, &json!({ "state": "on" })).await;
    assert_eq!(on.json(), json!({ "state": "on", "mutedUntil": null }));
    assert_eq!(queued().await, json!(1));
    for body in [
        json!({}),
        json!({ "state": "loud" }),
        json!({ "state": "on", "hours": 1 }),
        json!({ "state": "muted", "hours": 0 }),
        json!({ "state": "muted", "hours": 8761 }),
        json!({ "state": "muted", "hours": "8" }),
    ] {
        assert_eq!(u1.put(&path, &body).await.problem(), "422 invalid_field", "{body}");
    }
    // Muted: no SMS about messages, but the link that the member requests.
    u1.put(&path, &json!({ "state": "muted" })).await;
    system.anonymous().post("/links/request", &json!({ "phone": phone(1) })).await;
    let before = system.sms_of(1).len();
    system.deliver().await;
    assert_eq!(system.sms_of(1).len(), before + 1);
}

/// User agents of link previews.
const PREVIEW_BOTS: [&str; 12] = [
    "WhatsApp/2.24.6.77 A",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Twitterbot/1.0",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "TelegramBot (like TwitterBot)",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) \
     Version/9.0.1 Safari/601.2.4 facebookexternalhit/1.1 Facebot Twitterbot/1.0",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    "Viber/13.0",
];

#[tokio::test]
async fn a_thousand_previews_spend_nothing() {
    let (system, thread) = texted(2).await;
    let token = system.token_of(1);
    let anonymous = system.anonymous();
    let looks = (0..1000).map(|i| {
        let method = if i % 2 == 0 { Method::GET } else { Method::HEAD };
        // Browsers don't send a fragment. A client that sends it gets the page only.
        let path = match i % 4 {
            0 | 1 => "/l".to_owned(),
            2 => format!("/l?{token}"),
            _ => format!("/l?token={token}"),
        };
        let bot = PREVIEW_BOTS[i % PREVIEW_BOTS.len()];
        send(anonymous.request(method, &path).header("user-agent", bot))
    });
    for answer in join_all(looks).await {
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none';"));
        let page = answer.as_text();
        assert!(
            !page.contains(&token) && !page.contains("og:"),
            "nothing of the family to preview"
        );
    }
    // Nor does a request to the script's endpoints with another method than the script's.
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        let answer = send(anonymous.request(method, "/links/exchange")).await;
        assert_eq!(answer.status, 405);
    }
    assert_eq!(system.count("sessions").await, 0);
    let opened = tap(&anonymous, &token).await;
    assert_eq!((opened.status, opened.text("/threadId")), (200, thread));
}

#[tokio::test]
async fn the_thread_page_is_for_members_and_offers_others_a_fresh_link() {
    let (system, thread) = texted(2).await;
    let path = format!("/t/{thread}");
    let hostile = "<script>alert(1)</script></script><!--";
    system.member("u0").say(&thread, hostile).await;
    let opened = tap(&system.anonymous(), &system.token_of(1)).await;
    let browser = system.browser(&cookie(&opened));
    let page = browser.get(&path).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(page.as_text().contains("Hello") && !page.as_text().contains(hostile));

    let other = system.member("u0").thread(&["u0".to_owned()]).await;
    let mut shut = Vec::new();
    for (client, path, status) in [
        (&system.anonymous(), path.as_str(), 401),
        (&browser, &format!("/t/{other}"), 404),
        (&browser, "/t/th_00000000000070008000000000000000", 404),
        (&browser, "/t/nonsense", 404),
    ] {
        let answer = client.get(path).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, "text/html; charset=utf-8")
        );
        assert!(!answer.as_text().contains("Hello"));
        shut.push(answer.body);
    }
    shut.dedup();
    assert_eq!(shut.len(), 1, "the same page for every reason");
    system.host().delete("/families/fam/users/u1").await;
    assert_eq!(browser.get(&path).await.status, 401);
}

#[tokio::test]
async fn sms_are_in_the_recipients_language_with_one_opt_out_notice() {
    let mut system = System::start().await;
    let members = system.family(4).await;
    system.stack.worker.stop_notices = Some(Duration::from_hours(24 * 30));
    for (i, locale) in [(1, "es-MX"), (2, "de"), (3, "zh-CN")] {
        let user = json!({ "name": format!("Name{i}"), "phone": phone(i), "locale": locale });
        assert_eq!(
            system.host().put(&format!("/families/fam/users/u{i}"), &user).await.status,
            200
        );
    }
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    let files = json!({ "fileIds": ["f1", "f2"] });
    for _ in 0..2 {
        u0.post(&format!("/threads/{thread}/messages"), &files).await;
        system.deliver().await;
    }
    for (i, words) in [(1, "[2 archivos]"), (2, "[2 Dateien]"), (3, "[2个文件]")] {
        let sms = system.sms_of(i);
        assert_eq!(sms.len(), 2);
        assert!(sms[0].body.contains("STOP"), "{}", sms[0].body);
        assert!(!sms[1].body.contains("STOP"), "{}", sms[1].body);
        assert!(sms[1].body.contains(words), "{}", sms[1].body);
        assert!(sms[1].segments <= if i == 3 { 2 } else { 1 });
    }
    sqlx::query("UPDATE users SET stop_notice_at = stop_notice_at - interval '30 days'")
        .execute(&system.owner)
        .await
        .expect("time passed");
    u0.say(&thread, "Later").await;
    system.deliver().await;
    assert!(system.sms_of(2)[2].body.contains("STOP"));
}

#[tokio::test]
async fn an_opt_out_at_the_carrier_is_of_the_number() {
    let mut system = System::start().await;
    let members = system.family(2).await;
    system.stack.worker.stop_notices = Some(Duration::from_hours(24 * 30));
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    let queued = || async { u0.say(&thread, "Hello").await.at("/notifications/queued") };
    let number = |number: Option<String>| {
        let host = system.host();
        async move {
            let user = json!({ "name": "Name1", "phone": number });
            assert_eq!(host.put("/families/fam/users/u1", &user).await.status, 200);
        }
    };
    u0.put("/dev/faults", &json!({ "sms": { "mode": "opted_out", "rate": 1 } })).await;
    queued().await;
    system.deliver().await;
    assert_eq!(queued().await, json!(0), "it has opted out");
    // Removed and set again, the number is still opted out; another number is not, and gets the notice.
    number(None).await;
    number(Some(phone(1))).await;
    assert_eq!(queued().await, json!(0));
    number(Some(phone(7))).await;
    u0.put("/dev/faults", &json!({})).await;
    assert_eq!(queued().await, json!(1));
    system.deliver().await;
    assert!(system.sms_of(7)[0].body.contains("STOP"));
}

#[tokio::test]
async fn idle_sessions_are_deleted() {
    let (system, _) = texted(3).await;
    for i in 1..3 {
        assert_eq!(tap(&system.anonymous(), &system.token_of(i)).await.status, 200);
    }
    system.sweep().await;
    assert_eq!(system.count("sessions").await, 2);
    sqlx::query(
        "UPDATE sessions SET last_seen_at = last_seen_at - interval '7 days' WHERE user_id = 'u1'",
    )
    .execute(&system.owner)
    .await
    .expect("time passed");
    system.sweep().await;
    assert_eq!(system.count("sessions").await, 1);
}

#[tokio::test]
async fn a_repeated_renewal_retries_a_throttled_sms_at_once() {
    let (system, _) = texted(2).await;
    let token = system.token_of(1);
    system.age_links(Duration::from_hours(25)).await;
    system
        .member("u0")
        .put("/dev/faults", &json!({ "sms": { "mode": "throttle", "rate": 1 } }))
        .await;
    assert_eq!(renew(&system, &token, 1).await, 1);
    system.member("u0").put("/dev/faults", &json!({})).await;
    // Not due again for seconds, but the member asks again.
    assert_eq!(renew(&system, &token, 1).await, 2);
}
