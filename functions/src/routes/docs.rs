//! The description of this API: the OpenAPI document, and a page that shows it.

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    extract::{Path, State},
    response::{Html, IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};
use tower_http::compression::CompressionLayer;
use utoipa::ToSchema;
use utoipa_swagger_ui::SwaggerFile;

use crate::{
    error::Problem,
    openapi::{self, problems::problems},
};

/// The document as JSON, built at the first request.
type Document = &'static LazyLock<String>;

/// `GET /openapi.json`, `/docs` and `/docs/{file}`, compressed.
pub fn router(document: Document) -> Router {
    routes().layer(CompressionLayer::new()).with_state(document)
}

openapi::routes!(Document: document, page, file);

/// Get this document
///
/// OpenAPI 3.1, generated from the code that serves it.
#[utoipa::path(
    get, path = "/openapi.json", tag = "Operations", operation_id = "getDocument",
    security(()),
    responses((status = 200, description = "The document", body = Object)),
)]
async fn document(State(document): State<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.as_str()).into_response()
}

const SCRIPT: &str = include_str!("../web/assets/docs.js");

static PAGE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\"><title>Kinline API</title>\
         <link rel=icon href=data:,><link rel=stylesheet href=docs/swagger-ui.css>\
         <div id=docs></div><script src=docs/swagger-ui-bundle.js></script>\
         <script>{SCRIPT}</script></html>"
    )
});

/// The page's content security policy: only this API can be read.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src 'self' 'sha256-{}'; style-src 'self'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        STANDARD.encode(Sha256::digest(SCRIPT)),
    )
});

/// Get this document as a page
///
/// [Swagger UI](https://swagger.io/tools/swagger-ui/), where each operation can be tried.
#[utoipa::path(
    get, path = "/docs", tag = "Operations", operation_id = "getDocs",
    security(()),
    responses((status = 200, description = "The page", body = String, content_type = "text/html")),
)]
async fn page() -> Response {
    // It is ASCII.
    let policy = HeaderValue::from_str(&POLICY).unwrap_or(HeaderValue::from_static("sandbox"));
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, Html(PAGE.as_str())).into_response()
}

/// A file that the page needs.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a shape")]
enum DocsFile {
    #[schema(rename = "swagger-ui.css")]
    Style,
    #[schema(rename = "swagger-ui-bundle.js")]
    Script,
}

problems! {
    /// Any other file.
    DocsFile: [Problem::of_status(StatusCode::NOT_FOUND)];
}

/// Get a file of the page
///
/// Always gzipped.
#[utoipa::path(
    get, path = "/docs/{file}", tag = "Operations", operation_id = "getDocsFile",
    params(("file" = inline(DocsFile), Path, description = "The file's name")),
    security(()),
    responses(
        (status = 200, description = "The file",
            content((String = "text/css"), (String = "text/javascript"))),
        DocsFile,
    ),
)]
async fn file(Path(name): Path<String>) -> Response {
    let known = matches!(name.as_str(), "swagger-ui.css" | "swagger-ui-bundle.js");
    let file = known.then(|| utoipa_swagger_ui::serve(&name, Arc::default()).ok().flatten());
    let Some(SwaggerFile { bytes, content_type, gzpipped, .. }) = file.flatten() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = bytes.into_owned().into_response();
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::from_str(&content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    if gzpipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    response
}
