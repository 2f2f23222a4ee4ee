//! HTTP clients: one for the AWS SDK, and one for single requests with a short answer.
//!
//! Both trust the certificates of `SSL_CERT_FILE` and `SSL_CERT_DIR` where one is set, else the system's.
//! Both connect directly: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` are not read.

use std::{error::Error, sync::LazyLock, time::Duration};

use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use futures_util::FutureExt;
use hyper_util::client::legacy;
use reqwest::{
    Client, ClientBuilder, Method, Request, StatusCode, Url,
    header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderValue},
    redirect::Policy,
};

use crate::causes;

/// Deadline of a request with its response: a caller waits for it.
const TIME_MAX: Duration = Duration::from_secs(3);
/// Maximum size of a response body, in bytes. A key set (JWKS) has a few kilobytes.
const BODY_MAX: usize = 64 * 1024;

/// HTTP client for the AWS SDK. `idle` is how long a connection is kept for the next call. The SDK client's
/// `connect_timeout` limits how long a connection takes to open, TLS included.
#[must_use]
pub fn sdk(idle: Duration) -> SharedHttpClient {
    Builder::new()
        .pool_idle_timeout(idle)
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .build_https()
}

/// Whether a call through [`sdk`] failed before its connection was open, so that no request was sent.
#[must_use]
pub fn never_connected(error: &(dyn Error + 'static)) -> bool {
    causes::find(error).any(legacy::Error::is_connect)
}

/// A failed request. Never holds the response's content or the URL: either may contain a secret.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No response within three seconds.
    #[error("no answer within {TIME_MAX:?}")]
    TooLong,
    /// DNS, connection or TLS failed, or the connection was lost.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// A status other than `200`.
    #[error("the answer was {0}")]
    Status(StatusCode),
    /// The body is incomplete, or longer than 64 KiB.
    #[error("the answer broke off, or is longer than {BODY_MAX} bytes")]
    Body,
}

/// An HTTP response.
pub struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// The `max-age` of its `Cache-Control`.
    pub max_age: Option<Duration>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    fn ok(self) -> Result<Self, RequestError> {
        if self.status == StatusCode::OK {
            Ok(self)
        } else {
            Err(RequestError::Status(self.status))
        }
    }
}

/// Sends `GET url`. Follows no redirect: keys come from the configured address only.
///
/// # Errors
/// [`RequestError`].
pub async fn get(url: &Url, accept: &'static str) -> Result<Answer, RequestError> {
    let mut request = Request::new(Method::GET, url.clone());
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
    send(request).await?.ok()
}

/// Sends `PUT url` with this body and no content type, as a presigned URL of S3 requires.
///
/// # Errors
/// [`RequestError`].
pub async fn put(url: &Url, body: Vec<u8>) -> Result<Answer, RequestError> {
    let mut request = Request::new(Method::PUT, url.clone());
    *request.body_mut() = Some(body.into());
    send(request).await?.ok()
}

/// Sends `request` and accepts any status.
///
/// # Errors
/// [`RequestError`], except [`RequestError::Status`].
pub(crate) async fn send(request: Request) -> Result<Answer, RequestError> {
    static CLIENT: LazyLock<Result<Client, reqwest::Error>> = LazyLock::new(|| {
        client().build().or_else(|error| {
            // Without certificates the library makes no client, even for plain HTTP.
            let error = causes::line(&error);
            tracing::warn!(error, "no trusted certificates: https requests will fail");
            client().tls_certs_only([]).build()
        })
    });
    let unreachable = |error: &reqwest::Error| RequestError::Unreachable(causes::line(error));
    let client = CLIENT.as_ref().map_err(unreachable)?;
    // Boxed: the type is so deep that the futures around it reach the compiler's recursion limit.
    let mut answer = client.execute(request).boxed().await.map_err(|error| {
        if error.is_timeout() { RequestError::TooLong } else { unreachable(&error.without_url()) }
    })?;
    let (status, max_age) = (answer.status(), max_age(answer.headers()));
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| {
        if error.is_timeout() { RequestError::TooLong } else { RequestError::Body }
    })? {
        if body.len() + chunk.len() > BODY_MAX {
            return Err(RequestError::Body);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, max_age, body })
}

fn client() -> ClientBuilder {
    Client::builder()
        // Some firewalls refuse requests without one.
        .user_agent("kinline")
        .redirect(Policy::none())
        .no_proxy()
        .timeout(TIME_MAX)
        // The next request is hours later, and the environment may be frozen until then.
        .pool_max_idle_per_host(0)
}

/// Returns the `max-age` of `Cache-Control` (RFC 9111, 5.2.2.1).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get(CACHE_CONTROL)?.to_str().ok()?.to_ascii_lowercase();
    let seconds = directives.split(',').find_map(|one| one.trim().strip_prefix("max-age="))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_found_among_other_directives() {
        let age = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, value.parse().expect("a value"));
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
