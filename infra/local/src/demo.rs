//! The demo family: four users and a short conversation, made through the API like any other.

use std::time::Duration;

use anyhow::{Context, ensure};
use axum::{Router, body::Body};
use http::{Method, Request, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{
    carrier::Carrier,
    secrets::{Secrets, TokenClaims},
};

/// The family's id.
pub const FAMILY: &str = "demo";

const MEMBERS: [(&str, &str, &str); 4] = [
    ("grandma", "Grandma", "+15550100001"),
    ("mum", "Mum", "+15550100002"),
    ("dad", "Dad", "+15550100003"),
    ("sis", "Sis", "+15550100004"),
];
const CONVERSATION: [(&str, &str); 3] = [
    ("mum", "Sunday lunch at ours, twelve o'clock?"),
    ("dad", "I'll bring the bread."),
    ("grandma", "Lovely. The apple pie is in the oven already."),
];

/// Provisions the family, its thread and its conversation, and returns the thread's id. On a
/// later start everything is there already, and no SMS is sent again.
///
/// # Errors
/// When the API refuses, with its answer.
pub async fn provision(
    router: &Router,
    secrets: &Secrets,
    carrier: &Carrier,
) -> anyhow::Result<String> {
    let service = secrets.token(&TokenClaims::service())?;
    let client = Client { router, token: &service };
    let family = json!({ "name": "The demo family" });
    client.send(Method::PUT, &format!("/families/{FAMILY}"), None, &family).await?;
    for (id, name, phone) in MEMBERS {
        let path = format!("/families/{FAMILY}/users/{id}");
        client.send(Method::PUT, &path, None, &json!({ "name": name, "phone": phone })).await?;
    }

    let ids: Vec<&str> = MEMBERS.iter().map(|(id, ..)| *id).collect();
    let mum = secrets.token(&TokenClaims::member(FAMILY, "mum"))?;
    let client = Client { router, token: &mum };
    let body = json!({ "memberIds": ids, "title": "Family" });
    let answer = client.send(Method::POST, "/threads", None, &body).await?.body;
    let thread = answer.pointer("/thread/id").and_then(Value::as_str).context("no thread id")?;

    for (i, (author, text)) in CONVERSATION.iter().enumerate() {
        let token = secrets.token(&TokenClaims::member(FAMILY, author))?;
        let client = Client { router, token: &token };
        let (path, key) = (format!("/threads/{thread}/messages"), format!("demo-{i}"));
        let mut changes = carrier.changes();
        let before = carrier.received(None).len();
        let posted = client.send(Method::POST, &path, Some(&key), &json!({ "body": text })).await?;
        if !posted.replayed {
            // Each message answers the one before: it waits for that one's SMS.
            let expected = before + MEMBERS.len() - 1;
            let arrived = async {
                while carrier.received(None).len() < expected {
                    let _change = changes.recv().await;
                }
            };
            let _late = tokio::time::timeout(Duration::from_secs(3), arrived).await;
        }
    }
    Ok(thread.to_owned())
}

struct Sent {
    body: Value,
    replayed: bool,
}

struct Client<'a> {
    router: &'a Router,
    token: &'a str,
}

impl Client<'_> {
    async fn send(
        &self,
        method: Method,
        path: &str,
        idempotency_key: Option<&str>,
        body: &Value,
    ) -> anyhow::Result<Sent> {
        let mut request = Request::builder()
            .method(&method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Body::from(body.to_string()))?;
        let response = self.router.clone().oneshot(request).await?;
        let status = response.status();
        let replayed = response.headers().contains_key("idempotency-replayed");
        let answer = response.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{method} {path}: {}", String::from_utf8_lossy(&answer));
        Ok(Sent { body: serde_json::from_slice(&answer)?, replayed })
    }
}
