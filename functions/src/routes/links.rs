//! Magic links: opening one, getting a fresh one, and ending what it opened.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{FromRef, State},
    response::{AppendHeaders, IntoResponse, Response},
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use shared::{
    audit::Principal,
    ids::{FamilyId, ThreadId, UserId},
    links::{self, LinkKeys},
    phone::PhoneNumber,
    queue::Queue,
    sessions,
};
use utoipa::ToSchema;

use crate::{
    error::Problem,
    extract::{Browser, OwnPage, Source, Valid, Validate},
    openapi::{self, problems::problems, shapes},
    state::Api,
    views::Timestamp,
};

/// What these routes need besides the API: what signs links, and the queue.
#[derive(Clone)]
struct Links {
    api: Api,
    keys: Arc<LinkKeys>,
    queue: Queue,
}

impl FromRef<Links> for Api {
    fn from_ref(links: &Links) -> Self {
        links.api.clone()
    }
}

/// `POST /links/exchange`, `/links/renew`, `/links/request` and `/sessions/end`.
pub fn router(api: Api, keys: Arc<LinkKeys>, queue: Queue) -> Router {
    routes().with_state(Links { api, keys, queue })
}

openapi::routes!(Links: exchange, renew, request, end);

/// What a token looks like; this one opens nothing.
const TOKEN_EXAMPLE: &str =
    "1eyJqdGkiOiJfM2tGcWVKeFBwUSJ9.Hc1oJ0XnQ4v2sYb7mTgk3zWq8LdRfUaE5iCxBNPyVtA";

#[derive(Deserialize, ToSchema)]
struct WithToken {
    /// What follows `#` in a link.
    #[schema(value_type = String)]
    token: Option<String>,
}

impl Validate for WithToken {
    type Valid = String;

    fn validate(self) -> Result<String, Problem> {
        self.token.ok_or_else(|| {
            Problem::unprocessable("invalid_field", "token is what follows '#' in a link.")
                .field("token")
        })
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Opened)]
struct OpenedView {
    #[schema(value_type = shapes::UserId)]
    user_id: UserId,
    #[schema(value_type = shapes::FamilyId)]
    family_id: FamilyId,
    #[schema(value_type = shapes::ThreadId)]
    thread_id: ThreadId,
    /// When the session ends, unless it ends before.
    expires_at: Timestamp,
}

problems! {
    /// A link that opens nothing: one answer for every reason.
    OpenedView: [shared::Error::LinkInvalid.into()];
    /// A source that asks, or guesses, too often.
    Source: [Problem::too_often()];
}

/// Exchange a link for a session
///
/// The first browser that does keeps the link; there it may be done again. A bad signature, unknown,
/// expired, revoked, another browser's: one answer for all.
#[utoipa::path(
    post, path = "/links/exchange", tag = "Links", operation_id = "exchangeLink",
    request_body(content = WithToken, example = json!({ "token": TOKEN_EXAMPLE })),
    security((), ("session" = [])),
    responses(
        (status = 200, description = "Opened", body = OpenedView,
            headers(("Set-Cookie" = String, description = "The session"))),
        OpenedView, OwnPage, Source, Valid<WithToken>, Api,
    ),
)]
async fn exchange(
    State(Links { api, keys, .. }): State<Links>,
    _: OwnPage,
    browser: Browser,
    Source(source): Source,
    Valid(token): Valid<WithToken>,
) -> Result<Response, Problem> {
    let principal = Principal::browser(source);
    let (opened, secret) =
        links::exchange(&api.db, &principal, &keys, &token, browser.secret()).await?;
    let browser = browser.renamed(secret);
    let view = Json(OpenedView {
        user_id: opened.user_id,
        family_id: opened.family_id,
        thread_id: opened.thread_id,
        expires_at: opened.expires_at.into(),
    });
    Ok((AppendHeaders([(header::SET_COOKIE, browser.set_cookie())]), view).into_response())
}

/// Says nothing of whether there was anything to do.
const ACCEPTED: (StatusCode, Json<Empty>) = (StatusCode::ACCEPTED, Json(Empty {}));

/// Nothing that would tell one case from another.
#[derive(Serialize, ToSchema)]
struct Empty {}

/// Ask for a fresh link with an old one
///
/// Of a link of ours that has expired or is another browser's, a fresh one goes to the phone number on
/// file: 3 in an hour, 10 in a day for a member. The answer is the same whatever happens.
#[utoipa::path(
    post, path = "/links/renew", tag = "Links", operation_id = "renewLink",
    request_body(content = WithToken, example = json!({ "token": TOKEN_EXAMPLE })),
    security(()),
    responses(
        (status = 202, description = "Heard", body = Empty),
        OwnPage, Source, Valid<WithToken>, Api,
    ),
)]
async fn renew(
    State(Links { api, keys, queue }): State<Links>,
    _: OwnPage,
    Source(source): Source,
    Valid(token): Valid<WithToken>,
) -> Result<(StatusCode, Json<Empty>), Problem> {
    if let Some(job) = links::renew(&api.db, &Principal::browser(source), &keys, &token).await? {
        queue.enqueue(&[job]).await;
    }
    Ok(ACCEPTED)
}

#[derive(Deserialize, ToSchema)]
struct WithPhone {
    /// In E.164, or as it is written in `region`.
    #[schema(value_type = String, examples("+15550100003"))]
    phone: Option<String>,
    /// The country that `phone` is written for (ISO 3166-1 alpha-2). What is none gets the same answer.
    #[schema(examples("US"))]
    region: Option<String>,
}

impl Validate for WithPhone {
    type Valid = Option<PhoneNumber>;

    fn validate(self) -> Result<Option<PhoneNumber>, Problem> {
        let phone = self.phone.ok_or_else(|| {
            Problem::unprocessable("invalid_field", "phone is a phone number.").field("phone")
        })?;
        // What can't be a number is nobody's, and gets nobody's answer.
        Ok(PhoneNumber::parse(&phone, self.region.as_deref()).ok())
    }
}

/// Ask for a link by phone number
///
/// To a number on file goes a link to its member's newest thread: 3 in an hour, 10 in a day for a
/// number. The answer is the same whatever happens.
#[utoipa::path(
    post, path = "/links/request", tag = "Links", operation_id = "requestLink",
    request_body(content = WithPhone, example = json!({ "phone": "(555) 010-0003", "region": "US" })),
    security(()),
    responses(
        (status = 202, description = "Heard", body = Empty),
        OwnPage, Source, Valid<WithPhone>, Api,
    ),
)]
async fn request(
    State(Links { api, queue, .. }): State<Links>,
    _: OwnPage,
    Source(source): Source,
    Valid(phone): Valid<WithPhone>,
) -> Result<(StatusCode, Json<Empty>), Problem> {
    if let Some(phone) = phone
        && let Some(job) = links::request(&api.db, &phone, source).await?
    {
        queue.enqueue(&[job]).await;
    }
    Ok(ACCEPTED)
}

/// End this browser's session
///
/// For all the threads that it could open. The links that it had stay its own.
#[utoipa::path(
    post, path = "/sessions/end", tag = "Links", operation_id = "endSession",
    security((), ("session" = [])),
    responses(
        (status = 204, description = "There is none any more",
            headers(("Set-Cookie" = String, description = "Takes the cookie away"))),
        OwnPage, Api,
    ),
)]
async fn end(
    State(api): State<Api>,
    _: OwnPage,
    browser: Browser,
    Source(source): Source,
) -> Result<Response, Problem> {
    sessions::end(&api.db, &Principal::browser(source), &browser.secret().hash()).await?;
    let forget = AppendHeaders([(header::SET_COOKIE, browser.forget_cookie())]);
    Ok((StatusCode::NO_CONTENT, forget).into_response())
}
