//! The local-only endpoints: phone wall, tokens, SMS, faults.

use std::{convert::Infallible, fmt::Write, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    response::{
        Html, IntoResponse, Redirect, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::{get, post, put},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use functions::{
    error::Problem,
    extract::{Params, Valid, Validate},
    views::Timestamp,
};
use futures_util::{Stream, StreamExt, stream};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use shared::{
    db::{self, Pool},
    ids::{FamilyId, UserId},
    phone::PhoneNumber,
    text,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::{
    carrier::{Carrier, Direction, Sms},
    demo,
    faults::{QueueFault, Rated, SmsFault},
    secrets::{Secrets, TokenClaims},
};

const WALL: &str = include_str!("wall.html");
/// Longest SMS from a handset, in characters.
const INBOUND_MAX: usize = 1600;

/// State of the local-only endpoints.
#[derive(Clone)]
pub struct Dev {
    /// The secrets that sign tokens.
    pub secrets: Secrets,
    /// The carrier that has the SMS.
    pub carrier: Carrier,
    /// A pool that sees every family.
    pub db: Pool,
    /// Ends the streams of events.
    pub stop: CancellationToken,
}

/// `/dev…`, and `/`, which redirects to `/dev`.
pub fn router(dev: Dev) -> Router {
    Router::new()
        .route("/", get(async || Redirect::temporary("/dev")))
        .route("/dev", get(wall))
        .route("/dev/wall.json", get(wall_data))
        .route("/dev/events", get(events))
        .route("/dev/token", post(token))
        .route("/dev/sms", get(list_sms).delete(clear_sms))
        .route("/dev/inbound", post(inbound))
        .route("/dev/faults", put(set_faults))
        .with_state(dev)
}

/// An error of the stack itself, with its reason: the client is its developer.
fn fault(error: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "local_stack", error.to_string())
}

async fn wall() -> Response {
    // The page has one style and one script; the policy allows them by their hashes.
    let digest = |tag: &str| {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let inside = WALL.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
        STANDARD.encode(Sha256::digest(inside.map_or("", |(inside, _)| inside)))
    };
    let policy = format!(
        "default-src 'none'; connect-src 'self'; frame-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'",
        digest("script"),
        digest("style")
    );
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(WALL)).into_response()
}

#[derive(Serialize)]
struct WallData {
    families: Vec<WallFamily>,
    texts: Vec<WallSms>,
}

#[derive(Serialize)]
struct WallFamily {
    id: FamilyId,
    name: String,
    members: Vec<WallMember>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WallMember {
    user_id: String,
    name: String,
    phone: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WallSms {
    direction: Direction,
    phone: String,
    body: String,
    at: Timestamp,
    segments: u32,
    encoding: String,
}

async fn wall_data(State(dev): State<Dev>) -> Result<Json<WallData>, Problem> {
    // Not in `shared`: no part of the product may read across families.
    let mut tx = db::begin_as_worker(&dev.db).await?;
    let rows: Vec<(FamilyId, String, sqlx::types::Json<Vec<WallMember>>)> = sqlx::query_as(
        "SELECT f.family_id, f.name,
                coalesce(json_agg(json_build_object('userId', u.user_id, 'name', u.name, 'phone', u.phone)
                                  ORDER BY u.created_at, u.user_id)
                         FILTER (WHERE u.user_id IS NOT NULL), '[]')
         FROM families f
         LEFT JOIN users u ON u.family_id = f.family_id AND u.deactivated_at IS NULL
         GROUP BY f.family_id
         -- The demo family first, for a newcomer; then the newest, for a developer at work.
         ORDER BY f.family_id = $1 DESC, f.created_at DESC, f.family_id
         LIMIT 50",
    )
    .bind(demo::FAMILY)
    .fetch_all(&mut *tx)
    .await
    .map_err(shared::Error::from)?;
    tx.commit().await.map_err(shared::Error::from)?;
    let families = rows
        .into_iter()
        .map(|(id, name, members)| WallFamily { id, name, members: members.0 })
        .collect();
    let all = dev.carrier.sms();
    // The newest, which a page can show; `/dev/sms` has them all.
    let from = all.len().saturating_sub(500);
    let texts = all
        .into_iter()
        .skip(from)
        .map(|sms| WallSms {
            direction: sms.direction,
            phone: sms.phone,
            body: sms.body,
            at: sms.at.into(),
            segments: sms.segments,
            encoding: sms.encoding,
        })
        .collect();
    Ok(Json(WallData { families, texts }))
}

async fn events(State(dev): State<Dev>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    async fn next(
        (mut changes, stop): (Receiver<()>, CancellationToken),
    ) -> Option<(Result<Event, Infallible>, (Receiver<()>, CancellationToken))> {
        let change = tokio::select! {
            () = stop.cancelled() => return None,
            change = changes.recv() => change,
        };
        match change {
            // A receiver that lagged has missed events, but one reading shows it everything.
            Ok(()) | Err(RecvError::Lagged(_)) => {
                Some((Ok(Event::default().event("changed").data("text")), (changes, stop)))
            }
            Err(RecvError::Closed) => None,
        }
    }
    // The first event makes a reconnected page read the wall, and sets the delay to reconnect.
    let hello = Event::default().retry(Duration::from_secs(1)).event("changed").data("open");
    let changes = stream::unfold((dev.carrier.changes(), dev.stop), next);
    Sse::new(stream::once(async { Ok(hello) }).chain(changes)).keep_alive(KeepAlive::default())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest {
    user_id: Option<String>,
    family_id: Option<String>,
    name: Option<String>,
    role: Option<String>,
    expires_in: Option<i64>,
}

impl Validate for TokenRequest {
    type Valid = Self;

    fn validate(self) -> Result<Self, Problem> {
        let invalid = |field: &'static str| {
            Problem::unprocessable("invalid_field", format!("{field} is not an id.")).field(field)
        };
        let service = self.role.as_deref() == Some("service");
        match &self.user_id {
            Some(id) => drop(id.parse::<UserId>().map_err(|_| invalid("userId"))?),
            None if service => {}
            None => return Err(invalid("userId")),
        }
        if let Some(id) = &self.family_id {
            id.parse::<FamilyId>().map_err(|_| invalid("familyId"))?;
        }
        Ok(self)
    }
}

#[derive(Serialize)]
struct TokenView {
    token: String,
}

async fn token(
    State(dev): State<Dev>,
    Valid(request): Valid<TokenRequest>,
) -> Result<Json<TokenView>, Problem> {
    let service = request.role.as_deref() == Some("service");
    let claims = TokenClaims {
        user_id: request.user_id.as_deref().unwrap_or("host"),
        // A service token is for every family unless it names one.
        family_id: request.family_id.as_deref().or((!service).then_some(demo::FAMILY)),
        name: request.name.as_deref(),
        role: request.role.as_deref(),
        // A negative value makes an expired token. A year in either direction is enough.
        expires_in: request.expires_in.unwrap_or(86_400).clamp(-31_536_000, 31_536_000),
    };
    Ok(Json(TokenView { token: dev.secrets.token(&claims).map_err(fault)? }))
}

#[derive(Deserialize)]
struct ListParams {
    to: Option<String>,
}

#[derive(Serialize)]
struct SmsList {
    messages: Vec<SmsView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SmsView {
    to: String,
    body: String,
    segments: u32,
    encoding: String,
    at: Timestamp,
    message_id: String,
}

impl From<Sms> for SmsView {
    fn from(sms: Sms) -> Self {
        Self {
            to: sms.phone,
            body: sms.body,
            segments: sms.segments,
            encoding: sms.encoding,
            at: sms.at.into(),
            message_id: sms.message_id,
        }
    }
}

async fn list_sms(State(dev): State<Dev>, Params(params): Params<ListParams>) -> Json<SmsList> {
    let to = params.to.map(|written| {
        let mut number = String::new();
        // In a query string a bare plus sign means a space.
        let digits = written.trim().trim_start_matches('+');
        let _infallible = write!(number, "+{digits}");
        number
    });
    let received = dev.carrier.received(to.as_deref());
    Json(SmsList { messages: received.into_iter().map(SmsView::from).collect() })
}

async fn clear_sms(State(dev): State<Dev>) -> Result<StatusCode, Problem> {
    dev.carrier.clear().map_err(fault)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Inbound {
    from: Option<String>,
    body: Option<String>,
}

impl Validate for Inbound {
    type Valid = (PhoneNumber, String);

    fn validate(self) -> Result<(PhoneNumber, String), Problem> {
        let from = PhoneNumber::parse(self.from.as_deref().unwrap_or_default(), None).map_err(
            |error| {
                Problem::unprocessable("invalid_phone", format!("This is {error}.")).field("from")
            },
        )?;
        let body = text::clean(&self.body.unwrap_or_default(), INBOUND_MAX);
        let body = body.map_err(|error| Problem::text("body", error))?;
        if text::is_blank(&body) {
            return Err(Problem::text("body", text::TextError::Empty));
        }
        Ok((from, body))
    }
}

async fn inbound(
    State(dev): State<Dev>,
    Valid((from, body)): Valid<Inbound>,
) -> Result<(StatusCode, Json<InboundView>), Problem> {
    let sms = dev.carrier.take(Direction::Sent, &from, &body).map_err(fault)?;
    Ok((StatusCode::ACCEPTED, Json(InboundView { message_id: sms.message_id })))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InboundView {
    message_id: String,
}

#[derive(Deserialize, Serialize)]
struct Fault {
    mode: String,
    #[serde(default = "always")]
    rate: f64,
}

const fn always() -> f64 {
    1.0
}

#[derive(Deserialize, Serialize)]
struct FaultSettings {
    sms: Option<Fault>,
    queue: Option<Fault>,
    seed: Option<u64>,
}

struct ValidFaults {
    sms: Option<Rated<SmsFault>>,
    queue: Option<Rated<QueueFault>>,
    seed: Option<u64>,
}

impl Validate for FaultSettings {
    type Valid = ValidFaults;

    fn validate(self) -> Result<ValidFaults, Problem> {
        Ok(ValidFaults {
            sms: rated("sms", self.sms)?,
            queue: rated("queue", self.queue)?,
            seed: self.seed,
        })
    }
}

/// The fault of this mode, with its rate; none for the mode `ok`.
fn rated<F: DeserializeOwned>(
    field: &'static str,
    fault: Option<Fault>,
) -> Result<Option<Rated<F>>, Problem> {
    let Some(Fault { mode, rate }) = fault.filter(|fault| fault.mode != "ok") else {
        return Ok(None);
    };
    let known = serde_json::from_value(mode.into()).ok().filter(|_| (0.0..=1.0).contains(&rate));
    let problem = || {
        let detail = format!("{field} has no such mode, or its rate is not from 0 to 1.");
        Problem::unprocessable("invalid_field", detail).field(field)
    };
    known.map(|fault| Some(Rated { fault, rate })).ok_or_else(problem)
}

async fn set_faults(State(dev): State<Dev>, Valid(faults): Valid<FaultSettings>) -> StatusCode {
    dev.carrier.faults.set(faults.sms, faults.queue, faults.seed);
    StatusCode::NO_CONTENT
}
