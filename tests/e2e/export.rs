//! A family's export: all data, in parts, with the archive page.

use std::{collections::BTreeMap, io::Read, time::Duration};

use local::secrets::TokenClaims;
use serde_json::{Value, json};
use tests::{
    System,
    events::http_event,
    lambda::{Function, HttpAnswer, binary},
};

/// The files of a zip, by name.
fn unzip(bytes: &[u8]) -> BTreeMap<String, String> {
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).expect("a zip");
    let mut files = BTreeMap::new();
    for i in 0..zip.len() {
        let mut file = zip.by_index(i).expect("a file");
        let name = file.name().expect("a name").into_owned();
        let mut text = String::new();
        file.read_to_string(&mut text).expect("text");
        files.insert(name, text);
    }
    files
}

fn json_of(files: &BTreeMap<String, String>, name: &str) -> Value {
    serde_json::from_str(&files[name]).expect("JSON")
}

#[tokio::test]
async fn an_export_has_all_data_of_one_family() {
    let system = System::start().await;
    let members = system.family(3).await;
    system.family_named("other", 2).await;
    let (u0, host) = (system.member("u0"), system.host());
    let new = json!({ "memberIds": members, "title": "Us & <them>" });
    let thread = u0.post("/threads", &new).await.text("/thread/id");
    let first = u0.say(&thread, "<script>alert('x')</script>\nSecond line").await;
    let body = json!({
        "body": "An answer", "fileIds": ["photo-1"], "replyToId": first.text("/message/id"),
    });
    system.deliver().await;
    let u1 = system.member("u1");
    assert_eq!(u1.post(&format!("/threads/{thread}/messages"), &body).await.status, 201);
    system.deliver().await;
    host.delete("/families/fam/users/u2").await;

    let answer = host.get("/families/fam/export").await;
    assert_eq!(answer.status, 200, "{}", answer.as_text());
    assert_eq!(answer.header("content-type"), "application/zip");
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"fam-001.zip\"");
    assert_eq!((answer.header("link"), answer.header("cache-control")), ("", "no-store"));
    let files = unzip(&answer.body);
    let mut all = serde_json::Map::new();
    for name in ["family", "users", "threads", "messages", "deliveries"] {
        all.insert(name.to_owned(), json_of(&files, &format!("{name}.json")));
    }
    assert_eq!(files.len(), 6);
    insta::assert_json_snapshot!("export", all, {
        ".**.id" => "[id]", ".**.threadId" => "[thread]", ".**.messageId" => "[message]",
        ".**.replyToId" => insta::dynamic_redaction(|value, _| {
            if value.as_str().is_some() { "[message]".into() } else { value }
        }),
        ".**.createdAt" => "[time]", ".**.updatedAt" => "[time]", ".**.joinedAt" => "[time]",
        ".**.lastMessageAt" => "[time]", ".**.exportedAt" => "[time]",
        ".**.endedAt" => insta::dynamic_redaction(|value, _| {
            if value.as_str().is_some() { "[time]".into() } else { value }
        }),
        ".**.deactivatedAt" => insta::dynamic_redaction(|value, _| {
            if value.as_str().is_some() { "[time]".into() } else { value }
        }),
        ".**.sentAt" => insta::dynamic_redaction(|value, _| {
            if value.as_str().is_some() { "[time]".into() } else { value }
        }),
    });
    let page = &files["keepsake.html"];
    for shown in ["Us &#38; &#60;them&#62;", "An answer", "photo-1", "Name1", "&#60;script&#62;"] {
        assert!(page.contains(shown), "{shown}");
    }
    assert!(!page.contains("<script") && page.contains("default-src 'none'"));
    let told = host.get("/families/fam/audit?limit=1").await;
    assert_eq!(told.text("/events/0/action"), "export.made");
}

#[tokio::test]
async fn an_export_is_for_the_host_only() {
    let system = System::start().await;
    system.family(1).await;
    let path = "/families/fam/export";
    assert_eq!(system.anonymous().get(path).await.problem(), "401 unauthenticated");
    assert_eq!(system.member("u0").get(path).await.problem(), "403 forbidden");
    let other = TokenClaims { family_id: Some("other"), ..TokenClaims::service() };
    assert_eq!(system.caller(&other).get(path).await.problem(), "404 family_not_found");
    let host = system.host();
    assert_eq!(host.get("/families/nobody/export").await.problem(), "404 family_not_found");
    for cursor in ["", "x", "ZQAAAAF4"] {
        let answer = host.get(&format!("{path}?cursor={cursor}")).await;
        assert_eq!(answer.problem(), "400 bad_cursor");
    }
    // A family without messages has an archive page too.
    let empty = unzip(&host.get(path).await.body);
    assert_eq!(json_of(&empty, "messages.json"), json!([]));
    assert!(empty["keepsake.html"].contains("There are no messages in this part."));
}

#[tokio::test]
async fn a_large_export_comes_in_parts() {
    let system = System::start().await;
    let members = system.family(3).await;
    let thread = system.member("u0").thread(&members).await.replace("th_", "");
    // Twelve million bytes of text that hardly compresses, and a hundred small threads.
    for sql in [
        "INSERT INTO messages (family_id, thread_id, seq, message_id, author_id, body, queued_count,
                               created_at)
         SELECT 'fam', $1::uuid, seq, uuid_v7(), 'u0',
                (SELECT string_agg(chr(131072 + (random() * 42000)::int), '')
                 FROM generate_series(1, 4000) WHERE seq > 0),
                0, now() + seq * interval '7 hours'
         FROM generate_series(1, 750) seq",
        "WITH many AS (
             SELECT n, uuid_v7() AS thread_id FROM generate_series(1, 100) n WHERE $1::uuid IS NOT NULL
         ), threads AS (
             INSERT INTO threads (thread_id, family_id, kind, title, member_key, is_distinct,
                                  created_by, last_seq)
             SELECT thread_id, 'fam', 'GROUP', 'Thread ' || n, '', true, 'u1', n % 2 FROM many
         ), members AS (
             INSERT INTO thread_members (family_id, thread_id, user_id, role)
             SELECT 'fam', thread_id, 'u1', 'OWNER' FROM many
         )
         INSERT INTO messages (family_id, thread_id, seq, message_id, author_id, body, queued_count,
                               created_at)
         SELECT 'fam', thread_id, 1, uuid_v7(), 'u1', 'In ' || n, 0, now() FROM many WHERE n % 2 = 1",
    ] {
        sqlx::query(sql).bind(&thread).execute(&system.owner).await.expect("rows");
    }
    let environment = system.environment(system.database_url(), "kinline_app");
    let export = Function::start(&binary("export"), &environment).await;
    let token = system.secrets().token(&TokenClaims::service()).expect("a token");
    let bearer = format!("Bearer {token}");
    let mut path = "/families/fam/export".to_owned();
    let (mut seen, mut threads, mut parts) = (Vec::new(), 0, 0);
    loop {
        // The Runtime API refuses responses that are too long for AWS Lambda.
        let event = http_event("GET", &path, &[("authorization", &bearer)], None);
        let answer = export.invoke(&event, Duration::from_secs(29)).await.expect("an answer");
        assert!(answer["isBase64Encoded"].as_bool().unwrap_or_default());
        let length = answer.to_string().len();
        assert!(length < 6_291_556, "{length}");
        let answer = HttpAnswer::from_gateway(&answer);
        assert_eq!(answer.status, 200);
        parts += 1;
        let files = unzip(&answer.body);
        assert_eq!(json_of(&files, "family.json")["part"], parts);
        threads += json_of(&files, "threads.json").as_array().expect("a list").len();
        let messages = json_of(&files, "messages.json");
        for message in messages.as_array().expect("a list") {
            let id = message["id"].as_str().expect("an id").to_owned();
            assert!(files["keepsake.html"].contains(&format!("<article id=\"{id}\">")));
            seen.push(id);
        }
        let Some(link) = answer.headers.get("link") else { break };
        let next = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
        path = format!("/families/fam/{}", next.expect("a link"));
    }
    assert!(parts > 4, "{parts} parts");
    assert_eq!((seen.len(), threads), (800, 101));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 800, "each once");
    assert_eq!(export.refused(), Vec::<String>::new());
}
