//! Reading histories: pages, cursors, polling while others post.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Answer, System, client::send};

fn seqs(answer: &Answer) -> Vec<i64> {
    let messages = answer.at("/messages");
    let messages = messages.as_array().unwrap_or_else(|| panic!("{}", answer.as_text()));
    messages.iter().map(|message| message["seq"].as_i64().expect("a number")).collect()
}

#[tokio::test]
async fn one_message_is_read_by_its_id() {
    let system = System::start().await;
    system.family(3).await;
    let (u0, u1) = (system.member("u0"), system.member("u1"));
    let thread = u0.thread(&["u1".to_owned()]).await;
    let other = u0.thread(&["u2".to_owned()]).await;
    u0.say(&thread, "first").await;
    let posted = u0.say(&thread, "second").await;
    let id = posted.text("/message/id");

    let path = format!("/threads/{thread}/messages/{id}");
    let answer = u1.get(&path).await;
    assert_eq!((answer.status, answer.at("/message")), (200, posted.at("/message")));
    let tag = answer.header("etag").to_owned();
    let again = send(u1.request(Method::GET, &path).header("if-none-match", &tag)).await;
    assert_eq!((again.status, again.header("etag"), &*again.body), (304, &*tag, &b""[..]));

    // Another thread doesn't have the message; for a caller that is not a member there is no thread.
    for (caller, path, problem) in [
        (&u0, format!("/threads/{other}/messages/{id}"), "404 message_not_found"),
        (&u1, format!("/threads/{thread}/messages/{thread}"), "404 message_not_found"),
        (&system.member("u2"), path.clone(), "404 thread_not_found"),
        (&u1, format!("/threads/{id}/messages/{id}"), "404 thread_not_found"),
    ] {
        assert_eq!(caller.get(&path).await.problem(), problem, "{path}");
    }

    // Its author's erasure changes the message and its ETag.
    assert_eq!(system.host().delete("/families/fam/users/u0?erase=true").await.status, 204);
    let erased = send(u1.request(Method::GET, &path).header("if-none-match", &tag)).await;
    assert_eq!((erased.status, erased.at("/message/body")), (200, Value::Null));
    assert_eq!(erased.at("/message/authorErased"), true);
}

#[tokio::test]
async fn a_history_reads_both_ways() {
    let system = System::start().await;
    system.family(2).await;
    let (u0, u1) = (system.member("u0"), system.member("u1"));
    let thread = u0.thread(&["u1".to_owned()]).await;
    let path = format!("/threads/{thread}/messages");

    let empty = u1.get(&path).await;
    assert_eq!(empty.at("/messages"), json!([]));
    assert_eq!(empty.at("/nextCursor"), Value::Null);
    let start = empty.text("/latestCursor");
    for i in 1..=7 {
        u0.say(&thread, &format!("message {i}")).await;
    }

    let newest = u1.get(&format!("{path}?limit=3")).await;
    assert_eq!(seqs(&newest), [7, 6, 5]);
    insta::assert_json_snapshot!("history", u1.get(&format!("{path}?limit=1")).await.json(), {
        ".**.id" => "[id]", ".**.threadId" => "[id]", ".**.createdAt" => "[time]",
        ".**.latestCursor" => "[cursor]", ".**.nextCursor" => "[cursor]",
    });
    let before = u1.get(&format!("{path}?limit=3&before={}", newest.text("/nextCursor"))).await;
    assert_eq!(seqs(&before), [4, 3, 2]);
    u0.say(&thread, "message 8").await;
    let end = u1.get(&format!("{path}?limit=3&before={}", before.text("/nextCursor"))).await;
    assert_eq!(seqs(&end), [1]);
    assert_eq!(end.at("/nextCursor"), Value::Null);

    // After scrolling back, polling continues from the first page: nothing is missed.
    let polled = u1.get(&format!("{path}?after={}", end.text("/latestCursor"))).await;
    assert_eq!(seqs(&polled), [8]);
    let all = u1.get(&format!("{path}?limit=5&after={start}")).await;
    assert_eq!(seqs(&all), [1, 2, 3, 4, 5]);
    let rest = u1.get(&format!("{path}?limit=5&after={}", all.text("/nextCursor"))).await;
    assert_eq!(seqs(&rest), [6, 7, 8]);
    assert_eq!(rest.at("/nextCursor"), Value::Null);
    let nothing = u1.get(&format!("{path}?after={}", rest.text("/latestCursor"))).await;
    assert_eq!(seqs(&nothing), [0_i64; 0]);
    assert_eq!(nothing.text("/latestCursor"), rest.text("/latestCursor"));

    let cursor = rest.text("/latestCursor");
    for (query, problem) in [
        ("limit=0".to_owned(), "400 bad_limit"),
        ("limit=201".to_owned(), "400 bad_limit"),
        ("limit=1e1".to_owned(), "400 bad_limit"),
        ("limit=99999999999999999999".to_owned(), "400 bad_limit"),
        ("before=x".to_owned(), "400 bad_cursor"),
        ("after=".to_owned(), "400 bad_cursor"),
        (format!("after={cursor}&before={cursor}"), "400 bad_cursor"),
        (format!("after={cursor}A"), "400 bad_cursor"),
    ] {
        assert_eq!(u1.get(&format!("{path}?{query}")).await.problem(), problem, "{query}");
    }
}

#[tokio::test]
async fn an_unchanged_page_is_a_304() {
    let system = System::start().await;
    system.family(2).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&["u1".to_owned()]).await;
    u0.say(&thread, "one").await;
    let path = format!("/threads/{thread}/messages");
    let first = u0.get(&path).await;
    let tag = first.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    assert_eq!(first.header("cache-control"), "private, no-cache");
    let with = |value: String| send(u0.request(Method::GET, &path).header("if-none-match", value));
    for value in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let answer = with(value.clone()).await;
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{value}");
        assert_eq!(answer.header("etag"), tag);
    }
    assert_eq!(with("\"other\"".to_owned()).await.status, 200);
    u0.say(&thread, "two").await;
    assert_eq!(with(tag).await.status, 200);
}

#[tokio::test]
async fn a_poller_sees_every_message_once_and_in_order_while_sixteen_post() {
    const POSTERS: usize = 16;
    const EACH: usize = 200;
    let system = System::start().await;
    let members = system.family(POSTERS).await;
    // Without phones: the test is about the order of messages, not about SMS.
    for id in &members {
        system.host().put(&format!("/families/fam/users/{id}"), &json!({ "name": id })).await;
    }
    let thread = system.member("u0").thread(&members).await;
    let path = format!("/threads/{thread}/messages");

    let posts = join_all(members.iter().map(|id| {
        let (client, thread) = (system.member(id), &thread);
        async move {
            for i in 0..EACH {
                client.say(thread, &format!("{i}")).await;
            }
        }
    }));
    let poll = async {
        let reader = system.member("u7");
        let mut cursor = None::<String>;
        let mut seen: Vec<(i64, String)> = Vec::new();
        while seen.len() < POSTERS * EACH {
            let query = cursor.as_ref().map(|c| format!("?limit=50&after={c}"));
            let page = match query {
                Some(query) => reader.get(&format!("{path}{query}")).await,
                // The first cursor is that of the thread at the first poll.
                None => reader.get(&format!("{path}?limit=200")).await,
            };
            let mut messages: Vec<(i64, String)> = page
                .at("/messages")
                .as_array()
                .expect("messages")
                .iter()
                .map(|m| (m["seq"].as_i64().expect("seq"), m["createdAt"].to_string()))
                .collect();
            if cursor.is_none() {
                messages.reverse();
            }
            seen.extend(messages);
            cursor = Some(page.text("/latestCursor"));
        }
        seen
    };
    let (_, seen) = tokio::join!(posts, poll);
    let numbers: Vec<i64> = seen.iter().map(|(seq, _)| *seq).collect();
    let expected: Vec<i64> = (1..=3200).collect();
    assert_eq!(numbers, expected);
    assert!(seen.is_sorted_by_key(|(_, at)| at), "times follow the numbers");
    assert_eq!(system.count("messages").await, 3200);
}
