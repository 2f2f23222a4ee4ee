//! What a member says of themselves in a thread: what they have read, which texts they want.

use axum::{Json, Router, extract::State, routing::put};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use shared::members::{self, MUTE_HOURS_MAX, Texts, Wish};

use crate::{
    auth::Caller,
    error::Problem,
    extract::{ThreadPath, Valid, Validate},
    state::Api,
    views::Timestamp,
};

/// `PUT /threads/{threadId}/read` and `/threads/{threadId}/texts`.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/threads/{threadId}/read", put(mark_read))
        .route("/threads/{threadId}/texts", put(set_texts))
        .with_state(api)
}

#[derive(Deserialize)]
struct Read {
    seq: Option<i64>,
}

impl Validate for Read {
    type Valid = i64;

    fn validate(self) -> Result<i64, Problem> {
        self.seq.filter(|seq| *seq >= 0).ok_or_else(|| {
            Problem::unprocessable("invalid_field", "seq is a message's number.").field("seq")
        })
    }
}

async fn mark_read(
    State(api): State<Api>,
    Caller { family_id, user_id, .. }: Caller,
    ThreadPath(thread_id): ThreadPath,
    Valid(seq): Valid<Read>,
) -> Result<StatusCode, Problem> {
    members::mark_read(&api.db, &family_id, &user_id, thread_id, seq).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct PutTexts {
    state: Option<String>,
    hours: Option<i32>,
}

impl Validate for PutTexts {
    type Valid = Wish;

    fn validate(self) -> Result<Wish, Problem> {
        let invalid = |field, detail: &'static str| {
            Problem::unprocessable("invalid_field", detail).field(field)
        };
        let hours_fit = self.hours.is_none_or(|hours| (1..=MUTE_HOURS_MAX).contains(&hours));
        match (self.state.as_deref(), self.hours) {
            (Some("on"), None) => Ok(Wish::On),
            (Some("off"), None) => Ok(Wish::Off),
            (Some("muted"), hours) if hours_fit => Ok(Wish::Muted { hours }),
            (Some("muted"), _) => Err(invalid("hours", "hours is a number from 1 to 8760.")),
            (Some("on" | "off"), _) => Err(invalid("hours", "hours goes with \"muted\" alone.")),
            _ => Err(invalid("state", "state is \"on\", \"muted\" or \"off\".")),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TextsView {
    state: &'static str,
    muted_until: Option<Timestamp>,
}

impl From<Texts> for TextsView {
    fn from(texts: Texts) -> Self {
        let state = match (texts.opted_out, texts.muted) {
            (true, _) => "off",
            (false, true) => "muted",
            (false, false) => "on",
        };
        Self { state, muted_until: texts.muted_until.map(Timestamp::from) }
    }
}

async fn set_texts(
    State(api): State<Api>,
    Caller { family_id, user_id, .. }: Caller,
    ThreadPath(thread_id): ThreadPath,
    Valid(wish): Valid<PutTexts>,
) -> Result<Json<TextsView>, Problem> {
    let texts = members::set_texts(&api.db, &family_id, &user_id, thread_id, wish).await?;
    Ok(Json(texts.into()))
}
