//! Posting messages, and their deliveries.

use axum::{
    Json, Router,
    extract::{FromRef, State},
    response::{IntoResponse, Response},
};
use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use shared::{
    delivery, failpoint,
    ids::MessageId,
    messages::{self, BODY_MAX, EmptyMessage, FILES_MAX},
    queue::{Job, Queue, Recipient},
    text::{self, TextError},
};
use utoipa::ToSchema;

use crate::{
    error::Problem,
    extract::{Idempotency, OwnPage, PathMessage, ThreadMember, Valid, Validate},
    openapi::{self, shapes},
    state::Api,
    views::{DeliveryView, MessageView},
};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The state of these routes: the shared state, and the queue.
#[derive(Clone, FromRef)]
struct Posting {
    api: Api,
    queue: Queue,
}

/// `POST /threads/{threadId}/messages`,
/// `GET /threads/{threadId}/messages/{messageId}/deliveries`.
pub fn router(api: Api, queue: Queue) -> Router {
    routes().with_state(Posting { api, queue })
}

openapi::routes!(Posting: post_message, deliveries);

/// A body, files or both.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct NewMessage {
    /// No control characters except newline and tab.
    #[schema(max_length = 4000, examples("Who brings the albums?"), extensions(("x-rule" = json!({
        "anyOf": [
            {
                "required": ["body"],
                "properties": { "body": { "type": "string", "minLength": 1 } },
            },
            {
                "required": ["fileIds"],
                "properties": { "fileIds": { "minItems": 1, "not": { "type": "null" } } },
            },
        ],
    }))))]
    body: Option<String>,
    #[schema(value_type = Option<Vec<shapes::FileId>>, max_items = 10)]
    file_ids: Option<Vec<String>>,
    /// The message to reply to, in the same thread.
    #[schema(value_type = Option<shapes::MessageId>)]
    reply_to_id: Option<String>,
}

impl Validate for NewMessage {
    type Valid = messages::NewMessage;

    fn validate(self) -> Result<messages::NewMessage, Problem> {
        let body = self.body.map(|body| text::clean(&body, BODY_MAX)).transpose();
        let body = body.map_err(|error| Problem::text("body", error))?;
        let written = self.file_ids.unwrap_or_default();
        if written.len() > FILES_MAX {
            return Err(too_many_files());
        }
        let file_ids = written
            .iter()
            .map(|id| id.parse())
            .collect::<Result<_, _>>()
            .map_err(|_| invalid_file_id())?;
        // A malformed id names no message of this thread.
        let reply_to_id = self.reply_to_id.map(|id| id.parse::<MessageId>()).transpose();
        let reply_to_id = reply_to_id.map_err(|_| shared::Error::UnknownReply)?;
        messages::NewMessage::new(body, file_ids, reply_to_id).map_err(empty_message)
    }

    fn problems() -> Vec<Problem> {
        vec![
            empty_message(EmptyMessage),
            Problem::text("body", TextError::ControlCharacter),
            Problem::text("body", TextError::TooLong { max: BODY_MAX }),
            too_many_files(),
            invalid_file_id(),
            shared::Error::UnknownReply.into(),
            Problem::too_often(),
        ]
    }
}

fn empty_message(_: EmptyMessage) -> Problem {
    Problem::bad_request("empty_message", "A message needs a body or a file.")
}

fn too_many_files() -> Problem {
    Problem::unprocessable("too_many_files", "A message has at most 10 files.").field("fileIds")
}

fn invalid_file_id() -> Problem {
    Problem::unprocessable(
        "invalid_file_id",
        "A file id has 1 to 64 characters of A–Z a–z 0–9 _ . : -",
    )
    .field("fileIds")
}

#[derive(Serialize, ToSchema)]
#[schema(as = Posted)]
struct PostedView {
    message: MessageView,
    notifications: QueuedView,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Queued)]
struct QueuedView {
    /// The number of members to get an SMS: active ones, without the author and those who muted, opted
    /// out or have no phone.
    #[schema(minimum = 0)]
    queued: i32,
}

/// Post a message
///
/// Each member who is due an SMS gets it, whether or not the queue is available. A repeated request with the same `Idempotency-Key` and body gets the same response, and
/// nothing is posted or sent twice.
#[utoipa::path(
    post, path = "/threads/{threadId}/messages", tag = "Messages", operation_id = "postMessage",
    params(
        ThreadMember,
        ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$",
            description = "A unique key for this message in this thread, chosen by the client"),
    ),
    request_body(content = NewMessage, example = json!({ "body": "Who brings the albums?" })),
    security(("member" = []), ("session" = [])),
    responses(
        (status = 201, description = "Posted, now or earlier with the same key", body = PostedView,
            headers(("Idempotency-Replayed" = String,
                description = "`true` if the message was posted earlier with the same key"))),
        ThreadMember, OwnPage, Idempotency, Valid<NewMessage>,
    ),
)]
async fn post_message(
    State(Posting { api, queue }): State<Posting>,
    ThreadMember { actor, thread_id }: ThreadMember,
    Idempotency(key): Idempotency,
    Valid(new): Valid<NewMessage>,
) -> Result<Response, Problem> {
    failpoint::reach("post.before");
    let (key, pace) = (key.as_ref(), api.rules.posts);
    let posted = messages::post(&api.db, &actor, thread_id, &new, key, pace).await?;
    let reach =
        |user_id| Job::Reach(Recipient { family_id: actor.family.clone(), thread_id, user_id });
    let now: Vec<Job> = posted.due.into_iter().map(reach).collect();
    let later: Vec<Job> = posted.sending.into_iter().map(reach).collect();
    failpoint::reach("post.after");
    // Committed: the sweeper enqueues what the queue does not accept now.
    tokio::join!(queue.enqueue(&now), queue.enqueue_later(&later));
    failpoint::reach("enqueue.after");
    let view = Json(PostedView {
        message: posted.message.into(),
        notifications: QueuedView { queued: posted.queued_count },
    });
    if !posted.replayed {
        metrics::counter!("Posts").increment(1);
        metrics::counter!("TextsSuppressed").increment(posted.suppressed);
    }
    Ok(if posted.replayed {
        (StatusCode::CREATED, [(REPLAYED, "true")], view).into_response()
    } else {
        (StatusCode::CREATED, view).into_response()
    })
}

#[derive(Serialize, ToSchema)]
struct Deliveries {
    deliveries: Vec<DeliveryView>,
}

/// List a message's deliveries
///
/// One for each recipient.
#[utoipa::path(
    get, path = "/threads/{threadId}/messages/{messageId}/deliveries", tag = "Messages",
    operation_id = "listDeliveries",
    params(ThreadMember, PathMessage),
    security(("member" = []), ("session" = [])),
    responses(
        (status = 200, description = "The deliveries", body = Deliveries),
        ThreadMember, PathMessage,
    ),
)]
async fn deliveries(
    State(api): State<Api>,
    ThreadMember { actor, thread_id }: ThreadMember,
    PathMessage(message_id): PathMessage,
) -> Result<Json<Deliveries>, Problem> {
    let rows = delivery::deliveries(&api.db, &actor, thread_id, message_id).await?;
    Ok(Json(Deliveries { deliveries: rows.into_iter().map(DeliveryView::from).collect() }))
}
