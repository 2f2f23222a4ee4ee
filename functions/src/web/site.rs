//! The public site: its cookie, and the origins that may write.

use cookie::{Cookie, SameSite, time::Duration};
use http::{HeaderMap, HeaderValue, Method, header};
use platform::config::ConfigError;
use shared::config::PUBLIC_URL;
use shared::sessions::{self, BrowserSecret};

use crate::error::Problem;

/// The public site.
#[derive(Debug, Clone)]
pub struct Site {
    /// Scheme, host and port, as in a browser's `Origin`.
    origin: String,
    /// Whether the cookie is for HTTPS only.
    secure: bool,
}

impl Site {
    /// Reads `KINLINE_PUBLIC_URL`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::new(&PUBLIC_URL.url()?)
    }

    /// The site at `public_url`.
    ///
    /// # Errors
    /// [`ConfigError`] if it is not a URL.
    pub fn new(public_url: &str) -> Result<Self, ConfigError> {
        let url = PUBLIC_URL.address(public_url.to_owned())?;
        let scheme_end = url.find("://").map_or(0, |at| at + 3);
        let (scheme, rest) = url.split_at(scheme_end);
        let authority = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
        // As browsers write it: without the scheme's default port.
        let usual = if scheme == "https://" { ":443" } else { ":80" };
        let authority = authority.strip_suffix(usual).unwrap_or(&authority).to_owned();
        // Other sites without HTTPS get cookies that browsers refuse: no session goes over an
        // unencrypted network.
        let secure = scheme != "http://" || !is_localhost(&authority);
        Ok(Self { origin: format!("{scheme}{authority}"), secure })
    }

    const fn cookie_name(&self) -> &'static str {
        // With this prefix, the browser guarantees that this host set the cookie by HTTPS (RFC
        // 6265bis, 4.1.3.2). It refuses the prefix on plain HTTP.
        if self.secure { "__Host-kin" } else { "kin" }
    }

    /// The secret in the browser's cookie, if there is one.
    #[must_use]
    pub fn browser(&self, headers: &HeaderMap) -> Option<BrowserSecret> {
        // As bytes: another application's cookie in the same header need not be ASCII.
        headers
            .get_all(header::COOKIE)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
            .find_map(|pair| {
                let pair = pair.trim_ascii().strip_prefix(self.cookie_name().as_bytes())?;
                std::str::from_utf8(pair.strip_prefix(b"=")?).ok()?.parse().ok()
            })
    }

    /// A `Set-Cookie` that keeps the browser's secret for the longest life of a session.
    #[must_use]
    pub fn keep(&self, browser: &BrowserSecret) -> HeaderValue {
        let seconds = i64::try_from(sessions::LIFE.as_secs()).unwrap_or(i64::MAX);
        self.set_cookie(browser.reveal(), Duration::seconds(seconds))
    }

    /// A `Set-Cookie` that deletes the browser's secret.
    #[must_use]
    pub fn forget(&self) -> HeaderValue {
        self.set_cookie("", Duration::ZERO)
    }

    fn set_cookie(&self, value: &str, age: Duration) -> HeaderValue {
        let cookie = Cookie::build((self.cookie_name(), value))
            .path("/")
            .http_only(true)
            .secure(self.secure)
            // Sent when a link is tapped, never with another site's request that writes.
            .same_site(SameSite::Lax)
            .max_age(age);
        // Name and value are plain ASCII.
        let header = HeaderValue::from_str(&cookie.to_string());
        header.unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Refuses a request that another site's page makes a browser send (OWASP, cross-site request
    /// forgery: verifying the origin). Clients other than browsers send neither header.
    ///
    /// # Errors
    /// `403 cross_site`.
    pub fn same_site(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        if method.is_safe() {
            return Ok(());
        }
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let own = match text(header::ORIGIN) {
            // Our pages send no referrer, and some browsers then send no origin either.
            Some("null") => text(FETCH_SITE) == Some("same-origin"),
            Some(origin) => {
                let host = text(header::HOST).unwrap_or_default();
                // A stack may have several names. Plain HTTP is for this machine only.
                let by_name = origin.split_once("://").is_some_and(|(scheme, authority)| {
                    authority == host && (scheme == "https" || is_localhost(authority))
                });
                origin == self.origin || by_name
            }
            None => !matches!(text(FETCH_SITE), Some("cross-site" | "same-site")),
        };
        if own { Ok(()) } else { Err(Problem::cross_site()) }
    }
}

/// Whether a host, with or without its port, is the machine itself.
fn is_localhost(authority: &str) -> bool {
    let port = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    matches!(&authority[..port.unwrap_or(authority.len())], "localhost" | "127.0.0.1" | "[::1]")
}

const FETCH_SITE: http::HeaderName = http::HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    use super::*;

    fn site(url: &str) -> Site {
        Site::new(url).expect("an address")
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn cookies_are_for_https_except_on_localhost() {
        let secret = BrowserSecret::new();
        let cookie = |url: &str| site(url).keep(&secret).to_str().expect("ASCII").to_owned();
        for url in ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:80/"] {
            let cookie = cookie(url);
            assert!(cookie.starts_with("kin=") && !cookie.contains("Secure"), "{cookie}");
        }
        for url in
            ["https://kin.example", "http://kin.example", "https://localhost", "http://10.0.0.1"]
        {
            let cookie = cookie(url);
            let expected = format!(
                "__Host-kin={}; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=2592000",
                secret.reveal()
            );
            assert_eq!(cookie, expected, "{url}");
        }
        assert!(site("https://a.b").forget().to_str().expect("ASCII").contains("Max-Age=0"));
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        let origin = [("origin", "https://kin.example")];
        for url in ["https://kin.example", "https://KIN.example:443/", "https://kin.example:443/a"]
        {
            assert!(site(url).same_site(&Method::POST, &headers(&origin)).is_ok(), "{url}");
        }
        assert!(
            site("https://kin.example:80").same_site(&Method::POST, &headers(&origin)).is_err()
        );
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let secret = BrowserSecret::new();
        let site = site("https://kin.example");
        let cookie = format!("a=b; __Host-kin={}; kin=x", secret.reveal());
        assert_eq!(site.browser(&headers(&[("cookie", &cookie)])), Some(secret.clone()));
        let later = [("cookie", "a=b"), ("cookie", cookie.as_str())];
        assert_eq!(site.browser(&headers(&later)), Some(secret.clone()));
        // Another application's cookie, in Latin-1.
        let mut bytes = b"name=Jos\xe9; ".to_vec();
        bytes.extend_from_slice(cookie.as_bytes());
        let mut latin = HeaderMap::new();
        latin.insert("cookie", HeaderValue::from_bytes(&bytes).expect("a value"));
        assert_eq!(site.browser(&latin), Some(secret.clone()));
        let plain = format!("kin={}", secret.reveal());
        for none in ["", "kin", "=", "__Host-kin=", "__Host-kin=short", &plain] {
            assert_eq!(site.browser(&headers(&[("cookie", none)])), None, "{none}");
        }
    }

    #[test]
    fn other_sites_may_not_write() {
        let site = site("https://kin.example");
        let check = |method: Method, pairs: &[(&'static str, &str)]| {
            site.same_site(&method, &headers(pairs)).is_ok()
        };
        let local = ("host", "127.0.0.1:3000");
        assert!(check(Method::POST, &[]));
        assert!(check(Method::POST, &[("origin", "https://kin.example")]));
        assert!(check(Method::POST, &[local, ("origin", "http://127.0.0.1:3000")]));
        assert!(check(Method::POST, &[("host", "other.name"), ("origin", "https://other.name")]));
        assert!(!check(Method::POST, &[("host", "other.name"), ("origin", "http://other.name")]));
        assert!(check(Method::POST, &[("sec-fetch-site", "same-origin")]));
        assert!(check(Method::POST, &[("origin", "null"), ("sec-fetch-site", "same-origin")]));
        assert!(!check(Method::POST, &[("origin", "null"), ("sec-fetch-site", "cross-site")]));
        assert!(check(Method::GET, &[("origin", "https://evil.example")]));
        for origin in [
            "https://evil.example",
            "null",
            "",
            "https://kin.example.evil.com",
            "https://kin.example:8443",
        ] {
            assert!(!check(Method::POST, &[local, ("origin", origin)]), "{origin}");
            assert!(!check(Method::PUT, &[("origin", origin)]), "{origin}");
        }
        assert!(!check(Method::DELETE, &[("sec-fetch-site", "cross-site")]));
        assert!(!check(Method::POST, &[("sec-fetch-site", "same-site")]));
    }
}
