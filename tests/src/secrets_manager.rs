//! AWS Secrets Manager's `GetSecretValue` over HTTP, for the secrets of a test.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::events::{ACCOUNT, REGION};

/// A Secrets Manager on loopback.
pub struct SecretsManager {
    /// Its address, for `AWS_ENDPOINT_URL_SECRETS_MANAGER`.
    pub endpoint: String,
    vault: Arc<Vault>,
    _server: JoinSet<()>,
}

#[derive(Default)]
struct Vault {
    secrets: Mutex<BTreeMap<String, String>>,
    asked: AtomicUsize,
}

impl SecretsManager {
    /// Starts one without secrets.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let vault = Arc::new(Vault::default());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&vault));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { endpoint, vault, _server: server }
    }

    /// Stores `secret` under this name; returns its ARN.
    #[expect(clippy::must_use_candidate, reason = "who changes a secret knows its ARN")]
    pub fn keep(&self, name: &str, secret: &str) -> String {
        let arn = format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-AbCdEf");
        self.vault.secrets().insert(arn.clone(), secret.to_owned());
        arn
    }

    /// The number of its requests.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.vault.asked.load(Ordering::SeqCst)
    }
}

impl Vault {
    fn secrets(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(vault): State<Arc<Vault>>, headers: HeaderMap, body: String) -> Response {
    vault.asked.fetch_add(1, Ordering::SeqCst);
    let refuse = |code: &str| {
        (StatusCode::BAD_REQUEST, Json(json!({ "__type": code, "message": "no" }))).into_response()
    };
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let signed = header("authorization").contains("/secretsmanager/aws4_request");
    if !signed || header("x-amz-target") != "secretsmanager.GetSecretValue" {
        return refuse("InvalidRequestException");
    }
    let asked: Value = serde_json::from_str(&body).unwrap_or_default();
    let arn = asked["SecretId"].as_str().unwrap_or_default();
    match vault.secrets().get(arn) {
        Some(secret) => {
            Json(json!({ "ARN": arn, "Name": "kin", "SecretString": secret })).into_response()
        }
        None => refuse("ResourceNotFoundException"),
    }
}
