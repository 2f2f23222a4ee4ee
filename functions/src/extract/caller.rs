//! Callers: the extractors that verify credentials and their scope, so that no handler can forget it.
//!
//! A handler gets a thread's id only from [`ThreadMember`], and a family's only from
//! [`ProvisionedFamily`] or [`ProvisionedUser`].

use axum::extract::{FromRef, FromRequestParts};
use http::{HeaderMap, HeaderName, header::AUTHORIZATION, request::Parts};
use shared::{
    Error,
    actor::{Actor, Host, Scope},
    ids::{FamilyId, ThreadId, UserId},
    sessions::{self, BrowserSecret},
};
use utoipa::{
    IntoParams,
    openapi::path::{Parameter, ParameterIn},
};

use super::{
    Source,
    path::{path_id, path_param},
};
use crate::{
    auth::{not_a_member, not_the_host},
    error::Problem,
    openapi::{problems::problems, shapes},
    state::Api,
};

/// The header in which a page names its member.
const MEMBER: HeaderName = HeaderName::from_static("x-kin-member");

/// The authenticated member of a family, by a token of the host application's identity provider or by
/// the session of a link.
#[derive(Debug, Clone)]
pub struct Caller(pub Actor);

impl<S: Send + Sync> FromRequestParts<S> for Caller
where
    Api: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let api = Api::from_ref(state);
        let Ok(Source(source)) = Source::from_request_parts(parts, state).await;
        let (family, user, scope) = if parts.headers.contains_key(AUTHORIZATION) {
            by_token(&api, &parts.headers).await?
        } else {
            let browser = api.site.browser(&parts.headers).ok_or_else(Problem::unauthenticated)?;
            by_session(&api, &browser, parts, state).await?
        };
        Ok(Self(Actor { family, user, scope, source }))
    }
}

async fn by_token(api: &Api, headers: &HeaderMap) -> Result<(FamilyId, UserId, Scope), Problem> {
    let (family, user) = api.auth.member(headers).await?;
    Ok((family, user, Scope::AllThreads))
}

async fn by_session<S: Send + Sync>(
    api: &Api,
    browser: &BrowserSecret,
    parts: &mut Parts,
    state: &S,
) -> Result<(FamilyId, UserId, Scope), Problem> {
    api.site.same_site(&parts.method, &parts.headers)?;
    // A malformed id names no thread: every session gets the same answer.
    let thread = path_id::<ThreadId, S>(parts, state, "threadId").await;
    let member = page_member(&parts.headers)?;
    let found = sessions::find(&api.db, &browser.hash(), thread, member.as_ref()).await?;
    Ok((found.family_id, found.user_id, Scope::Threads(found.threads)))
}

/// The member that the page was made for. Members may share a browser: no request of one member's page
/// acts as another.
fn page_member(headers: &HeaderMap) -> Result<Option<UserId>, Problem> {
    let Some(value) = headers.get(MEMBER) else { return Ok(None) };
    let id = value.to_str().ok().and_then(|id| id.parse().ok());
    id.map(Some).ok_or_else(Problem::unauthenticated)
}

/// A [`Caller`] whose credentials reach the thread of `/threads/{threadId}…` and `/t/{threadId}`.
///
/// That the member is in the thread is checked by the statement that reads or writes it.
#[derive(Debug, Clone)]
pub struct ThreadMember {
    /// The authenticated caller.
    pub actor: Actor,
    /// The thread.
    pub thread_id: ThreadId,
}

impl<S: Send + Sync> FromRequestParts<S> for ThreadMember
where
    Api: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Caller(actor) = Caller::from_request_parts(parts, state).await?;
        let thread_id = path_id(parts, state, "threadId").await;
        let thread_id = thread_id.filter(|id| actor.scope.includes(*id));
        Ok(Self { actor, thread_id: thread_id.ok_or(Error::ThreadNotFound)? })
    }
}

/// The host application, by its token.
#[derive(Debug, Clone)]
pub struct HostToken {
    /// The family that the token is limited to; `None` for all.
    family: Option<FamilyId>,
}

impl<S: Send + Sync> FromRequestParts<S> for HostToken
where
    Api: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let family = Api::from_ref(state).auth.service(&parts.headers).await?;
        Ok(Self { family })
    }
}

/// The host application, acting on the family of `/families/{familyId}…`, which its token reaches.
#[derive(Debug, Clone)]
pub struct ProvisionedFamily(pub Host);

impl<S: Send + Sync> FromRequestParts<S> for ProvisionedFamily
where
    Api: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let token = HostToken::from_request_parts(parts, state).await?;
        let Ok(Source(source)) = Source::from_request_parts(parts, state).await;
        let family: Option<FamilyId> = path_id(parts, state, "familyId").await;
        let family = family.filter(|id| token.family.as_ref().is_none_or(|only| only == id));
        Ok(Self(Host { family: family.ok_or(Error::FamilyNotFound)?, source }))
    }
}

/// The host application, acting on the user of `/families/{familyId}/users/{userId}`.
#[derive(Debug, Clone)]
pub struct ProvisionedUser(pub Host, pub UserId);

impl<S: Send + Sync> FromRequestParts<S> for ProvisionedUser
where
    Api: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let ProvisionedFamily(host) = ProvisionedFamily::from_request_parts(parts, state).await?;
        let user = path_id(parts, state, "userId").await;
        Ok(Self(host, user.ok_or(Error::UserNotFound)?))
    }
}

problems! {
    Caller: caller_problems();
    ThreadMember: caller_problems().into_iter().chain([Error::ThreadNotFound.into()]);
    ProvisionedFamily: host_problems().into_iter().chain([Error::FamilyNotFound.into()]);
    ProvisionedUser: host_problems()
        .into_iter()
        .chain([Error::FamilyNotFound.into(), Error::UserNotFound.into()]);
}

fn caller_problems() -> [Problem; 3] {
    [Problem::unauthenticated(), not_a_member(), Problem::unavailable()]
}

fn host_problems() -> [Problem; 3] {
    [Problem::unauthenticated(), not_the_host(), Problem::unavailable()]
}

impl IntoParams for ThreadMember {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![path_param::<shapes::ThreadId>("threadId")]
    }
}

impl IntoParams for ProvisionedFamily {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![path_param::<shapes::FamilyId>("familyId")]
    }
}

impl IntoParams for ProvisionedUser {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![path_param::<shapes::FamilyId>("familyId"), path_param::<shapes::UserId>("userId")]
    }
}
