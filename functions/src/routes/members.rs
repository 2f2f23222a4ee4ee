//! A member's own settings in a thread: what they have read, and whether they get SMS.

use axum::{Json, Router, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use shared::members::{self, MUTE_HOURS_MAX, SmsPreference, SmsStatus};
use utoipa::ToSchema;

use crate::{
    error::Problem,
    extract::{OwnPage, ThreadMember, Valid, Validate, whole},
    openapi,
    state::Api,
    views::Timestamp,
};

/// `PUT /threads/{threadId}/read` and `/threads/{threadId}/texts`.
pub fn router(api: Api) -> Router {
    routes().with_state(api)
}

openapi::routes!(Api: mark_read, set_texts);

#[derive(Deserialize, ToSchema)]
#[schema(as = PutRead)]
struct Read {
    /// The `seq` of the newest message that was read.
    #[serde(default, deserialize_with = "whole")]
    #[schema(value_type = i64, minimum = 0, maximum = 9_223_372_036_854_775_807_i64, required = true)]
    seq: Option<i64>,
}

impl Validate for Read {
    type Valid = i64;

    fn validate(self) -> Result<i64, Problem> {
        self.seq.filter(|seq| *seq >= 0).ok_or_else(|| {
            Problem::unprocessable("invalid_field", "seq must be a whole number, 0 or more.")
                .field("seq")
        })
    }
}

/// Mark messages as read
///
/// All messages up to `seq`. The mark never moves back, or past the newest message.
#[utoipa::path(
    put, path = "/threads/{threadId}/read", tag = "Threads", operation_id = "markRead",
    params(ThreadMember),
    request_body(content = Read, example = json!({ "seq": 3 })),
    security(("member" = []), ("session" = [])),
    responses(
        (status = 204, description = "Marked"),
        ThreadMember, OwnPage, Valid<Read>,
    ),
)]
async fn mark_read(
    State(api): State<Api>,
    ThreadMember { actor, thread_id }: ThreadMember,
    Valid(seq): Valid<Read>,
) -> Result<StatusCode, Problem> {
    members::mark_read(&api.db, &actor, thread_id, seq).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
struct PutTexts {
    #[schema(value_type = TextsState)]
    state: Option<String>,
    /// Hours to mute, only with `muted`; until further notice if it is left out.
    #[serde(default, deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 8760, extensions(("x-rule" = json!({
        "if": { "properties": { "state": { "enum": ["on", "off"] } } },
        "then": { "properties": { "hours": { "type": "null" } } },
    }))))]
    hours: Option<i32>,
}

impl Validate for PutTexts {
    type Valid = SmsPreference;

    fn validate(self) -> Result<SmsPreference, Problem> {
        let invalid = |field, detail: &'static str| {
            Problem::unprocessable("invalid_field", detail).field(field)
        };
        let hours_fit = self.hours.is_none_or(|hours| (1..=MUTE_HOURS_MAX).contains(&hours));
        match (self.state.as_deref(), self.hours) {
            (Some("on"), None) => Ok(SmsPreference::On),
            (Some("off"), None) => Ok(SmsPreference::Off),
            (Some("muted"), hours) if hours_fit => Ok(SmsPreference::Muted { hours }),
            (Some("muted"), _) => Err(invalid("hours", "hours must be a number from 1 to 8760.")),
            (Some("on" | "off"), _) => {
                Err(invalid("hours", "Send hours only with state \"muted\"."))
            }
            _ => Err(invalid("state", "state must be \"on\", \"muted\" or \"off\".")),
        }
    }
}

/// Whether a member gets SMS from a thread.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "a shape")]
enum TextsState {
    /// All.
    On,
    /// None for a while.
    Muted,
    /// None.
    Off,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Texts)]
struct TextsView {
    #[schema(value_type = TextsState)]
    state: &'static str,
    #[schema(required = true)]
    muted_until: Option<Timestamp>,
}

impl From<SmsStatus> for TextsView {
    fn from(status: SmsStatus) -> Self {
        let state = match (status.opted_out, status.muted) {
            (true, _) => "off",
            (false, true) => "muted",
            (false, false) => "on",
        };
        Self { state, muted_until: status.muted_until.map(Timestamp::from) }
    }
}

/// Set SMS for a thread
///
/// Applies to the caller. A member who is muted or off still reads and posts.
#[utoipa::path(
    put, path = "/threads/{threadId}/texts", tag = "Threads", operation_id = "setTexts",
    params(ThreadMember),
    request_body(content = PutTexts, example = json!({ "state": "muted", "hours": 8 })),
    security(("member" = []), ("session" = [])),
    responses(
        (status = 200, description = "The new setting", body = TextsView),
        ThreadMember, OwnPage, Valid<PutTexts>,
    ),
)]
async fn set_texts(
    State(api): State<Api>,
    ThreadMember { actor, thread_id }: ThreadMember,
    Valid(preference): Valid<PutTexts>,
) -> Result<Json<TextsView>, Problem> {
    let status = members::set_sms_preference(&api.db, &actor, thread_id, preference).await?;
    Ok(Json(status.into()))
}
