//! The description of this API.

use std::sync::LazyLock;

use axum::{
    Router,
    response::{IntoResponse, Response},
};
use http::header;

use crate::openapi;

/// `GET /openapi.json`.
pub fn router() -> Router {
    routes()
}

openapi::routes!((): document);

/// It changes with the program alone.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::document().to_string());

/// This document
///
/// OpenAPI 3.1, made from the code that answers.
#[utoipa::path(
    get, path = "/openapi.json", tag = "Operations", operation_id = "getDocument",
    responses((status = 200, description = "The document", body = Object)),
)]
async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}
