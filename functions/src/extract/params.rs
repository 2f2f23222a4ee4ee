//! Query strings.

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::{error::Problem, openapi::problems};

/// The page size from `limit`: 1 to 200, 50 by default.
///
/// # Errors
/// `400 bad_limit`.
pub fn limit(text: Option<&str>) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(50) };
    // `parse` would accept a plus sign, which stands for a space in a query string.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|limit| (1..=200).contains(limit))
        .ok_or_else(bad_limit)
}

/// `400 bad_limit`.
pub(crate) fn bad_limit() -> Problem {
    Problem::bad_request("bad_limit", "limit must be a number from 1 to 200.").field("limit")
}

/// `400 bad_cursor`, in `field`.
#[must_use]
pub fn bad_cursor(field: &'static str) -> Problem {
    Problem::bad_request("bad_cursor", "Send one cursor from an earlier response, unchanged.")
        .field(field)
}

/// A query string. Parameters that `T` does not have are ignored.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Query::<T>::from_request_parts(parts, state)
            .await
            .map(|Query(params)| Self(params))
            .map_err(|_| bad_query())
    }
}

impl<T> utoipa::IntoResponses for Params<T> {
    fn responses() -> problems::Responses {
        problems::responses([bad_query()])
    }
}

fn bad_query() -> Problem {
    let detail = "The query string cannot be read or repeats a parameter.";
    Problem::bad_request("bad_query", detail)
}
