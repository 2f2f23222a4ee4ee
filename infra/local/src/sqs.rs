//! The SQS engine on loopback, with Kinline's queue and its dead-letter queue.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use aws_sdk_sqs::{Client, types::QueueAttributeName};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use rustack_sqs_core::{config::SqsConfig, handler::RustackSqsHandler, provider::RustackSqs};
use rustack_sqs_http::service::{SqsHttpConfig, SqsHttpService};
use shared::queue::Queue;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use crate::aws;

/// How long the worker may take for a batch, as its Lambda function's time-out says.
pub const WORKER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a record is handed out before it goes to the dead-letter queue.
const MAX_RECEIVES: u32 = 5;

/// The engine. Its messages live in memory: the database knows what they were for.
pub struct SqsEngine {
    provider: Arc<RustackSqs>,
    address: SocketAddr,
    server: Option<JoinHandle<()>>,
    client: Client,
    /// The queue of jobs.
    pub queue_url: String,
    /// Where records end that were handed out five times.
    pub dead_letter_url: String,
}

impl SqsEngine {
    /// Starts the engine on a free port and creates both queues.
    ///
    /// # Errors
    /// When the port or a queue can't be had.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no free port for SQS")?;
        let address = listener.local_addr()?;
        let provider = Arc::new(RustackSqs::new(SqsConfig {
            host: address.ip().to_string(),
            port: address.port(),
            default_region: aws::REGION.to_owned(),
            ..SqsConfig::default()
        }));
        let server = Some(serve(listener, Arc::clone(&provider)));
        let client = Client::from_conf(aws::sqs(&format!("http://{address}")).build());

        let dead_letter_url = create(&client, "kinline-dead", &[]).await?;
        let dead_letter_arn = format!("arn:aws:sqs:{}:000000000000:kinline-dead", aws::REGION);
        let redrive = format!(
            r#"{{"deadLetterTargetArn":"{dead_letter_arn}","maxReceiveCount":{MAX_RECEIVES}}}"#
        );
        // Six times the time-out of what reads the queue (AWS Lambda, Using Lambda with Amazon SQS).
        let visibility = (WORKER_TIMEOUT * 6).as_secs().to_string();
        let attributes = [
            (QueueAttributeName::VisibilityTimeout, visibility),
            (QueueAttributeName::RedrivePolicy, redrive),
        ];
        let queue_url = create(&client, "kinline-jobs", &attributes).await?;
        Ok(Self { provider, address, server, client, queue_url, dead_letter_url })
    }

    /// Where the engine listens.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client of it.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The queue as the API and the sweeper see it.
    #[must_use]
    pub fn queue(&self) -> Queue {
        Queue::new(aws::sqs(&self.endpoint()), self.queue_url.clone())
    }

    /// Stops listening and cuts every connection. What is in the queues stays there.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            // Its end drops the listener and every connection.
            let _aborted = server.await;
        }
    }

    /// Listens again, on the same port.
    ///
    /// # Errors
    /// When another process took the port meanwhile.
    pub async fn resume(&mut self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.address).await.context("the port of SQS is taken")?;
        self.server = Some(serve(listener, Arc::clone(&self.provider)));
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

fn serve(listener: TcpListener, provider: Arc<RustackSqs>) -> JoinHandle<()> {
    let handler = Arc::new(RustackSqsHandler::new(provider));
    let service = SqsHttpService::new(handler, SqsHttpConfig::default());
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    // An error is the connection's (reset before it was accepted), not the listener's.
                    if let Ok((stream, _)) = accepted {
                        let _best_effort = stream.set_nodelay(true);
                        let served = http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service.clone());
                        connections.spawn(served);
                    }
                }
                Some(_ended) = connections.join_next() => {}
            }
        }
    })
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
