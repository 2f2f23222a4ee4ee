//! One HTTP request and its short answer, in a short time, to the one address that was given.

use std::{error::Error as StdError, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Bytes, client::conn::http1};
use tower::ServiceExt;

use crate::{https::connector, secrets::NoSecret};

/// Somebody waits for it.
const TIME_MAX: Duration = Duration::from_secs(3);
/// A set of keys has a few kilobytes.
const BODY_MAX: usize = 64 * 1024;

/// Why there are no keys. Says nothing of what an answer held: that may have been a secret.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// In three seconds.
    #[error("no answer within {TIME_MAX:?}")]
    TooLong,
    /// Neither by name nor by TLS, or it hung up.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// Another answer than `200`.
    #[error("the answer was {0}")]
    Status(StatusCode),
    /// 64 KiB at most.
    #[error("the answer broke off, or is longer than {BODY_MAX} bytes")]
    Body,
    /// Not what was asked for.
    #[error("{0}")]
    Unusable(&'static str),
    /// There is no secret.
    #[error("the secret {0}")]
    Secret(#[from] NoSecret),
}

/// An answer: how long it may be kept by its own word, and what it says.
pub struct Fetched {
    /// What the answer came to.
    pub status: StatusCode,
    /// `max-age` of its `Cache-Control`.
    pub max_age: Option<Duration>,
    /// Its body.
    pub body: Bytes,
}

impl Fetched {
    fn ok(self) -> Result<Self, FetchError> {
        if self.status == StatusCode::OK { Ok(self) } else { Err(FetchError::Status(self.status)) }
    }
}

/// `GET url` with `headers`. Follows no redirect: keys come from where they were said to be.
///
/// # Errors
/// [`FetchError`].
pub async fn get(url: &Uri, headers: &HeaderMap) -> Result<Fetched, FetchError> {
    let mut request = Request::new(Full::default());
    *request.headers_mut() = headers.clone();
    send(url, request).await?.ok()
}

/// `PUT url` with this body and no content type, as a presigned address of S3's wants it.
///
/// # Errors
/// [`FetchError`].
pub async fn put(url: &Uri, body: Vec<u8>) -> Result<Fetched, FetchError> {
    let mut request = Request::new(Full::from(body));
    *request.method_mut() = Method::PUT;
    send(url, request).await?.ok()
}

/// Sends `request` to `url`, whatever its own address, and takes any answer.
///
/// # Errors
/// [`FetchError`], but for [`FetchError::Status`].
pub async fn send(url: &Uri, request: Request<Full<Bytes>>) -> Result<Fetched, FetchError> {
    let asked = ask(url, addressed(url, request));
    tokio::time::timeout(TIME_MAX, asked).await.map_err(|_| FetchError::TooLong)?
}

/// On a connection of its own, by hand: the next call is hours away, and may be in another life of
/// a frozen environment.
async fn ask(url: &Uri, request: Request<Full<Bytes>>) -> Result<Fetched, FetchError> {
    let unreachable = |error: &dyn StdError| FetchError::Unreachable(with_causes(error));
    let stream = connector().oneshot(url.clone()).await.map_err(|error| unreachable(&*error))?;
    let (mut sender, connection) =
        http1::handshake(stream).await.map_err(|error| unreachable(&error))?;
    // Ends with the sender and the body, whatever comes of them.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| unreachable(&error))?;
    let (status, max_age) = (answer.status(), max_age(answer.headers()));
    let body = Limited::new(answer.into_body(), BODY_MAX).collect().await;
    Ok(Fetched { status, max_age, body: body.map_err(|_| FetchError::Body)?.to_bytes() })
}

/// `request` as HTTP/1.1 says it to the host of `url`.
fn addressed(url: &Uri, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    // Some firewalls turn away who does not say who they are.
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("kinline"));
    let host = url.authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    let path = url.path_and_query().map(|path| Uri::from(path.clone()));
    *request.uri_mut() = path.unwrap_or_default();
    request
}

/// `max-age` of `Cache-Control` (RFC 9111, 5.2.2.1).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get(header::CACHE_CONTROL)?.to_str().ok()?.to_ascii_lowercase();
    let seconds = directives.split(',').find_map(|one| one.trim().strip_prefix("max-age="))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}

fn with_causes(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_found_among_other_directives() {
        let age = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, value.parse().expect("a value"));
            max_age(&headers).map(|age| age.as_secs())
        };
        assert_eq!(age("public, max-age=3600, must-revalidate"), Some(3600));
        assert_eq!(age("Max-Age=\"15\""), Some(15));
        for none in ["no-store", "s-maxage=5", "max-age=soon", "max-age=-1", ""] {
            assert_eq!(age(none), None, "{none}");
        }
        assert_eq!(max_age(&HeaderMap::new()), None);
    }
}
