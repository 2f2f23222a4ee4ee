//! Resolving, creating and listing threads.

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use shared::{
    Error,
    audit::Origin,
    ids::UserId,
    text,
    threads::{self, InboxCursor, Kind, MemberSet, TITLE_MAX},
};

use crate::{
    auth::Caller,
    error::Problem,
    extract::{Params, ThreadPath, Valid, Validate, bad_cursor, limit},
    source::Source,
    state::Api,
    views::{InboxEntryView, ThreadView},
};

/// `GET` and `POST /threads`, `GET /threads/{threadId}`.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/threads", post(resolve_or_create).get(list))
        .route("/threads/{threadId}", get(one))
        .with_state(api)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewThread {
    member_ids: Option<Vec<String>>,
    title: Option<String>,
    kind: Option<String>,
    #[serde(default)]
    distinct: Option<bool>,
}

struct ValidThread {
    kind: Kind,
    others: Vec<UserId>,
    title: Option<String>,
    distinct: bool,
}

impl Validate for NewThread {
    type Valid = ValidThread;

    fn validate(self) -> Result<ValidThread, Problem> {
        let written = self.member_ids.filter(|ids| !ids.is_empty()).ok_or_else(|| {
            Problem::bad_request("member_ids_required", "Name at least one member.")
                .field("memberIds")
        })?;
        let kind = self.kind.map_or(Ok(Kind::default()), |kind| kind.parse()).map_err(|error| {
            Problem::unprocessable("invalid_kind", format!("kind {error}.")).field("kind")
        })?;
        let title = self.title.map(|title| text::clean(title.trim(), TITLE_MAX)).transpose();
        let title = title.map_err(|error| Problem::text("title", error))?;
        let title = title.filter(|title| !text::is_blank(title));
        let mut others = Vec::with_capacity(written.len());
        let mut malformed = Vec::new();
        for id in written {
            match id.parse() {
                Ok(id) => others.push(id),
                // Whoever has no possible id is nobody's member.
                Err(_) => malformed.push(id),
            }
        }
        if !malformed.is_empty() {
            return Err(Error::UnknownMembers(malformed).into());
        }
        Ok(ValidThread { kind, others, title, distinct: self.distinct.unwrap_or(false) })
    }
}

#[derive(Serialize)]
struct OneThread<T> {
    thread: T,
}

async fn resolve_or_create(
    State(api): State<Api>,
    caller: Caller,
    Source(source): Source,
    Valid(new): Valid<NewThread>,
) -> Result<Response, Problem> {
    if caller.only.is_some() {
        return Err(Problem::forbidden("A link's session is for its thread; it begins no other."));
    }
    let members = MemberSet::new(new.kind, &caller.user_id, new.others)?;
    let new =
        threads::NewThread { kind: new.kind, members, title: new.title, distinct: new.distinct };
    let Caller { family_id, user_id, .. } = caller;
    let origin = Origin::member(user_id.clone(), source);
    let (thread, created) =
        threads::resolve_or_create(&api.db, &origin, &family_id, &user_id, &new).await?;
    let location = format!("/threads/{}", thread.thread_id);
    let body = Json(OneThread { thread: ThreadView::from(thread) });
    Ok(if created {
        (StatusCode::CREATED, [(header::LOCATION, location)], body).into_response()
    } else {
        body.into_response()
    })
}

#[derive(Deserialize)]
struct ListParams {
    limit: Option<String>,
    cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inbox {
    threads: Vec<InboxEntryView>,
    next_cursor: Option<String>,
}

async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Inbox>, Problem> {
    let limit = limit(params.limit.as_deref())?;
    let after = params.cursor.as_deref().map(InboxCursor::decode).transpose();
    let after = after.map_err(|_| bad_cursor("cursor"))?;
    let (entries, next) = threads::list(
        &api.db,
        &caller.family_id,
        &caller.user_id,
        caller.only.as_deref(),
        after,
        limit,
    )
    .await?;
    Ok(Json(Inbox {
        threads: entries.into_iter().map(InboxEntryView::from).collect(),
        next_cursor: next.map(InboxCursor::encode),
    }))
}

async fn one(
    State(api): State<Api>,
    caller: Caller,
    ThreadPath(thread_id): ThreadPath,
) -> Result<Json<OneThread<InboxEntryView>>, Problem> {
    let entry = threads::get(&api.db, &caller.family_id, &caller.user_id, thread_id).await?;
    Ok(Json(OneThread { thread: entry.into() }))
}
