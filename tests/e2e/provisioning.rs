//! Families and users, as the host application provisions them.

use local::secrets::TokenClaims;
use serde_json::{Value, json};
use tests::System;

#[tokio::test]
async fn putting_families_and_users_is_idempotent() {
    let system = System::start().await;
    let host = system.host();
    let family = host
        .put(
            "/families/f1",
            &json!({ "name": " The Family ", "smsMonthlyCapSegments": 500, "smsPerMinute": 60 }),
        )
        .await;
    assert_eq!(family.status, 201, "{}", family.as_text());
    insta::assert_json_snapshot!("family", family.json(), {
        ".**.createdAt" => "[time]", ".**.updatedAt" => "[time]",
    });
    let again = host.put("/families/f1", &json!({ "name": "Renamed" })).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.at("/family/name"), "Renamed");
    assert_eq!(again.at("/family/smsMonthlyCapSegments"), Value::Null);
    assert_eq!(again.at("/family/smsPerMinute"), Value::Null);
    assert_eq!(again.at("/family/createdAt"), family.at("/family/createdAt"));

    let body = json!({
        "name": "Grandma", "phone": "(212) 555-0199", "region": "US", "locale": "en-US",
        "timeZone": "America/New_York", "quietHours": { "from": "21:00", "to": "08:00" },
    });
    let user = host.put("/families/f1/users/auth0:g-1", &body).await;
    assert_eq!(user.status, 201, "{}", user.as_text());
    insta::assert_json_snapshot!("user", user.json(), {
        ".**.createdAt" => "[time]", ".**.updatedAt" => "[time]",
    });
    let again = host.put("/families/f1/users/auth0:g-1", &json!({ "name": "Nana" })).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.at("/user/phone"), Value::Null);
    assert_eq!(again.at("/user/quietHours"), Value::Null);
}

#[tokio::test]
async fn invalid_families_and_users_are_refused() {
    let system = System::start().await;
    system.family(1).await;
    let host = system.host();
    let user = "/families/fam/users/u9";
    for (path, body, problem) in [
        ("/families/f2", json!({}), "422 invalid_text"),
        ("/families/f2", json!({ "name": " " }), "422 invalid_text"),
        ("/families/f2", json!({ "name": "a\u{0}b" }), "422 invalid_text"),
        ("/families/f2", json!({ "name": "a\nb" }), "422 invalid_text"),
        ("/families/f2", json!({ "name": "x".repeat(101) }), "422 text_too_long"),
        ("/families/f2", json!({ "name": "x", "smsMonthlyCapSegments": -1 }), "422 invalid_field"),
        (
            "/families/f2",
            json!({ "name": "x", "smsMonthlyCapSegments": 9_999_999_999_i64 }),
            "422 invalid_field",
        ),
        ("/families/f2", json!({ "name": "x", "smsPerMinute": -1 }), "422 invalid_field"),
        ("/families/f2", json!({ "name": "x", "smsPerMinute": 100_001 }), "422 invalid_field"),
        ("/families/f2", json!({ "name": "x", "members": [] }), "422 unknown_field"),
        ("/families/a%2Cb", json!({ "name": "x" }), "404 family_not_found"),
        ("/families/nobody/users/u1", json!({ "name": "x" }), "404 family_not_found"),
        ("/families/fam/users/a%20b", json!({ "name": "x" }), "404 user_not_found"),
        (user, json!({ "name": "x", "phone": "hello" }), "422 invalid_phone"),
        (user, json!({ "name": "x", "phone": "+1555" }), "422 invalid_phone"),
        (user, json!({ "name": "x", "phone": "2125550199" }), "422 invalid_phone"),
        (user, json!({ "name": "x", "phone": "2125550199", "region": "ZZ" }), "422 invalid_phone"),
        (user, json!({ "name": "x", "timeZone": "a b" }), "422 invalid_field"),
        (user, json!({ "name": "x", "timeZone": "Mars/Phobos" }), "422 invalid_field"),
        (
            user,
            json!({ "name": "x", "quietHours": { "from": "25:00", "to": "08:00" } }),
            "422 invalid_field",
        ),
        (user, json!({ "name": "x", "quietHours": { "from": "21:00" } }), "422 invalid_field"),
        (
            user,
            json!({ "name": "x", "quietHours": { "from": "21:00", "to": "08:00", "x": 1 } }),
            "422 unknown_field",
        ),
    ] {
        assert_eq!(host.put(path, &body).await.problem(), problem, "{path} {body}");
    }
    assert_eq!(host.delete("/families/fam/users/u9").await.problem(), "404 user_not_found");
    assert_eq!(host.delete("/families/nobody/users/u0").await.problem(), "404 user_not_found");
    assert_eq!(system.count("users").await, 1);
    assert_eq!(system.count("families").await, 1);
}

#[tokio::test]
async fn provisioning_is_for_the_host_only() {
    let system = System::start().await;
    system.family(1).await;
    let body = json!({ "name": "x" });
    for path in ["/families/fam", "/families/fam/users/u0"] {
        assert_eq!(system.member("u0").put(path, &body).await.problem(), "403 forbidden");
        assert_eq!(system.anonymous().put(path, &body).await.problem(), "401 unauthenticated");
        // A service token of one family is not valid for another.
        let limited = TokenClaims { family_id: Some("other"), ..TokenClaims::service() };
        let answer = system.caller(&limited).put(path, &body).await;
        assert_eq!(answer.problem(), "404 family_not_found");
        let own = TokenClaims { family_id: Some("fam"), ..TokenClaims::service() };
        assert_eq!(system.caller(&own).put(path, &body).await.status, 200);
    }
    // And the host is not a member.
    assert_eq!(system.host().get("/threads").await.problem(), "403 forbidden");
}
