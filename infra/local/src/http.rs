//! The HTTP server of the local stack, with the limits that API Gateway has on AWS.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo, response::Response};
use http::{Request, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tower_http::timeout::TimeoutLayer;

/// Longest request line and headers, in bytes. API Gateway accepts 10 KiB of headers; a token of
/// 8 KiB and a browser's other headers fit.
const HEAD_MAX: usize = 16 * 1024;
/// Most headers of a request.
const HEADERS_MAX: usize = 100;
/// Most connections at once. Further ones wait until one ends.
const CONNECTIONS_MAX: usize = 2048;

/// Time-outs of this server for a client.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For the head of a request, the idle time before it included.
    pub head: Duration,
    /// From the head of a request to its response, its body included.
    pub request: Duration,
}

impl Default for Timeouts {
    /// API Gateway's limit: 30 s for a request.
    fn default() -> Self {
        Self { head: Duration::from_secs(30), request: Duration::from_secs(30) }
    }
}

/// Layer that answers a request that takes too long to arrive with a `408`. Inside the edge, which
/// writes the problem body; a stream of events that has begun is not cut.
#[must_use]
pub fn request_timeout(timeouts: Timeouts) -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, timeouts.request)
}

/// Serves `router` on `listener` until `stop`, then finishes the requests at hand.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    timeouts: Timeouts,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    loop {
        let free = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = free => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Usually out of file descriptors; some are free again a moment later.
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let connection = connection(stream, peer, router.clone(), timeouts, stop.clone());
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    connections.close();
    connections.wait().await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    timeouts: Timeouts,
    stop: CancellationToken,
) {
    // Responses are small and written whole: waiting to fill a packet only delays them.
    let _best_effort = stream.set_nodelay(true);
    let answer = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.oneshot(request).await as Result<Response, Infallible>
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.head)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    let mut served = pin!(served);
    // A client that disconnects is nothing to report.
    let _ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
}

#[cfg(test)]
mod tests {
    use axum::{body::Bytes, routing::post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Long enough for what has been sent; a test for what never comes waits it out.
    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_mins(5);

    /// The answer of a server with these timeouts to these bytes, after which nothing more is sent.
    async fn answer(timeouts: Timeouts, request: &str) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new()
            .route("/", post(|body: Bytes| async move { body.len().to_string() }))
            .layer(request_timeout(timeouts));
        let stop = CancellationToken::new();
        let server = serve(listener, functions::edge(router), timeouts, stop.clone());
        let server = tokio::spawn(server);
        let mut client = TcpStream::connect(address).await.expect("a connection");
        let _refused = client.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _cut = client.read_to_end(&mut answer).await;
        stop.cancel();
        server.await.expect("the server ends");
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn with_head(head: &str) -> String {
        format!("POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{head}\r\n")
    }

    #[tokio::test]
    async fn what_arrives_is_answered() {
        let request = with_head("content-length: 5\r\n") + "hello";
        let answer = answer(Timeouts::default(), &request).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n5"),
            "{answer}"
        );
    }

    #[tokio::test]
    async fn a_head_that_never_ends_is_cut_off() {
        let timeouts = Timeouts { head: SHORT, request: LONG };
        assert_eq!(answer(timeouts, "POST / HTTP/1.1\r\nhost: a\r\nx-").await, "");
        assert_eq!(answer(timeouts, "").await, "");
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_a_408() {
        let timeouts = Timeouts { head: LONG, request: SHORT };
        for head in ["content-length: 5\r\n", "transfer-encoding: chunked\r\n"] {
            let answer = answer(timeouts, &(with_head(head) + "1\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
            assert!(answer.contains("\"error\":\"request_timeout\""), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_head_of_any_size_or_number_of_headers_is_refused() {
        let (long, long_path) = ("a".repeat(HEAD_MAX), "/".repeat(HEAD_MAX));
        let many: Vec<String> = (0..=HEADERS_MAX).map(|i| format!("x-{i}: 1\r\n")).collect();
        for request in [
            with_head(&format!("x-long: {long}\r\n")),
            with_head(&many.concat()),
            format!("POST {long_path} HTTP/1.1\r\nhost: a\r\n\r\n"),
        ] {
            let answer = answer(Timeouts::default(), &request).await;
            assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
        }
    }
}
