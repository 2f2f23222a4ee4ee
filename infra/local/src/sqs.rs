//! The SQS engine on loopback, with Kinline's queue and its dead-letter queue.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use aws_sdk_sqs::{Client, types::QueueAttributeName};
use axum::body::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Collected};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustack_sqs_core::{config::SqsConfig, handler::RustackSqsHandler, provider::RustackSqs};
use rustack_sqs_http::{
    body::SqsResponseBody,
    dispatch::SqsHandler,
    response::{error_to_response, json_response},
    router::resolve_operation,
};
use rustack_sqs_model::{error::SqsError, operations::SqsOperation};
use serde_json::{Value, json};
use shared::queue::Queue;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use uuid::Uuid;

use crate::{aws, faults::Faults};

/// The worker's time for a batch: the time-out of its Lambda function.
pub const WORKER_TIMEOUT: Duration = Duration::from_secs(30);
/// Receives of a record before it goes to the dead-letter queue.
const MAX_RECEIVES: u32 = 5;

/// The group of a message. The engine refuses groups in standard queues, which SQS accepts since it has fair
/// queues: so a group is in the engine as a message attribute of this name.
const GROUP: &str = "MessageGroupId";

/// The engine. It keeps messages in memory only: the database has what they stand for.
pub struct SqsEngine {
    engine: Engine,
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
    client: Client,
    /// The queue of jobs.
    pub queue_url: String,
    /// The dead-letter queue.
    pub dead_letter_url: String,
}

/// The implementation behind the engine's port.
#[derive(Clone)]
enum Engine {
    /// The one in this process, with its faults.
    Ours(Arc<RustackSqs>, Faults),
    /// Another implementation; connections are forwarded to it byte by byte.
    Peer(SocketAddr),
}

impl SqsEngine {
    /// Starts the engine with these `faults` on a free port and creates both queues. A `peer`
    /// answers in its place, without faults but for [`Self::stop`].
    ///
    /// # Errors
    /// When there is no free port, or a queue can't be created.
    pub async fn start(faults: Faults, peer: Option<SocketAddr>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no free port for SQS")?;
        let address = listener.local_addr()?;
        let engine = peer.map_or_else(
            || {
                let config = SqsConfig {
                    host: address.ip().to_string(),
                    port: address.port(),
                    default_region: aws::REGION.to_owned(),
                    ..SqsConfig::default()
                };
                Engine::Ours(Arc::new(RustackSqs::new(config)), faults)
            },
            Engine::Peer,
        );
        let server = Some(serve(listener, engine.clone()));
        let client = Client::from_conf(aws::sqs(&format!("http://{address}")).build());

        // A peer has the queues of other systems as well.
        let suffix = peer.map(|_| format!("-{}", Uuid::new_v4().simple())).unwrap_or_default();
        let dead_letter_url = create(&client, &format!("kinline-dead{suffix}"), &[]).await?;
        let dead_letter_arn = arn(&client, &dead_letter_url).await?;
        let redrive = format!(
            r#"{{"deadLetterTargetArn":"{dead_letter_arn}","maxReceiveCount":{MAX_RECEIVES}}}"#
        );
        // Six times the function's time-out (AWS Lambda, Using Lambda with Amazon SQS).
        let visibility = (WORKER_TIMEOUT * 6).as_secs().to_string();
        let attributes = [
            (QueueAttributeName::VisibilityTimeout, visibility),
            (QueueAttributeName::RedrivePolicy, redrive),
        ];
        let queue_url = create(&client, &format!("kinline-jobs{suffix}"), &attributes).await?;
        Ok(Self { engine, address, server, client, queue_url, dead_letter_url })
    }

    /// The engine's address.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client of the engine.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The queue as the API and the sweeper use it.
    #[must_use]
    pub fn queue(&self) -> Queue {
        Queue::new(aws::sqs(&self.endpoint()), self.queue_url.clone())
    }

    /// Stops listening and cuts every connection. The queues keep their messages.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // The task's end drops the listener and every connection.
            let _aborted = server.await;
        }
    }

    /// Listens again, on the same port.
    ///
    /// # Errors
    /// When another process has taken the port.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).await.context("the port of SQS is taken")?;
        self.server = Some(serve(listener, self.engine.clone()));
        Ok(())
    }
}

impl Drop for SqsEngine {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

/// The engine behind HTTP, with its faults.
#[derive(Clone)]
struct Service {
    handler: Arc<RustackSqsHandler>,
    faults: Faults,
}

/// The fault of a queue that is down: the connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the queue is down")]
struct Down;

impl Service {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<SqsResponseBody>, Down> {
        if self.faults.next_queue_is_down() {
            return Err(Down);
        }
        let id = Uuid::new_v4().to_string();
        let answered = async {
            let operation = resolve_operation(request.headers())?;
            let body = request.into_body().collect().await;
            let body = body.map_err(|_| SqsError::invalid_parameter_value("no body"))?.to_bytes();
            match operation {
                SqsOperation::SendMessageBatch => self.send_batch(body, &id).await,
                SqsOperation::ReceiveMessage => self.receive(body, &id).await,
                operation => self.handler.handle_operation(operation, body).await,
            }
        };
        Ok(answered.await.unwrap_or_else(|error| error_to_response(&error, &id)))
    }

    /// Forwards the entries that meet no fault, and reports the others as failed.
    async fn send_batch(
        &self,
        body: Bytes,
        id: &str,
    ) -> Result<Response<SqsResponseBody>, SqsError> {
        let hand_on = |body| self.handler.handle_operation(SqsOperation::SendMessageBatch, body);
        let Ok(mut request) = serde_json::from_slice::<Value>(&body) else {
            return hand_on(body).await;
        };
        let mut refused = Vec::new();
        if let Some(entries) = request.get_mut("Entries").and_then(Value::as_array_mut) {
            entries.retain(|entry| {
                let refuse = self.faults.next_entry_is_refused();
                if refuse {
                    let (id, code) = (&entry["Id"], "InternalError");
                    refused.push(json!({ "Id": id, "SenderFault": false, "Code": code }));
                }
                !refuse
            });
            if !refused.is_empty() && entries.is_empty() {
                let answer = json!({ "Successful": [], "Failed": refused });
                return Ok(json_response(answer.to_string().into_bytes(), id));
            }
            for entry in entries {
                if let Some(group) = entry.as_object_mut().and_then(|entry| entry.remove(GROUP)) {
                    entry["MessageAttributes"][GROUP] =
                        json!({ "DataType": "String", "StringValue": group });
                }
            }
        }
        let taken = hand_on(request.to_string().into()).await?;
        if refused.is_empty() {
            return Ok(taken);
        }
        let mut answer = parsed(taken).await;
        refused.extend(answer["Failed"].as_array().cloned().unwrap_or_default());
        answer["Failed"] = Value::Array(refused);
        Ok(json_response(answer.to_string().into_bytes(), id))
    }

    /// Receives messages, with their groups where SQS has them.
    async fn receive(&self, body: Bytes, id: &str) -> Result<Response<SqsResponseBody>, SqsError> {
        let hand_on = |body| self.handler.handle_operation(SqsOperation::ReceiveMessage, body);
        let Ok(mut request) = serde_json::from_slice::<Value>(&body) else {
            return hand_on(body).await;
        };
        let names = ["MessageSystemAttributeNames", "AttributeNames"].map(|key| &request[key]);
        let wanted = names
            .iter()
            .filter_map(|names| names.as_array())
            .flatten()
            .any(|name| name == "All" || name == GROUP);
        match &mut request["MessageAttributeNames"] {
            Value::Array(names) => names.push(GROUP.into()),
            none => *none = json!([GROUP]),
        }
        let mut answer = parsed(hand_on(request.to_string().into()).await?).await;
        for message in answer["Messages"].as_array_mut().into_iter().flatten() {
            let attributes = message["MessageAttributes"].as_object_mut();
            let group = attributes.and_then(|attributes| attributes.remove(GROUP));
            if let (Some(group), true) = (group, wanted) {
                message["Attributes"][GROUP] = group["StringValue"].clone();
            }
        }
        Ok(json_response(answer.to_string().into_bytes(), id))
    }
}

/// The JSON of an answer.
async fn parsed(answer: Response<SqsResponseBody>) -> Value {
    let body = answer.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    serde_json::from_slice(&body).unwrap_or_default()
}

fn serve(listener: TcpListener, engine: Engine) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    // An error concerns one connection (reset before it was accepted).
                    if let Ok((stream, _)) = accepted {
                        let _best_effort = stream.set_nodelay(true);
                        connections.spawn(connection(stream, engine.clone()));
                    }
                }
                Some(_ended) = connections.join_next() => {}
            }
        }
    })
}

/// Serves one connection until either side ends it.
async fn connection(mut stream: TcpStream, engine: Engine) {
    match engine {
        Engine::Ours(provider, faults) => {
            let handler = Arc::new(RustackSqsHandler::new(provider));
            let service = Service { handler, faults };
            let answer = service_fn(move |request| service.clone().answer(request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            let _ended = connection.await;
        }
        Engine::Peer(address) => {
            if let Ok(mut peer) = TcpStream::connect(address).await {
                let _ended = copy_bidirectional(&mut stream, &mut peer).await;
            }
        }
    }
}

async fn create(
    client: &Client,
    name: &str,
    attributes: &[(QueueAttributeName, String)],
) -> anyhow::Result<String> {
    let mut request = client.create_queue().queue_name(name);
    for (key, value) in attributes {
        request = request.attributes(key.clone(), value);
    }
    let created = request.send().await.with_context(|| format!("can't create the queue {name}"))?;
    created.queue_url.with_context(|| format!("the queue {name} has no URL"))
}

async fn arn(client: &Client, queue_url: &str) -> anyhow::Result<String> {
    let name = QueueAttributeName::QueueArn;
    let request = client.get_queue_attributes().queue_url(queue_url).attribute_names(name.clone());
    let mut attributes = request.send().await?.attributes.unwrap_or_default();
    attributes.remove(&name).with_context(|| format!("the queue {queue_url} has no ARN"))
}
