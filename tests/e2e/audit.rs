//! The audit trail: its events, its readers, and that it can't be changed.

use local::secrets::TokenClaims;
use serde_json::{Value, json};
use sqlx::error::DatabaseError;
use tests::{
    Answer, Client, System,
    system::{FAMILY, phone},
};

/// All events of [`FAMILY`], the oldest first, as `actor action user@thread=role`.
async fn trail(system: &System) -> Vec<String> {
    let answer = system.host().get("/families/fam/audit?limit=200").await;
    assert_eq!(answer.at("/nextCursor"), Value::Null);
    let events = answer.at("/events");
    events.as_array().expect("a list").iter().rev().map(line).collect()
}

fn line(event: &Value) -> String {
    let text = |pointer| event.pointer(pointer).and_then(Value::as_str);
    let mut line = text("/actor/kind").expect("an actor").to_owned();
    if let Some(actor) = text("/actor/userId") {
        line.push(':');
        line.push_str(actor);
    }
    line.push(' ');
    line.push_str(text("/action").expect("an action"));
    for (mark, pointer) in [(' ', "/userId"), ('=', "/role")] {
        if let Some(value) = text(pointer) {
            line.push(mark);
            line.push_str(value);
        }
    }
    if text("/threadId").is_some() {
        line.push_str(" in a thread");
    }
    if let Some(members) = event["memberIds"].as_array() {
        let ids: Vec<&str> = members.iter().filter_map(Value::as_str).collect();
        line.push_str(" with ");
        line.push_str(&ids.join(","));
    }
    line
}

async fn tap(client: &Client, token: &str) -> Answer {
    client.post("/links/exchange", &json!({ "token": token })).await
}

/// A browser with the cookie of an answer.
fn browser(system: &System, answer: &Answer) -> Client {
    let cookie = answer.header("set-cookie").split(';').next().unwrap_or_default();
    system.browser(cookie)
}

#[tokio::test]
async fn the_trail_records_actor_and_action() {
    let system = System::start().await;
    let members = system.family(3).await;
    let (u0, host) = (system.member("u0"), system.host());
    let thread = u0.thread(&members).await;
    u0.say(&thread, "Hello").await;
    system.deliver().await;
    // Resolving an existing thread, reading and posting are not recorded.
    assert_eq!(u0.thread(&members).await, thread);
    u0.get(&format!("/threads/{thread}/messages")).await;

    let token = system.token_of(1);
    let opened = tap(&system.anonymous(), &token).await;
    let again = tap(&browser(&system, &opened), &token).await;
    assert_eq!((opened.status, again.status), (200, 200));
    system.anonymous().post("/links/renew", &json!({ "token": token })).await;
    browser(&system, &again).post("/sessions/end", &json!({})).await;
    system.anonymous().post("/links/request", &json!({ "phone": phone(2) })).await;
    system.deliver().await;
    for i in [1, 2] {
        assert_eq!(tap(&system.anonymous(), &system.token_of(i)).await.status, 200);
    }
    let moved = json!({ "name": "Name1", "phone": phone(9) });
    host.put("/families/fam/users/u1", &moved).await;
    host.delete("/families/fam/users/u2").await;
    host.put("/families/fam/users/u2", &json!({ "name": "Back" })).await;
    u0.thread(&members).await;
    // Failed requests are not recorded.
    u0.post("/threads", &json!({ "memberIds": ["nobody"] })).await;
    host.delete("/families/fam/users/nobody").await;

    insta::assert_snapshot!("trail", trail(&system).await.join("\n"));
    let first = host.get("/families/fam/audit?limit=1").await;
    insta::assert_json_snapshot!("event", first.json(), {
        ".**.id" => "[id]", ".**.at" => "[time]", ".**.threadId" => "[thread]",
        ".nextCursor" => "[cursor]",
    });
}

#[tokio::test]
async fn the_trail_is_read_in_pages_newest_first() {
    let system = System::start().await;
    system.family(6).await;
    let host = system.host();
    let whole = host.get("/families/fam/audit").await;
    let mut read = Vec::new();
    let mut path = "/families/fam/audit?limit=3".to_owned();
    loop {
        let page = host.get(&path).await;
        read.extend(page.at("/events").as_array().expect("a list").clone());
        let Some(cursor) = page.at("/nextCursor").as_str().map(str::to_owned) else { break };
        path = format!("/families/fam/audit?limit=3&cursor={cursor}");
    }
    assert_eq!(whole.at("/events"), json!(read));
    assert_eq!(read.len(), 7);
    assert_eq!(line(&read[6]), "host family.put");
    for (query, problem) in [
        ("cursor=x", "400 bad_cursor"),
        ("cursor=", "400 bad_cursor"),
        ("limit=0", "400 bad_limit"),
    ] {
        assert_eq!(host.get(&format!("/families/fam/audit?{query}")).await.problem(), problem);
    }
}

#[tokio::test]
async fn the_trail_is_for_the_host_only_and_of_one_family() {
    let system = System::start().await;
    system.family(1).await;
    system.family_named("other", 1).await;
    let path = "/families/fam/audit";
    assert_eq!(system.anonymous().get(path).await.problem(), "401 unauthenticated");
    assert_eq!(system.member("u0").get(path).await.problem(), "403 forbidden");
    let other = TokenClaims { family_id: Some("other"), ..TokenClaims::service() };
    assert_eq!(system.caller(&other).get(path).await.problem(), "404 family_not_found");
    let host = system.host();
    for unknown in ["/families/nobody/audit", "/families/a%2Cb/audit"] {
        assert_eq!(host.get(unknown).await.problem(), "404 family_not_found");
    }
    assert_eq!(host.get(path).await.at("/events").as_array().map(Vec::len), Some(2));
    // A family from before the trail has no events.
    sqlx::query("INSERT INTO families (family_id, name) VALUES ('old', 'Old')")
        .execute(&system.owner)
        .await
        .expect("a family");
    assert_eq!(
        host.get("/families/old/audit").await.json(),
        json!({ "events": [], "nextCursor": null })
    );
}

#[tokio::test]
async fn no_role_can_change_events_or_write_them_for_another_family() {
    let system = System::start().await;
    system.family(1).await;
    system.family_named("other", 1).await;
    let refused = |error: sqlx::Error| {
        let code = error.as_database_error().and_then(DatabaseError::code);
        assert_eq!(code.as_deref(), Some("42501"), "{error}");
    };
    for role in ["kinline_app", "kinline_worker", "none"] {
        for change in [
            "UPDATE audit_events SET action = 'x.y'",
            "UPDATE audit_events SET source = NULL WHERE false",
            "DELETE FROM audit_events",
            "TRUNCATE audit_events",
            "TRUNCATE families CASCADE",
        ] {
            // The owner too, and a session with triggers off.
            for replica in [false, role == "none"] {
                let mut tx = system.owner.begin().await.expect("a transaction");
                let mut set = format!("SET LOCAL ROLE {role}; SET LOCAL app.family_id = 'fam'");
                if replica {
                    set.push_str("; SET LOCAL session_replication_role = 'replica'");
                }
                sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut *tx).await.expect("a role");
                let changed = sqlx::query(change).execute(&mut *tx).await;
                refused(changed.expect_err(change));
            }
        }
    }
    let mut tx = system.owner.begin().await.expect("a transaction");
    let app = "SET LOCAL ROLE kinline_app; SET LOCAL app.family_id = 'other'";
    sqlx::raw_sql(app).execute(&mut *tx).await.expect("a role");
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_events")
        .fetch_one(&mut *tx)
        .await
        .expect("a count");
    assert_eq!(seen, 2, "its own");
    let forged = "INSERT INTO audit_events (family_id, actor, action) VALUES ($1, 'host', 'x.y')";
    let forged = sqlx::query(forged).bind(FAMILY).execute(&mut *tx).await;
    refused(forged.expect_err("another family's trail"));
    assert_eq!(system.count("audit_events").await, 4);
}
