//! The AWS Lambda Runtime API, version 2018-06-01: hands out events and takes answers.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::{self, Body},
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Mutex as AsyncMutex, SetOnce, mpsc, oneshot},
    task::JoinSet,
};
use uuid::Uuid;

use super::gateway;
use crate::events::{ACCOUNT, REGION};

/// Longest answer that AWS Lambda accepts from a handler, in bytes.
const ANSWER_MAX: usize = 6_291_556;

/// A handler's answer to an event, or its error.
pub(super) type Answer = Result<Value, Value>;

/// The Runtime API of one function, on its own loopback port.
pub(super) struct RuntimeApi {
    address: SocketAddr,
    offers: mpsc::UnboundedSender<Invocation>,
    shared: Arc<Shared>,
    /// Ends the server when dropped.
    _server: JoinSet<()>,
}

/// An event that waits for the function's next request.
struct Invocation {
    event: Vec<u8>,
    timeout: Duration,
    taken: oneshot::Sender<()>,
    answer: oneshot::Sender<Answer>,
}

struct Shared {
    function: String,
    offered: AsyncMutex<mpsc::UnboundedReceiver<Invocation>>,
    /// By request id.
    running: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    init_error: SetOnce<Value>,
    refused: Mutex<Vec<String>>,
}

impl RuntimeApi {
    /// Serves the function with this name.
    pub(super) async fn serve(function: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .unwrap_or_else(|error| panic!("no loopback port for the Runtime API: {error}"));
        let address = listener
            .local_addr()
            .unwrap_or_else(|error| panic!("the Runtime API has no address: {error}"));
        let (offers, offered) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            function: function.to_owned(),
            offered: AsyncMutex::new(offered),
            running: Mutex::default(),
            init_error: SetOnce::new(),
            refused: Mutex::default(),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .fallback(unknown)
            .method_not_allowed_fallback(unknown)
            .with_state(Arc::clone(&shared));
        let mut server = JoinSet::new();
        server.spawn(async move {
            // Never returns; the function notices a connection that fails.
            let _ = axum::serve(listener, router).await;
        });
        Self { address, offers, shared, _server: server }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Queues `event`. The first receiver fires when the function takes it, the second with its answer.
    /// An offer is skipped if its receivers are dropped before that.
    pub(super) fn offer(
        &self,
        event: &Value,
        timeout: Duration,
    ) -> (oneshot::Receiver<()>, oneshot::Receiver<Answer>) {
        let (taken, hears_taken) = oneshot::channel();
        let (answer, hears_answer) = oneshot::channel();
        let event = event.to_string().into_bytes();
        // The other end lives in `self.shared`.
        let _ = self.offers.send(Invocation { event, timeout, taken, answer });
        (hears_taken, hears_answer)
    }

    /// Waits for the function to report that it can't start.
    pub(super) async fn init_error(&self) -> Value {
        self.shared.init_error.wait().await.clone()
    }

    /// The requests that were refused.
    pub(super) fn refused(&self) -> Vec<String> {
        self.shared.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<Answer>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, status: StatusCode, kind: &str, message: String) -> Response {
        let body = json!({ "errorType": kind, "errorMessage": message });
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        (status, Json(body)).into_response()
    }

    fn settle(&self, id: &str, answer: Answer) -> Response {
        let Some(waiting) = self.running().remove(id) else {
            let message = format!("invocation {id} is unknown, or answered already");
            return self.refuse(StatusCode::BAD_REQUEST, "InvalidRequestID", message);
        };
        // The caller may have stopped waiting; for the function that makes no difference.
        let _ = waiting.send(answer);
        accepted()
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    let mut offered = shared.offered.lock().await;
    loop {
        let Some(invocation) = offered.recv().await else {
            return StatusCode::GONE.into_response();
        };
        let id = Uuid::new_v4();
        // Before it is reported as taken, since the answer may come at once.
        shared.running().insert(id.to_string(), invocation.answer);
        if invocation.taken.send(()).is_err() {
            shared.running().remove(&id.to_string());
            continue;
        }
        let deadline = SystemTime::now() + invocation.timeout;
        let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let trace = id.simple().to_string();
        let (root, rest) = trace.split_at(8);
        let function = &shared.function;
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("lambda-runtime-aws-request-id", id.to_string()),
            ("lambda-runtime-deadline-ms", deadline.to_string()),
            (
                "lambda-runtime-invoked-function-arn",
                format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}"),
            ),
            ("lambda-runtime-trace-id", format!("Root=1-{root}-{rest};Sampled=0")),
        ];
        return (headers, invocation.event).into_response();
    }
}

async fn response(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    // Without a limit here, so that an answer that is too long differs from one that broke off.
    let body = match body::to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => {
            let message = format!("the answer to {id} broke off: {error}");
            return shared.refuse(StatusCode::BAD_REQUEST, "InvalidResponse", message);
        }
    };
    if body.len() > ANSWER_MAX {
        let message = format!("an answer of {} bytes; {ANSWER_MAX} are allowed", body.len());
        let body = json!({ "errorType": "Function.ResponseSizeTooLarge", "errorMessage": message });
        shared.settle(&id, Err(body.clone()));
        return (StatusCode::PAYLOAD_TOO_LARGE, Json(body)).into_response();
    }
    let streamed = headers
        .get("lambda-runtime-function-response-mode")
        .is_some_and(|mode| mode == "streaming");
    let answer = if streamed {
        gateway::from_stream(&body)
    } else {
        serde_json::from_slice(&body).map_err(|error| error.to_string())
    };
    let answer = answer.map_err(|why| {
        json!({ "errorType": "InvalidResponse", "errorMessage": format!("not an answer: {why}") })
    });
    shared.settle(&id, answer)
}

async fn error(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    body: body::Bytes,
) -> Response {
    shared.settle(&id, Err(reported(&body)))
}

async fn init_error(State(shared): State<Arc<Shared>>, body: body::Bytes) -> Response {
    if shared.init_error.set(reported(&body)).is_err() {
        let message = "a second error of the init phase".to_owned();
        return shared.refuse(StatusCode::FORBIDDEN, "InvalidStateTransition", message);
    }
    accepted()
}

async fn unknown(State(shared): State<Arc<Shared>>, method: Method, uri: Uri) -> Response {
    shared.refuse(StatusCode::NOT_FOUND, "NotFound", format!("no such thing: {method} {uri}"))
}

fn accepted() -> Response {
    (StatusCode::ACCEPTED, Json(json!({ "status": "OK" }))).into_response()
}

/// An error as the function reported it; its text if it is not JSON.
fn reported(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn url(api: &RuntimeApi, path: &str) -> String {
        format!("http://{}/2018-06-01/runtime{path}", api.address())
    }

    /// Takes the next event; returns its request id.
    async fn take(api: &RuntimeApi) -> String {
        let next = reqwest::get(url(api, "/invocation/next")).await.unwrap();
        next.headers()["lambda-runtime-aws-request-id"].to_str().unwrap().to_owned()
    }

    async fn post(api: &RuntimeApi, path: &str, body: impl Into<reqwest::Body>) -> u16 {
        let request = reqwest::Client::new().post(url(api, path)).body(body);
        request.send().await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn an_event_goes_out_with_its_headers_and_comes_back_once() {
        let api = RuntimeApi::serve("threads").await;
        let (taken, answer) = api.offer(&json!({ "a": 1 }), TIMEOUT);
        let next = reqwest::get(url(&api, "/invocation/next")).await.unwrap();
        taken.await.unwrap();
        let header = |name: &str| next.headers()[name].to_str().unwrap().to_owned();
        let id = header("lambda-runtime-aws-request-id");
        id.parse::<Uuid>().unwrap();
        let deadline: u64 = header("lambda-runtime-deadline-ms").parse().unwrap();
        let left = UNIX_EPOCH + Duration::from_millis(deadline);
        let left = left.duration_since(SystemTime::now()).unwrap();
        assert!(left <= TIMEOUT, "{left:?}");
        assert!(header("lambda-runtime-invoked-function-arn").ends_with(":function:threads"));
        assert!(header("lambda-runtime-trace-id").starts_with("Root=1-"));
        assert_eq!(next.json::<Value>().await.unwrap(), json!({ "a": 1 }));

        let path = format!("/invocation/{id}/response");
        assert_eq!(post(&api, &path, r#"{"b":2}"#).await, 202);
        assert_eq!(answer.await.unwrap(), Ok(json!({ "b": 2 })));
        assert_eq!(post(&api, &path, r#"{"b":3}"#).await, 400);
        assert_eq!(post(&api, "/invocation/unknown/response", "{}").await, 400);
        assert_eq!(post(&api, "/nowhere", "{}").await, 404);
        assert_eq!(api.refused().len(), 3, "{:?}", api.refused());
    }

    #[tokio::test]
    async fn next_blocks_until_there_is_work_and_skips_abandoned_events() {
        let api = RuntimeApi::serve("threads").await;
        drop(api.offer(&json!("given up"), TIMEOUT));
        let asked = tokio::spawn(reqwest::get(url(&api, "/invocation/next")));
        let (taken, _answer) = api.offer(&json!("wanted"), TIMEOUT);
        taken.await.unwrap();
        let next = asked.await.unwrap().unwrap();
        assert_eq!(next.json::<Value>().await.unwrap(), json!("wanted"));
    }

    #[tokio::test]
    async fn errors_keep_their_messages() {
        let api = RuntimeApi::serve("threads").await;
        let (_taken, answer) = api.offer(&json!({}), TIMEOUT);
        let path = format!("/invocation/{}/error", take(&api).await);
        assert_eq!(post(&api, &path, r#"{"errorType":"E"}"#).await, 202);
        assert_eq!(answer.await.unwrap(), Err(json!({ "errorType": "E" })));

        assert_eq!(post(&api, "/init/error", "plain words").await, 202);
        assert_eq!(api.init_error().await, json!("plain words"));
        assert_eq!(post(&api, "/init/error", "again").await, 403);
    }

    #[tokio::test]
    async fn an_answer_too_long_or_no_json_is_an_error() {
        let api = RuntimeApi::serve("threads").await;
        for (body, status, kind) in [
            (" ".repeat(ANSWER_MAX + 1), 413, "Function.ResponseSizeTooLarge"),
            ("no JSON".to_owned(), 202, "InvalidResponse"),
        ] {
            let (_taken, answer) = api.offer(&json!({}), TIMEOUT);
            let path = format!("/invocation/{}/response", take(&api).await);
            assert_eq!(post(&api, &path, body).await, status);
            assert_eq!(answer.await.unwrap().unwrap_err()["errorType"], kind);
        }
    }
}
