//! Access: tokens, foreign threads, deactivation, row-level security.

use local::secrets::{Secrets, TokenClaims};
use reqwest::Method;
use serde_json::json;
use shared::{
    db::{self, Database, Role},
    ids::{FamilyId, MessageId, ThreadId},
};
use sqlx::{Row, error::DatabaseError};
use tests::{Client, System, client::send, system::FAMILY};

#[tokio::test]
async fn invalid_tokens_are_refused() {
    let system = System::start().await;
    system.family(1).await;
    let good = TokenClaims::member(FAMILY, "u0");
    let signed = system.secrets().token(&good).expect("a token");
    let with = |header: String| {
        let client = system.anonymous();
        async move {
            send(client.request(Method::GET, "/threads").header("authorization", header)).await
        }
    };
    assert_eq!(with(format!("Bearer {signed}")).await.status, 200);
    assert_eq!(with(format!("bearer {signed}")).await.status, 200);

    let (head, rest) = signed.split_once('.').expect("a JWS");
    let (payload, signature) = rest.split_once('.').expect("a JWS");
    // {"alg":"none"} and {"alg":"HS512"}
    let none = format!("eyJhbGciOiJub25lIn0.{payload}.");
    let hs512 = format!("eyJhbGciOiJIUzUxMiJ9.{payload}.{signature}");
    let stranger = Secrets::new().token(&good).expect("a token");
    let bad_sub = system.secrets().token(&TokenClaims { user_id: "a,b", ..good }).expect("a token");
    let bad_family = TokenClaims { family_id: Some("' OR 1"), ..good };
    let bad_family = system.secrets().token(&bad_family).expect("a token");
    let no_family = TokenClaims { family_id: None, ..good };
    let no_family = system.secrets().token(&no_family).expect("a token");
    for token in [
        none,
        hs512,
        stranger,
        bad_sub,
        bad_family,
        no_family,
        format!("{head}.{payload}.{signature}A"),
        format!("{head}.{payload}"),
        String::new(),
        "x".repeat(10_000),
    ] {
        let answer = with(format!("Bearer {token}")).await;
        assert_eq!(answer.problem(), "401 unauthenticated", "{token:.40}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    for header in ["", "Bearer", "Basic dTA6", &signed] {
        assert_eq!(with(header.to_owned()).await.problem(), "401 unauthenticated", "{header:.20}");
    }
    let twice = system
        .anonymous()
        .request(Method::GET, "/threads")
        .bearer_auth(&signed)
        .bearer_auth(&signed);
    assert_eq!(send(twice).await.problem(), "401 unauthenticated");
    assert_eq!(system.anonymous().get("/threads").await.problem(), "401 unauthenticated");
}

#[tokio::test]
async fn a_token_is_accepted_until_thirty_seconds_after_its_exp() {
    let system = System::start().await;
    let with = |expires_in| {
        system.caller(&TokenClaims { expires_in, ..TokenClaims::member(FAMILY, "u0") })
    };
    // Within the leeway for clock skew, and outside of it.
    assert_eq!(with(-10).get("/threads").await.status, 200);
    assert_eq!(with(-31).get("/threads").await.problem(), "401 unauthenticated");
    let asked = json!({ "userId": "u0", "familyId": FAMILY, "expiresIn": -3600 });
    let token = system.anonymous().post("/dev/token", &asked).await.text("/token");
    let expired = Client::new(&system.url, Some(token));
    assert_eq!(expired.get("/threads").await.problem(), "401 unauthenticated");
}

#[tokio::test]
async fn threads_of_others_answer_like_threads_that_do_not_exist() {
    let system = System::start().await;
    system.family(3).await;
    system.family_named("other", 3).await;
    let u0 = system.member("u0");
    let own = u0.thread(&["u1".to_owned()]).await;
    let message = u0.say(&own, "ours").await.text("/message/id");
    let threads = [
        // A well-formed id of no thread, malformed ones, and another kind of id.
        ThreadId::new().to_string(),
        "th_nonsense".to_owned(),
        own.replace("th_", "msg_"),
        own.to_uppercase(),
        "%00".to_owned(),
        "%ff".to_owned(),
        own.clone(),
    ];
    // A user of another family with the same id, and one of the same family who is not a member.
    let strangers = [system.caller(&TokenClaims::member("other", "u0")), system.member("u2")];
    let body = json!({ "body": "hello" });
    for stranger in &strangers {
        for (method, suffix) in [
            (Method::GET, String::new()),
            (Method::GET, "/messages".to_owned()),
            (Method::POST, "/messages".to_owned()),
            (Method::GET, format!("/messages/{message}/deliveries")),
        ] {
            let mut answers = Vec::new();
            for thread in &threads {
                let path = format!("/threads/{thread}{suffix}");
                let request =
                    stranger.request(method.clone(), &path).header("x-request-id", "same");
                let request = if method == Method::POST { request.json(&body) } else { request };
                answers.push(send(request).await);
            }
            for (answer, thread) in answers.iter().zip(&threads) {
                assert_eq!(answer.problem(), "404 thread_not_found", "{thread}{suffix}");
                assert_eq!(answer.body, answers[0].body);
            }
        }
    }
    let unknown = format!("/threads/{own}/messages/{}/deliveries", MessageId::new());
    assert_eq!(u0.get(&unknown).await.problem(), "404 message_not_found");
    let malformed = format!("/threads/{own}/messages/nonsense/deliveries");
    assert_eq!(u0.get(&malformed).await.problem(), "404 message_not_found");
    assert_eq!(system.count("messages").await, 1);
}

#[tokio::test]
async fn a_deactivated_user_has_no_access_until_provisioned_again() {
    let system = System::start().await;
    let members = system.family(3).await;
    let (u0, u1, host) = (system.member("u0"), system.member("u1"), system.host());
    let thread = u0.thread(&members).await;
    assert_eq!(u1.get(&format!("/threads/{thread}")).await.status, 200);
    assert_eq!(host.delete("/families/fam/users/u1").await.status, 204);
    assert_eq!(host.delete("/families/fam/users/u1").await.status, 204);
    assert_eq!(
        u1.get(&format!("/threads/{thread}/messages")).await.problem(),
        "404 thread_not_found"
    );
    assert_eq!(u1.get("/threads").await.at("/threads"), json!([]));
    let again = u0.post("/threads", &json!({ "memberIds": members })).await;
    assert_eq!(again.problem(), "422 unknown_member");
    assert_eq!(again.at("/memberIds"), json!(["u1"]));
    let seen = u0.get(&format!("/threads/{thread}")).await;
    assert_eq!(seen.at("/thread/members").as_array().map(Vec::len), Some(2));

    let user = json!({ "name": "Back", "phone": "+15550109999" });
    assert_eq!(host.put("/families/fam/users/u1", &user).await.status, 200);
    assert_eq!(u1.get(&format!("/threads/{thread}")).await.problem(), "404 thread_not_found");
    // Resolving the same set adds them to its thread again.
    let back = u0.post("/threads", &json!({ "memberIds": members })).await;
    assert_eq!((back.status, back.text("/thread/id")), (200, thread.clone()));
    assert_eq!(back.at("/thread/members").as_array().map(Vec::len), Some(3));
    assert_eq!(u1.get(&format!("/threads/{thread}")).await.status, 200);
}

#[tokio::test]
async fn every_table_has_a_family_and_forced_row_level_security() {
    let system = System::start().await;
    let tables = sqlx::query(
        "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity AS forced,
                EXISTS (SELECT FROM pg_attribute a
                        WHERE a.attrelid = c.oid AND a.attname = 'family_id' AND a.attnotnull) AS owned
         FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
           AND c.relname <> '_sqlx_migrations'",
    )
    .fetch_all(&system.owner)
    .await
    .expect("a catalog");
    assert!(tables.len() >= 11);
    // Rows from before the family is known, and the sweeper's position: none holds a family's data.
    let without_family = ["rate_limits", "link_requests", "sweeper_rounds"];
    for table in tables {
        let name: String = table.get("relname");
        assert!(table.get::<bool, _>("forced"), "{name} does not force row-level security");
        let owned = table.get::<bool, _>("owned");
        assert!(owned || without_family.contains(&name.as_str()), "{name} has no family_id");
    }
}

#[tokio::test]
async fn row_level_security_shows_one_family_only() {
    let system = System::start().await;
    system.family(2).await;
    system.family_named("other", 3).await;
    system.member("u0").thread(&["u1".to_owned()]).await;
    let pool = Database::new(system.database_url(), 1).expect("a URL").pool_as(Role::App);
    let visible = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM threads)";

    let other: FamilyId = "other".parse().expect("an id");
    let mut tx = db::begin_for_family(&pool, &other).await.expect("a transaction");
    let seen: (i64, i64) = sqlx::query_as(visible).fetch_one(&mut *tx).await.expect("counts");
    assert_eq!(seen, (3, 0), "its own users and no threads");
    let foreign =
        sqlx::query("INSERT INTO users (family_id, user_id, name) VALUES ('fam', 'x', 'X')")
            .execute(&mut *tx)
            .await
            .expect_err("another family's row");
    assert_eq!(foreign.as_database_error().and_then(DatabaseError::code).as_deref(), Some("42501"));
    drop(tx);
    // The same connection without a family: the setting ended with its transaction.
    let mut tx = db::begin_unscoped(&pool).await.expect("a transaction");
    let seen: (i64, i64) = sqlx::query_as(visible).fetch_one(&mut *tx).await.expect("counts");
    assert_eq!(seen, (0, 0));
    let changed = sqlx::query("UPDATE users SET name = 'X'").execute(&mut *tx).await;
    let changed = changed.expect("nothing");
    assert_eq!(changed.rows_affected(), 0);
}
