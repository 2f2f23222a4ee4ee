//! The pages of a member: the landing page behind a link, and the thread page.

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use shared::{
    i18n::Language,
    members,
    messages::{self, Range},
    threads,
};
use tower_http::compression::CompressionLayer;

use crate::{
    error::Problem,
    extract::{Browser, ThreadMember},
    openapi,
    state::Api,
    web::{
        error::error,
        landing,
        page::Page,
        thread::{self, Reading},
    },
};

/// The number of messages that a thread opens with: a few screens of a phone, quickly loaded.
const NEWEST: usize = 30;

/// `GET /l` and `GET /t/{threadId}`, compressed.
pub fn router(api: Api) -> Router {
    routes().layer(CompressionLayer::new()).with_state(api)
}

openapi::routes!(Api: landing_page, thread_page);

/// The language that the browser prefers.
struct Accepted(Language);

impl<S: Send + Sync> FromRequestParts<S> for Accepted {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let header = parts.headers.get(header::ACCEPT_LANGUAGE);
        Ok(Self(Language::accepted(header.and_then(|value| value.to_str().ok()).unwrap_or(""))))
    }
}

/// Get the landing page
///
/// The page behind a link. The token follows `#`, which browsers do not send. A tap on the button
/// exchanges it; loading the page does not.
#[utoipa::path(
    get, path = "/l", tag = "Pages", operation_id = "getLandingPage",
    security(()),
    responses(
        (status = 200, description = "The page", body = String, content_type = "text/html",
            headers(("Set-Cookie" = String, description = "For a browser that sent no session cookie"))),
    ),
)]
async fn landing_page(browser: Browser, Accepted(language): Accepted) -> Response {
    let mut response = respond(StatusCode::OK.into_response(), landing::landing(language, false));
    if browser.is_new() {
        // Set before a link is exchanged: if the response to the exchange is lost, the browser is known
        // when it tries again.
        response.headers_mut().append(header::SET_COOKIE, browser.set_cookie());
    }
    response
}

/// Get a thread's page
///
/// If the thread cannot be shown, the page offers to send a new link by SMS, or to try again.
#[utoipa::path(
    get, path = "/t/{threadId}", tag = "Pages", operation_id = "getThreadPage",
    params(ThreadMember),
    security(("member" = []), ("session" = [])),
    responses(
        (status = 200, description = "The newest messages", body = String, content_type = "text/html"),
        (status = 401, description = "No session", body = String, content_type = "text/html"),
        (status = 403, description = "Not a member's token", body = String, content_type = "text/html"),
        (status = 404, description = "No such thread for this session", body = String,
            content_type = "text/html"),
        (status = 500, description = "An internal error", body = String, content_type = "text/html"),
        (status = 503, description = "The database is temporarily unavailable", body = String,
            content_type = "text/html"),
    ),
)]
async fn thread_page(
    State(api): State<Api>,
    Accepted(accepted): Accepted,
    member: Result<ThreadMember, Problem>,
) -> Response {
    match read(&api, member).await {
        Ok(reading) => {
            let language = reading.membership.locale.as_deref().and_then(Language::of_tag);
            let language = language.unwrap_or(accepted);
            let page = thread::thread(language, reading);
            respond(StatusCode::OK.into_response(), page)
        }
        Err(problem) => refuse(problem, accepted),
    }
}

async fn read(api: &Api, member: Result<ThreadMember, Problem>) -> Result<Reading, Problem> {
    let ThreadMember { actor, thread_id: id } = member?;
    let (entry, membership, newest) = tokio::try_join!(
        threads::get(&api.db, &actor, id),
        members::get(&api.db, &actor, id),
        messages::history(&api.db, &actor, id, Range::Newest, NEWEST),
    )?;
    Ok(Reading { thread: entry.thread, membership, user_id: actor.user, newest })
}

/// The page for a problem: the landing page, where a new link can be requested, or the error page.
fn refuse(problem: Problem, language: Language) -> Response {
    let page = match problem.status {
        // One page for all: it must not tell whether there is such a thread.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            landing::landing(language, true)
        }
        _ => error(language),
    };
    // The problem's response carries the cause for the log, and the headers of its status.
    respond(problem.into_response(), page)
}

/// Puts `page` into `response`, with its security headers.
fn respond(mut response: Response, page: askama::Result<Page>) -> Response {
    let Ok(page) = page else {
        return Problem::from(shared::Error::Corrupt("a page that can't be written"))
            .into_response();
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, page.policy);
    headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(page.language.tag()));
    fixed(headers);
    *response.body_mut() = Body::from(page.html);
    response
}

fn fixed(headers: &mut HeaderMap) {
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=()"),
        ("referrer-policy", "no-referrer"),
        ("vary", "accept-encoding, accept-language, cookie"),
        ("x-robots-tag", "noindex"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;
    use http_body_util::BodyExt;
    use platform::config::SecretString;
    use shared::{db::Pool, sessions::BrowserSecret};
    use tower::ServiceExt;

    use super::*;
    use crate::{Rules, auth::Auth, web::site::Site};

    /// The pages, with a database that can't be reached.
    fn served() -> Router {
        let nowhere = "postgres://user@127.0.0.1:1/none".parse().expect("an address");
        let pool = Pool::new(nowhere, 1, Duration::from_millis(50));
        let secret = SecretString::from("s".repeat(64));
        let site = Site::new("http://127.0.0.1").expect("an address");
        crate::edge(router(Api::new(pool, Auth::hs256(&secret), site, Rules::default())))
    }

    async fn get(path: &str, headers: &[(&str, &str)]) -> (Response<()>, String) {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        let (parts, body) = served().oneshot(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        (Response::from_parts(parts, ()), body)
    }

    fn header<'a>(response: &'a Response<()>, name: &str) -> &'a str {
        response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    #[tokio::test]
    async fn the_landing_page_has_the_browsers_language_and_security_headers() {
        let (response, body) = get("/l", &[("accept-language", "fr-CA, en;q=0.5")]).await;
        assert_eq!(response.status(), 200);
        assert!(body.contains("<html lang=\"fr\">") && body.contains("Ouvrir les messages"));
        assert_eq!(header(&response, "content-language"), "fr");
        assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
        assert_eq!(header(&response, "cache-control"), "no-store");
        assert_eq!(header(&response, "referrer-policy"), "no-referrer");
        assert_eq!(header(&response, "x-robots-tag"), "noindex");
        assert!(header(&response, "content-security-policy").contains("frame-ancestors 'none'"));
        assert!(header(&response, "set-cookie").starts_with("kin="));
    }

    #[tokio::test]
    async fn a_known_browser_keeps_its_cookie() {
        let cookie = format!("kin={}", BrowserSecret::new().reveal());
        let (response, _) = get("/l", &[("cookie", &cookie)]).await;
        assert_eq!(header(&response, "set-cookie"), "");
    }

    #[tokio::test]
    async fn a_refused_thread_page_is_the_landing_page() {
        let (response, signed_out) = get("/t/th_0", &[]).await;
        assert_eq!(response.status(), 401);
        assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
        assert!(signed_out.contains("type=\"tel\"") && signed_out.contains("\"root\":\"../\""));
        assert_ne!(header(&response, "x-request-id"), "");
        let (_, refused) = refused(shared::Error::ThreadNotFound).await;
        assert_eq!(signed_out, refused);
    }

    async fn refused(error: shared::Error) -> (Response<()>, String) {
        let response = refuse(error.into(), Language::English);
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (Response::from_parts(parts, ()), String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn without_the_database_there_is_the_error_page() {
        let cookie = format!("kin={}", BrowserSecret::new().reveal());
        let (response, body) = get("/t/th_0", &[("cookie", &cookie)]).await;
        assert_eq!(response.status(), 503);
        assert_eq!(header(&response, "retry-after"), "1");
        assert!(body.contains("Nothing is lost") && !body.contains("<script"));
    }

    #[tokio::test]
    async fn pages_are_compressed_for_browsers_that_accept_it() {
        let (response, body) = get("/l", &[("accept-encoding", "gzip, br")]).await;
        assert_eq!(header(&response, "content-encoding"), "gzip");
        assert!(body.len() < 14 * 1024);
    }
}
