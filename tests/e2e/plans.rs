//! The plan of every statement of the product's, on tables of ten million messages by what the
//! planner is told of them: a lost index, or a plan that reads a table from end to end, fails here.
//!
//! Statements are taken as they come over the wire while the system does all that it does, so a new
//! one is in here the day it comes; one that nothing here makes the system say is a failure too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
    time::Duration,
};

use postgres::testing;
use reqwest::Method;
use serde_json::json;
use shared::{db::MIGRATOR, limits, notifications};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tests::{
    System,
    client::send,
    dataset,
    faults::proxy::Prepared,
    system::{FAMILY, phone, token_in},
};

/// How many messages are there, and how many there are of each by what the planner is told.
const MESSAGES: i64 = 100_000;
const TIMES: i64 = 100;
/// The version of PostgreSQL whose plans the snapshots are.
const PLANNER: i32 = 15;
/// Who reads which table from end to end, and why that is all right.
const WHOLE: [(&str, &str); 3] = [
    // Its numbers are hidden from who deletes by them. There are as many as were asked for just now.
    ("erasure::delete_requests", "link_requests"),
    // One row.
    ("retention::lock_round", "sweeper_rounds"),
    ("retention::move_round", "sweeper_rounds"),
];

/// A string in the source that is part of a statement, and the function or macro that it is in.
struct Fragment {
    item: String,
    text: String,
}

#[tokio::test]
async fn every_statement_keeps_its_plan() {
    let fragments = fragments();
    let statements = statements().await;
    let unsaid: Vec<&str> = fragments
        .iter()
        .filter(|fragment| !statements.iter().any(|s| plain(&s.text).contains(&fragment.text)))
        .map(|fragment| fragment.item.as_str())
        .collect();
    assert!(unsaid.is_empty(), "say in everything_once() how it comes to these: {unsaid:?}");

    let mut database = large_database().await;
    let mut plans = BTreeMap::<String, Vec<(String, String)>>::new();
    let mut whole = BTreeSet::new();
    for statement in &statements {
        let Some(item) = item_of(&fragments, &statement.text) else { continue };
        let plan = plan(&mut database, statement).await;
        for line in plan.lines() {
            if let Some((_, table)) = line.split_once("Seq Scan on ") {
                let table = table.split(' ').next().unwrap_or_default();
                whole.insert((item.clone(), table.to_owned()));
            }
        }
        plans.entry(item).or_default().push((role(statement).to_owned(), plan));
    }
    let allowed = WHOLE.map(|(item, table)| (item.to_owned(), table.to_owned()));
    assert_eq!(whole, BTreeSet::from(allowed), "these read a table from end to end");

    let version: String = sqlx::query_scalar("SHOW server_version_num")
        .fetch_one(&mut database)
        .await
        .expect("a version");
    if version.parse::<i32>().expect("a number") / 10_000 != PLANNER {
        skipped(&version);
        return;
    }
    let mut modules = BTreeMap::<String, String>::new();
    for (item, plans) in plans {
        let (module, _) = item.split_once("::").expect("a module");
        let page = modules.entry(module.to_owned()).or_default();
        for (nth, (role, plan)) in plans.iter().enumerate() {
            let nth = if plans.len() > 1 { format!(", {}", nth + 1) } else { String::new() };
            write!(page, "{item}{nth} ({role})\n{plan}\n").expect("written");
        }
    }
    for (module, page) in modules {
        insta::assert_snapshot!(module, page.trim_end());
    }
}

#[expect(clippy::print_stderr, reason = "who reads a test's output should know what it skipped")]
fn skipped(version: &str) {
    eprintln!("not compared: these are plans of PostgreSQL {PLANNER}, and this is {version}");
}

fn role(statement: &Prepared) -> &str {
    statement.role.as_deref().expect("each connection takes a role")
}

/// One line, one space between words.
fn plain(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// All strings of the product that are parts of statements.
fn fragments() -> Vec<Fragment> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/src");
    let mut fragments = Vec::new();
    let mut files = vec![("limits".to_owned(), source.join("limits.rs"))];
    for folder in fs::read_dir(&source).expect("the source").flatten() {
        files.push((
            folder.file_name().to_string_lossy().into_owned(),
            folder.path().join("store.rs"),
        ));
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
    // A word alone is in too many of them.
    text.contains(' ')
        && text.split(|c: char| !c.is_alphanumeric()).any(|word| WORDS.contains(&word))
}

/// The strings of a Rust file, each with the function or macro that it is in.
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

/// Where a statement comes from: the function that has the most of its text, or else the macro.
fn item_of(fragments: &[Fragment], statement: &str) -> Option<String> {
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

/// The plan that the statement is carried out by once it is prepared: for any parameters.
async fn plan(database: &mut PgConnection, statement: &Prepared) -> String {
    let mut tx = database.begin().await.expect("a transaction");
    let types: Vec<String> = sqlx::query_scalar(
        "SELECT CASE oid WHEN 0 THEN 'unknown' ELSE format_type(oid, NULL) END
         FROM unnest($1::oid[]) WITH ORDINALITY AS types (oid, number) ORDER BY number",
    )
    .bind(statement.types.iter().map(|oid| sqlx::postgres::types::Oid(*oid)).collect::<Vec<_>>())
    .fetch_all(&mut *tx)
    .await
    .expect("types");
    let nulls = vec!["NULL"; types.len()].join(", ");
    let (types, nulls) = if types.is_empty() {
        (String::new(), String::new())
    } else {
        (format!("({})", types.join(", ")), format!("({nulls})"))
    };
    let prepare = format!(
        "SET LOCAL ROLE {}; SET LOCAL app.family_id = 'f7'; PREPARE it{types} AS {}",
        role(statement),
        statement.text
    );
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut *tx).await.expect("prepared");
    let explain = format!("EXPLAIN (COSTS OFF) EXECUTE it{nulls}");
    let rows = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut *tx).await;
    let rows = rows.unwrap_or_else(|error| panic!("{}: {error}", statement.text));
    sqlx::raw_sql("DEALLOCATE it").execute(&mut *tx).await.expect("forgotten");
    tx.rollback().await.expect("the end");
    rows.iter().fold(String::new(), |mut plan, row| {
        let line: &str = sqlx::Row::get(row, 0);
        writeln!(plan, "  {line}").expect("written");
        plan
    })
}

/// Tables that the planner takes for a hundred times as large as they are, which takes no longer to
/// fill than they do: rows are counted by what `pg_class` says of a page, and values by what
/// `pg_statistic` does.
async fn large_database() -> PgConnection {
    let database = testing::database(&MIGRATOR).await;
    dataset::fill(database.url(), MESSAGES, |_, _| ()).await.expect("data");
    let mut owner = PgConnection::connect(database.url()).await.expect("a database");
    for statement in [
        "SET session_replication_role = replica",
        // All rows are looked at, so that nothing is left to chance.
        "SET default_statistics_target = 1000",
        "DO $$ DECLARE t regclass; BEGIN
             FOR t IN SELECT oid FROM pg_class
                      WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
                 EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', t);
             END LOOP;
         END $$",
        // Some texts of the newest messages wait, and fewer are just being sent.
        "UPDATE notifications SET state = 'pending', wake_at = now() + interval '1 hour'
         WHERE notification_id IN (
             SELECT notification_id FROM notifications ORDER BY created_at DESC LIMIT 100)",
        "UPDATE notifications SET state = 'sending', lease_token = uuid_v7(), lease_until = now() + interval '1 hour'
         WHERE notification_id IN (
             SELECT notification_id FROM notifications ORDER BY created_at DESC LIMIT 20)",
        "INSERT INTO sessions (browser, family_id, thread_id, user_id, access_epoch, expires_at)
         SELECT sha256(convert_to(family_id || user_id, 'UTF8')), family_id, thread_id, user_id, 0,
                now() + interval '30 days'
         FROM thread_members",
        "INSERT INTO audit_events (family_id, actor, action, user_id)
         SELECT family_id, 'host', 'member.provisioned', user_id FROM users",
        "INSERT INTO rate_limits (subject, hits)
         SELECT sha256(convert_to(phone, 'UTF8')), ARRAY[now()] FROM users",
        "INSERT INTO link_requests (link_request_id, phone, wake_at)
         SELECT uuid_v7(), phone, now() + interval '1 hour' + row_number() OVER () * interval '1 second'
         FROM users",
        "INSERT INTO erasures (family_id, thread_id, user_id, up_to_seq)
         SELECT family_id, thread_id, 'u1', last_seq FROM threads",
        "INSERT INTO sms_spending (family_id, month)
         SELECT family_id, '2026-01-01'::date + make_interval(months => m)
         FROM families, generate_series(0, 11) m",
        "VACUUM (ANALYZE)",
    ] {
        let done = sqlx::raw_sql(statement).execute(&mut owner).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let larger = format!(
        "-- Of what there is more of than a family has members, there is more in a larger database.
         UPDATE pg_statistic s SET stadistinct = -s.stadistinct / c.reltuples
         FROM pg_class c
         WHERE c.oid = s.starelid AND c.relnamespace = 'public'::regnamespace
           AND s.stadistinct > {};
         UPDATE pg_class SET reltuples = reltuples * {TIMES}
         WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
           AND relname <> 'sweeper_rounds' AND reltuples > 0;
         SET plan_cache_mode = force_generic_plan;
         SET jit = off",
        dataset::USERS
    );
    sqlx::raw_sql(AssertSqlSafe(larger)).execute(&mut owner).await.expect("larger");
    owner
}

/// What a system asks its database when it does everything that it can.
async fn statements() -> BTreeSet<Prepared> {
    let (system, proxy) = System::start_watched().await;
    everything_once(&system).await;
    proxy.prepared()
}

async fn everything_once(system: &System) {
    let members = system.family(4).await;
    let (host, u0, nobody) = (system.host(), system.member("u0"), system.nobody());
    let done = |answer: tests::Answer| assert!(answer.status < 400, "{}", answer.as_text());
    let capped = json!({ "name": "Family", "smsMonthlyCapSegments": 1000 });
    done(host.put(&format!("/families/{FAMILY}"), &capped).await);

    // Threads and messages.
    let thread = u0.thread(&members).await;
    u0.thread(&members).await;
    let path = format!("/threads/{thread}");
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
        format!("{path}/messages/{message}/deliveries"),
    ] {
        done(u0.get(&path).await);
    }
    done(u0.put(&format!("{path}/read"), &json!({ "seq": 1 })).await);
    done(u0.put(&format!("{path}/texts"), &json!({ "state": "muted", "hours": 1 })).await);
    system.deliver().await;

    // Links and sessions.
    let token = json!({ "token": token_in(&system.texts_of(1)[0]) });
    let opened = nobody.post("/links/exchange", &token).await;
    let cookie = opened.header("set-cookie").split(';').next().expect("a cookie").to_owned();
    let browser = system.browser(&cookie);
    done(nobody.post("/links/renew", &token).await);
    done(nobody.post("/links/request", &json!({ "phone": phone(2) })).await);
    done(browser.get(&format!("/t/{thread}")).await);
    sqlx::query("UPDATE sessions SET last_seen_at = now() - interval '1 day'")
        .execute(&system.owner)
        .await
        .expect("a while ago");
    done(browser.get("/threads").await);
    // Until it is too often.
    let nobodys = json!({ "token": "nonsense" });
    for _ in 0..limits::SOURCE_GUESSES.hourly {
        nobody.post("/links/exchange", &nobodys).await;
    }
    assert_eq!(nobody.post("/links/exchange", &nobodys).await.status, 429);
    system.deliver().await;
    done(browser.post("/sessions/end", &json!({})).await);

    // The sweeper, for what the queue does not take as well.
    let down = json!({ "queue": { "mode": "down", "rate": 1 } });
    done(u0.put("/dev/faults", &down).await);
    u0.say(&thread, "Anybody?").await;
    done(nobody.post("/links/request", &json!({ "phone": phone(3) })).await);
    let due = "UPDATE link_requests SET wake_at = now()";
    sqlx::query(due).execute(&system.owner).await.expect("due");
    system.pass(Duration::from_mins(1)).await;
    system.sweep().await;
    notifications::outbox_age(&system.stack.worker.db).await.expect("an age");
    done(u0.put("/dev/faults", &json!({})).await);

    // The host: what it reads, and what it ends.
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
