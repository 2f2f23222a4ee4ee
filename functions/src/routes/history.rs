//! Listing a thread's messages, and reading one.

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use rapidhash::v3::rapidhash_v3;
use serde::{Deserialize, Serialize};
use shared::messages::{self, HistoryCursor, Range};
use utoipa::{IntoParams, ToSchema};

use crate::{
    error::Problem,
    extract::{Params, PathMessage, ThreadMember, bad_cursor, bad_limit, limit},
    openapi::{self, problems::problems, shapes},
    state::Api,
    views::{HistoryView, MessageView},
};

/// `GET /threads/{threadId}/messages` and `/threads/{threadId}/messages/{messageId}`.
pub fn router(api: Api) -> Router {
    routes().with_state(api)
}

openapi::routes!(Api: history, message);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct HistoryParams {
    /// Maximum number of messages.
    #[param(value_type = Option<i32>, minimum = 1, maximum = 200, default = 50, nullable = false)]
    limit: Option<String>,
    /// Continue with older messages from here: a `nextCursor`.
    #[param(value_type = Option<shapes::Cursor>, nullable = false)]
    before: Option<String>,
    /// Continue with newer messages from here, or poll: a `nextCursor` or `latestCursor`. Not with
    /// `before`.
    #[param(value_type = Option<shapes::Cursor>, nullable = false)]
    after: Option<String>,
}

problems! {
    /// A malformed parameter.
    HistoryParams: [bad_limit(), bad_cursor("before")];
}

impl HistoryParams {
    fn range(&self) -> Result<Range, Problem> {
        let cursor = |text: &str, field| HistoryCursor::decode(text).map_err(|_| bad_cursor(field));
        match (&self.before, &self.after) {
            (None, None) => Ok(Range::Newest),
            (Some(before), None) => cursor(before, "before").map(Range::Before),
            (None, Some(after)) => cursor(after, "after").map(Range::After),
            (Some(_), Some(_)) => Err(bad_cursor("after")),
        }
    }
}

/// List a thread's messages
///
/// By default and with `before`: newest first, going back. With `after`: oldest first, going forward.
/// A client that polls with the last cursor it received gets each message once.
#[utoipa::path(
    get, path = "/threads/{threadId}/messages", tag = "Messages", operation_id = "listMessages",
    params(
        ThreadMember, HistoryParams,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier response"),
    ),
    security(("member" = []), ("session" = [])),
    responses(
        (status = 200, description = "A page of messages", body = HistoryView,
            headers(("ETag" = String, description = "The version of this response"))),
        (status = 304, description = "Not changed since that `ETag`",
            headers(("ETag" = String, description = "The version of this response"))),
        ThreadMember, Params<HistoryParams>, HistoryParams,
    ),
)]
async fn history(
    State(api): State<Api>,
    ThreadMember { actor, thread_id }: ThreadMember,
    Params(params): Params<HistoryParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (range, limit) = (params.range()?, limit(params.limit.as_deref())?);
    let page = messages::history(&api.db, &actor, thread_id, range, limit).await?;
    let body = HistoryView::from(page).to_json();
    let body = body.map_err(|_| Problem::from(shared::Error::Corrupt("a page that is no JSON")))?;
    Ok(tagged(&headers, body))
}

#[derive(Serialize, ToSchema)]
struct OneMessage {
    message: MessageView,
}

/// Get a message
///
/// By its id, in the form in which a page of messages has it.
#[utoipa::path(
    get, path = "/threads/{threadId}/messages/{messageId}", tag = "Messages",
    operation_id = "getMessage",
    params(
        ThreadMember, PathMessage,
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of an earlier response"),
    ),
    security(("member" = []), ("session" = [])),
    responses(
        (status = 200, description = "The message", body = OneMessage,
            headers(("ETag" = String, description = "The version of this response"))),
        (status = 304, description = "Not changed since that `ETag`",
            headers(("ETag" = String, description = "The version of this response"))),
        ThreadMember, PathMessage,
    ),
)]
async fn message(
    State(api): State<Api>,
    ThreadMember { actor, thread_id }: ThreadMember,
    PathMessage(message_id): PathMessage,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let message = messages::get(&api.db, &actor, thread_id, message_id).await?;
    let body = serde_json::to_vec(&OneMessage { message: message.into() });
    let body =
        body.map_err(|_| Problem::from(shared::Error::Corrupt("a message that is no JSON")))?;
    Ok(tagged(&headers, body))
}

/// JSON with its `ETag`, or `304` if the request names that tag.
fn tagged(headers: &HeaderMap, body: Vec<u8>) -> Response {
    // Two bodies share a tag with a chance of 1 in 2^64. A member who forges such a pair only shows an old
    // response to their own family.
    let tag = format!("\"{:016x}\"", rapidhash_v3(&body));
    let caching =
        [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "private, no-cache".to_owned())];
    if matches(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Whether `If-None-Match` names `tag` (RFC 9110, 13.1.2: weak comparison).
fn matches(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|candidate| {
            candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == tag
        })
}
