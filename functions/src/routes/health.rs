//! The health check.

use axum::{Json, Router, extract::State};
use serde::Serialize;
use shared::db::{self, Pool};
use utoipa::ToSchema;

use crate::{
    error::Problem,
    openapi::{self, problems::problems},
};

/// `GET /health`.
pub fn router(db: Pool) -> Router {
    routes().with_state(db)
}

openapi::routes!(Pool: health);

#[derive(Serialize, ToSchema)]
struct Health {
    #[schema(pattern = "^ok$")]
    status: &'static str,
    version: &'static str,
    #[schema(pattern = "^ok$")]
    database: &'static str,
}

problems! {
    /// The database can't be reached.
    Health: [Problem::database_unavailable()];
}

/// Check health
///
/// Queries the database, on which everything depends.
#[utoipa::path(
    get, path = "/health", tag = "Operations", operation_id = "getHealth",
    responses((status = 200, description = "Healthy", body = Health), Health),
)]
async fn health(State(pool): State<Pool>) -> Result<Json<Health>, Problem> {
    db::ping(&pool).await.map_err(|error| Problem {
        cause: Problem::from(error).cause,
        ..Problem::database_unavailable()
    })?;
    Ok(Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION"), database: "ok" }))
}
