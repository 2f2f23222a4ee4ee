//! The host application's tokens: an unsigned one authenticates no caller, and a signed one only the
//! caller of its claims.

use std::time::SystemTime;

use axum::extract::FromRequestParts;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use functions::{
    Api,
    auth::Auth,
    extract::{Caller, HostToken},
    state::Rules,
};
use http::{HeaderValue, Request, header::AUTHORIZATION, request::Parts};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use platform::config::Variable;
use serde_json::Value;
use shared::actor::Scope;

use crate::{
    input::{byte, edited, parts},
    nowhere::{self, Nowhere, SECRET},
};

/// Public keys of RFC 7517 (appendix A) and RFC 8037 (appendix A).
const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/keys.json");
const SERVICE_SECRET: &str = "another secret for fuzzing, 32 bytes and more";

/// Input: a byte that selects one of the harnesses below, and its input.
pub(crate) fn harness(bytes: &[u8]) {
    let (which, rest) = byte(bytes);
    nowhere::with(|nowhere| match which % 3 {
        0 => unsigned(nowhere, rest),
        1 => signed(nowhere, rest),
        _ => changed(nowhere, rest),
    });
}

/// Every configuration of authentication.
fn auths() -> [Auth; 5] {
    let auth = |variables: &[(&str, &str)]| {
        let variable = |variable: Variable| {
            let set = variables.iter().find(|(known, _)| *known == variable.name);
            set.map(|(_, value)| (*value).to_owned())
        };
        Auth::from_variables(&variable).expect("a way of checking tokens")
    };
    let provider = |algorithm| {
        auth(&[("KINLINE_AUTH_JWKS_FILE", KEYS), ("KINLINE_AUTH_ALGORITHM", algorithm)])
    };
    [
        auth(&[("KINLINE_AUTH_SECRET", SECRET)]),
        auth(&[("KINLINE_AUTH_SECRET", SECRET), ("KINLINE_SERVICE_SECRET", SERVICE_SECRET)]),
        provider("RS256"),
        provider("ES256"),
        provider("EdDSA"),
    ]
}

/// Arbitrary headers.
fn unsigned(nowhere: &Nowhere, bytes: &[u8]) {
    thread_local! {
        static APIS: Vec<Api> = nowhere::with(|nowhere| {
            let site = || (*nowhere.api.site).clone();
            auths().map(|auth| Api::new(nowhere.api.db.clone(), auth, site(), Rules::default())).into()
        });
    }
    let values: Vec<&[u8]> =
        parts::<2>(bytes).into_iter().filter(|value| !value.is_empty()).collect();
    APIS.with(|apis| {
        for api in apis {
            let (member, host) = authenticate(nowhere, api, &values);
            assert!(member.is_none() && host.is_none(), "an unsigned token is accepted");
        }
    });
}

/// An arbitrary header and claims, signed with the host application's secret.
fn signed(nowhere: &Nowhere, bytes: &[u8]) {
    let [claims, header] = parts(bytes);
    let header = if header.is_empty() { br#"{"alg":"HS256"}"# } else { header };
    let encoded = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("signed");
    let value = format!("Bearer {message}.{signature}");
    let (member, host) = authenticate(nowhere, &nowhere.api, &[value.as_bytes()]);
    assert!(member.is_none() || host.is_none(), "a member and the host at once");
    if member.is_none() && host.is_none() {
        return;
    }
    let header: Value = serde_json::from_slice(header).expect("a header that was believed");
    assert!(header["alg"] == "HS256" && header["crit"].is_null());
    let claims: Value = serde_json::from_slice(claims).expect("claims that were believed");
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
    assert!(claims["exp"].as_f64().expect("a time") > now - 31.0, "expired");
    assert!(claims["nbf"].as_f64().is_none_or(|nbf| nbf < now + 31.0), "not valid yet");
    assert_eq!(host.is_some(), claims["role"] == "service");
    if let Some(Caller(actor)) = member {
        assert_eq!(claims["sub"], actor.user.as_str());
        assert_eq!(claims["familyId"], actor.family.as_str());
        assert_eq!(actor.scope, Scope::AllThreads);
    }
}

/// A valid token with changes.
fn changed(nowhere: &Nowhere, bytes: &[u8]) {
    // Only the token is changed, since its prefix may be written in several ways.
    let token = edited(nowhere.member.clone().into_bytes(), bytes);
    let value = [b"Bearer ", token.trim_ascii()].concat();
    let (member, host) = authenticate(nowhere, &nowhere.api, &[&value]);
    assert!(host.is_none());
    assert_eq!(member.is_some(), token.trim_ascii() == nowhere.member.as_bytes(), "changed");
}

/// The caller that these `Authorization` headers authenticate.
fn authenticate(
    nowhere: &Nowhere,
    api: &Api,
    values: &[&[u8]],
) -> (Option<Caller>, Option<HostToken>) {
    let (mut parts, ()) = Request::new(()).into_parts();
    for value in values {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            parts.headers.append(AUTHORIZATION, value);
        }
    }
    nowhere
        .runtime
        .block_on(async { (as_one(&mut parts, api).await, as_one(&mut parts, api).await) })
}

async fn as_one<T: FromRequestParts<Api>>(parts: &mut Parts, api: &Api) -> Option<T> {
    T::from_request_parts(parts, api).await.ok()
}
