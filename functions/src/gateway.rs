//! Runs a router behind API Gateway, and repairs events that `lambda_http` would panic on.

use std::{
    borrow::Cow,
    convert::Infallible,
    future::{Future, ready},
    pin::Pin,
};

use axum::{Router, response::Response};
use http::{HeaderValue, header};
use http_body_util::BodyExt;
use lambda_http::{
    Adapter, Body, IntoResponse, LambdaEvent, Request, lambda_runtime,
    request::LambdaRequest,
    tower::{Service, ServiceExt},
};
use url::Url;

const PROTOCOL: http::HeaderName = http::HeaderName::from_static("x-forwarded-proto");

/// Serves `router` as a Lambda function until the environment ends.
///
/// # Errors
/// When the Lambda runtime can't be reached.
pub async fn run(router: Router) -> Result<(), lambda_http::Error> {
    lambda_runtime::run(service(router)).await
}

/// `router` as a service for API Gateway's events.
///
/// `lambda_http` builds a URL from an event and panics if it is not valid: before any handler, so that
/// a client would see API Gateway's own `500`.
#[must_use]
pub fn service(
    router: Router,
) -> impl Service<
    LambdaEvent<LambdaRequest>,
    Response = impl serde::Serialize,
    Error = Infallible,
    Future: Send,
> + Clone {
    let answered = ServiceExt::<Request>::and_then(router, answer);
    Adapter::from(answered).map_request(|mut event: LambdaEvent<LambdaRequest>| {
        sanitize(&mut event.payload);
        event
    })
}

/// A response with its body as API Gateway expects it: as text, or else in base64.
///
/// `lambda_http` decides by the content type and its `charset`, for which it links the tables of all
/// character sets: over 0.1 MB of each binary. A body that is not UTF-8 here is compressed.
struct Answer(Response<Body>);

async fn answer(response: Response) -> Result<Answer, Infallible> {
    let (mut parts, body) = response.into_parts();
    let body = match body.collect().await {
        Ok(body) => String::from_utf8(body.to_bytes().into())
            .map_or_else(|error| Body::Binary(error.into_bytes()), Body::Text),
        Err(error) => {
            tracing::error!(%error, "a response body failed");
            parts.status = http::StatusCode::INTERNAL_SERVER_ERROR;
            Body::Empty
        }
    };
    Ok(Answer(Response::from_parts(parts, body)))
}

impl IntoResponse for Answer {
    fn into_response(self) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        Box::pin(ready(self.0))
    }
}

/// Rewrites the parts of the URL that a client controls so that they form a valid one.
fn sanitize(request: &mut LambdaRequest) {
    let LambdaRequest::ApiGatewayV2(event) = request else { return };
    if let Some(query) = &mut event.raw_query_string
        && let Cow::Owned(encoded) = encoded(query)
    {
        *query = encoded;
    }
    if event.raw_path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        event.raw_path = event.raw_path.take().map(|path| format!("/{path}"));
    }
    // Not used here, and HTTPS is the only way in.
    event.headers.insert(PROTOCOL, HeaderValue::from_static("https"));
    let host = event.headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    if host.is_some_and(|host| Url::parse(&format!("https://{host}/")).is_err()) {
        event.headers.remove(header::HOST);
    }
}

/// A query with the characters that RFC 3986 (3.4) does not allow percent-encoded.
fn encoded(query: &str) -> Cow<'_, str> {
    let has_place =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    if query.bytes().all(has_place) {
        return query.into();
    }
    let mut encoded = String::with_capacity(query.len() + 16);
    for byte in query.bytes() {
        if has_place(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.extend(char::from_digit(digit.into(), 16).map(|c| c.to_ascii_uppercase()));
            }
        }
    }
    encoded.into()
}

#[cfg(test)]
mod tests {
    use axum::{Router, extract::RawQuery, routing::get};
    use lambda_http::Context;
    use serde_json::{Value, json};

    use super::*;

    /// The response of a handler at `/l` that echoes the query.
    async fn seen(change: impl FnOnce(&mut Value)) -> Value {
        let mut event = json!({
            "version": "2.0",
            "rawPath": "/l",
            "rawQueryString": "",
            "headers": { "host": "kin.example" },
            "requestContext": { "http": { "method": "GET", "path": "/l" }, "stage": "$default" },
        });
        change(&mut event);
        let request = serde_json::from_value(event).expect("an event");
        let query = |RawQuery(query): RawQuery| async { query.unwrap_or_default() };
        let service = service(Router::new().route("/l", get(query)));
        let Ok(answer) = service.oneshot(LambdaEvent::new(request, Context::default())).await;
        serde_json::to_value(answer).expect("JSON")
    }

    #[tokio::test]
    async fn a_query_may_hold_anything() {
        for (query, expected) in [
            ("limit=10&cursor=a%20b+c", "limit=10&cursor=a%20b+c"),
            ("a=\"<>\\^`{|}[]#", "a=%22%3C%3E%5C%5E%60%7B%7C%7D%5B%5D%23"),
            ("é\u{7f} \r\n\0", "%C3%A9%7F%20%0D%0A%00"),
            ("%zz%", "%zz%"),
            ("??//", "??//"),
        ] {
            let answer = seen(|event| event["rawQueryString"] = json!(query)).await;
            assert_eq!(answer["body"], expected);
        }
    }

    #[tokio::test]
    async fn a_host_and_a_scheme_may_be_anything() {
        for host in ["", "a b", "kin.example:99999", "[", "kin.example/x", "é", "%"] {
            for scheme in ["", "https, http", "a b", ":"] {
                let headers = json!({ "host": host, "x-forwarded-proto": scheme });
                let answer = seen(|event| event["headers"] = headers).await;
                assert!(
                    answer["statusCode"] == 200 || answer["statusCode"] == 404,
                    "{host:?}: {answer}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_path_may_be_anything() {
        for path in ["", "l", "//", "/l/../l", "/\0\n é?#%zz", "/\\", "/[", ":99999", "@x"] {
            let answer = seen(|event| event["rawPath"] = json!(path)).await;
            assert!(
                answer["statusCode"] == 200 || answer["statusCode"] == 404,
                "{path:?}: {answer}"
            );
        }
    }
}
