//! Reading a thread's messages.

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::messages::{self, HistoryCursor, Range};

use crate::{
    auth::Caller,
    error::Problem,
    extract::{Params, ThreadPath, bad_cursor, limit},
    state::Api,
    views::MessageView,
};

/// `GET /threads/{threadId}/messages`.
pub fn router(api: Api) -> Router {
    Router::new().route("/threads/{threadId}/messages", get(history)).with_state(api)
}

#[derive(Deserialize)]
struct HistoryParams {
    limit: Option<String>,
    before: Option<String>,
    after: Option<String>,
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    messages: Vec<MessageView>,
    next_cursor: Option<String>,
    latest_cursor: String,
}

async fn history(
    State(api): State<Api>,
    Caller { family_id, user_id, .. }: Caller,
    ThreadPath(thread_id): ThreadPath,
    Params(params): Params<HistoryParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (range, limit) = (params.range()?, limit(params.limit.as_deref())?);
    let page = messages::history(&api.db, &family_id, &user_id, thread_id, range, limit).await?;
    let page = Page {
        messages: page.messages.into_iter().map(MessageView::from).collect(),
        next_cursor: page.next.map(HistoryCursor::encode),
        latest_cursor: page.latest.encode(),
    };
    let body = serde_json::to_vec(&page)
        .map_err(|_| Problem::from(shared::Error::Corrupt("a page that is no JSON")))?;

    let digest = Sha256::digest(&body);
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest.get(..16).unwrap_or_default()));
    let caching =
        [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "private, no-cache".to_owned())];
    if matches(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    Ok((caching, [(header::CONTENT_TYPE, "application/json")], body).into_response())
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
