//! Erasure: what is removed, what stays, and races with posts, crashes and deliveries.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use shared::{
    actor::Host,
    delivery::{self, Attempt, Claim, Outcome, Pacing, Reason, Wanted},
    erasure::{self, Erased},
    ids::{FamilyId, UserId},
    queue::{Job, Recipient},
};
use tests::{
    Answer, Client, System,
    client::send,
    events::http_event,
    lambda::{Function, binary},
    system::FAMILY,
};

const ERASE_U1: &str = "/families/fam/users/u1?erase=true";

/// The number of occurrences in `dump` of each value that must be erased.
fn hits<'a>(dump: &str, canaries: &[&'a str]) -> BTreeMap<&'a str, usize> {
    canaries.iter().map(|canary| (*canary, dump.matches(canary).count())).collect()
}

/// A dump of the database; if there is none, prints why.
#[expect(clippy::print_stderr, reason = "who reads a test's output should know what it skipped")]
fn dump(system: &System) -> Option<String> {
    let dump = system.dump();
    if dump.is_none() {
        eprintln!("no dump is searched: this PostgreSQL came without pg_dump");
    }
    dump
}

/// A system with `u0`, `u1` and `u2` in a thread. `u1` has every setting, has posted, opened a link and
/// requested another.
async fn talkative() -> (System, String) {
    let system = System::start().await;
    let members = system.family(3).await;
    let host = system.host();
    let family = json!({ "name": "Canary-Family", "smsMonthlyCapSegments": 500 });
    host.put("/families/fam", &family).await;
    let user = json!({
        "name": "Canary-Name", "phone": "+15550147777", "locale": "ru-Canary",
        "timeZone": "Antarctica/Troll", "quietHours": { "from": "21:17", "to": "08:19" },
    });
    assert_eq!(host.put("/families/fam/users/u1", &user).await.status, 200);
    let (u0, u1) = (system.member("u0"), system.member("u1"));
    let new = json!({ "memberIds": members, "title": "Canary-Title" });
    let thread = u1.post("/threads", &new).await.text("/thread/id");
    u0.say(&thread, "Stays-Here").await;
    system.deliver().await;
    let path = format!("/threads/{thread}/messages");
    let body = json!({ "body": "Canary-Body", "fileIds": ["Canary-File"] });
    let request = u1.request(Method::POST, &path).header("idempotency-key", "Canary-Key");
    assert_eq!(send(request.json(&body)).await.status, 201);
    system.deliver().await;
    u1.put(&format!("/threads/{thread}/texts"), &json!({ "state": "muted", "hours": 7 })).await;
    (system, thread)
}

/// A browser that has opened `u1`'s newest link.
async fn tapped(system: &System) -> Client {
    let sms = system.stack.carrier.received(Some("+15550147777")).pop().expect("an SMS");
    let token = json!({ "token": tests::system::token_in(&sms) });
    let opened = system.anonymous().post("/links/exchange", &token).await;
    assert_eq!(opened.status, 200);
    system.browser(opened.header("set-cookie").split(';').next().unwrap_or_default())
}

async fn history(client: &Client, thread: &str) -> Vec<Value> {
    let answer = client.get(&format!("/threads/{thread}/messages?limit=200")).await;
    assert_eq!(answer.status, 200, "{}", answer.as_text());
    let mut messages = answer.at("/messages").as_array().expect("a list").clone();
    messages.reverse();
    messages
}

#[tokio::test]
async fn an_erased_member_leaves_only_tombstones() {
    let (system, thread) = talkative().await;
    let browser = tapped(&system).await;
    for phone in ["+15550147777", "+15550100002"] {
        system.anonymous().post("/links/request", &json!({ "phone": phone })).await;
    }
    let canaries = [
        "Canary-Name",
        "5550147777",
        "ru-Canary",
        "Antarctica/Troll",
        "21:17",
        "Canary-Body",
        "Canary-File",
        "Canary-Key",
    ];
    if let Some(dump) = dump(&system) {
        for (canary, hits) in hits(&dump, &canaries) {
            assert!(hits > 0, "{canary} is looked for in vain");
        }
    }
    let limits = system.count("rate_limits").await;

    assert_eq!(system.host().delete(ERASE_U1).await.status, 204);
    if let Some(dump) = dump(&system) {
        for (canary, hits) in hits(&dump, &canaries) {
            assert_eq!(hits, 0, "{canary}");
        }
        assert!(
            dump.contains("Stays-Here") && dump.contains("Canary-Title"),
            "other users' messages stay"
        );
        assert!(dump.contains("+15550100002"), "and so do other users' requests");
    }
    assert!(system.count("rate_limits").await < limits);
    assert_eq!(system.count("erasures").await, 0);
    for table in ["sessions", "magic_links"] {
        let sql = format!("SELECT count(*) FROM {table} WHERE user_id = 'u1'");
        let count = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql));
        assert_eq!(count.fetch_one(&system.owner).await.expect("a count"), 0, "{table}");
    }

    // The numbers have no gap, and tombstones keep their author's id.
    let messages = history(&system.member("u0"), &thread).await;
    insta::assert_json_snapshot!("tombstone", messages, {
        "[].id" => "[id]", "[].threadId" => "[thread]", "[].createdAt" => "[time]",
        "[].deletedAt" => insta::dynamic_redaction(|value, _| {
            if value.as_str().is_some() { "[time]".into() } else { value }
        }),
    });
    let inbox = system.member("u0").get("/threads").await;
    assert_eq!(inbox.at("/threads/0/lastMessage/preview"), "");
    assert_eq!(inbox.at("/threads/0/lastMessage/authorName"), "Former member");
    assert_eq!(inbox.at("/threads/0/lastMessage/authorErased"), true);
    assert_eq!(browser.get(&format!("/threads/{thread}/messages")).await.status, 401);
    let again = system.host().delete(ERASE_U1).await;
    assert_eq!(again.status, 204, "a second request changes nothing");
    // The thread page names a former member in the reader's language.
    let reader = json!({ "name": "Name2", "phone": "+15550100002", "locale": "de" });
    system.host().put("/families/fam/users/u2", &reader).await;
    system.deliver().await;
    let token = json!({ "token": system.token_of(2) });
    let opened = system.anonymous().post("/links/exchange", &token).await;
    let cookie = opened.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
    let page = system.browser(&cookie).get(&format!("/t/{thread}")).await.as_text();
    assert!(
        page.contains("Ehemaliges Mitglied") && page.contains("Diese Nachricht wurde gelöscht")
    );
}

#[tokio::test]
async fn an_erased_family_leaves_nothing_and_can_be_provisioned_again() {
    let (system, thread) = talkative().await;
    let _browser = tapped(&system).await;
    system.family_named("other", 2).await;
    system.anonymous().post("/links/request", &json!({ "phone": "+15550147777" })).await;
    let host = system.host();
    let deactivated = host.delete("/families/fam").await;
    assert_eq!(deactivated.status, 204);
    assert_eq!(system.member("u0").get("/threads").await.at("/threads"), json!([]));
    let canaries = [
        "Canary-Name",
        "5550147777",
        "ru-Canary",
        "Antarctica/Troll",
        "21:17",
        "Canary-Body",
        "Canary-File",
        "Canary-Key",
        "Canary-Family",
        "Canary-Title",
        "Stays-Here",
    ];
    if let Some(dump) = dump(&system) {
        for (canary, hits) in hits(&dump, &canaries) {
            assert!(hits > 0, "{canary} is looked for in vain");
        }
    }
    assert_eq!(host.delete("/families/fam?erase=true").await.status, 204);
    assert_eq!(host.delete("/families/fam?erase=true").await.status, 204);
    if let Some(dump) = dump(&system) {
        for (canary, hits) in hits(&dump, &canaries) {
            assert_eq!(hits, 0, "{canary}");
        }
        assert!(dump.contains("Name1"), "the other family's users stay");
    }
    for table in ["sessions", "magic_links", "erasures"] {
        assert_eq!(system.count(table).await, 0, "{table}");
    }
    assert_eq!(system.count("messages").await, 2);

    // The same ids again: no old data comes back with them.
    let members = system.family(3).await;
    let u0 = system.member("u0");
    assert_eq!(u0.get("/threads").await.at("/threads"), json!([]));
    let back = u0.post("/threads", &json!({ "memberIds": members })).await;
    assert_eq!((back.status, back.text("/thread/id")), (200, thread.clone()));
    assert_eq!(back.text("/thread/title"), "Family Chat");
    u0.say(&thread, "Afresh").await;
    let bodies: Vec<Value> =
        history(&u0, &thread).await.iter().map(|message| message["body"].clone()).collect();
    assert_eq!(bodies, [Value::Null, Value::Null, json!("Afresh")]);
    assert_eq!(system.sweep().await.emptied, 0);
}

#[tokio::test]
async fn invalid_erasure_requests_are_refused() {
    let system = System::start().await;
    system.family(1).await;
    let host = system.host();
    for (path, problem) in [
        ("/families/fam/users/nobody?erase=true", "404 user_not_found"),
        ("/families/nobody/users/u0?erase=true", "404 user_not_found"),
        ("/families/nobody?erase=true", "404 family_not_found"),
        ("/families/nobody", "404 family_not_found"),
        ("/families/fam?erase=yes", "400 bad_query"),
        ("/families/fam?erase=", "400 bad_query"),
        ("/families/fam/users/u0?erase=TRUE", "400 bad_query"),
    ] {
        assert_eq!(host.delete(path).await.problem(), problem, "{path}");
    }
    for path in ["/families/fam?erase=true", "/families/fam/users/u0?erase=true"] {
        assert_eq!(system.member("u0").delete(path).await.problem(), "403 forbidden");
        assert_eq!(system.anonymous().delete(path).await.problem(), "401 unauthenticated");
    }
    assert_eq!(system.member("u0").get("/threads").await.status, 200);
    assert_eq!(host.delete("/families/fam?erase=false").await.status, 204);
    let name: String = sqlx::query_scalar("SELECT name FROM users")
        .fetch_one(&system.owner)
        .await
        .expect("a name");
    assert_eq!(name, "Name0", "deactivated and no more");
}

/// The number of `u1`'s messages that still have content.
async fn left_of_u1(system: &System) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM messages
         WHERE author_id = 'u1' AND (body IS NOT NULL OR deleted_at IS NULL OR request_hash IS NOT NULL
                                     OR idempotency_key IS NOT NULL OR file_ids <> '{}')",
    )
    .fetch_one(&system.owner)
    .await
    .expect("a count")
}

#[tokio::test]
async fn a_post_that_races_an_erasure_leaves_nothing_behind() {
    let system = System::start().await;
    let members = system.family(2).await;
    let (u0, u1, host) = (system.member("u0"), system.member("u1"), system.host());
    let mut refused = 0;
    for round in 0..12 {
        let user = json!({ "name": "Name1", "phone": "+15550100001" });
        host.put("/families/fam/users/u1", &user).await;
        let threads = [u0.thread(&members).await, {
            let new = json!({ "memberIds": members, "distinct": true });
            u1.post("/threads", &new).await.text("/thread/id")
        }];
        let posts = (0..24).map(|i| {
            let path = format!("/threads/{}/messages", threads[i % 2]);
            let body = json!({ "body": format!("Canary {round}/{i}") });
            let u1 = &u1;
            async move { u1.post(&path, &body).await }
        });
        let (posted, erased) = tokio::join!(join_all(posts), host.delete(ERASE_U1));
        assert_eq!(erased.status, 204, "{}", erased.as_text());
        refused += posted.iter().filter(|answer| answer.status == 404).count();
        assert!(posted.iter().all(|answer| [201, 404].contains(&answer.status)));
        assert_eq!(left_of_u1(&system).await, 0, "round {round}");
    }
    assert!(refused > 0, "some posts came after the erasure");
    assert!(system.count("messages").await > 0);
}

/// Inserts messages of `u1` and `u0` in turn, which is faster than posting.
async fn many(system: &System, thread: &str, messages: i64) {
    let mut tx = system.owner.begin().await.expect("a transaction");
    let id = thread.replace("th_", "");
    sqlx::query(
        "INSERT INTO messages (family_id, thread_id, seq, message_id, author_id, body, queued_count,
                               idempotency_key, request_hash, created_at)
         SELECT 'fam', $1::uuid, seq, uuid_v7(), CASE WHEN seq % 2 = 0 THEN 'u0' ELSE 'u1' END,
                'Text ' || seq, 0, 'key ' || seq, '\\x00', now()
         FROM generate_series(1, $2) seq",
    )
    .bind(&id)
    .bind(messages)
    .execute(&mut *tx)
    .await
    .expect("messages");
    sqlx::query(
        "UPDATE threads SET last_seq = $2, last_message_at = now() WHERE thread_id = $1::uuid",
    )
    .bind(&id)
    .bind(messages)
    .execute(&mut *tx)
    .await
    .expect("a thread");
    tx.commit().await.expect("committed");
}

#[tokio::test]
async fn the_sweeper_finishes_an_erasure() {
    let system = System::start().await;
    let members = system.family(2).await;
    let thread = system.member("u0").thread(&members).await;
    many(&system, &thread, 9000).await;
    let (family_id, user_id): (FamilyId, UserId) =
        (FAMILY.parse().expect("an id"), "u1".parse().expect("an id"));
    let pool = system.stack.worker.db.clone();
    // Without time to empty messages, the user is locked out all the same.
    let app = shared::db::Database::new(system.database_url(), 2).expect("a URL");
    let app = app.pool_as(shared::db::Role::App);
    let host = Host { family: family_id.clone(), source: None };
    let begun = erasure::erase_user(&app, &host, &user_id, Duration::ZERO).await;
    assert_eq!(begun.expect("begun"), Erased::UnderWay);
    assert_eq!(left_of_u1(&system).await, 4500);
    let u1 = system.member("u1");
    assert_eq!(u1.get(&format!("/threads/{thread}")).await.status, 404);
    // Provisioned again meanwhile, and in the thread again: new messages are not erased.
    system.host().put("/families/fam/users/u1", &json!({ "name": "Back" })).await;
    system.member("u0").thread(&members).await;
    u1.say(&thread, "Back again").await;
    // Two sweepers at once share the work.
    let (queue, pacing) = (system.stack.queue(), Pacing::default());
    let (one, two) =
        tokio::join!(worker::sweep(&pool, &queue, pacing), worker::sweep(&pool, &queue, pacing));
    let batches = one.emptied + two.emptied;
    assert_eq!(batches, 5, "of 2,000 numbers each");
    assert_eq!(left_of_u1(&system).await, 1);
    let kept = "SELECT count(*) FROM messages WHERE author_id = 'u0' AND body LIKE 'Text %'
                  AND idempotency_key IS NOT NULL AND deleted_at IS NULL";
    let kept: i64 = sqlx::query_scalar(kept).fetch_one(&system.owner).await.expect("a count");
    assert_eq!(kept, 4500);
    assert_eq!(system.count("erasures").await, 0);
    let newest = history(&system.member("u0"), &thread).await.pop().expect("a message");
    assert_eq!(newest["body"], "Back again");
}

#[tokio::test]
async fn locked_messages_are_emptied_once_unlocked() {
    let system = System::start().await;
    let members = system.family(2).await;
    let thread = system.member("u0").thread(&members).await;
    many(&system, &thread, 10).await;
    let mut other = system.owner.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM messages WHERE seq = 3 FOR UPDATE")
        .execute(&mut *other)
        .await
        .expect("a lock");
    let host = system.host();
    assert_eq!(host.delete(ERASE_U1).await.status, 202);
    assert_eq!(left_of_u1(&system).await, 5);
    other.rollback().await.expect("let go");
    // A second request continues the erasure, and answers 204 when it is done.
    assert_eq!(host.delete(ERASE_U1).await.status, 204);
    assert_eq!(left_of_u1(&system).await, 0);
}

#[tokio::test]
async fn a_function_killed_in_the_middle_leaves_the_rest_to_the_sweeper() {
    let system = System::start().await;
    let members = system.family(2).await;
    let thread = system.member("u0").thread(&members).await;
    many(&system, &thread, 9000).await;
    let mut environment = system.environment(system.database_url(), "kinline_app");
    environment.push(("KINLINE_FAILPOINT", "erase.batch=kill:2".to_owned()));
    let families = Function::start(&binary("families"), &environment).await;
    let token = system.secrets().token(&local::secrets::TokenClaims::service()).expect("a token");
    let bearer = format!("Bearer {token}");
    let event = http_event("DELETE", ERASE_U1, &[("authorization", &bearer)], None);
    families.invoke(&event, Duration::from_secs(20)).await.expect_err("it is killed");
    assert_eq!(left_of_u1(&system).await, 2500);
    assert_eq!(system.sweep().await.emptied, 3);
    assert_eq!(left_of_u1(&system).await, 0);
    let trail = system.host().get("/families/fam/audit?limit=200").await;
    let events = trail.at("/events");
    let erased = events.as_array().expect("a list").iter().filter(|e| e["action"] == "user.erased");
    assert_eq!(erased.count(), 1);
}

#[tokio::test]
async fn an_sms_being_sent_restores_nothing_erased() {
    let outcomes = [
        (Outcome::Retry { reason: Reason::Throttled }, "cancelled"),
        (Outcome::OptedOut, "failed"),
        (
            Outcome::Sent { carrier_message_id: "c".to_owned(), segments: 1, stop_notice: true },
            "sent",
        ),
    ];
    // The author's erasure, and the recipient's.
    for erased in ["u0", "u1"] {
        for (outcome, state) in outcomes.clone() {
            let system = System::start().await;
            let members = system.family(2).await;
            let thread = system.member("u0").thread(&members).await;
            system.member("u0").say(&thread, "Canary-Body").await;
            let mut wanted = Wanted::default();
            wanted.add(&Job::Reach(Recipient {
                family_id: FAMILY.parse().expect("an id"),
                thread_id: thread.parse().expect("an id"),
                user_id: "u1".parse().expect("an id"),
            }));
            let (db, pacing) = (&system.stack.worker.db, Pacing::default());
            let claim = delivery::claim(db, &wanted, None, pacing).await;
            let Claim { lease, claimed, .. } = claim.expect("claimed");
            let path = format!("/families/fam/users/{erased}?erase=true");
            assert_eq!(system.host().delete(&path).await.status, 204);
            let attempt = Attempt {
                sms: claimed[0].sms.clone(),
                phone: claimed[0].phone.clone(),
                called: true,
                outcome,
            };
            delivery::record(db, lease, &[attempt]).await.expect("recorded");
            system.pass(Duration::from_mins(1)).await;
            system.sweep().await;
            system.deliver().await;
            assert_eq!(system.stack.carrier.received(None).len(), 0);
            let found: String = sqlx::query_scalar("SELECT state FROM sms")
                .fetch_one(&system.owner)
                .await
                .expect("a state");
            assert_eq!(found, state, "{erased}");
            let sql = "SELECT phone IS NULL AND opted_out_at IS NULL AND stop_notice_at IS NULL
                       FROM users WHERE user_id = $1";
            let clean: bool = sqlx::query_scalar(sql)
                .bind(erased)
                .fetch_one(&system.owner)
                .await
                .expect("a person");
            assert!(clean, "{erased} {state}");
            let bodies = "SELECT count(*) FROM messages WHERE body IS NOT NULL";
            let bodies: i64 =
                sqlx::query_scalar(bodies).fetch_one(&system.owner).await.expect("a count");
            assert_eq!(bodies, i64::from(erased == "u1"));
        }
    }
}

#[tokio::test]
async fn pending_sms_of_erased_data_are_not_sent() {
    let system = System::start().await;
    let members = system.family(3).await;
    let thread = system.member("u0").thread(&members).await;
    system.member("u1").say(&thread, "Canary-Body").await;
    system.member("u2").say(&thread, "Stays").await;
    assert_eq!(system.host().delete(ERASE_U1).await.status, 204);
    system.deliver().await;
    let sms = system.stack.carrier.received(None);
    assert_eq!(sms.len(), 1);
    assert!(sms[0].body.starts_with("Name2: Stays"));
}

#[tokio::test]
async fn an_erased_post_is_not_replayed() {
    let system = System::start().await;
    let members = system.family(2).await;
    let (u0, u1) = (system.member("u0"), system.member("u1"));
    let thread = u0.thread(&members).await;
    let post = || async {
        let path = format!("/threads/{thread}/messages");
        let request = u1.request(Method::POST, &path).header("idempotency-key", "once");
        send(request.json(&json!({ "body": "Canary-Body" }))).await
    };
    let first: Answer = post().await;
    assert_eq!(first.status, 201);
    assert_eq!(system.host().delete(ERASE_U1).await.status, 204);
    assert_eq!(post().await.problem(), "404 thread_not_found");
    system.host().put("/families/fam/users/u1", &json!({ "name": "Back" })).await;
    u0.thread(&members).await;
    let again = post().await;
    assert_eq!((again.status, again.header("idempotency-replayed")), (201, ""));
    assert_ne!(again.text("/message/id"), first.text("/message/id"));
}
