//! Resolving, creating and listing threads.

use std::collections::BTreeSet;

use functions::Rules;
use futures_util::{StreamExt, future::join_all, stream};
use local::secrets::TokenClaims;
use serde_json::{Value, json};
use shared::limits::Pace;
use tests::{Answer, System};

use crate::posting::text_of;

#[tokio::test]
async fn a_thread_is_created_once_and_found_afterwards() {
    let system = System::start().await;
    system.family(3).await;
    let (u0, u1) = (system.member("u0"), system.member("u1"));

    let created = u0.post("/threads", &json!({ "memberIds": ["u2", "u1", "u2"] })).await;
    assert_eq!(created.status, 201, "{}", created.as_text());
    assert_eq!(created.header("location"), format!("/threads/{}", created.text("/thread/id")));
    insta::assert_json_snapshot!("thread", created.json(), {
        ".**.id" => "[id]", ".**.createdAt" => "[time]", ".**.updatedAt" => "[time]",
        ".**.joinedAt" => "[time]",
    });

    // Another member, order or title: the same thread with its old title.
    let body = json!({ "memberIds": ["u0", "u1", "u2"], "title": "Other", "kind": "FAMILY" });
    let found = u1.post("/threads", &body).await;
    assert_eq!(found.status, 200);
    assert_eq!(found.json(), created.json());
    assert_eq!(found.header("location"), "");

    // Another kind is another thread, and so is a smaller set.
    let group = u0.post("/threads", &json!({ "memberIds": ["u1", "u2"], "kind": "GROUP" })).await;
    let pair = u0.post("/threads", &json!({ "memberIds": ["u1"] })).await;
    let dm = u0.post("/threads", &json!({ "memberIds": ["u1"], "kind": "DM" })).await;
    let ids: BTreeSet<String> =
        [&created, &group, &pair, &dm].map(|answer| answer.text("/thread/id")).into();
    assert_eq!(ids.len(), 4);
    assert_eq!(dm.at("/thread/title"), "Direct Message");
    assert_eq!(group.at("/thread/title"), "Family Chat");
    assert_eq!(
        (dm.at("/thread/titleIsDefault"), group.at("/thread/titleIsDefault")),
        (json!(true), json!(true))
    );
}

#[tokio::test]
async fn a_given_title_is_kept_even_if_it_equals_a_default() {
    let system = System::start().await;
    system.family(3).await;
    let german = json!({ "name": "Name0", "phone": "+15550100000", "locale": "de" });
    system.host().put("/families/fam/users/u0", &german).await;
    let u0 = system.member("u0");
    for (title, shown) in [(Some("Family Chat"), "Family Chat"), (None, "Familienchat")] {
        let new = json!({ "memberIds": ["u1"], "distinct": true, "title": title });
        let thread = u0.post("/threads", &new).await;
        assert_eq!(thread.at("/thread/title"), "Family Chat");
        assert_eq!(thread.at("/thread/titleIsDefault"), title.is_none());
        let page = u0.get(&format!("/t/{}", thread.text("/thread/id"))).await.as_text();
        assert!(page.contains(&format!(">{shown}</h1>")), "{title:?}");
    }
}

#[tokio::test]
async fn a_distinct_thread_is_always_new_and_never_found() {
    let system = System::start().await;
    system.family(2).await;
    let u0 = system.member("u0");
    let distinct =
        json!({ "memberIds": ["u1"], "distinct": true, "title": "\u{2068} Trip  \u{2069}" });
    let (one, two) = (u0.post("/threads", &distinct).await, u0.post("/threads", &distinct).await);
    let plain = u0.post("/threads", &json!({ "memberIds": ["u1"] })).await;
    assert_eq!([one.status, two.status, plain.status], [201; 3]);
    let ids: BTreeSet<String> = [&one, &two, &plain].map(|answer| answer.text("/thread/id")).into();
    assert_eq!(ids.len(), 3);
    assert_eq!(one.at("/thread/title"), "Trip");
    assert_eq!(one.at("/thread/memberKey"), plain.at("/thread/memberKey"));
}

#[tokio::test]
async fn sixty_four_callers_race_to_one_thread() {
    let system = System::start().await;
    let members = system.family(4).await;
    let callers: Vec<_> = members.iter().map(|id| system.member(id)).collect();
    let body = json!({ "memberIds": members });
    let answers =
        join_all((0..64).map(|i| callers[i % callers.len()].post("/threads", &body))).await;
    let ids: BTreeSet<String> = answers.iter().map(|answer| answer.text("/thread/id")).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(system.count("threads").await, 1);
    assert_eq!(system.count("thread_members").await, 4);
}

#[tokio::test]
async fn two_hundred_sets_and_thirty_two_callers_each_make_two_hundred_threads() {
    let system = System::start().await;
    let members = system.family(21).await;
    let u0 = system.member("u0");
    // The caller with each of 210 pairs of the other twenty: different sets.
    let sets: Vec<Value> = (1..21)
        .flat_map(|a| (a + 1..21).map(move |b| (a, b)))
        .chain((1..21).map(|a| (a, a)))
        .take(200)
        .map(|(a, b)| json!({ "memberIds": [members[a], members[b]] }))
        .collect();
    assert_eq!(sets.len(), 200);
    let mut ids = BTreeSet::new();
    let calls = sets.iter().flat_map(|body| (0..32).map(|_| u0.post("/threads", body)));
    // A thousand at once, since the listener's backlog is limited.
    let answers: Vec<Answer> = stream::iter(calls).buffered(1000).collect().await;
    for of_one_set in answers.chunks(32) {
        let same: BTreeSet<String> =
            of_one_set.iter().map(|answer| answer.text("/thread/id")).collect();
        assert_eq!(same.len(), 1);
        assert_eq!(of_one_set.iter().filter(|answer| answer.status == 201).count(), 1);
        ids.extend(same);
    }
    assert_eq!(ids.len(), 200);
    assert_eq!(system.count("threads").await, 200);
}

#[tokio::test]
async fn finding_a_thread_writes_nothing() {
    let threads = Pace::of_threads_hourly(60);
    let system = System::start_with(Rules { threads, ..Rules::default() }).await;
    let members = system.family(3).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    // A write or a lock changes one of these columns.
    let versions = async || -> Vec<String> {
        sqlx::query_scalar(
            "SELECT concat(tableoid, ctid, xmin, xmax) FROM threads
             UNION ALL SELECT concat(tableoid, ctid, xmin, xmax) FROM thread_members
             UNION ALL SELECT concat(tableoid, ctid, xmin, xmax) FROM users
             UNION ALL SELECT concat(tableoid, ctid, xmin, xmax) FROM families
             UNION ALL SELECT concat(tableoid, ctid, xmin, xmax) FROM thread_paces
             UNION ALL SELECT concat(tableoid, ctid, xmin, xmax) FROM thread_counts
             UNION ALL SELECT concat(tableoid, ctid, xmin, xmax) FROM audit_events
             ORDER BY 1",
        )
        .fetch_all(&system.owner)
        .await
        .expect("rows")
    };
    let before = versions().await;
    assert_eq!(u0.thread(&members).await, thread);
    assert_eq!(versions().await, before);
}

#[tokio::test]
async fn a_member_that_is_being_deactivated_is_waited_for() {
    let system = System::start().await;
    system.family(3).await;
    let u0 = system.member("u0");
    let new = json!({ "memberIds": ["u1", "u2"] });
    for (is_deactivated, answer) in [(true, "422 unknown_member"), (false, "201")] {
        let mut tx = system.owner.begin().await.expect("a transaction");
        let pid: i32 = sqlx::query_scalar(
            "UPDATE users SET deactivated_at = now() WHERE family_id = 'fam' AND user_id = 'u2'
             RETURNING pg_backend_pid()",
        )
        .fetch_one(&mut *tx)
        .await
        .expect("deactivated");
        let decide = async {
            let blocked = "SELECT EXISTS (
                SELECT FROM pg_stat_activity
                WHERE datname = current_database() AND $1 = ANY(pg_blocking_pids(pid)))";
            let waits = async || -> bool {
                sqlx::query_scalar(blocked).bind(pid).fetch_one(&system.owner).await.expect("known")
            };
            while !waits().await {}
            if is_deactivated { tx.commit().await } else { tx.rollback().await }.expect("decided");
        };
        let (created, ()) = tokio::join!(u0.post("/threads", &new), decide);
        if is_deactivated {
            assert_eq!(created.problem(), answer);
            assert_eq!(created.at("/memberIds"), json!(["u2"]));
            assert_eq!(system.count("threads").await, 0);
            let back = json!({ "name": "Back", "phone": "+15550100002" });
            system.host().put("/families/fam/users/u2", &back).await;
        } else {
            assert_eq!(created.status.to_string(), answer);
            assert_eq!(created.at("/thread/members").as_array().map(Vec::len), Some(3));
        }
    }
}

#[tokio::test]
async fn a_family_has_ten_thousand_threads_at_most() {
    let system = System::start().await;
    let members = system.family(8).await;
    let (u0, u1) = (system.member("u0"), system.member("u1"));
    let thread = u0.thread(&members).await;
    assert_eq!(threads_counted(&system).await, 1);
    sqlx::query("UPDATE thread_counts SET threads = 9995")
        .execute(&system.owner)
        .await
        .expect("set");

    // Thirty sets of two callers at once, for five threads.
    let pairs: Vec<Value> = (2..8)
        .flat_map(|a| {
            (a + 1..8).map(move |b| json!({ "memberIds": [format!("u{a}"), format!("u{b}")] }))
        })
        .collect();
    let calls =
        pairs.iter().flat_map(|body| [u0.post("/threads", body), u1.post("/threads", body)]);
    let (created, refused): (Vec<_>, Vec<_>) =
        join_all(calls).await.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((created.len(), refused.len()), (5, 25));
    for answer in refused {
        assert_eq!(answer.problem(), "422 too_many_threads");
    }
    assert_eq!(threads_counted(&system).await, 10_000);
    assert_eq!((system.count("threads").await, system.count("thread_members").await), (6, 8 + 15));

    // What exists is found, and other families are not concerned.
    assert_eq!(u0.thread(&members).await, thread);
    system.family_named("other", 2).await;
    let other = TokenClaims { family_id: Some("other"), ..TokenClaims::member("other", "u0") };
    system.caller(&other).thread(&["u1".to_owned()]).await;
    // An unknown member is the first thing to be told.
    let unknown = u0.post("/threads", &json!({ "memberIds": ["nobody"] })).await;
    assert_eq!(unknown.problem(), "422 unknown_member");
}

async fn threads_counted(system: &System) -> i32 {
    sqlx::query_scalar("SELECT threads FROM thread_counts WHERE family_id = 'fam'")
        .fetch_one(&system.owner)
        .await
        .expect("a count")
}

#[tokio::test]
async fn an_invalid_member_set_is_refused_and_stores_nothing() {
    let system = System::start().await;
    system.family(3).await;
    system.family_named("other", 5).await;
    let u0 = system.member("u0");
    let many: Vec<String> = (0..257).map(|i| format!("m{i}")).collect();
    let long = "t".repeat(201);
    for (body, problem) in [
        (json!({}), "400 member_ids_required"),
        (json!({ "memberIds": null }), "400 member_ids_required"),
        (json!({ "memberIds": [] }), "400 member_ids_required"),
        (json!({ "memberIds": ["u4"] }), "422 unknown_member"),
        (json!({ "memberIds": ["u1", "nobody"] }), "422 unknown_member"),
        (json!({ "memberIds": ["u1", "a,b"] }), "422 unknown_member"),
        (json!({ "memberIds": [""] }), "422 unknown_member"),
        (json!({ "memberIds": ["u1\u{0}"] }), "422 unknown_member"),
        (json!({ "memberIds": many }), "422 too_many_members"),
        (json!({ "memberIds": ["u1", "u2"], "kind": "DM" }), "422 dm_needs_two"),
        (json!({ "memberIds": ["u0"], "kind": "DM" }), "422 dm_needs_two"),
        (json!({ "memberIds": ["u1"], "kind": "dm" }), "422 invalid_kind"),
        (json!({ "memberIds": ["u1"], "title": long }), "422 text_too_long"),
        (json!({ "memberIds": ["u1"], "title": "a\u{0}b" }), "422 invalid_text"),
        (json!({ "memberIds": ["u1"], "topic": "x" }), "422 unknown_field"),
        (json!({ "memberIds": "u1" }), "422 invalid_field"),
        (json!({ "memberIds": ["u1", 7] }), "422 invalid_field"),
        (json!({ "memberIds": ["u1"], "distinct": "yes" }), "422 invalid_field"),
    ] {
        let answer = u0.post("/threads", &body).await;
        assert_eq!(answer.problem(), problem, "{body}");
    }
    let unknown = u0.post("/threads", &json!({ "memberIds": ["u1", "x", "y"] })).await;
    assert_eq!(unknown.at("/memberIds"), json!(["x", "y"]));
    let field = u0.post("/threads", &json!({ "memberIds": ["u1", 7] })).await;
    assert_eq!(field.at("/field"), "memberIds[1]");
    let field = u0.post("/threads", &json!({ "memberIds": ["u1"], "topic": 1 })).await;
    assert_eq!(field.at("/field"), "topic");
    assert_eq!(system.count("threads").await, 0);

    // 256 with the caller are not too many, but these users don't exist.
    let most: Vec<String> = (0..255).map(|i| format!("m{i}")).collect();
    let answer = u0.post("/threads", &json!({ "memberIds": most })).await;
    assert_eq!(answer.problem(), "422 unknown_member");
}

#[tokio::test]
async fn the_inbox_lists_the_callers_threads_latest_first() {
    let system = System::start().await;
    system.family(4).await;
    let (u0, u1, u2) = (system.member("u0"), system.member("u1"), system.member("u2"));
    let first = u0.thread(&["u1".into()]).await;
    let second = u0.thread(&["u1".into(), "u2".into()]).await;
    let empty = u1.thread(&["u3".into()]).await;
    u1.say(&second, "to three").await;
    u0.say(&first, &format!("one\nline {}", "long ".repeat(60))).await;
    u1.say(&first, "answer").await;

    let inbox = u1.get("/threads").await;
    let threads = inbox.at("/threads");
    let ids: Vec<&str> = threads.as_array().unwrap().iter().map(|t| text_of(t, "/id")).collect();
    assert_eq!(ids, [&first, &second, &empty].map(String::as_str));
    insta::assert_json_snapshot!("inbox", inbox.json(), {
        ".**.id" => "[id]", ".**.createdAt" => "[time]", ".**.updatedAt" => "[time]",
        ".**.joinedAt" => "[time]", ".**.lastMessageAt" => "[time]", ".**.memberKey" => "[key]",
    });

    // The author has read up to the post; the others have not.
    let unread = |answer: &tests::Answer, id: &str| {
        let threads = answer.at("/threads");
        let thread = threads.as_array().unwrap().iter().find(|t| text_of(t, "/id") == id);
        thread.map(|t| t["unreadCount"].clone())
    };
    assert_eq!(unread(&inbox, &first), Some(json!(0)));
    let of_u0 = u0.get("/threads").await;
    assert_eq!(unread(&of_u0, &first), Some(json!(1)));
    assert_eq!(unread(&of_u0, &second), Some(json!(1)));
    assert_eq!(unread(&of_u0, &empty), None);
    let of_u2 = u2.get("/threads").await;
    assert_eq!(of_u2.at("/threads").as_array().map(Vec::len), Some(1));

    // A preview is one line of 140 characters.
    u0.say(&second, &format!("one\nline {}", "long ".repeat(60))).await;
    let one = u2.get(&format!("/threads/{second}")).await;
    let preview = one.text("/thread/lastMessage/preview");
    assert!(preview.starts_with("one line long") && preview.ends_with('…'), "{preview}");
    assert!(preview.chars().count() <= 140);
    assert_eq!(one.at("/thread/unreadCount"), json!(2));
}

#[tokio::test]
async fn the_inbox_is_read_in_pages() {
    let system = System::start().await;
    system.family(8).await;
    let u0 = system.member("u0");
    for i in 1..8 {
        let thread = u0.thread(&[format!("u{i}")]).await;
        if i % 2 == 0 {
            u0.say(&thread, "hello").await;
        }
    }
    let whole = u0.get("/threads").await;
    let ids = |answer: &tests::Answer| -> Vec<String> {
        let threads = answer.at("/threads");
        threads.as_array().unwrap().iter().map(|t| text_of(t, "/id").to_owned()).collect()
    };
    assert_eq!(ids(&whole).len(), 7);
    assert_eq!(whole.at("/nextCursor"), Value::Null);
    let (mut paged, mut path) = (Vec::new(), "/threads?limit=3".to_owned());
    loop {
        let page = u0.get(&path).await;
        paged.extend(ids(&page));
        match page.at("/nextCursor").as_str() {
            Some(cursor) => path = format!("/threads?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(paged, ids(&whole));
    for (query, problem) in [
        ("limit=0", "400 bad_limit"),
        ("limit=201", "400 bad_limit"),
        ("limit=x", "400 bad_limit"),
        ("limit=", "400 bad_limit"),
        ("limit=-1", "400 bad_limit"),
        ("cursor=nonsense", "400 bad_cursor"),
        ("cursor=", "400 bad_cursor"),
        ("limit=1&limit=2", "400 bad_query"),
    ] {
        assert_eq!(u0.get(&format!("/threads?{query}")).await.problem(), problem, "{query}");
    }
}
