//! An HTTP client of one caller, which keeps whole responses.

use std::net::{IpAddr, SocketAddr};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::ConnectInfo,
    http::Request,
};
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};

use crate::document;
use tower::ServiceExt;

/// A client of one system, as one caller.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    cookie: Option<String>,
}

/// A complete response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Client {
    /// A caller with this token, or without one.
    #[must_use]
    pub fn new(base: &str, token: Option<String>) -> Self {
        Self { http: reqwest::Client::new(), base: base.to_owned(), token, cookie: None }
    }

    /// A browser with this cookie, as `name=value`.
    #[must_use]
    pub fn browser(base: &str, cookie: &str) -> Self {
        Self { cookie: Some(cookie.to_owned()), ..Self::new(base, None) }
    }

    /// A request that can be changed before [`send`] sends it.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match (&self.token, &self.cookie) {
            (Some(token), _) => request.bearer_auth(token),
            (None, Some(cookie)) => request.header("cookie", cookie),
            (None, None) => request,
        }
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::POST, path).json(body)).await
    }

    /// `PUT path` with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        send(self.request(Method::PUT, path).json(body)).await
    }

    /// `DELETE path`.
    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    /// Resolves or creates the thread with these members and returns its id.
    pub async fn thread(&self, members: &[String]) -> String {
        let answer = self.post("/threads", &json!({ "memberIds": members })).await;
        answer.text("/thread/id")
    }

    /// Creates a new thread with these members, also if they have one, and returns its id.
    pub async fn new_thread(&self, members: &[String]) -> String {
        let new = json!({ "memberIds": members, "distinct": true });
        self.post("/threads", &new).await.text("/thread/id")
    }

    /// Posts `text` to a thread and returns the answer, which must be a `201`.
    pub async fn say(&self, thread: &str, text: &str) -> Answer {
        let answer =
            self.post(&format!("/threads/{thread}/messages"), &json!({ "body": text })).await;
        assert_eq!(answer.status, 201, "{}", answer.as_text());
        answer
    }
}

/// A caller without a token at a source address. It calls the router directly, since over a network
/// the source address would be loopback.
#[derive(Clone)]
pub struct ClientAt {
    router: Router,
    peer: SocketAddr,
}

impl ClientAt {
    pub(crate) fn new(router: Router, address: IpAddr) -> Self {
        Self { router, peer: SocketAddr::new(address, 4711) }
    }

    /// Another caller, at another source address.
    #[must_use]
    pub fn at(&self, address: IpAddr) -> Self {
        Self { router: self.router.clone(), peer: SocketAddr::new(address, 4711) }
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        let mut request = request.body(Body::from(body.to_string())).expect("a request");
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let answered = self.router.clone().oneshot(request).await;
        let (parts, body) = answered.unwrap_or_else(|never| match never {}).into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a whole answer").to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}

/// Sends a request and reads the whole response, which the API's document must list.
pub async fn send(request: RequestBuilder) -> Answer {
    let (http, request) = request.build_split();
    let request = request.expect("a request");
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = http.execute(request).await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.bytes().await.expect("a whole answer").to_vec();
    let answer = Answer { status, headers, body };
    document::check(&method, &path, &answer);
    answer
}

impl Answer {
    /// The body as JSON; null if it is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn as_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The value at a JSON pointer.
    #[must_use]
    pub fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).cloned().unwrap_or_default()
    }

    /// The string at a JSON pointer.
    #[must_use]
    pub fn text(&self, pointer: &str) -> String {
        let value = self.at(pointer);
        value.as_str().unwrap_or_else(|| panic!("{pointer} in {}", self.as_text())).to_owned()
    }

    /// The value of a header; empty if it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Status and stable error code, such as `404 thread_not_found`.
    #[must_use]
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.as_text());
        assert_eq!(self.at("/status"), json!(self.status));
        assert_eq!(self.text("/requestId"), self.header("x-request-id"));
        format!("{} {}", self.status, self.text("/error"))
    }
}
