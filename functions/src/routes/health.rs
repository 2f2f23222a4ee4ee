//! Whether the system can work.

use axum::{Json, Router, extract::State, routing::get};
use http::StatusCode;
use serde::Serialize;
use shared::db;

use crate::{error::Problem, state::Api};

/// `GET /health`.
pub fn router(api: Api) -> Router {
    Router::new().route("/health", get(health)).with_state(api)
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    database: &'static str,
}

async fn health(State(api): State<Api>) -> Result<Json<Health>, Problem> {
    db::ping(&api.db).await.map_err(|error| Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        error: "database_unavailable",
        detail: "The database can't be reached.".into(),
        ..error.into()
    })?;
    Ok(Json(Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        database: "ok",
    }))
}
