//! Extractors: a request's parts as domain types, or the problem with them.

use std::str::FromStr;

use axum::{
    body::{Bytes, HttpBody},
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Limited};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use shared::{
    Error,
    ids::{FamilyId, MessageId, ThreadId, UserId},
    messages::IdempotencyKey,
};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        Ref, Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

use crate::{
    error::Problem,
    openapi::{
        problems::{self, problems},
        shapes,
    },
};

/// Longest body, in bytes.
pub const BODY_MAX: usize = 64 * 1024;

/// What a request body is made into before a handler sees it.
pub trait Validate: DeserializeOwned {
    /// What a handler works with.
    type Valid;

    /// Checks what the types of the JSON can't say.
    ///
    /// # Errors
    /// The [`Problem`] that the client is told.
    fn validate(self) -> Result<Self::Valid, Problem>;

    /// What [`Self::validate`] and the use case may refuse with, beside what every body is refused
    /// for: for the API's document.
    #[must_use]
    fn problems() -> Vec<Problem> {
        Vec::new()
    }
}

/// A JSON body that is what `T` asks for.
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
        "Send JSON, as 'Content-Type: application/json'.",
    )
}

fn body_too_large() -> Problem {
    let detail = "A body has at most 64 KiB.";
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
}

fn incomplete_body() -> Problem {
    Problem::bad_request("incomplete_body", "The body did not arrive whole.")
}

fn invalid_json() -> Problem {
    Problem::bad_request("invalid_json", "The body is not a JSON object in UTF-8.")
}

fn wrong_type(field: String) -> Problem {
    Problem::unprocessable("invalid_field", format!("{field} is not of the right type."))
        .field(field)
}

fn unknown_field(field: String) -> Problem {
    Problem::unprocessable("unknown_field", "There is no such field here.").field(field)
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
    // What announces too much is not waited for.
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
    // serde would read a struct from an array as well, by position.
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

/// A whole number, however it is written: to JSON Schema `3.0` is one as well. Beyond 2^53 only what has
/// no point is exact.
///
/// # Errors
/// What is no number, or none that `T` holds.
pub fn whole<'de, D: Deserializer<'de>, T: TryFrom<i64>>(from: D) -> Result<Option<T>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(from)? else { return Ok(None) };
    let with_point = |number: f64| {
        let exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within 2^53")]
        exact.then_some(number as i64)
    };
    let number = number.as_i64().or_else(|| number.as_f64().and_then(with_point));
    let number = number.and_then(|number| T::try_from(number).ok());
    number.map(Some).ok_or_else(|| serde::de::Error::custom("not such a whole number"))
}

/// The `Idempotency-Key` header, if there is one.
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
        "An Idempotency-Key is 1 to 255 visible ASCII characters, sent once.",
    )
}

/// Ids that a path can name. A malformed one is the `404` of the resource that it names.
macro_rules! path_ids {
    ($($(#[$doc:meta])* $name:ident($($id:ident: $missing:ident),+);)+) => {$(
        $(#[$doc])*
        pub struct $name($(pub $id),+);

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Problem;

            #[expect(non_snake_case, reason = "the macro has one name for each id")]
            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
                let path = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
                // Not UTF-8 once its percent signs are decoded: as malformed as any other.
                let Path(path) = path.unwrap_or(Path(Vec::new()));
                let mut values = path.iter().map(|(_, value)| value.as_str());
                $(let $id = values
                    .next()
                    .and_then(|value| value.parse::<$id>().ok())
                    .ok_or(Error::$missing)?;)+
                Ok(Self($($id),+))
            }
        }

        problems! {
            $name: [$(Error::$missing.into()),+];
        }

        impl IntoParams for $name {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                vec![$(path_param::<shapes::$id>(stringify!($id))),+]
            }
        }
    )+};
}

/// The parameter that carries an id: `ThreadId` comes as `threadId`.
fn path_param<T: ToSchema>(id: &str) -> Parameter {
    let (first, rest) = id.split_at(1);
    ParameterBuilder::new()
        .name(format!("{}{rest}", first.to_ascii_lowercase()))
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(Ref::from_schema_name(T::name())))
        .build()
}

problems! {
    /// Of the key itself, and of the request that it came with before.
    Idempotency: [bad_idempotency_key(), Error::IdempotencyKeyReused.into()];
}

path_ids! {
    /// `/threads/{threadId}…`
    ThreadPath(ThreadId: ThreadNotFound);
    /// `/threads/{threadId}/messages/{messageId}…`
    MessagePath(ThreadId: ThreadNotFound, MessageId: MessageNotFound);
    /// `/families/{familyId}`
    FamilyPath(FamilyId: FamilyNotFound);
    /// `/families/{familyId}/users/{userId}`
    UserPath(FamilyId: FamilyNotFound, UserId: UserNotFound);
}

/// How many to list: `limit`, 1 to 200, 50 when it is not given.
///
/// # Errors
/// `400 bad_limit`.
pub fn limit(text: Option<&str>) -> Result<usize, Problem> {
    let Some(text) = text else { return Ok(50) };
    // `parse` would take a plus sign, which a query string turns into a space besides.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .filter(|limit| (1..=200).contains(limit))
        .ok_or_else(bad_limit)
}

/// `400 bad_limit`.
pub(crate) fn bad_limit() -> Problem {
    Problem::bad_request("bad_limit", "limit is a number from 1 to 200.").field("limit")
}

/// `400 bad_cursor`, in `field`.
#[must_use]
pub fn bad_cursor(field: &'static str) -> Problem {
    Problem::bad_request(
        "bad_cursor",
        "A cursor comes from an earlier answer, unchanged, one at a time.",
    )
    .field(field)
}

/// A query string; parameters that `T` does not know are ignored.
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
    let detail = "The query string can't be read, or repeats a parameter.";
    Problem::bad_request("bad_query", detail)
}
