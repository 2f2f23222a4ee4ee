//! A simulated browser for each handset: the product under `/dev/phones/{phone}`, with that phone's
//! own cookies.
//!
//! The server keeps the cookies, since the browser that shows the wall has a single jar. A host name
//! for each phone (`grandma.localhost`) would separate them too, but not every system resolves such
//! names, and browsers send no `SameSite` cookies in frames of another site.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path as FilePath, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use axum::{
    Router,
    extract::{ConnectInfo, Path, Request, State},
    response::{IntoResponse, Response},
    routing::{any, delete},
};
use cookie_store::{Cookie, CookieStore};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use shared::phone::PhoneNumber;
use tower::ServiceExt;
use url::Url;

const PREFIX: &str = "/dev/phones/";

/// The cookies of every phone. Clones are the same phones.
#[derive(Clone, Default)]
pub struct Browsers(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    jars: BTreeMap<String, CookieStore>,
    file: Option<PathBuf>,
}

impl Browsers {
    /// Phones that keep their cookies in `file`, so that a restart of the server loses none.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn with_file(file: PathBuf) -> anyhow::Result<Self> {
        let context = || format!("can't use {}; remove it, and all phones are new", file.display());
        let jars = match fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            read => {
                let cookies: BTreeMap<String, Vec<Cookie<'static>>> =
                    serde_json::from_slice(&read.with_context(context)?).with_context(context)?;
                let jar = |cookies: Vec<Cookie<'static>>| {
                    CookieStore::from_cookies(cookies.into_iter().map(anyhow::Ok), false)
                };
                cookies
                    .into_iter()
                    .map(|(phone, cookies)| Ok((phone, jar(cookies)?)))
                    .collect::<anyhow::Result<_>>()?
            }
        };
        Ok(Self(Arc::new(Mutex::new(Memory { jars, file: Some(file) }))))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `Cookie` header that the phone sends to `url`.
    fn cookies(&self, phone: &PhoneNumber, url: &Url) -> Option<HeaderValue> {
        let memory = self.memory();
        let jar = memory.jars.get(phone.e164())?;
        let pairs: Vec<String> =
            jar.get_request_values(url).map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() { None } else { pairs.join("; ").parse().ok() }
    }

    /// Moves the cookies that `url` set from `headers` into the phone.
    fn take(&self, phone: &PhoneNumber, url: &Url, headers: &mut HeaderMap) {
        let header::Entry::Occupied(set) = headers.entry(header::SET_COOKIE) else { return };
        let mut memory = self.memory();
        let jar = memory.jars.entry(phone.e164().to_owned()).or_default();
        for cookie in set.remove_entry_mult().1 {
            // As browsers do: an unreadable cookie is skipped, an expired one is removed.
            let _skipped = cookie.to_str().map(|cookie| jar.parse(cookie, url));
        }
        memory.save();
    }

    /// Makes it a new phone, on which no link was opened.
    pub fn forget(&self, phone: &PhoneNumber) {
        let mut memory = self.memory();
        if memory.jars.remove(phone.e164()).is_some() {
            memory.save();
        }
    }
}

impl Memory {
    fn save(&self) {
        if let Some(file) = &self.file
            && let Err(error) = self.write(file)
        {
            // The phones keep working; only the next start finds older cookies.
            tracing::warn!(%error, "can't keep the phones' cookies");
        }
    }

    fn write(&self, file: &FilePath) -> anyhow::Result<()> {
        let cookies: BTreeMap<&String, Vec<_>> =
            self.jars.iter().map(|(phone, jar)| (phone, jar.iter_unexpired().collect())).collect();
        // Renamed when complete, so that a kill leaves no half file.
        let part = file.with_extension("part");
        let open =
            OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&part);
        open?.write_all(&serde_json::to_vec(&cookies)?)?;
        Ok(fs::rename(&part, file)?)
    }
}

#[derive(Clone)]
struct Web {
    browsers: Browsers,
    product: Router,
}

/// `/dev/phones…`, in front of `product`, which is not yet behind the edge and has no local-only
/// endpoints: a phone can't reach `/dev`.
pub(crate) fn router(browsers: Browsers, product: Router) -> Router {
    Router::new()
        .route("/dev/phones/{phone}", delete(forget))
        .route("/dev/phones/{phone}/{*path}", any(forward))
        .with_state(Web { browsers, product })
}

/// The number in a path, in E.164 only.
fn handset(written: &str) -> Result<PhoneNumber, StatusCode> {
    PhoneNumber::parse(written, None)
        .ok()
        .filter(|phone| phone.e164() == written)
        .ok_or(StatusCode::NOT_FOUND)
}

async fn forget(
    State(web): State<Web>,
    Path(phone): Path<String>,
) -> Result<StatusCode, StatusCode> {
    web.browsers.forget(&handset(&phone)?);
    Ok(StatusCode::NO_CONTENT)
}

async fn forward(
    State(web): State<Web>,
    Path((phone, _)): Path<(String, String)>,
    request: Request,
) -> Result<Response, StatusCode> {
    let phone = handset(&phone)?;
    let (parts, body) = request.into_parts();
    // The path as it was sent: the product decodes it.
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let cut = || path.strip_prefix(PREFIX)?.find('/').map(|end| path.split_at(PREFIX.len() + end));
    let (prefix, path) = cut().ok_or(StatusCode::NOT_FOUND)?;
    let uri: Uri = path.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    // An https URL, as on a real phone: for http, the jar would withhold `Secure` cookies.
    let url = Url::parse(&format!("https://phone.invalid{path}"));
    let url = url.map_err(|_| StatusCode::BAD_REQUEST)?;

    // A new request, since the extensions of this one hold the match of this route.
    let mut forwarded = Request::new(body);
    *forwarded.method_mut() = parts.method;
    *forwarded.uri_mut() = uri;
    // `Host` and `Origin` stay: both name the wall's address, which serves the page.
    *forwarded.headers_mut() = parts.headers;
    if let Some(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>() {
        forwarded.extensions_mut().insert(*peer);
    }
    forwarded.headers_mut().remove(header::REFERER);
    forwarded.headers_mut().remove(header::COOKIE);
    if let Some(cookies) = web.browsers.cookies(&phone, &url) {
        forwarded.headers_mut().insert(header::COOKIE, cookies);
    }

    let mut response = web.product.oneshot(forwarded).await.into_response();
    web.browsers.take(&phone, &url, response.headers_mut());
    frame(response.headers_mut());
    if let Some(location) = response.headers_mut().get_mut(header::LOCATION)
        && let Ok(there) = location.to_str()
        && there.starts_with('/')
        && !there.starts_with("//")
        && let Ok(here) = format!("{prefix}{there}").parse()
    {
        *location = here;
    }
    Ok(response)
}

/// Lets the wall, and no other site, show the page in a frame.
fn frame(headers: &mut HeaderMap) {
    headers.remove(header::X_FRAME_OPTIONS);
    if let header::Entry::Occupied(mut policies) = headers.entry(header::CONTENT_SECURITY_POLICY) {
        for policy in policies.iter_mut() {
            let framed = policy
                .to_str()
                .map(|policy| policy.replace("frame-ancestors 'none'", "frame-ancestors 'self'"));
            if let Some(framed) = framed.ok().and_then(|framed| framed.parse().ok()) {
                *policy = framed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        extract::DefaultBodyLimit,
        routing::{get, post},
    };
    use http_body_util::BodyExt;

    use super::*;

    const GRANDMA: &str = "/dev/phones/+15550100001";
    const DAD: &str = "/dev/phones/%2B15550100003";

    /// Pages that set headers as the product's do, and one that echoes the request.
    fn product() -> Router {
        let set = |cookies: &'static [&'static str]| {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(header::SET_COOKIE, HeaderValue::from_static(cookie));
            }
            headers
        };
        let page = [
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("x-frame-options", "DENY"),
        ];
        Router::new()
            .route(
                "/in",
                post(move || async move {
                    set(&[
                        "__Host-kin=a; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=60",
                        "seen=1; Path=/t",
                    ])
                }),
            )
            .route("/out", post(move || async move { set(&["__Host-kin=; Path=/; Max-Age=0"]) }))
            .route(
                "/past",
                post(move || async move {
                    set(&["__Host-kin=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT"])
                }),
            )
            .route("/t/{id}", get(move || async move { (page, "page") }))
            .route("/old", get(|| async { (StatusCode::SEE_OTHER, [("location", "/t/1")]) }))
            .route("/away", get(|| async { (StatusCode::SEE_OTHER, [("location", "//x/")]) }))
            .route(
                "/echo/{*rest}",
                any(|Path(rest): Path<String>, request: Request| async move {
                    let (parts, body) = request.into_parts();
                    let header = |name| {
                        parts
                            .headers
                            .get(name)
                            .and_then(|value| value.to_str().ok())
                            .unwrap_or("-")
                            .to_owned()
                    };
                    let body = body.collect().await.expect("a body").to_bytes();
                    format!(
                        "{} {} [{rest}] host={} origin={} referer={} body={}",
                        parts.method,
                        parts.uri,
                        header("host"),
                        header("origin"),
                        header("referer"),
                        String::from_utf8_lossy(&body)
                    )
                }),
            )
            .route(
                "/cookie",
                get(|headers: HeaderMap| async move {
                    let cookie =
                        headers.get(header::COOKIE).and_then(|cookie| cookie.to_str().ok());
                    cookie.unwrap_or("none").to_owned()
                }),
            )
            .route("/size", post(|body: String| async move { body.len().to_string() }))
            .layer(DefaultBodyLimit::max(100))
    }

    struct Wall {
        browsers: Browsers,
    }

    impl Wall {
        fn new() -> Self {
            Self { browsers: Browsers::default() }
        }

        async fn send(
            &self,
            request: http::request::Builder,
            body: &str,
        ) -> (StatusCode, HeaderMap, String) {
            let request = request.body(Body::from(body.to_owned())).expect("a request");
            let router = router(self.browsers.clone(), product());
            let (parts, body) = router.oneshot(request).await.into_response().into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
        }

        async fn get(&self, path: &str) -> (StatusCode, HeaderMap, String) {
            self.send(Request::get(path), "").await
        }

        async fn post(&self, path: &str) -> (StatusCode, HeaderMap, String) {
            self.send(Request::post(path), "").await
        }

        async fn cookie(&self, phone: &str) -> String {
            let request =
                Request::get(format!("{phone}/cookie")).header("cookie", "kin=the-wall's");
            self.send(request, "").await.2
        }
    }

    #[tokio::test]
    async fn each_phone_has_its_own_cookies() {
        let wall = Wall::new();
        assert_eq!(wall.cookie(GRANDMA).await, "none", "the real browser's cookies are not its");
        let (status, headers, _) = wall.post(&format!("{GRANDMA}/in")).await;
        assert_eq!(status, 200);
        assert!(!headers.contains_key(header::SET_COOKIE), "the real browser gets none");
        assert_eq!(wall.cookie(GRANDMA).await, "__Host-kin=a", "and none of another path");
        assert_eq!(wall.cookie("/dev/phones/%2B15550100001").await, "__Host-kin=a", "as written");
        assert_eq!(wall.cookie(DAD).await, "none");

        wall.post(&format!("{DAD}/in")).await;
        for end in ["out", "past"] {
            wall.post(&format!("{GRANDMA}/in")).await;
            wall.post(&format!("{GRANDMA}/{end}")).await;
            assert_eq!(wall.cookie(GRANDMA).await, "none", "{end}");
        }
        assert_eq!(wall.cookie(DAD).await, "__Host-kin=a");
        assert_eq!(wall.send(Request::delete(DAD), "").await.0, 204);
        assert_eq!(wall.cookie(DAD).await, "none", "a new phone");
    }

    #[tokio::test]
    async fn cookies_outlive_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("phones.json");
        let open = || Wall { browsers: Browsers::with_file(file.clone()).expect("opens") };
        let wall = open();
        wall.post(&format!("{GRANDMA}/in")).await;
        wall.post(&format!("{DAD}/in")).await;
        wall.post(&format!("{DAD}/out")).await;
        let wall = open();
        assert_eq!(wall.cookie(GRANDMA).await, "__Host-kin=a");
        assert_eq!(wall.cookie(DAD).await, "none");
        wall.send(Request::delete(GRANDMA), "").await;
        assert_eq!(open().cookie(GRANDMA).await, "none");
        fs::write(&file, "no JSON").expect("written");
        assert!(Browsers::with_file(file).is_err());
    }

    #[tokio::test]
    async fn requests_arrive_as_they_were_sent() {
        let wall = Wall::new();
        let request = Request::put(format!("{DAD}/echo/a%2Fb%20c/d?q=%2B1&x"))
            .header("host", "127.0.0.1:3000")
            .header("origin", "http://127.0.0.1:3000")
            .header("referer", "http://127.0.0.1:3000/dev/phones/+15550100003/l");
        let (_, _, echo) = wall.send(request, "hello").await;
        assert_eq!(
            echo,
            "PUT /echo/a%2Fb%20c/d?q=%2B1&x [a/b c/d] host=127.0.0.1:3000 \
             origin=http://127.0.0.1:3000 referer=- body=hello"
        );
        let path = format!("{DAD}/size");
        let (status, _, size) = wall.send(Request::post(&path), &"x".repeat(100)).await;
        assert_eq!((status, size.as_str()), (StatusCode::OK, "100"));
        let (status, ..) = wall.send(Request::post(&path), &"x".repeat(101)).await;
        assert_eq!(status, 413, "the product's own limits hold");
    }

    #[tokio::test]
    async fn pages_stay_in_the_phone() {
        let wall = Wall::new();
        let (_, headers, _) = wall.get(&format!("{GRANDMA}/t/1")).await;
        assert_eq!(
            headers["content-security-policy"],
            "default-src 'none'; frame-ancestors 'self'"
        );
        assert!(!headers.contains_key("x-frame-options"));
        let (status, headers, _) = wall.get(&format!("{DAD}/old")).await;
        assert_eq!(
            (status, &headers["location"]),
            (StatusCode::SEE_OTHER, &HeaderValue::from_static("/dev/phones/%2B15550100003/t/1"))
        );
        let (_, headers, _) = wall.get(&format!("{DAD}/away")).await;
        assert_eq!(headers["location"], "//x/");
    }

    #[tokio::test]
    async fn there_are_no_phones_in_phones() {
        let wall = Wall::new();
        for path in [
            format!("{GRANDMA}{DAD}/cookie"),
            format!("{GRANDMA}/dev"),
            format!("{GRANDMA}/"),
            GRANDMA.to_owned(),
            "/dev/phones/".to_owned(),
            "/dev/phones/grandma/cookie".to_owned(),
            "/dev/phones/15550100001/cookie".to_owned(),
            "/dev/phones/+1%20555%20010%200001/cookie".to_owned(),
            "/dev/phones/%2B%2B15550100001/cookie".to_owned(),
        ] {
            let (status, ..) = wall.get(&path).await;
            assert!([404, 405].contains(&status.as_u16()), "{path}: {status}");
        }
    }
}
