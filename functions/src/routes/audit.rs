//! The audit trail of a family, for its host application.

use axum::{Json, Router, extract::State};
use serde::{Deserialize, Serialize};
use shared::{
    access::Role,
    audit::{self, AuditCursor, AuditEvent},
    ids::{AuditEventId, ThreadId, UserId},
};
use utoipa::{IntoParams, ToSchema};

use crate::{
    error::Problem,
    extract::{Params, ProvisionedFamily, bad_cursor, bad_limit, limit},
    openapi::{self, problems::problems, shapes},
    state::Api,
    views::Timestamp,
};

/// `GET /families/{familyId}/audit`.
pub fn router(api: Api) -> Router {
    routes().with_state(api)
}

openapi::routes!(Api: list);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AuditParams {
    /// Maximum number of events.
    #[param(value_type = Option<i32>, minimum = 1, maximum = 200, default = 50, nullable = false)]
    limit: Option<String>,
    /// Continue from here: a `nextCursor`.
    #[param(value_type = Option<shapes::Cursor>, nullable = false)]
    cursor: Option<String>,
}

problems! {
    /// A malformed parameter.
    AuditParams: [bad_limit(), bad_cursor("cursor")];
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Trail {
    #[schema(max_items = 200)]
    events: Vec<EventView>,
    /// Cursor of the next page; null at the end.
    #[schema(value_type = Option<shapes::Cursor>, required = true)]
    next_cursor: Option<String>,
}

/// An event of the audit trail. It holds ids only.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEvent)]
struct EventView {
    #[schema(value_type = shapes::AuditEventId)]
    id: AuditEventId,
    at: Timestamp,
    actor: ActorView,
    /// The action as a code; more may be added.
    #[schema(examples("link.opened"))]
    action: String,
    /// The user that the action affected.
    #[schema(value_type = Option<shapes::UserId>, required = true)]
    user_id: Option<UserId>,
    /// The thread that the action affected.
    #[schema(value_type = Option<shapes::ThreadId>, required = true)]
    thread_id: Option<ThreadId>,
    /// The user's role in the thread, for a membership.
    #[schema(required = true)]
    role: Option<Role>,
    /// The members of a new thread: the actor is its owner, and the others have the role `MEMBER`.
    #[schema(value_type = Option<Vec<shapes::UserId>>, required = true, max_items = 256)]
    member_ids: Option<Vec<UserId>>,
    /// The source address of the request.
    #[schema(required = true, examples("203.0.113.7"))]
    source: Option<String>,
}

/// The principal that acted.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditActor)]
struct ActorView {
    /// The kind of principal as a code; more may be added.
    #[schema(examples("host"))]
    kind: String,
    /// The member, if the principal is one.
    #[schema(value_type = Option<shapes::UserId>, required = true)]
    user_id: Option<UserId>,
}

impl From<AuditEvent> for EventView {
    fn from(event: AuditEvent) -> Self {
        Self {
            id: event.audit_event_id,
            at: event.at.into(),
            actor: ActorView { kind: event.actor, user_id: event.actor_id },
            action: event.action,
            user_id: event.user_id,
            thread_id: event.thread_id,
            role: event.role,
            member_ids: event.member_ids,
            source: event.source,
        }
    }
}

/// List audit events
///
/// Newest first: provisioning, threads, memberships and roles, links and sessions, by ids only.
#[utoipa::path(
    get, path = "/families/{familyId}/audit", tag = "Provisioning", operation_id = "listAuditEvents",
    params(ProvisionedFamily, AuditParams),
    security(("service" = [])),
    responses(
        (status = 200, description = "A page of events", body = Trail),
        ProvisionedFamily, Params<AuditParams>, AuditParams,
    ),
)]
async fn list(
    State(api): State<Api>,
    ProvisionedFamily(host): ProvisionedFamily,
    Params(params): Params<AuditParams>,
) -> Result<Json<Trail>, Problem> {
    let limit = limit(params.limit.as_deref())?;
    let before = params.cursor.as_deref().map(AuditCursor::decode).transpose();
    let before = before.map_err(|_| bad_cursor("cursor"))?;
    let (events, next) = audit::list(&api.db, &host, before, limit).await?;
    Ok(Json(Trail {
        events: events.into_iter().map(EventView::from).collect(),
        next_cursor: next.map(AuditCursor::encode),
    }))
}
