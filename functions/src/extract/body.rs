//! Request bodies: JSON, validated before a handler sees it.

use axum::{
    body::{Bytes, HttpBody},
    extract::{FromRequest, Request},
};
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{error::Problem, openapi::problems};

/// Longest body, in bytes.
pub const BODY_MAX: usize = 64 * 1024;

/// Validation of a request body.
pub trait Validate: DeserializeOwned {
    /// The valid body that a handler gets.
    type Valid;

    /// Validates what the types of the JSON can't express.
    ///
    /// # Errors
    /// The [`Problem`] to answer with.
    fn validate(self) -> Result<Self::Valid, Problem>;

    /// The problems of [`Self::validate`] and of the use case, without those that every body may have:
    /// for the API's document.
    #[must_use]
    fn problems() -> Vec<Problem> {
        Vec::new()
    }
}

/// A valid JSON body.
pub struct Valid<T: Validate>(pub T::Valid);

impl<T: Validate, S: Send + Sync> FromRequest<S> for Valid<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(unsupported_media_type());
        }
        let body = read(request).await?;
        parse::<T>(&body)?.validate().map(Self)
    }
}

impl<T: Validate> utoipa::IntoResponses for Valid<T> {
    fn responses() -> problems::Responses {
        let mut refused = T::problems();
        refused.extend([
            unsupported_media_type(),
            body_too_large(),
            incomplete_body(),
            invalid_json(),
            wrong_type("field".to_owned()),
            unknown_field("field".to_owned()),
        ]);
        problems::responses(refused)
    }
}

fn unsupported_media_type() -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        "Send JSON with 'Content-Type: application/json'.",
    )
}

fn body_too_large() -> Problem {
    let detail = "The body must have at most 64 KiB.";
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

fn incomplete_body() -> Problem {
    Problem::bad_request("incomplete_body", "The body is incomplete. Send the request again.")
}

fn invalid_json() -> Problem {
    Problem::bad_request("invalid_json", "The body must be a JSON object in UTF-8.")
}

fn wrong_type(field: String) -> Problem {
    Problem::unprocessable("invalid_field", format!("{field} has the wrong type.")).field(field)
}

fn unknown_field(field: String) -> Problem {
    Problem::unprocessable("unknown_field", "There is no such field here. Remove it.").field(field)
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

async fn read(request: Request) -> Result<Bytes, Problem> {
    // A body that announces too much is not read.
    if request.body().size_hint().lower() > BODY_MAX as u64 {
        return Err(body_too_large());
    }
    let body = Limited::new(request.into_body(), BODY_MAX);
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(body_too_large()),
        Err(_) => Err(incomplete_body()),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // serde would also read a struct from an array, by position.
    if body.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return Err(invalid_json());
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut track = serde_path_to_error::Track::new();
    let mut unknown = None;
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let parsed = serde_ignored::deserialize(tracked, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    });
    let value = parsed.map_err(|error: serde_json::Error| {
        if error.is_data() { wrong_type(track.path().to_string()) } else { invalid_json() }
    })?;
    json.end().map_err(|_| invalid_json())?;
    match unknown {
        None => Ok(value),
        Some(field) => Err(unknown_field(field)),
    }
}

/// A whole number, also written as `3.0`, as JSON Schema allows. Beyond 2^53 only one without a point is
/// exact.
///
/// # Errors
/// If it is not a number, or does not fit `T`.
pub fn whole<'de, D: Deserializer<'de>, T: TryFrom<i64>>(from: D) -> Result<Option<T>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(from)? else { return Ok(None) };
    let with_point = |number: f64| {
        let exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within 2^53")]
        exact.then_some(number as i64)
    };
    let number = number.as_i64().or_else(|| number.as_f64().and_then(with_point));
    let number = number.and_then(|number| T::try_from(number).ok());
    number.map(Some).ok_or_else(|| serde::de::Error::custom("not a whole number of this size"))
}
