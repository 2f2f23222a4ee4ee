//! Whether the system can work.

use axum::{Json, Router, extract::State, routing::get};
use http::StatusCode;
use serde::Serialize;
use shared::db;
use sqlx::PgPool;

use crate::error::Problem;

/// `GET /health`.
pub fn router(db: PgPool) -> Router {
    Router::new().route("/health", get(health)).with_state(db)
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    database: &'static str,
}

async fn health(State(pool): State<PgPool>) -> Result<Json<Health>, Problem> {
    db::ping(&pool).await.map_err(|error| Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        error: "database_unavailable",
        detail: "The database can't be reached.".into(),
        ..error.into()
    })?;
    Ok(Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION"), database: "ok" }))
}
