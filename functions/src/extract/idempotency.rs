//! The `Idempotency-Key` header.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::request::Parts;
use shared::{Error, messages::IdempotencyKey};

use crate::{error::Problem, openapi::problems::problems};

/// The `Idempotency-Key` header, if present.
pub struct Idempotency(pub Option<IdempotencyKey>);

impl<S: Send + Sync> FromRequestParts<S> for Idempotency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all("idempotency-key").iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(Self(None)),
            (Some(value), None) => {
                let key = IdempotencyKey::from_str(value.to_str().unwrap_or_default());
                key.map(|key| Self(Some(key))).map_err(|_| bad_idempotency_key())
            }
            (Some(_), Some(_)) => Err(bad_idempotency_key()),
        }
    }
}

fn bad_idempotency_key() -> Problem {
    Problem::bad_request(
        "bad_idempotency_key",
        "Send one Idempotency-Key of 1 to 255 visible ASCII characters.",
    )
}

problems! {
    /// A malformed key, or one that was used with another request.
    Idempotency: [bad_idempotency_key(), Error::IdempotencyKeyReused.into()];
}
