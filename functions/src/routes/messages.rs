//! Posting messages, and who got them.

use axum::{
    Json, Router,
    extract::{FromRef, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use shared::{
    failpoint,
    ids::MessageId,
    messages::{self, BODY_MAX, FILES_MAX},
    notifications,
    queue::{Job, Queue},
    text,
};

use crate::{
    auth::Caller,
    error::Problem,
    extract::{Idempotency, MessagePath, ThreadPath, Valid, Validate},
    state::Api,
    views::{DeliveryView, MessageView},
};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What posting needs beside the rest: the queue.
#[derive(Clone, FromRef)]
struct Posting {
    api: Api,
    queue: Queue,
}

/// `POST /threads/{threadId}/messages`,
/// `GET /threads/{threadId}/messages/{messageId}/deliveries`.
pub fn router(api: Api, queue: Queue) -> Router {
    Router::new()
        .route("/threads/{threadId}/messages", post(post_message))
        .route("/threads/{threadId}/messages/{messageId}/deliveries", get(deliveries))
        .with_state(Posting { api, queue })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewMessage {
    body: Option<String>,
    file_ids: Option<Vec<String>>,
    reply_to_id: Option<String>,
}

impl Validate for NewMessage {
    type Valid = messages::NewMessage;

    fn validate(self) -> Result<messages::NewMessage, Problem> {
        let body = self.body.map(|body| text::clean(&body, BODY_MAX)).transpose();
        let body = body.map_err(|error| Problem::text("body", error))?;
        let written = self.file_ids.unwrap_or_default();
        if written.len() > FILES_MAX {
            return Err(Problem::unprocessable(
                "too_many_files",
                "A message has at most 10 files.",
            )
            .field("fileIds"));
        }
        let file_ids =
            written.iter().map(|id| id.parse()).collect::<Result<_, _>>().map_err(|_| {
                Problem::unprocessable(
                    "invalid_file_id",
                    "A file id is 1 to 64 of A–Z a–z 0–9 _ . : -",
                )
                .field("fileIds")
            })?;
        // A malformed id names no message of this thread.
        let reply_to_id = self.reply_to_id.map(|id| id.parse::<MessageId>()).transpose();
        let reply_to_id = reply_to_id.map_err(|_| shared::Error::UnknownReply)?;
        messages::NewMessage::new(body, file_ids, reply_to_id)
            .map_err(|error| Problem::bad_request("empty_message", format!("{error}.")))
    }
}

#[derive(Serialize)]
struct PostedView {
    message: MessageView,
    notifications: QueuedView,
}

#[derive(Serialize)]
struct QueuedView {
    queued: i32,
}

async fn post_message(
    State(Posting { api, queue }): State<Posting>,
    caller: Caller,
    ThreadPath(thread_id): ThreadPath,
    Idempotency(key): Idempotency,
    Valid(new): Valid<NewMessage>,
) -> Result<Response, Problem> {
    let Caller { family_id, user_id, .. } = caller;
    failpoint::reach("post.before");
    let (key, pace) = (key.as_ref(), api.rules.posts);
    let posted = messages::post(&api.db, &family_id, &user_id, thread_id, &new, key, pace).await?;
    let jobs: Vec<Job> =
        posted.to_enqueue.iter().map(|&id| Job::notification(family_id.clone(), id)).collect();
    failpoint::reach("post.after");
    // Committed: what the queue does not take now is enqueued by the sweeper.
    queue.enqueue(&jobs).await;
    failpoint::reach("enqueue.after");
    let view = Json(PostedView {
        message: posted.message.into(),
        notifications: QueuedView { queued: posted.queued_count },
    });
    Ok(if posted.replayed {
        (StatusCode::CREATED, [(REPLAYED, "true")], view).into_response()
    } else {
        (StatusCode::CREATED, view).into_response()
    })
}

#[derive(Serialize)]
struct Deliveries {
    deliveries: Vec<DeliveryView>,
}

async fn deliveries(
    State(api): State<Api>,
    Caller { family_id, user_id, .. }: Caller,
    MessagePath(thread_id, message_id): MessagePath,
) -> Result<Json<Deliveries>, Problem> {
    let rows =
        notifications::deliveries(&api.db, &family_id, &user_id, thread_id, message_id).await?;
    Ok(Json(Deliveries { deliveries: rows.into_iter().map(DeliveryView::from).collect() }))
}
