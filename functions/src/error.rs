//! Problems: error responses (RFC 9457).

use std::{borrow::Cow, num::NonZeroU32, sync::Arc};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use shared::{Error, text::TextError};
use utoipa::ToSchema;

/// A problem. It travels as an extension of its response; [`crate::edge()`] writes the body, since
/// the request id is known there.
#[derive(Clone)]
pub struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) error: &'static str,
    pub(crate) detail: Cow<'static, str>,
    pub(crate) field: Option<String>,
    pub(crate) member_ids: Vec<String>,
    /// The seconds after which to try again.
    pub(crate) retry_after: Option<NonZeroU32>,
    /// For the log only.
    pub(crate) cause: Option<Arc<str>>,
}

/// An error response (RFC 9457).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(crate) struct ProblemBody<'a> {
    /// `urn:kinline:problem:` followed by the code.
    #[schema(format = "uri")]
    r#type: String,
    /// The name of the status.
    title: &'static str,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// An explanation for developers, with what to do. Do not parse it.
    detail: &'a str,
    /// The stable code.
    #[schema(pattern = "^[a-z][a-z0-9_]*$")]
    error: &'static str,
    /// The field or parameter that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<&'a str>,
    /// With `unknown_member`: the ids that are not active users of the family, as they were sent.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(required = false)]
    member_ids: &'a [String],
    /// The `x-request-id` of this response.
    request_id: &'a str,
}

impl Problem {
    /// A problem with its stable code.
    pub fn new(
        status: StatusCode,
        error: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        let detail = detail.into();
        Self {
            status,
            error,
            detail,
            field: None,
            member_ids: Vec::new(),
            retry_after: None,
            cause: None,
        }
    }

    /// Names the field of the request that is wrong.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// `400`: the request can't be read.
    pub fn bad_request(error: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, detail)
    }

    /// `422`: the request can be read but not carried out.
    pub fn unprocessable(error: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error, detail)
    }

    /// `401`: no token or session, or none that is valid. One answer for all causes.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "Send a valid token as 'Authorization: Bearer …'.",
        )
    }

    /// `503`: the keys to verify tokens can't be fetched at the moment.
    #[must_use]
    pub fn no_keys() -> Self {
        Self {
            cause: Some("no keys to verify tokens".into()),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Tokens cannot be verified at the moment. It is safe to try again.",
            )
        }
    }

    /// `403`: a valid token of the wrong kind.
    #[must_use]
    pub fn forbidden(detail: &'static str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// `422`: the text in `field` breaks a rule.
    #[must_use]
    pub fn text(field: &'static str, error: TextError) -> Self {
        let code = match error {
            TextError::Empty | TextError::ControlCharacter => "invalid_text",
            TextError::TooLong { .. } => "text_too_long",
        };
        Self::unprocessable(code, format!("{field} {error}.")).field(field)
    }

    /// `503`: the database is temporarily unavailable.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The database is temporarily unavailable. It is safe to try again.",
        )
    }

    /// `503`: the database can't be reached, for `/health`.
    #[must_use]
    pub fn database_unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "database_unavailable",
            "The database cannot be reached.",
        )
    }

    /// `429`: too many requests.
    #[must_use]
    pub fn too_often() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "Too many requests. Try again after the seconds in 'Retry-After'.",
        )
    }

    /// `403`: another site's page makes a browser write.
    #[must_use]
    pub fn cross_site() -> Self {
        let detail = "A browser may send this request only from Kinline's own pages.";
        Self::new(StatusCode::FORBIDDEN, "cross_site", detail)
    }

    /// `500`: an internal error.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", INTERNAL)
    }

    /// The problem of an error response that has none.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        let (error, detail) = match status {
            StatusCode::NOT_FOUND => ("not_found", "There is nothing at this path."),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "This path does not accept this method; see 'Allow'.")
            }
            StatusCode::REQUEST_TIMEOUT => {
                ("request_timeout", "The request did not arrive in time. It is safe to try again.")
            }
            status if status.is_client_error() => ("bad_request", "The request cannot be read."),
            _ => return Self { status, ..Self::internal() },
        };
        Self::new(status, error, detail)
    }

    pub(crate) fn body<'a>(&'a self, request_id: &'a str) -> ProblemBody<'a> {
        ProblemBody {
            r#type: format!("urn:kinline:problem:{}", self.error),
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            error: self.error,
            field: self.field.as_deref(),
            member_ids: &self.member_ids,
            request_id,
        }
    }
}

const INTERNAL: &str = "An internal error occurred. Quote the request id when you report it.";

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let not_found = |code, detail| Self::new(StatusCode::NOT_FOUND, code, detail);
        match error {
            Error::FamilyNotFound => not_found("family_not_found", "There is no such family."),
            Error::UserNotFound => not_found("user_not_found", "There is no such user."),
            Error::ThreadNotFound => not_found("thread_not_found", "There is no such thread."),
            Error::MessageNotFound => not_found("message_not_found", "There is no such message."),
            Error::LinkInvalid => Self::new(
                StatusCode::UNAUTHORIZED,
                "link_invalid",
                "This link is not valid in this browser. Request a new one with POST /links/renew.",
            ),
            Error::NoSession => Self::unauthenticated(),
            Error::TooOften { retry_after } => Self {
                // Rounded up.
                retry_after: Some(
                    NonZeroU32::MIN
                        .saturating_add(u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX)),
                ),
                ..Self::too_often()
            },
            Error::RegionNotAllowed => Self::unprocessable(
                "region_not_allowed",
                "This family may not send SMS to the country of this number; see 'smsRegions'.",
            )
            .field("phone"),
            Error::UnknownMembers(ids) => Self {
                member_ids: ids,
                ..Self::unprocessable(
                    "unknown_member",
                    "Some ids are not active users of this family; see 'memberIds'.",
                )
                .field("memberIds")
            },
            Error::DmNeedsTwo => Self::unprocessable(
                "dm_needs_two",
                "A direct message has exactly two members, including the caller.",
            )
            .field("memberIds"),
            Error::TooManyMembers => Self::unprocessable(
                "too_many_members",
                "A thread has at most 256 members, including the caller.",
            )
            .field("memberIds"),
            Error::TooManyThreads => Self::unprocessable(
                "too_many_threads",
                "A family has at most 10,000 threads. Use one that exists.",
            ),
            Error::UnknownReply => Self::unprocessable(
                "unknown_reply",
                "The message to reply to is not in this thread.",
            )
            .field("replyToId"),
            Error::UnknownTimeZone => Self::unprocessable(
                "invalid_field",
                "timeZone must be an IANA name, as America/Chicago.",
            )
            .field("timeZone"),
            Error::IdempotencyKeyReused => Self::unprocessable(
                "idempotency_key_reused",
                "This Idempotency-Key was used in this thread for another message. Use a new key.",
            ),
            Error::Unavailable(_) => {
                Self { cause: Some(error.with_causes().into()), ..Self::unavailable() }
            }
            Error::Database(_) | Error::Corrupt(_) => {
                Self { cause: Some(error.with_causes().into()), ..Self::internal() }
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"kinline\""),
            );
        }
        let unavailable = self.status == StatusCode::SERVICE_UNAVAILABLE;
        if let Some(seconds) = self.retry_after.or(unavailable.then_some(NonZeroU32::MIN)) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.get()));
        }
        response.extensions_mut().insert(self);
        response
    }
}
