//! Cookies: ours is found among any others, and no other is taken for it.

use std::sync::LazyLock;

use functions::web::site::Site;
use http::{HeaderMap, HeaderValue, header::COOKIE};
use shared::sessions::BrowserSecret;

use crate::input::parts;

static SITE: LazyLock<Site> =
    LazyLock::new(|| Site::new("https://kin.example").expect("an address"));
const OURS: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Input: up to three `Cookie` headers; then the first of them followed by ours.
pub(crate) fn harness(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut sent = Vec::new();
    for value in parts::<3>(bytes) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            sent.extend_from_slice(value.as_bytes());
            sent.push(b';');
            headers.append(COOKIE, value);
        }
    }
    let found = SITE.browser(&headers);
    if let Some(secret) = &found {
        let pair = format!("__Host-kin={}", secret.reveal());
        let is_there =
            sent.split(|&byte| byte == b';').any(|sent| sent.trim_ascii() == pair.as_bytes());
        assert!(is_there, "no browser sent this");
    }
    let ours: BrowserSecret = OURS.parse().expect("a secret");
    let kept = SITE.keep(&ours);
    let kept = kept.to_str().expect("ASCII").split(';').next().unwrap_or_default();
    headers.append(COOKIE, kept.parse().expect("a value"));
    let found_now = SITE.browser(&headers).expect("ours");
    assert_eq!(found_now.reveal(), found.as_ref().unwrap_or(&ours).reveal());
}
