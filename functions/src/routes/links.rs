//! Magic links: exchanging one for a session, requesting a new one, ending the session.

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

/// The state of these routes: the shared state, the keys of links, and the queue.
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

/// An example of a token, which opens nothing.
const TOKEN_EXAMPLE: &str =
    "1eyJqdGkiOiJfM2tGcWVKeFBwUSJ9.Hc1oJ0XnQ4v2sYb7mTgk3zWq8LdRfUaE5iCxBNPyVtA";

#[derive(Deserialize, ToSchema)]
struct WithToken {
    /// The part of a link after `#`.
    #[schema(value_type = String)]
    token: Option<String>,
}

impl Validate for WithToken {
    type Valid = String;

    fn validate(self) -> Result<String, Problem> {
        self.token.ok_or_else(|| {
            Problem::unprocessable("invalid_field", "token must be the part of a link after '#'.")
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
    /// The latest end of the session.
    expires_at: Timestamp,
}

problems! {
    /// A link that opens nothing: one response for all causes.
    OpenedView: [shared::Error::LinkInvalid.into()];
    /// Too many requests or guesses of a source address.
    Source: [Problem::too_often()];
}

/// Exchange a link for a session
///
/// The first browser to exchange a link keeps it, and may exchange it again. A link that is forged,
/// unknown, expired, revoked or another browser's gets the same response.
#[utoipa::path(
    post, path = "/links/exchange", tag = "Links", operation_id = "exchangeLink",
    request_body(content = WithToken, example = json!({ "token": TOKEN_EXAMPLE })),
    security((), ("session" = [])),
    responses(
        (status = 200, description = "Session started", body = OpenedView,
            headers(("Set-Cookie" = String, description = "The session cookie"))),
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

/// The response in all cases, so that it tells nothing about links and numbers.
const ACCEPTED: (StatusCode, Json<Empty>) = (StatusCode::ACCEPTED, Json(Empty {}));

/// Empty, so that all cases look the same.
#[derive(Serialize, ToSchema)]
struct Empty {}

/// Request a new link with an old one
///
/// If the old link is genuine, but expired, revoked or already used, a new link goes by SMS to the
/// phone number on file: at most 3 an hour and 10 a day for a member. The response is the same in all
/// cases.
#[utoipa::path(
    post, path = "/links/renew", tag = "Links", operation_id = "renewLink",
    request_body(content = WithToken, example = json!({ "token": TOKEN_EXAMPLE })),
    security(()),
    responses(
        (status = 202, description = "Accepted", body = Empty),
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
    /// In E.164, or in the national form of `region`.
    #[schema(value_type = String, examples("+15550100003"))]
    phone: Option<String>,
    /// The country of a `phone` in national form (ISO 3166-1 alpha-2). An unknown country gets the same
    /// response.
    #[schema(examples("US"))]
    region: Option<String>,
}

impl Validate for WithPhone {
    type Valid = Option<PhoneNumber>;

    fn validate(self) -> Result<Option<PhoneNumber>, Problem> {
        let phone = self.phone.ok_or_else(|| {
            Problem::unprocessable("invalid_field", "phone must be a phone number.").field("phone")
        })?;
        // An impossible number gets the response of an unknown one.
        Ok(PhoneNumber::parse(&phone, self.region.as_deref()).ok())
    }
}

/// Request a link by phone number
///
/// If the number is on file, a link to its user's newest thread goes there by SMS: at most 3 an hour
/// and 10 a day for a number. The response is the same in all cases.
#[utoipa::path(
    post, path = "/links/request", tag = "Links", operation_id = "requestLink",
    request_body(content = WithPhone, example = json!({ "phone": "(555) 010-0003", "region": "US" })),
    security(()),
    responses(
        (status = 202, description = "Accepted", body = Empty),
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
/// Ends it for all threads. The links that this browser exchanged open nothing any more.
#[utoipa::path(
    post, path = "/sessions/end", tag = "Links", operation_id = "endSession",
    security((), ("session" = [])),
    responses(
        (status = 204, description = "Ended, or there was none",
            headers(("Set-Cookie" = String, description = "Deletes the session cookie"))),
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
