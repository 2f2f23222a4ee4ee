//! Calls every route for data of others: nothing is revealed, and nothing changes.
//!
//! The routes are the document's, so a new one is tested automatically. Then the same without the
//! family in statements, without row-level security, and, to show that the tests can fail, without
//! both.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};
use shared::ids::{MessageId, ThreadId};
use sqlx::AssertSqlSafe;
use tests::{
    Answer, Client, System,
    client::send,
    faults::proxy::Proxy,
    system::{FAMILY, token_in},
};

const OTHER: &str = "other";
/// Part of every text that must not be revealed.
const CANARY: &str = "canary";

/// A body for each route that takes one, which would succeed for the right caller.
fn body_of(route: &str, message: &str) -> Value {
    match route {
        "POST /threads" => json!({ "memberIds": ["u1"] }),
        "POST /threads/{threadId}/messages" => json!({ "body": "Hello", "replyToId": message }),
        "PUT /threads/{threadId}/read" => json!({ "seq": 1 }),
        "PUT /threads/{threadId}/texts" => json!({ "state": "muted", "hours": 1 }),
        "PUT /families/{familyId}" | "PUT /families/{familyId}/users/{userId}" => {
            json!({ "name": "Taken" })
        }
        _ => panic!("say what {route} is asked with"),
    }
}

/// A route of the document.
struct Route {
    /// Such as `GET /threads/{threadId}`.
    name: String,
    method: Method,
    path: String,
    has_body: bool,
    /// Its security schemes.
    callers: BTreeSet<String>,
}

fn routes() -> Vec<Route> {
    let document = functions::document();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let method = method.to_uppercase();
            let schemes = operation["security"].as_array().cloned().unwrap_or_default();
            let schemes =
                schemes.iter().filter_map(Value::as_object).flat_map(|s| s.keys().cloned());
            routes.push(Route {
                name: format!("{method} {path}"),
                method: method.parse().expect("a method"),
                path: path.clone(),
                has_body: operation.get("requestBody").is_some(),
                callers: schemes.collect(),
            });
        }
    }
    routes
}

/// Ids for the parameters of a path.
#[derive(Clone)]
struct Ids {
    family: String,
    user: String,
    thread: String,
    message: String,
}

impl Route {
    fn takes(&self, parameter: &str) -> bool {
        self.path.contains(&format!("{{{parameter}}}"))
    }

    async fn ask(&self, caller: &Client, ids: &Ids) -> Answer {
        let path = self
            .path
            .replace("{familyId}", &ids.family)
            .replace("{userId}", &ids.user)
            .replace("{threadId}", &ids.thread)
            .replace("{messageId}", &ids.message);
        let request = caller.request(self.method.clone(), &path).header("x-request-id", "same");
        let request =
            if self.has_body { request.json(&body_of(&self.name, &ids.message)) } else { request };
        send(request).await
    }
}

/// A thread with one message.
struct Room {
    thread: String,
    message: String,
}

async fn room(caller: &Client, members: &[&str], title: &str) -> Room {
    let new =
        json!({ "memberIds": members, "distinct": true, "title": format!("{title} {CANARY}") });
    let thread = caller.post("/threads", &new).await.text("/thread/id");
    let message = caller.say(&thread, &format!("{title} {CANARY}")).await.text("/message/id");
    Room { thread, message }
}

/// Two families whose users have the same ids. In the first, `u1` is in `own` and not in `closed`; `u2`
/// was removed from `own`, and `u3` was deactivated.
struct World {
    system: System,
    own: Room,
    closed: Room,
    foreign: Room,
    /// Browsers of the first family's `u1`, `u2`, `u3`, and of the other's `u1`.
    browsers: Vec<Client>,
}

impl World {
    async fn new(system: System) -> Self {
        for family in [FAMILY, OTHER] {
            system.family_named(family, 5).await;
            let host = system.host();
            let renamed = json!({ "name": format!("Family {CANARY}") });
            assert_eq!(host.put(&format!("/families/{family}"), &renamed).await.status, 200);
        }
        let other = system.caller(&local::secrets::TokenClaims::member(OTHER, "u0"));
        let u0 = system.member("u0");
        let own = room(&u0, &["u1", "u2", "u3"], "Own").await;
        let closed = room(&u0, &["u4"], "Closed").await;
        system.deliver().await;
        let mut tokens: Vec<String> = [1, 2, 3].map(|i| system.token_of(i)).to_vec();
        let foreign = room(&other, &["u1", "u2", "u3"], "Foreign").await;
        system.deliver().await;
        tokens.push(system.token_of(1));
        let mut browsers = Vec::new();
        for token in tokens {
            let tap = json!({ "token": token });
            let opened = system.anonymous().post("/links/exchange", &tap).await;
            assert_eq!(opened.status, 200, "{}", opened.as_text());
            let cookie = opened.header("set-cookie").split(';').next().expect("a cookie");
            browsers.push(system.browser(cookie));
        }
        sqlx::query(
            "UPDATE thread_members SET status = 'removed', access_epoch = access_epoch + 1
             WHERE family_id = $1 AND user_id = 'u2'",
        )
        .bind(FAMILY)
        .execute(&system.owner)
        .await
        .expect("removed");
        let deactivated = system.host().delete(&format!("/families/{FAMILY}/users/u3")).await;
        assert_eq!(deactivated.status, 204);
        Self { system, own, closed, foreign, browsers }
    }

    /// Ids that `u1` has access to.
    fn own_ids(&self) -> Ids {
        Ids {
            family: FAMILY.to_owned(),
            user: "u1".to_owned(),
            thread: self.own.thread.clone(),
            message: self.own.message.clone(),
        }
    }

    /// All rows of all tables but the rate limits, which count every request.
    async fn rows(&self) -> BTreeMap<String, String> {
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_class
             WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
               AND relname NOT IN ('rate_limits', '_sqlx_migrations')",
        )
        .fetch_all(&self.system.owner)
        .await
        .expect("a catalog");
        let mut rows = BTreeMap::new();
        for table in tables {
            let all = format!("SELECT string_agg(t::text, E'\\n' ORDER BY t::text) FROM {table} t");
            let all: Option<String> = sqlx::query_scalar(AssertSqlSafe(all))
                .fetch_one(&self.system.owner)
                .await
                .expect("rows");
            rows.insert(table, all.unwrap_or_default());
        }
        rows
    }
}

/// A request for data of others, with ids that must all get the same answer.
struct Question {
    caller: &'static str,
    client: Client,
    /// The caller's security scheme.
    scheme: &'static str,
    /// The parameter with a foreign id.
    parameter: &'static str,
    ids: Vec<Ids>,
    /// Status and error code; for a page only the status.
    expected: &'static str,
}

fn questions(world: &World) -> Vec<Question> {
    let own = world.own_ids();
    let threads = |ids: &[&str]| -> Vec<Ids> {
        ids.iter().map(|id| Ids { thread: (*id).to_owned(), ..own.clone() }).collect()
    };
    let (unknown, unknown_message) = (ThreadId::new().to_string(), MessageId::new().to_string());
    let (foreign, closed) = (&*world.foreign.thread, &*world.closed.thread);
    let strange = [foreign, closed, &unknown, "nonsense", &own.message, "th_", "%00", "%ff"];
    let messages = [
        &*world.foreign.message,
        &world.closed.message,
        &unknown_message,
        "nonsense",
        &own.thread,
        "%00",
    ];
    let messages: Vec<Ids> =
        messages.iter().map(|id| Ids { message: (*id).to_owned(), ..own.clone() }).collect();
    let member = |family: &str, user: &str| {
        world.system.caller(&local::secrets::TokenClaims::member(family, user))
    };
    let [u1, u2, u3, other] = &world.browsers[..] else { panic!("four browsers") };
    let forged = world.system.browser(&format!("__Host-kin={}", "0".repeat(64)));
    let question = |caller, client: &Client, scheme, parameter, ids, expected| Question {
        caller,
        client: client.clone(),
        scheme,
        parameter,
        ids,
        expected,
    };
    let no_thread = "404 thread_not_found";
    let mut questions = vec![
        question(
            "a member",
            &member(FAMILY, "u1"),
            "member",
            "threadId",
            threads(&strange),
            no_thread,
        ),
        question(
            "a member",
            &member(FAMILY, "u1"),
            "member",
            "messageId",
            messages.clone(),
            "404 message_not_found",
        ),
        question("their browser", u1, "session", "threadId", threads(&strange), no_thread),
        question("their browser", u1, "session", "messageId", messages, "404 message_not_found"),
    ];
    for (caller, client) in [
        ("a removed member", member(FAMILY, "u2")),
        ("a deactivated user", member(FAMILY, "u3")),
        ("a user of another family with the same id", member(OTHER, "u1")),
        ("a user of a family that does not exist", member("nowhere", "u1")),
        ("an unknown user", member(FAMILY, "u77")),
    ] {
        let ids = threads(&[&own.thread, closed, &unknown, "nonsense"]);
        questions.push(question(caller, &client, "member", "threadId", ids, no_thread));
    }
    for (caller, client) in
        [("a removed one's browser", u2), ("a deactivated one's", u3), ("a forged cookie", &forged)]
    {
        let ids = threads(&[&own.thread, foreign, &unknown, "nonsense"]);
        questions.push(question(caller, client, "session", "threadId", ids, "401 unauthenticated"));
    }
    let ids = threads(&[&own.thread, closed, &unknown, "nonsense"]);
    questions.push(question(
        "another family's browser",
        other,
        "session",
        "threadId",
        ids,
        no_thread,
    ));
    let host = world.system.caller(&local::secrets::TokenClaims {
        family_id: Some(OTHER),
        ..local::secrets::TokenClaims::service()
    });
    let families = [FAMILY, "nowhere", "-nonsense", "%00"];
    let ids = families.iter().map(|id| Ids { family: (*id).to_owned(), ..own.clone() }).collect();
    questions.push(question(
        "another family's host",
        &host,
        "service",
        "familyId",
        ids,
        "404 family_not_found",
    ));
    questions
}

/// Sends all questions; returns those that revealed something, by route.
async fn ask_all(world: &World) -> BTreeSet<String> {
    let before = world.rows().await;
    let mut leaks = BTreeSet::new();
    let mut asked = BTreeMap::<String, usize>::new();
    let routes = routes();
    for question in questions(world) {
        for route in &routes {
            if !route.takes(question.parameter) || !route.callers.contains(question.scheme) {
                continue;
            }
            let mut answers = Vec::new();
            for ids in &question.ids {
                let answer = route.ask(&question.client, ids).await;
                let found = if answer.header("content-type").starts_with("text/html") {
                    let expected = question.expected.split(' ').next().unwrap_or_default();
                    (answer.status.to_string(), expected.to_owned())
                } else if answer.status < 400 {
                    (answer.status.to_string(), question.expected.to_owned())
                } else {
                    (answer.problem(), question.expected.to_owned())
                };
                if found.0 != found.1 || answer.as_text().contains(CANARY) {
                    leaks.insert(format!("{} by {}", route.name, question.caller));
                }
                answers.push(answer.body);
                *asked.entry(route.name.clone()).or_default() += 1;
            }
            answers.dedup();
            if answers.len() > 1 {
                leaks.insert(format!("{} tells {} more", route.name, question.caller));
            }
        }
    }
    // A caller without threads has an empty list, and can't create a thread with another family's
    // users.
    let stranger = world.system.caller(&local::secrets::TokenClaims::member("nowhere", "u1"));
    for route in routes.iter().filter(|route| !route.path.contains('{')) {
        if route.callers.contains("member") {
            let answer = route.ask(&stranger, &world.own_ids()).await;
            if answer.as_text().contains(CANARY) || answer.as_text().contains("Name1") {
                leaks.insert(format!("{} by a stranger", route.name));
            }
        }
    }
    for (table, rows) in world.rows().await {
        if before[&table] != rows {
            leaks.insert(format!("{table} has changed"));
        }
    }
    for route in &routes {
        // Public routes have no data of others.
        if route.path.contains('{') && !route.callers.is_empty() {
            assert!(asked.contains_key(&route.name), "no question for {}", route.name);
        }
    }
    leaks
}

async fn drop_policies(system: &System) {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relrowsecurity",
    )
    .fetch_all(&system.owner)
    .await
    .expect("a catalog");
    assert!(tables.len() > 10);
    for table in tables {
        let off = format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY");
        sqlx::query(AssertSqlSafe(off)).execute(&system.owner).await.expect("no policies");
    }
}

async fn unscoped() -> (World, Proxy) {
    let (system, proxy) = System::start_unscoped().await;
    (World::new(system).await, proxy)
}

#[tokio::test]
async fn no_route_reveals_data_of_others() {
    let world = World::new(System::start().await).await;
    assert_eq!(ask_all(&world).await, BTreeSet::new());
    // The same requests for own data succeed: none was refused for another reason.
    let (own, u1) = (world.own_ids(), world.system.member("u1"));
    for route in routes() {
        let caller = match &route {
            route if route.callers.contains("member") => &u1,
            route if route.callers.contains("service") => &world.system.host(),
            _ => continue,
        };
        // Last, the routes that remove what the others need.
        if route.method != Method::DELETE {
            let answer = route.ask(caller, &own).await;
            assert!(answer.status < 300, "{}: {}", route.name, answer.as_text());
        }
    }
    for route in routes().iter().filter(|route| route.method == Method::DELETE) {
        let answer = route.ask(&world.system.host(), &own).await;
        assert!(answer.status < 300, "{}: {}", route.name, answer.as_text());
    }
}

#[tokio::test]
async fn no_route_reveals_data_of_others_when_statements_lack_their_family() {
    let (world, proxy) = unscoped().await;
    assert_eq!(ask_all(&world).await, BTreeSet::new());
    // The proxy did remove it.
    assert!(proxy.unscoped().len() >= 15, "{:#?}", proxy.unscoped());
}

#[tokio::test]
async fn no_route_reveals_data_of_others_without_row_level_security() {
    let world = World::new(System::start().await).await;
    drop_policies(&world.system).await;
    assert_eq!(ask_all(&world).await, BTreeSet::new());
}

/// Without both, the same questions find foreign data.
#[tokio::test]
async fn without_both_defences_data_of_others_is_found() {
    let (world, _proxy) = unscoped().await;
    drop_policies(&world.system).await;
    let leaks = ask_all(&world).await;
    for route in [
        "GET /threads/{threadId}",
        "GET /threads/{threadId}/messages",
        "GET /threads/{threadId}/messages/{messageId}/deliveries",
        "POST /threads/{threadId}/messages",
        "PUT /threads/{threadId}/texts",
    ] {
        let same_id = format!("{route} by a user of another family with the same id");
        assert!(leaks.contains(&same_id), "{route} was not told: {leaks:#?}");
    }
    assert!(leaks.contains("thread_members has changed"), "{leaks:#?}");
    // Not even then: no foreign key reaches into another family.
    assert!(!leaks.contains("messages has changed"), "{leaks:#?}");
}

/// A caller with the wrong kind of token, or with none, is refused by every route.
#[tokio::test]
async fn each_route_refuses_callers_of_the_wrong_kind() {
    let world = World::new(System::start().await).await;
    let before = world.rows().await;
    let own = world.own_ids();
    let callers = [
        ("member", world.system.member("u1")),
        ("service", world.system.host()),
        ("session", world.browsers[0].clone()),
        ("anonymous", world.system.anonymous()),
    ];
    for route in routes() {
        let closed = !route.callers.is_empty() && route.path.contains('{');
        for (scheme, client) in callers.iter().filter(|_| closed) {
            if route.callers.contains(*scheme) {
                continue;
            }
            let answer = route.ask(client, &own).await;
            let refused = [401, 403].contains(&answer.status);
            assert!(refused, "{} by {scheme}: {}", route.name, answer.status);
            assert!(!answer.as_text().contains(CANARY));
        }
    }
    assert_eq!(world.rows().await, before);
}

/// Valid credentials of too narrow a scope: a session for another thread of the same member, and a
/// host's token for another family. The routes are the document's, so a new one whose handler has no
/// extractor that checks the scope fails here.
#[tokio::test]
async fn each_route_checks_the_scope_of_credentials() {
    let world = World::new(System::start().await).await;
    // `u1` is in this thread too, but the browser's sessions are for the other one.
    let second = room(&world.system.member("u0"), &["u1"], "Second").await;
    let out_of_scope =
        Ids { thread: second.thread.clone(), message: second.message.clone(), ..world.own_ids() };
    let browser = &world.browsers[0];
    let other_host = world.system.caller(&local::secrets::TokenClaims {
        family_id: Some(OTHER),
        ..local::secrets::TokenClaims::service()
    });
    let before = world.rows().await;
    // A write without an id in its path: a new one has to be looked at, and named here.
    let (asked, others): (Vec<Route>, Vec<Route>) = routes()
        .into_iter()
        .partition(|route| route.path.contains('{') || route.method == Method::GET);
    let others: BTreeSet<&str> = others.iter().map(|route| &*route.name).collect();
    let known = [
        // Answers a session with `403`, below.
        "POST /threads",
        // These take any caller, and reach what a token or a cookie says.
        "POST /links/exchange",
        "POST /links/renew",
        "POST /links/request",
        "POST /sessions/end",
    ];
    assert_eq!(others, BTreeSet::from(known));
    for route in asked {
        let session = route.callers.contains("session").then_some(browser);
        let host = route.callers.contains("service").then_some(&other_host);
        for (caller, by) in [(session, "a session"), (host, "a host's token")] {
            let Some(caller) = caller else { continue };
            let answer = route.ask(caller, &out_of_scope).await;
            let name = format!("{} by {by} of too narrow a scope", route.name);
            assert!(!answer.as_text().contains("Second"), "{name} tells: {}", answer.as_text());
            if route.path.contains('{') {
                assert_eq!(answer.status, 404, "{name}: {}", answer.as_text());
            }
        }
    }
    let began = browser.post("/threads", &json!({ "memberIds": ["u0"] })).await;
    assert_eq!(began.problem(), "403 forbidden");
    assert_eq!(world.rows().await, before, "something was written");
    // The member's own token reaches the same data.
    let token = world.system.member("u1");
    let answer = token.get(&format!("/threads/{}", second.thread)).await;
    assert!(answer.as_text().contains("Second"), "{}", answer.as_text());
}

#[tokio::test]
async fn ids_in_bodies_and_cursors_reveal_nothing_of_others() {
    let world = World::new(System::start().await).await;
    let u1 = world.system.member("u1");
    let path = format!("/threads/{}/messages", world.own.thread);
    let unknown = MessageId::new().to_string();
    let mut answers = Vec::new();
    for id in [&*world.foreign.message, &world.closed.message, &unknown, "nonsense", ""] {
        let request = u1.request(Method::POST, &path).header("x-request-id", "same");
        let reply = send(request.json(&json!({ "body": "Hello", "replyToId": id }))).await;
        assert_eq!(reply.problem(), "422 unknown_reply", "{id}");
        answers.push(reply.body);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    // A user of another family only, a deactivated user, and an unknown one.
    let only = json!({ "name": format!("Only {CANARY}"), "phone": "+15550109999" });
    assert_eq!(world.system.host().put("/families/other/users/only", &only).await.status, 201);
    for id in ["only", "u3", "u77", "a,b"] {
        let answer = u1.post("/threads", &json!({ "memberIds": ["u0", id] })).await;
        assert_eq!(
            (answer.problem(), answer.at("/memberIds")),
            ("422 unknown_member".to_owned(), json!([id]))
        );
    }
    // A cursor of another caller's inbox is only a place in one's own.
    let theirs = world.system.caller(&local::secrets::TokenClaims::member(OTHER, "u1"));
    room(&theirs, &["u0"], "More").await;
    let cursor = theirs.get("/threads?limit=1").await.text("/nextCursor");
    let inbox = u1.get(&format!("/threads?cursor={cursor}")).await;
    assert_eq!(inbox.status, 200);
    assert!(!inbox.as_text().contains("More") && !inbox.as_text().contains("Foreign"));
    // The links in one family's SMS open nothing of the other's.
    for sms in world.system.sms_of(1) {
        let opened = world
            .system
            .anonymous()
            .post("/links/exchange", &json!({ "token": token_in(&sms) }))
            .await;
        assert!(opened.status == 401, "each was opened, in another browser");
    }
}
