//! The whole API and the worker, with a database, a queue and a carrier that can't be reached.

use std::sync::Arc;

use aws_sdk_sqs::config::{Credentials, Region};
use axum::Router;
use functions::{Api, auth::Auth, edge, state::Rules, web::site::Site};
use http::HeaderMap;
use jsonwebtoken::{EncodingKey, Header};
use platform::{aws::behavior_version, config::SecretString};
use serde_json::{Value, json};
use shared::{db::Database, delivery::Pacing, links::LinkKeys, queue::Queue};
use tokio::runtime::Runtime;
use worker::{Worker, carriers::sns::Sns, sms::Limits};

pub(crate) const SECRET: &str = "a secret for fuzzing, 32 bytes and more";
/// Never reached: port 1 is closed, and there is no such folder for a socket.
const ENDPOINT: &str = "http://127.0.0.1:1";
const DATABASE: &str = "postgres://nobody@localhost/none?host=/nowhere";
const PUBLIC_URL: &str = "https://kin.example";
/// 2100-01-01, which is far in the future.
const EXPIRES: u64 = 4_102_444_800;

/// One for each thread, since a runtime belongs to one thread.
pub(crate) struct Nowhere {
    pub(crate) runtime: Runtime,
    pub(crate) api: Api,
    pub(crate) router: Router,
    pub(crate) worker: Worker,
    /// A member's token.
    pub(crate) member: String,
    /// The host application's token.
    pub(crate) service: String,
}

thread_local! {
    static NOWHERE: Nowhere = Nowhere::new();
}

/// Calls `run` with this thread's.
pub(crate) fn with<T>(run: impl FnOnce(&Nowhere) -> T) -> T {
    NOWHERE.with(run)
}

impl Nowhere {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let within = runtime.enter();
        let db = Database::new(DATABASE, 1).expect("an address").pool();
        let auth = Auth::hs256(&SecretString::from(SECRET));
        let site = Site::new(PUBLIC_URL).expect("an address");
        let api = Api::new(db.clone(), auth, site, Rules::default());
        let keys = LinkKeys::parse("a=0123456789abcdef0123456789abcdef").expect("a key");
        let keys = Arc::new(keys);
        let credentials = || Credentials::new("none", "none", None, None, "none");
        let region = || Region::from_static("us-east-1");
        let sqs = aws_sdk_sqs::Config::builder()
            .behavior_version(behavior_version())
            .region(region())
            .credentials_provider(credentials())
            .endpoint_url(ENDPOINT);
        let sns = aws_sdk_sns::Config::builder()
            .behavior_version(behavior_version())
            .region(region())
            .credentials_provider(credentials())
            .endpoint_url(ENDPOINT);
        let queue = Queue::new(sqs, format!("{ENDPOINT}/none"));
        let router = edge(functions::all(&api, &keys, &queue));
        let worker = Worker {
            db,
            sns: Sns::new(sns),
            keys,
            public_url: PUBLIC_URL.into(),
            limits: Limits::default(),
            stop_notices: None,
            pacing: Pacing::default(),
            default_cap: None,
        };
        drop(within);
        let token = |claims: Value| {
            let key = EncodingKey::from_secret(SECRET.as_bytes());
            jsonwebtoken::encode(&Header::default(), &claims, &key).expect("signed")
        };
        let member = token(json!({ "sub": "mum", "familyId": "fam", "exp": EXPIRES }));
        let service = token(json!({ "sub": "host", "role": "service", "exp": EXPIRES }));
        Self { runtime, api, router, worker, member, service }
    }
}

/// Checks a response without a database: no server error but `503`, and every error is a problem body or
/// a page.
pub(crate) fn check_answer(status: u16, headers: &HeaderMap, body: &[u8]) {
    let header = |name| headers.get(name).map_or("", |value| value.to_str().unwrap_or_default());
    assert!((200..500).contains(&status) || status == 503, "{status}");
    assert!(!header("x-request-id").is_empty(), "{status} without a request id");
    if status == 503 || status == 429 {
        assert!(!header("retry-after").is_empty(), "{status} without Retry-After");
    }
    if status >= 400 && !header("content-type").starts_with("text/html") {
        assert_eq!(header("content-type"), "application/problem+json");
        let problem: Value = serde_json::from_slice(body).expect("a problem in JSON");
        assert_eq!(problem["status"], status);
        assert!(problem["error"].is_string() && problem["detail"].is_string());
    }
}
