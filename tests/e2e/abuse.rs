//! Abuse: limits on links, guesses, posts, countries and costs.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use functions::Rules;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shared::limits::{self, Pace};
use tests::{
    Answer, System,
    client::send,
    system::{FAMILY, phone},
};

use crate::links::texted;

const DAY: Duration = Duration::from_hours(24);
const HOUR: Duration = Duration::from_hours(1);

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The `Retry-After` of a `429`, in seconds.
fn wait_of(answer: &Answer) -> u64 {
    assert_eq!(answer.problem(), "429 too_many_requests");
    answer.header("retry-after").parse().expect("seconds")
}

#[tokio::test]
async fn a_source_requests_at_most_thirty_links_an_hour() {
    let (system, _) = texted(2).await;
    let ask = async |from: &str, i: usize| {
        let number = json!({ "phone": phone(100 + i) });
        system.client_at(address(from)).post("/links/request", &number).await
    };
    for i in 0..30 {
        assert_eq!(ask("2001:db8::1", i).await.status, 202);
    }
    let refused = ask("2001:db8::2", 30).await;
    assert!((3500..=3601).contains(&wait_of(&refused)), "the oldest is an hour old in an hour");
    assert_eq!(system.count("link_requests").await, 30, "refused requests are not stored");
    // Renewing an old link counts too.
    system.age_links(DAY * 2).await;
    let renew = json!({ "token": system.token_of(1) });
    let here = system.client_at(address("2001:db8::3"));
    wait_of(&here.post("/links/renew", &renew).await);
    // Another /64, and IPv4.
    assert_eq!(ask("2001:db8:0:1::1", 30).await.status, 202);
    let there = system.client_at(address("192.0.2.1"));
    assert_eq!(there.post("/links/renew", &renew).await.status, 202);

    system.age_limits(HOUR).await;
    assert_eq!(ask("2001:db8::2", 31).await.status, 202);
    for i in 0..100 {
        if i % 25 == 0 {
            system.age_limits(HOUR).await;
        }
        ask("192.0.2.7", 200 + i).await;
    }
    let refused = ask("192.0.2.7", 300).await;
    assert!(wait_of(&refused) > 70_000, "a hundred a day");
}

#[tokio::test]
async fn a_source_that_guesses_links_is_limited() {
    let (system, thread) = texted(2).await;
    let token = system.token_of(1);
    let guesser = system.client_at(address("192.0.2.1"));
    let guess =
        json!({ "token": token.replace(|c: char| c == token.chars().last().expect("one"), "_") });
    let attempts = (0..120).map(|_| guesser.post("/links/exchange", &guess));
    let mut answers = BTreeMap::new();
    for answer in join_all(attempts).await {
        *answers.entry(answer.problem()).or_insert(0) += 1;
    }
    let refused = ("429 too_many_requests".to_owned(), 20);
    assert_eq!(Vec::from_iter(answers), [("401 link_invalid".to_owned(), 100), refused]);
    wait_of(&guesser.post("/links/renew", &guess).await);
    // A valid link from the same source is still accepted.
    let opened = guesser.post("/links/exchange", &json!({ "token": token })).await;
    assert_eq!((opened.status, opened.text("/threadId")), (200, thread));
    system.age_limits(HOUR).await;
    assert_eq!(guesser.post("/links/exchange", &guess).await.status, 401);
}

#[tokio::test]
async fn a_family_is_sent_at_most_twenty_links_an_hour() {
    let (system, _) = texted(9).await;
    system.age_links(DAY * 2).await;
    let tokens: Vec<String> = (1..9).map(|i| system.token_of(i)).collect();
    let before = system.stack.carrier.received(None).len();
    for round in 0..3 {
        let from = system.client_at(address(&format!("192.0.2.{round}")));
        let renewals = tokens.iter().map(|token| {
            let (from, token) = (&from, json!({ "token": token }));
            async move { from.post("/links/renew", &token).await }
        });
        for answer in join_all(renewals).await {
            assert_eq!(answer.status, 202, "the answer does not change");
        }
        system.deliver().await;
    }
    assert_eq!(system.stack.carrier.received(None).len() - before, 20);
}

#[tokio::test]
async fn a_member_posts_no_faster_than_the_rate_limit() {
    // Ten at once, and one a minute.
    let system = System::start_with(Rules { posts: Pace::hourly(60), ..Rules::default() }).await;
    let members = system.family(3).await;
    let (u0, u1) = (system.member("u0"), system.member("u1"));
    let thread = u0.thread(&members).await;
    let other = u0.thread(&["u1".to_owned()]).await;
    let post = |thread: &str, key: Option<&str>| {
        let path = format!("/threads/{thread}/messages");
        let mut request = u0.request(Method::POST, &path).json(&json!({ "body": "Hello" }));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        send(request)
    };
    assert_eq!(post(&thread, Some("first")).await.status, 201);
    let posts = (0..100).map(|i| post(if i % 2 == 0 { &thread } else { &other }, None));
    let (posted, refused): (Vec<_>, Vec<_>) =
        join_all(posts).await.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(posted.len(), 9, "in any thread");
    for answer in &refused {
        assert!((1..=61).contains(&wait_of(answer)), "{}", answer.header("retry-after"));
    }
    assert_eq!(system.count("messages").await, 10);
    // A replay posts nothing, so it is accepted; other members have their own rate.
    let again = post(&thread, Some("first")).await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"));
    u1.say(&thread, "Hello").await;
    wait_of(&post(&thread, None).await);
    sqlx::query("UPDATE users SET post_due_at = post_due_at - interval '1 minute'")
        .execute(&system.owner)
        .await
        .expect("time passed");
    assert_eq!(post(&thread, None).await.status, 201);
    wait_of(&post(&thread, None).await);
    // A caller that is not a member gets a 404, not a 429.
    let stranger = system.member("u2");
    let path = format!("/threads/{other}/messages");
    let answer = stranger.post(&path, &json!({ "body": "Hello" })).await;
    assert_eq!(answer.problem(), "404 thread_not_found");
}

#[tokio::test]
async fn a_member_creates_threads_no_faster_than_the_rate_limit() {
    // 200 at once, and one a minute.
    let threads = Pace::of_threads_hourly(60);
    let system = System::start_with(Rules { threads, ..Rules::default() }).await;
    let members = system.family(3).await;
    let (u0, u1) = (system.member("u0"), system.member("u1"));
    let first = u0.thread(&members).await;
    // Two of the 200 are left.
    sqlx::query("UPDATE thread_paces SET due_at = now() + interval '198 minutes'")
        .execute(&system.owner)
        .await
        .expect("threads created");
    let new = json!({ "memberIds": ["u1"], "distinct": true });
    let calls = (0..20).map(|_| u0.post("/threads", &new));
    let (created, refused): (Vec<_>, Vec<_>) =
        join_all(calls).await.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((created.len(), refused.len()), (2, 18));
    for answer in &refused {
        assert!((55..=61).contains(&wait_of(answer)), "{}", answer.header("retry-after"));
    }
    assert_eq!(system.count("threads").await, 3);
    assert_eq!(system.count("thread_members").await, 3 + 2 + 2);

    // What exists is found, which counts nothing.
    assert_eq!(u0.thread(&members).await, first);
    // Neither does what is refused for another reason. Other members have their own rate.
    let unknown = u0.post("/threads", &json!({ "memberIds": ["nobody"] })).await;
    assert_eq!(unknown.problem(), "422 unknown_member");
    u1.thread(&["u0".to_owned()]).await;
    wait_of(&u0.post("/threads", &new).await);
    sqlx::query("UPDATE thread_paces SET due_at = due_at - interval '1 minute'")
        .execute(&system.owner)
        .await
        .expect("time passed");
    assert_eq!(u0.post("/threads", &new).await.status, 201);
    wait_of(&u0.post("/threads", &new).await);

    // Erased with the member.
    system.host().delete("/families/fam/users/u0?erase=true").await;
    assert_eq!(system.count("thread_paces").await, 1);
    system.host().delete("/families/fam?erase=true").await;
    assert_eq!(system.count("thread_paces").await, 0);
}

#[tokio::test]
async fn losing_the_race_to_create_a_thread_counts_nothing() {
    let threads = Pace::of_threads_hourly(60);
    let system = System::start_with(Rules { threads, ..Rules::default() }).await;
    let members = system.family(4).await;
    let callers: Vec<_> = members.iter().map(|id| system.member(id)).collect();
    let body = json!({ "memberIds": members });
    let calls = (0..64).map(|i| callers[i % callers.len()].post("/threads", &body));
    let answers = join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(answers.iter().all(|answer| [200, 201].contains(&answer.status)));
    assert_eq!((system.count("threads").await, system.count("thread_paces").await), (1, 1));
    let counted: i32 = sqlx::query_scalar("SELECT threads FROM thread_counts")
        .fetch_one(&system.owner)
        .await
        .expect("a count");
    assert_eq!(counted, 1);
}

#[tokio::test]
async fn sms_go_only_to_the_familys_countries() {
    let elsewhere = vec!["US".parse().expect("a country")];
    let system = System::start_with(Rules { regions: Some(elsewhere), ..Rules::default() }).await;
    let host = system.host();
    let family = async |more: Value| {
        let mut body = json!({ "name": "Family" });
        body.as_object_mut()
            .expect("fields")
            .append(&mut more.as_object().expect("fields").clone());
        host.put(&format!("/families/{FAMILY}"), &body).await
    };
    let user = async |id: &str, phone: Value| {
        let body = json!({ "name": "Name", "phone": phone });
        host.put(&format!("/families/{FAMILY}/users/{id}"), &body).await
    };
    assert_eq!(user("u0", json!("+447400123456")).await.problem(), "404 family_not_found");
    assert_eq!(family(json!({})).await.status, 201);
    // The countries of all families. Jamaica shares the calling code of the United States.
    for pumped in ["+447400123456", "+18765550199", "+88213123456"] {
        let answer = user("u0", json!(pumped)).await;
        assert_eq!(answer.problem(), "422 region_not_allowed");
        assert_eq!(answer.text("/field"), "phone");
        assert!(!answer.as_text().contains(pumped));
    }
    assert_eq!(system.count("users").await, 0);
    assert_eq!(user("u0", json!(null)).await.status, 201);
    assert_eq!(user("u1", json!("+15550100001")).await.status, 201);
    // A family's own country is always allowed.
    let own = family(json!({ "region": "gb" })).await;
    assert_eq!((own.status, own.text("/family/region")), (200, "GB".to_owned()));
    assert_eq!(user("u2", json!("+447400123456")).await.status, 201);
    assert_eq!(user("u3", json!("+15550100003")).await.problem(), "422 region_not_allowed");
    // And the countries that it names.
    let named = family(json!({ "region": "GB", "smsRegions": ["US", "it"] })).await;
    assert_eq!(named.at("/family/smsRegions"), json!(["US", "IT"]));
    assert_eq!(user("u4", json!("+390669812345")).await.status, 201);
    for bad in [json!({ "region": "XX" }), json!({ "smsRegions": ["US", "001"] })] {
        assert_eq!(family(bad).await.problem(), "422 invalid_field");
    }

    // A number in a country that is no longer allowed gets no SMS.
    let u0 = system.member("u0");
    let thread = u0.thread(&["u1", "u2", "u4"].map(str::to_owned)).await;
    let message = u0.say(&thread, "Hello").await.text("/message/id");
    system.deliver().await;
    assert_eq!(system.stack.carrier.received(Some("+447400123456")).len(), 0);
    assert_eq!(system.stack.carrier.received(None).len(), 2);
    let deliveries = u0.get(&format!("/threads/{thread}/messages/{message}/deliveries")).await;
    let deliveries = deliveries.at("/deliveries");
    let british = deliveries.as_array().expect("a list").iter().find(|d| d["userId"] == "u2");
    assert_eq!(british.expect("a row")["reason"], "region_not_allowed");
    // The same for a family that names none.
    assert_eq!(family(json!({ "smsRegions": [] })).await.status, 200);
    u0.say(&thread, "Hello").await;
    system.deliver().await;
    assert_eq!(system.stack.carrier.received(None).len(), 2);
}

/// An attacker who earns from SMS to premium numbers tries everything for ten days. The cap holds for what
/// members post; links have an allowance of their own, which no stranger can take from it.
#[tokio::test]
async fn ten_thousand_attempts_do_not_exceed_the_cap() {
    const CAP: u32 = 60;
    let (system, thread) = texted(5).await;
    let family = json!({ "name": "Family", "smsMonthlyCapSegments": CAP });
    assert_eq!(system.host().put(&format!("/families/{FAMILY}"), &family).await.status, 200);
    let before = system.stack.carrier.received(None).len();
    system.age_links(DAY * 2).await;
    let tokens: Vec<Value> = (1..5).map(|i| json!({ "token": system.token_of(i) })).collect();
    let members: Vec<_> = (0..5).map(|i| system.member(&format!("u{i}"))).collect();
    let anywhere = system.client_at(address("192.0.2.1"));
    let (tokens, members, thread) = (&tokens, &members, &thread);
    let a_day = u32::try_from(limits::FAMILY_LINKS.daily).expect("a number");
    let mut answers = BTreeMap::new();
    for day in 0..10 {
        let sources: Vec<_> =
            (0..50).map(|i| anywhere.at(address(&format!("198.51.{day}.{i}")))).collect();
        for hour in 0..10 {
            let attempts = (0..100_usize).map(|i| {
                let source = &sources[(hour * 7 + i) % 50];
                async move {
                    match i % 10 {
                        0 if day > 4 => {
                            members[i / 10 % 5]
                                .post(
                                    &format!("/threads/{thread}/messages"),
                                    &json!({ "body": "Pump" }),
                                )
                                .await
                        }
                        1..=3 => source.post("/links/renew", &tokens[i % 4]).await,
                        4 => source.post("/links/exchange", &tokens[i % 4]).await,
                        // Numbers of members, and unknown ones.
                        _ => {
                            let number =
                                if i % 3 == 0 { i % 5 } else { day * 1000 + hour * 100 + i };
                            source.post("/links/request", &json!({ "phone": phone(number) })).await
                        }
                    }
                }
            });
            for answer in join_all(attempts).await {
                *answers.entry(answer.status).or_insert(0) += 1;
            }
            system.deliver().await;
            system.age_limits(HOUR).await;
            let (posted, links) = spent(&system, before);
            assert!(
                posted <= CAP && links <= a_day * (u32::try_from(day).expect("a number") + 1),
                "{posted} and {links} on day {day}"
            );
        }
        system.age_limits(DAY).await;
    }
    assert_eq!(answers.values().sum::<i32>(), 10_000);
    assert!(answers.keys().all(|status| [201, 202, 401, 429].contains(status)), "{answers:?}");
    let (posted, links) = spent(&system, before);
    // The first four were paid for as well, under the default cap.
    assert_eq!(posted + 4, CAP, "and it was reached");
    assert!(links > 0, "members could ask for links all the time");
}

/// The segments of SMS after the first `before`: about messages, and of links.
fn spent(system: &System, before: usize) -> (u32, u32) {
    let sent = &system.stack.carrier.received(None)[before..];
    let segments = |posted: bool| {
        let of_kind = sent.iter().filter(|sms| sms.body.contains("Pump") == posted);
        of_kind.map(|sms| sms.segments).sum()
    };
    (segments(true), segments(false))
}
