//! Every SQL statement of the product: its place in the source, and calls that execute all of them.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use reqwest::Method;
use serde_json::json;
use shared::limits;

use crate::{
    Answer, System,
    client::send,
    system::{FAMILY, phone, token_in},
};

/// A string in the source that is part of a statement, with its function or macro.
pub struct Fragment {
    /// Its place, as `module::function`.
    pub item: String,
    /// Its text, normalised by [`plain`].
    pub text: String,
}

/// Makes `system` execute every statement.
pub async fn everything_once(system: &System) {
    let members = system.family(4).await;
    let (host, u0, anonymous) = (system.host(), system.member("u0"), system.anonymous());
    let done = |answer: Answer| assert!(answer.status < 400, "{}", answer.as_text());
    let capped = json!({ "name": "Family", "smsMonthlyCapSegments": 1000, "smsPerMinute": 600 });
    done(host.put(&format!("/families/{FAMILY}"), &capped).await);

    // Threads and messages.
    let thread = u0.thread(&members).await;
    u0.thread(&members).await;
    let another = u0.new_thread(&members).await;
    let path = format!("/threads/{thread}");
    // Too many: the next one would be due in a year, if there is a pace.
    sqlx::query("UPDATE thread_paces SET due_at = now() + interval '1 year'")
        .execute(&system.owner)
        .await
        .expect("a year's threads");
    u0.post("/threads", &json!({ "memberIds": members, "distinct": true })).await;
    let message = u0.say(&thread, "Bring the albums").await.text("/message/id");
    u0.say(&thread, "and the cake").await;
    let post = u0.request(Method::POST, &format!("{path}/messages"));
    done(send(post.header("idempotency-key", "key").json(&json!({ "body": "Now" }))).await);
    let newest = u0.get(&format!("{path}/messages?limit=1")).await;
    let (next, latest) = (newest.text("/nextCursor"), newest.text("/latestCursor"));
    for path in [
        "/threads".to_owned(),
        path.clone(),
        format!("{path}/messages?before={next}"),
        format!("{path}/messages?after={latest}"),
        format!("{path}/messages/{message}"),
        format!("{path}/messages/{message}/deliveries"),
    ] {
        done(u0.get(&path).await);
    }
    done(u0.put(&format!("{path}/read"), &json!({ "seq": 1 })).await);
    done(u0.put(&format!("{path}/texts"), &json!({ "state": "muted", "hours": 1 })).await);
    system.deliver().await;

    // Links and sessions.
    let token = json!({ "token": token_in(&system.sms_of(1)[0]) });
    let opened = anonymous.post("/links/exchange", &token).await;
    let cookie = opened.header("set-cookie").split(';').next().expect("a cookie").to_owned();
    let browser = system.browser(&cookie);
    done(anonymous.post("/links/renew", &token).await);
    done(anonymous.post("/links/request", &json!({ "phone": phone(2) })).await);
    done(browser.get(&format!("/t/{thread}")).await);
    sqlx::query("UPDATE sessions SET last_seen_at = now() - interval '1 day'")
        .execute(&system.owner)
        .await
        .expect("a while ago");
    done(browser.get("/threads").await);
    // Up to the limit.
    let guess = json!({ "token": "nonsense" });
    for _ in 0..limits::SOURCE_GUESSES.hourly {
        anonymous.post("/links/exchange", &guess).await;
    }
    assert_eq!(anonymous.post("/links/exchange", &guess).await.status, 429);
    system.deliver().await;
    done(browser.post("/sessions/end", &json!({})).await);

    // The sweeper, for a throttled SMS and a member that nobody enqueued, also if the queue refuses them.
    done(u0.put("/dev/faults", &json!({ "sms": { "mode": "throttle", "rate": 1 } })).await);
    u0.say(&thread, "Who is there?").await;
    system.deliver().await;
    let down = json!({ "queue": { "mode": "down", "rate": 1 } });
    done(u0.put("/dev/faults", &down).await);
    u0.say(&another, "Anybody?").await;
    done(anonymous.post("/links/request", &json!({ "phone": phone(3) })).await);
    let due = "UPDATE link_requests SET wake_at = now()";
    sqlx::query(due).execute(&system.owner).await.expect("due");
    system.pass(Duration::from_mins(1)).await;
    system.sweep().await;
    done(u0.put("/dev/faults", &json!({})).await);

    // The host: reads, deactivates, erases.
    for path in ["audit", "export"] {
        done(host.get(&format!("/families/{FAMILY}/{path}")).await);
    }
    done(host.delete(&format!("/families/{FAMILY}/users/u3")).await);
    let back = json!({ "name": "Back", "phone": phone(3) });
    done(host.put(&format!("/families/{FAMILY}/users/u3"), &back).await);
    u0.thread(&members).await;
    done(host.delete(&format!("/families/{FAMILY}/users/u3?erase=true")).await);
    done(host.delete(&format!("/families/{FAMILY}")).await);
    done(host.delete(&format!("/families/{FAMILY}?erase=true")).await);
    system.sweep().await;
}

/// `text` on one line, with one space between words.
#[must_use]
pub fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every string of the product that is part of a statement.
#[must_use]
pub fn fragments() -> Vec<Fragment> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/src");
    let mut fragments = Vec::new();
    let mut files = vec![("limits".to_owned(), source.join("limits.rs"))];
    for folder in fs::read_dir(&source).expect("the source").flatten() {
        let module = folder.file_name().to_string_lossy().into_owned();
        for file in ["policy.rs", "store.rs"] {
            files.push((module.clone(), folder.path().join(file)));
        }
        let parts = fs::read_dir(folder.path().join("store")).into_iter().flatten().flatten();
        files.extend(parts.map(|part| (module.clone(), part.path())));
    }
    for (module, file) in files {
        let Ok(text) = fs::read_to_string(file) else { continue };
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (item, text) in strings(text) {
            let text = plain(&text);
            if is_sql(&text) {
                fragments.push(Fragment { item: format!("{module}::{item}"), text });
            }
        }
    }
    assert!(fragments.len() > 60, "{}", fragments.len());
    fragments
}

fn is_sql(text: &str) -> bool {
    const WORDS: [&str; 9] =
        ["SELECT", "INSERT", "UPDATE", "DELETE", "FROM", "WHERE", "AND", "ORDER", "RETURNING"];
    // A single word occurs in too many of them.
    text.contains(' ')
        && text.split(|c: char| !c.is_alphanumeric()).any(|word| WORDS.contains(&word))
}

/// The strings of a Rust file, each with its function or macro.
fn strings(source: &str) -> Vec<(String, String)> {
    let mut strings = Vec::new();
    let mut item = String::new();
    let mut rest = source;
    loop {
        let comment = rest.find("//").unwrap_or(rest.len());
        let quote = rest.find('"').unwrap_or(rest.len());
        let code = &rest[..comment.min(quote)];
        for (keyword, mark) in [("fn ", ""), ("macro_rules! ", "!")] {
            if let Some((_, name)) = code.rsplit_once(keyword) {
                let name = name.split(|c: char| !c.is_alphanumeric() && c != '_').next();
                item = format!("{}{mark}", name.unwrap_or_default());
            }
        }
        if comment < quote {
            rest = rest[comment..].split_once('\n').map_or("", |(_, rest)| rest);
        } else if quote < rest.len() {
            let (text, after) = rest[quote + 1..].split_once('"').expect("the string's end");
            assert!(!text.contains('\\'), "read what is escaped in {item}");
            strings.push((item.clone(), text.to_owned()));
            rest = after;
        } else {
            return strings;
        }
    }
}

/// The function that has most of a statement's text, or else the macro.
#[must_use]
pub fn item_of(fragments: &[Fragment], statement: &str) -> Option<String> {
    let statement = plain(statement);
    let mut shares = BTreeMap::<&str, usize>::new();
    for fragment in fragments {
        if statement.contains(&fragment.text) {
            *shares.entry(&fragment.item).or_default() += fragment.text.len();
        }
    }
    let most = shares.into_iter().max_by_key(|(item, length)| (!item.ends_with('!'), *length))?;
    Some(most.0.to_owned())
}
