//! Shared parts of the pages: the style, the data for a script, and the content security policy.

use askama::Template;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::i18n::Language;

pub(super) const STYLE: &str = include_str!("assets/page.css");

/// JSON that is safe in a `<script>`: without `<`, it can't end the element.
pub(super) fn embed(data: &impl Serialize) -> askama::Result<String> {
    let json = serde_json::to_string(data).map_err(|error| askama::Error::Custom(error.into()))?;
    Ok(json.replace('<', "\\u003c"))
}

/// A rendered page with its content security policy.
pub(crate) struct Page {
    pub(crate) html: String,
    pub(crate) policy: HeaderValue,
    pub(crate) language: Language,
}

impl Page {
    /// Renders a page that has [`STYLE`] and `script`.
    pub(super) fn of(
        page: &impl Template,
        language: Language,
        script: &str,
    ) -> askama::Result<Self> {
        let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src 'self' data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(script),
            hash(STYLE),
        );
        let policy = HeaderValue::from_str(&policy);
        let policy = policy.map_err(|error| askama::Error::Custom(error.into()))?;
        Ok(Self { html: page.render()?, policy, language })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{error, landing, thread},
        *,
    };

    /// The size that fits into the first packets of a connection (RFC 6928).
    const PAGE_MAX: usize = 14 * 1024;

    fn pages(language: Language) -> [Page; 4] {
        [
            landing::landing(language, false),
            landing::landing(language, true),
            thread::thread(language, thread::tests::reading(vec![])),
            error::error(language),
        ]
        .map(|page| page.expect("a page"))
    }

    fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
        let (_, rest) = text.split_once(start).expect("the start");
        rest.split_once(end).expect("the end").0
    }

    #[tokio::test]
    async fn a_page_is_small_in_every_language() {
        use axum::{Router, body::Body, routing::get};
        use http_body_util::BodyExt;
        use tower::ServiceExt;

        for language in Language::ALL {
            for page in pages(language) {
                let html = page.html;
                let router = Router::new()
                    .route("/", get(async || ([("content-type", "text/html")], html)))
                    .layer(tower_http::compression::CompressionLayer::new());
                let request = http::Request::get("/").header("accept-encoding", "gzip");
                let request = request.body(Body::empty()).expect("a request");
                let response = router.oneshot(request).await.expect("an answer");
                assert_eq!(response.headers()["content-encoding"], "gzip");
                let size = response.into_body().collect().await.expect("a body").to_bytes().len();
                assert!(size < PAGE_MAX, "{}: {size} bytes", language.tag());
            }
        }
    }

    #[test]
    fn the_policy_allows_this_style_and_this_script_and_nothing_else() {
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        for page in pages(Language::German) {
            let policy = page.policy.to_str().expect("ASCII");
            assert_eq!(page.html.matches("<style>").count(), 1);
            assert!(policy.contains(&hash(between(&page.html, "<style>", "</style>"))));
            // A script of data never runs, and needs no hash.
            assert!(page.html.matches("<script>").count() <= 1);
            if page.html.contains("<script>") {
                let script = between(&page.html, "<script>", "</script>");
                assert!(policy.contains(&hash(script)));
                assert!(!script.contains("innerHTML"));
            }
            assert!(!policy.contains("unsafe"));
            for forbidden in [" style=", " onclick=", " src=", "javascript:", "og:"] {
                assert!(!page.html.contains(forbidden), "{forbidden}");
            }
            // The preview of a link shows this.
            assert!(page.html.contains("<title>Kinline</title>"));
        }
    }
}
