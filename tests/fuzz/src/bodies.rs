//! Bodies for every route that takes one.

use axum::body::Body;
use http::{Method, Request, header};
use http_body_util::BodyExt;
use lambda_http::tower::ServiceExt;
use serde_json::Value;

use crate::{
    input::byte,
    nowhere::{self, check_answer},
};

/// The callers that may use a route.
enum Access {
    Anyone,
    Member,
    Host,
}

static ROUTES: [(Method, &str, Access); 9] = [
    (Method::POST, "/threads", Access::Member),
    (Method::POST, "/threads/th_00000000000000000000000000000001/messages", Access::Member),
    (Method::PUT, "/threads/th_00000000000000000000000000000001/read", Access::Member),
    (Method::PUT, "/threads/th_00000000000000000000000000000001/texts", Access::Member),
    (Method::PUT, "/families/fam", Access::Host),
    (Method::PUT, "/families/fam/users/mum", Access::Host),
    (Method::POST, "/links/exchange", Access::Anyone),
    (Method::POST, "/links/renew", Access::Anyone),
    (Method::POST, "/links/request", Access::Anyone),
];

/// Every route whose body is fuzzed.
pub fn bodies() -> impl Iterator<Item = (&'static Method, &'static str)> {
    ROUTES.iter().map(|(method, path, _)| (method, *path))
}

/// Input: a byte that selects the route, and a body.
pub(crate) fn harness(bytes: &[u8]) {
    let (which, body) = byte(bytes);
    let (method, path, access) = &ROUTES[usize::from(which) % ROUTES.len()];
    nowhere::with(|nowhere| {
        let request = Request::builder()
            .method(method)
            .uri(*path)
            .header(header::CONTENT_TYPE, "application/json");
        let request = match access {
            Access::Anyone => request,
            Access::Member => request.header("authorization", format!("Bearer {}", nowhere.member)),
            Access::Host => request.header("authorization", format!("Bearer {}", nowhere.service)),
        };
        let request = request.body(Body::from(body.to_vec())).expect("a request");
        nowhere.runtime.block_on(async {
            let Ok(answer) = nowhere.router.clone().oneshot(request).await;
            let (parts, answer) = answer.into_parts();
            let answer = answer.collect().await.expect("a body").to_bytes();
            let status = parts.status.as_u16();
            check_answer(status, &parts.headers, &answer);
            // Either the body is valid and the database was called, or the body is refused.
            assert!(
                matches!(status, 202 | 400 | 401 | 413 | 422 | 503),
                "{status} for a body to {method} {path}"
            );
            let is_object = serde_json::from_slice(body).is_ok_and(|json: Value| json.is_object());
            if !is_object && !matches!(access, Access::Anyone) {
                assert_ne!(status, 503, "the database was asked for what is no JSON object");
            }
        });
    });
}
