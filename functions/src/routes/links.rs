//! Magic links: opening one, getting a fresh one, and ending what it opened.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{FromRef, State},
    response::{AppendHeaders, IntoResponse, Response},
    routing::post,
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use shared::{
    audit::Origin,
    ids::{FamilyId, ThreadId, UserId},
    links::{self, LinkKeys},
    phone::PhoneNumber,
    queue::Queue,
    sessions,
};

use crate::{
    auth::{Browser, OwnPage},
    error::Problem,
    extract::{Valid, Validate},
    source::Source,
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
    Router::new()
        .route("/links/exchange", post(exchange))
        .route("/links/renew", post(renew))
        .route("/links/request", post(request))
        .route("/sessions/end", post(end))
        .with_state(Links { api, keys, queue })
}

#[derive(Deserialize)]
struct WithToken {
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OpenedView {
    user_id: UserId,
    family_id: FamilyId,
    thread_id: ThreadId,
    expires_at: Timestamp,
}

async fn exchange(
    State(Links { api, keys, .. }): State<Links>,
    _: OwnPage,
    browser: Browser,
    Source(source): Source,
    Valid(token): Valid<WithToken>,
) -> Result<Response, Problem> {
    let origin = Origin::browser(source);
    let (opened, secret) =
        links::exchange(&api.db, &origin, &keys, &token, browser.secret()).await?;
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

#[derive(Serialize)]
struct Empty {}

async fn renew(
    State(Links { api, keys, queue }): State<Links>,
    _: OwnPage,
    Source(source): Source,
    Valid(token): Valid<WithToken>,
) -> Result<(StatusCode, Json<Empty>), Problem> {
    if let Some(job) = links::renew(&api.db, &Origin::browser(source), &keys, &token).await? {
        queue.enqueue(&[job]).await;
    }
    Ok(ACCEPTED)
}

#[derive(Deserialize)]
struct WithPhone {
    phone: Option<String>,
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

async fn end(
    State(api): State<Api>,
    _: OwnPage,
    browser: Browser,
    Source(source): Source,
) -> Result<Response, Problem> {
    sessions::end(&api.db, &Origin::browser(source), &browser.secret().hash()).await?;
    let forget = AppendHeaders([(header::SET_COOKIE, browser.forget_cookie())]);
    Ok((StatusCode::NO_CONTENT, forget).into_response())
}
