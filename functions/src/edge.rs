//! The outermost layer: request ids, problem bodies, caught panics, one log line for each request.

use std::time::Instant;

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use lambda_http::request::RequestContext;
use platform::trace;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;
use uuid::Uuid;

use crate::error::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_MAX: usize = 128;

/// Wraps `router` in the outermost layer. Applied once, around all routes.
pub fn edge(router: Router) -> Router {
    router
        .layer(CatchPanicLayer::custom(|_panic| {
            // The panic hook has logged the place; the message may carry data.
            Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR).into_response()
        }))
        .layer(middleware::from_fn(around))
}

async fn around(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = request_id(&request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    // The pattern, never the path: a path may carry a secret by mistake.
    let route = route.as_ref().map_or("-", MatchedPath::as_str);
    let trace = trace::trace();
    let span = tracing::info_span!(
        "request",
        request.id = request_id,
        trace.id = trace.as_deref().and_then(trace::trace_id),
        gateway.request_id = gateway_id(&request),
        %method,
        route
    );

    async {
        let answer = trace::within(request_id.clone(), next.run(request)).await;
        let mut response = write_problem(answer, &request_id);
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            headers.insert(REQUEST_ID, value);
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        tracing::info!(
            status = response.status().as_u16(),
            duration_ms = started.elapsed().as_secs_f64() * 1000.0,
            "answered"
        );
        metrics::counter!("Answers").increment(1);
        if response.status().is_server_error() {
            metrics::counter!("ServerErrors").increment(1);
        }
        platform::metrics::flush();
        response
    }
    .instrument(span)
    .await
}

/// API Gateway's request id, which its access log has.
fn gateway_id(request: &Request) -> Option<&str> {
    match request.extensions().get::<RequestContext>()? {
        RequestContext::ApiGatewayV2(context) => context.request_id.as_deref(),
        _ => None,
    }
}

/// The request's own id if it is valid, else a new one.
fn request_id(request: &Request) -> String {
    request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=REQUEST_ID_MAX).contains(&id.len()))
        .filter(|id| id.bytes().all(|b| b.is_ascii_graphic()))
        .map_or_else(|| Uuid::now_v7().as_simple().to_string(), str::to_owned)
}

/// Gives every error response a problem as its body, also those of the router: unknown path, wrong
/// method. An HTML page stays as it is.
fn write_problem(mut response: Response, request_id: &str) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let problem =
        response.extensions_mut().remove::<Problem>().unwrap_or_else(|| Problem::of_status(status));
    if status.is_server_error() {
        let cause = problem.cause.as_deref().unwrap_or("panic");
        tracing::error!(error = problem.error, cause, "failed");
    }
    let content_type = response.headers().get(header::CONTENT_TYPE);
    if content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/html")) {
        return response;
    }
    let body = serde_json::to_vec(&problem.body(request_id)).unwrap_or_default();
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    Response::from_parts(parts, Body::from(body))
}
