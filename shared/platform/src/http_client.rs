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

/// What a request and its answer may take: a caller waits for it.
const TIME_MAX: Duration = Duration::from_secs(3);
/// A set of keys has a few kilobytes.
const BODY_MAX: usize = 64 * 1024;

/// HTTP client for a client of the AWS SDK. `idle` is how long a connection is kept for the next call. What
/// a connection may take to stand, TLS included, is the `connect_timeout` of the SDK client's configuration.
#[must_use]
pub fn sdk(idle: Duration) -> SharedHttpClient {
    Builder::new()
        .pool_idle_timeout(idle)
        .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
        .build_https()
}

/// Whether a call by [`sdk`] failed before its connection stood, so that no request can have gone out.
#[must_use]
pub fn never_connected(error: &(dyn Error + 'static)) -> bool {
    causes::find(error).any(legacy::Error::is_connect)
}

/// Why there is no answer. Says nothing of what an answer held, nor the URL: either may hold a secret.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Not within three seconds.
    #[error("no answer within {TIME_MAX:?}")]
    TooLong,
    /// No address, no connection, no TLS, or the connection was lost.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// Another answer than `200`.
    #[error("the answer was {0}")]
    Status(StatusCode),
    /// Broken off, or longer than 64 KiB.
    #[error("the answer broke off, or is longer than {BODY_MAX} bytes")]
    Body,
}

/// An answer.
pub struct Answer {
    /// Its status.
    pub(crate) status: StatusCode,
    /// `max-age` of its `Cache-Control`.
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

/// `GET url`. Follows no redirect: keys come from the address that was configured.
///
/// # Errors
/// [`RequestError`].
pub async fn get(url: &Url, accept: &'static str) -> Result<Answer, RequestError> {
    let mut request = Request::new(Method::GET, url.clone());
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
    send(request).await?.ok()
}

/// `PUT url` with this body and no content type, as a presigned URL of S3 requires it.
///
/// # Errors
/// [`RequestError`].
pub async fn put(url: &Url, body: Vec<u8>) -> Result<Answer, RequestError> {
    let mut request = Request::new(Method::PUT, url.clone());
    *request.body_mut() = Some(body.into());
    send(request).await?.ok()
}

/// Sends `request` and takes any answer.
///
/// # Errors
/// [`RequestError`], but for [`RequestError::Status`].
pub(crate) async fn send(request: Request) -> Result<Answer, RequestError> {
    static CLIENT: LazyLock<Result<Client, reqwest::Error>> = LazyLock::new(|| {
        client().build().or_else(|error| {
            // The library refuses to start then, even for plain HTTP.
            let error = causes::line(&error);
            tracing::warn!(error, "no certificate is trusted: nothing can be reached by https");
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
        // Some firewalls refuse a request without one.
        .user_agent("kinline")
        .redirect(Policy::none())
        .no_proxy()
        .timeout(TIME_MAX)
        // The next request is hours away, and may come after the environment was frozen.
        .pool_max_idle_per_host(0)
}

/// `max-age` of `Cache-Control` (RFC 9111, 5.2.2.1).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get(CACHE_CONTROL)?.to_str().ok()?.to_ascii_lowercase();
    let seconds = directives.split(',').find_map(|one| one.trim().strip_prefix("max-age="))?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_found_among_other_directives() {
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
