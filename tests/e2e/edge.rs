//! Rules for every response.

use reqwest::Method;
use serde_json::json;
use tests::{System, client::send};

#[tokio::test]
async fn every_error_is_a_problem_and_every_answer_has_a_request_id() {
    let system = System::start().await;
    let anonymous = system.anonymous();
    assert_eq!(anonymous.get("/nothing/here").await.problem(), "404 not_found");
    let wrong_method = anonymous.delete("/threads").await;
    assert_eq!(wrong_method.problem(), "405 method_not_allowed");
    let mut allowed: Vec<&str> = wrong_method.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);

    let with =
        |id: String| send(anonymous.request(Method::GET, "/health").header("x-request-id", id));
    let kept = "my-own/request:1";
    assert_eq!(with(kept.to_owned()).await.header("x-request-id"), kept);
    for replaced in ["", "two words", &"x".repeat(129), "caf\u{e9}"] {
        let answer = with(replaced.to_owned()).await;
        let id = answer.header("x-request-id");
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{replaced:?}: {id}");
    }
    let request = anonymous.request(Method::GET, "/threads").header("x-request-id", "the-id");
    insta::assert_json_snapshot!("problem", send(request).await.json());
}

#[tokio::test]
async fn health_reports_whether_the_database_answers() {
    let system = System::start().await;
    let healthy = system.anonymous().get("/health").await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(healthy.json(), json!({ "status": "ok", "version": version, "database": "ok" }));
    // New connections are refused, and open ones cut.
    let name: String = sqlx::query_scalar("SELECT current_database()")
        .fetch_one(&system.owner)
        .await
        .expect("a name");
    let server = system.database_url().replace(&format!("/{name}"), "/postgres");
    let server = sqlx::PgPool::connect(&server).await.expect("the server");
    let block = format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS false");
    sqlx::query(sqlx::AssertSqlSafe(block)).execute(&server).await.expect("blocked");
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
        .bind(&name)
        .execute(&server)
        .await
        .expect("cut off");
    let ill = system.anonymous().get("/health").await;
    assert_eq!(ill.problem(), "503 database_unavailable");
    assert_eq!(ill.header("retry-after"), "1");
    let other = system.member("u0").get("/threads").await;
    assert_eq!(other.problem(), "503 unavailable");
    assert_eq!(other.header("retry-after"), "1");
}

#[tokio::test]
async fn a_deeply_nested_body_is_refused_without_recursion() {
    let system = System::start().await;
    let members = system.family(1).await;
    let u0 = system.member("u0");
    let thread = u0.thread(&members).await;
    // Within 64 KiB, and deeper than any stack.
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(5000), close.repeat(5000));
    let (arrays, objects) = (deep("[", "]"), deep("{\"a\":", "}").replace(":}", ":0}"));
    for (body, problem) in [
        (format!("{{\"body\":{arrays}}}"), "422 invalid_field"),
        (format!("{{\"body\":\"a\",\"x\":{arrays}}}"), "422 unknown_field"),
        (format!("{{\"body\":\"a\",\"x\":{objects}}}"), "422 unknown_field"),
        (arrays.clone(), "400 invalid_json"),
        ("{\"body\":\"a\",\"x\":[[[1]]]}".to_owned(), "422 unknown_field"),
        ("{\"body\":\"a\",\"body\":\"b\"}".to_owned(), "422 invalid_field"),
        ("{\"body\":\"\\ud800\"}".to_owned(), "400 invalid_json"),
        ("{\"body\":1e999999}".to_owned(), "400 invalid_json"),
    ] {
        let request = u0.request(Method::POST, &format!("/threads/{thread}/messages"));
        let request = request.header("content-type", "application/json");
        let shown: String = body.chars().take(30).collect();
        assert_eq!(send(request.body(body)).await.problem(), problem, "{shown}");
    }
    assert_eq!(system.count("messages").await, 0);
}
