//! The audit trail of a family, for its host application.

use axum::{Json, Router, extract::State, routing::get};
use serde::{Deserialize, Serialize};
use shared::{
    audit::{self, AuditCursor, Noted},
    ids::{AuditEventId, ThreadId, UserId},
};

use crate::{
    auth::HostService,
    error::Problem,
    extract::{FamilyPath, Params, bad_cursor, limit},
    state::Api,
    views::Timestamp,
};

/// `GET /families/{familyId}/audit`.
pub fn router(api: Api) -> Router {
    Router::new().route("/families/{familyId}/audit", get(list)).with_state(api)
}

#[derive(Deserialize)]
struct AuditParams {
    limit: Option<String>,
    cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Trail {
    events: Vec<EventView>,
    next_cursor: Option<String>,
}

/// Something that was done. Ids alone.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventView {
    id: AuditEventId,
    at: Timestamp,
    actor: ActorView,
    action: String,
    user_id: Option<UserId>,
    thread_id: Option<ThreadId>,
    role: Option<String>,
    source: Option<String>,
}

/// Who did it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ActorView {
    kind: String,
    user_id: Option<UserId>,
}

impl From<Noted> for EventView {
    fn from(event: Noted) -> Self {
        Self {
            id: event.audit_event_id,
            at: event.at.into(),
            actor: ActorView { kind: event.actor, user_id: event.actor_id },
            action: event.action,
            user_id: event.user_id,
            thread_id: event.thread_id,
            role: event.role,
            source: event.source,
        }
    }
}

async fn list(
    State(api): State<Api>,
    service: HostService,
    FamilyPath(family_id): FamilyPath,
    Params(params): Params<AuditParams>,
) -> Result<Json<Trail>, Problem> {
    service.may_provision(&family_id)?;
    let limit = limit(params.limit.as_deref())?;
    let before = params.cursor.as_deref().map(AuditCursor::decode).transpose();
    let before = before.map_err(|_| bad_cursor("cursor"))?;
    let (events, next) = audit::list(&api.db, &family_id, before, limit).await?;
    Ok(Json(Trail {
        events: events.into_iter().map(EventView::from).collect(),
        next_cursor: next.map(AuditCursor::encode),
    }))
}
