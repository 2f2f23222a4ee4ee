//! Error responses of operations, made from the problems that they return.

use std::collections::BTreeMap;

use utoipa::openapi::{ContentBuilder, RefOr, Response, ResponseBuilder};

use super::finish::PROBLEM;
use crate::error::Problem;

/// Responses by keys such as `404 thread_not_found`: several may have one status.
pub(crate) type Responses = BTreeMap<String, RefOr<Response>>;

/// `problems` as responses, for a type's `utoipa::IntoResponses`: an extractor lists its problems, and
/// an operation lists its extractors.
pub(crate) fn responses(problems: impl IntoIterator<Item = Problem>) -> Responses {
    let response = |problem: Problem| {
        let example = serde_json::to_value(problem.body("019f2ab4c1d27e53a6c0f1e2d3b4a596")).ok();
        let content = ContentBuilder::new().example(example).build();
        let response =
            ResponseBuilder::new().description(problem.detail.clone()).content(PROBLEM, content);
        (format!("{} {}", problem.status.as_u16(), problem.error), response.build().into())
    };
    problems.into_iter().map(response).collect()
}

/// Lets each `$type` stand for its problems in a list of responses.
macro_rules! problems {
    ($($(#[$doc:meta])* $type:ty: $problems:expr;)+) => {$(
        $(#[$doc])*
        impl utoipa::IntoResponses for $type {
            fn responses() -> $crate::openapi::problems::Responses {
                $crate::openapi::problems::responses($problems)
            }
        }
    )+};
}
pub(crate) use problems;
