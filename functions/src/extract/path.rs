//! Ids in paths. A malformed id gets the `404` of its resource.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use shared::{Error, ids::MessageId};
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        Ref, Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

use crate::{
    error::Problem,
    openapi::{problems::problems, shapes},
};

/// The id of the path parameter `name`; `None` if it is missing or malformed.
pub(super) async fn path_id<T: std::str::FromStr, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    name: &str,
) -> Option<T> {
    // A path that is not UTF-8 after percent-decoding is malformed too.
    let path = RawPathParams::from_request_parts(parts, state).await.ok()?;
    let (_, value) = path.iter().find(|(found, _)| *found == name)?;
    value.parse().ok()
}

/// The description of a path parameter that carries an id.
pub(super) fn path_param<T: ToSchema>(name: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .schema(Some(Ref::from_schema_name(T::name())))
        .build()
}

/// The message of `/threads/{threadId}/messages/{messageId}…`. Used with [`super::ThreadMember`].
pub struct PathMessage(pub MessageId);

impl<S: Send + Sync> FromRequestParts<S> for PathMessage {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let id = path_id(parts, state, "messageId").await;
        Ok(Self(id.ok_or(Error::MessageNotFound)?))
    }
}

problems! {
    PathMessage: [Error::MessageNotFound.into()];
}

impl IntoParams for PathMessage {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![path_param::<shapes::MessageId>("messageId")]
    }
}
