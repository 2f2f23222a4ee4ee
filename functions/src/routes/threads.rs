//! Finding, creating and listing threads.

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use shared::{
    Error,
    actor::Scope,
    ids::UserId,
    text::{self, TextError},
    threads::{self, InboxCursor, Kind, MemberSet, TITLE_MAX, UnknownKind},
};
use utoipa::{IntoParams, ToSchema};

use crate::{
    error::Problem,
    extract::{
        Caller, OwnPage, Params, ThreadMember, Valid, Validate, bad_cursor, bad_limit, limit,
    },
    openapi::{self, problems::problems, shapes},
    state::Api,
    views::{InboxEntryView, ThreadView},
};

/// `GET` and `POST /threads`, `GET /threads/{threadId}`.
pub fn router(api: Api) -> Router {
    routes().with_state(api)
}

openapi::routes!(Api: resolve_or_create, list, one);

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewThread {
    /// Active users of the caller's family, in any order. The caller is always a member, listed or not.
    #[schema(value_type = Vec<shapes::UserId>, min_items = 1)]
    member_ids: Option<Vec<String>>,
    /// The title of a new thread; an existing one keeps its title.
    #[schema(max_length = 200, examples("Sunday lunch"))]
    title: Option<String>,
    #[schema(value_type = Option<Kind>, default = "FAMILY")]
    kind: Option<String>,
    /// Whether to always create a new thread.
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
        let written =
            self.member_ids.filter(|ids| !ids.is_empty()).ok_or_else(member_ids_required)?;
        let kind = self.kind.map_or(Ok(Kind::default()), |kind| kind.parse());
        let kind = kind.map_err(invalid_kind)?;
        let title = self.title.map(|title| text::clean(text::trim(&title), TITLE_MAX)).transpose();
        let title = title.map_err(|error| Problem::text("title", error))?;
        let title = title.filter(|title| !text::is_blank(title));
        let mut others = Vec::with_capacity(written.len());
        let mut malformed = Vec::new();
        for id in written {
            match id.parse() {
                Ok(id) => others.push(id),
                // A malformed id is no user's.
                Err(_) => malformed.push(id),
            }
        }
        if !malformed.is_empty() {
            return Err(Error::UnknownMembers(malformed).into());
        }
        Ok(ValidThread { kind, others, title, distinct: self.distinct.unwrap_or(false) })
    }

    fn problems() -> Vec<Problem> {
        vec![
            member_ids_required(),
            invalid_kind(UnknownKind),
            Problem::text("title", TextError::ControlCharacter),
            Problem::text("title", TextError::TooLong { max: TITLE_MAX }),
            Error::UnknownMembers(vec!["stranger".to_owned()]).into(),
            Error::DmNeedsTwo.into(),
            Error::TooManyMembers.into(),
            Error::TooManyThreads.into(),
            Problem::too_often(),
        ]
    }
}

fn member_ids_required() -> Problem {
    Problem::bad_request("member_ids_required", "Send at least one id in memberIds.")
        .field("memberIds")
}

fn invalid_kind(error: UnknownKind) -> Problem {
    Problem::unprocessable("invalid_kind", format!("kind {error}.")).field("kind")
}

#[derive(Serialize, ToSchema)]
struct OneThread<T> {
    thread: T,
}

/// Find or create a thread
///
/// Returns the thread of this family, kind and set of members, or creates it. Concurrent requests
/// create one thread. Only new threads count towards the limits: a member's in an hour, and 10,000 in a
/// family.
#[utoipa::path(
    post, path = "/threads", tag = "Threads", operation_id = "resolveThread",
    request_body(content = NewThread, example = json!({
        "memberIds": ["mum", "grandma"], "kind": "GROUP", "title": "Sunday lunch",
    })),
    security(("member" = []), ("session" = [])),
    responses(
        (status = 200, description = "Found", body = OneThread<ThreadView>),
        (status = 201, description = "Created", body = OneThread<ThreadView>,
            headers(("Location" = String, description = "The path of the thread"))),
        Caller, OwnPage, Valid<NewThread>,
    ),
)]
async fn resolve_or_create(
    State(api): State<Api>,
    Caller(actor): Caller,
    Valid(new): Valid<NewThread>,
) -> Result<Response, Problem> {
    if actor.scope != Scope::AllThreads {
        return Err(Problem::forbidden(
            "A link's session cannot find or create threads. Use a member's token.",
        ));
    }
    let members = MemberSet::new(new.kind, &actor.user, new.others)?;
    let new =
        threads::NewThread { kind: new.kind, members, title: new.title, distinct: new.distinct };
    let (thread, created) =
        threads::resolve_or_create(&api.db, &actor, &new, api.rules.threads).await?;
    let location = format!("/threads/{}", thread.thread_id);
    let body = Json(OneThread { thread: ThreadView::from(thread) });
    Ok(if created {
        (StatusCode::CREATED, [(header::LOCATION, location)], body).into_response()
    } else {
        body.into_response()
    })
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ListParams {
    /// Maximum number of threads.
    #[param(value_type = Option<i32>, minimum = 1, maximum = 200, default = 50, nullable = false)]
    limit: Option<String>,
    /// Continue from here: a `nextCursor`.
    #[param(value_type = Option<shapes::Cursor>, nullable = false)]
    cursor: Option<String>,
}

problems! {
    /// A malformed parameter.
    ListParams: [bad_limit(), bad_cursor("cursor")];
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Inbox {
    #[schema(max_items = 200)]
    threads: Vec<InboxEntryView>,
    /// Cursor of the next page; null at the end.
    #[schema(value_type = Option<shapes::Cursor>, required = true)]
    next_cursor: Option<String>,
}

/// List threads
///
/// The caller's threads, most recent message first.
#[utoipa::path(
    get, path = "/threads", tag = "Threads", operation_id = "listThreads",
    params(ListParams),
    security(("member" = []), ("session" = [])),
    responses(
        (status = 200, description = "A page of threads", body = Inbox),
        Caller, Params<ListParams>, ListParams,
    ),
)]
async fn list(
    State(api): State<Api>,
    Caller(actor): Caller,
    Params(params): Params<ListParams>,
) -> Result<Json<Inbox>, Problem> {
    let limit = limit(params.limit.as_deref())?;
    let after = params.cursor.as_deref().map(InboxCursor::decode).transpose();
    let after = after.map_err(|_| bad_cursor("cursor"))?;
    let (entries, next) = threads::list(&api.db, &actor, after, limit).await?;
    Ok(Json(Inbox {
        threads: entries.into_iter().map(InboxEntryView::from).collect(),
        next_cursor: next.map(InboxCursor::encode),
    }))
}

/// Get a thread
///
/// With its members and the caller's unread count.
#[utoipa::path(
    get, path = "/threads/{threadId}", tag = "Threads", operation_id = "getThread",
    params(ThreadMember),
    security(("member" = []), ("session" = [])),
    responses(
        (status = 200, description = "The thread", body = OneThread<InboxEntryView>),
        ThreadMember,
    ),
)]
async fn one(
    State(api): State<Api>,
    ThreadMember { actor, thread_id }: ThreadMember,
) -> Result<Json<OneThread<InboxEntryView>>, Problem> {
    let entry = threads::get(&api.db, &actor, thread_id).await?;
    Ok(Json(OneThread { thread: entry.into() }))
}
