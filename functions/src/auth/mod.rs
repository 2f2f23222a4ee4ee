//! Who calls: the extractors that verify a token or a session, so that no handler can forget it.

mod jwks;
mod keys;
mod settings;
mod tokens;

use std::{convert::Infallible, sync::Arc};

use axum::extract::{FromRef, FromRequestParts, RawPathParams};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION, request::Parts};
use shared::{
    Error,
    ids::{FamilyId, ThreadId, UserId},
    sessions::{self, BrowserSecret},
};

pub use self::tokens::Auth;
use crate::{error::Problem, openapi::problems::problems, state::Api, web::site::Site};

/// The header in which a page says for whom it was made.
const MEMBER: HeaderName = HeaderName::from_static("x-kin-member");

/// A member of a family: by the host application's word, or by a session that a link began.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Their family.
    pub family_id: FamilyId,
    /// Who they are in it.
    pub user_id: UserId,
    /// The threads that they may enter, for whoever came by a link; `None` for all of theirs.
    pub only: Option<Vec<ThreadId>>,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller
where
    Api: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let api = Api::from_ref(state);
        if parts.headers.contains_key(AUTHORIZATION) {
            return Self::by_token(&api, &parts.headers).await;
        }
        match api.site.browser(&parts.headers) {
            Some(browser) => Self::by_session(&api, &browser, parts, state).await,
            None => Err(Problem::unauthenticated()),
        }
    }
}

problems! {
    /// Whoever is nobody, and whom nothing can be said of just now.
    Caller: [Problem::unauthenticated(), tokens::not_a_member(), Problem::unavailable()];
    /// A page that a browser's session is not for.
    OwnPage: [Problem::cross_site()];
    /// Whoever is not the host application.
    HostService: [Problem::unauthenticated(), tokens::not_the_host(), Problem::unavailable()];
}

impl Caller {
    async fn by_token(api: &Api, headers: &HeaderMap) -> Result<Self, Problem> {
        let claims = api.auth.member(headers).await?;
        let id = |claim: Option<String>| claim.ok_or_else(Problem::unauthenticated);
        Ok(Self {
            family_id: id(claims.family)?.parse().map_err(|_| Problem::unauthenticated())?,
            user_id: id(claims.user)?.parse().map_err(|_| Problem::unauthenticated())?,
            only: None,
        })
    }

    async fn by_session<S: Send + Sync>(
        api: &Api,
        browser: &BrowserSecret,
        parts: &mut Parts,
        state: &S,
    ) -> Result<Self, Problem> {
        api.site.same_site(&parts.method, &parts.headers)?;
        let path = RawPathParams::from_request_parts(parts, state).await;
        let path = path.map_err(|_| Problem::from(Error::ThreadNotFound))?;
        let named = path.iter().find(|(name, _)| *name == "threadId");
        // A malformed one is nobody's: whoever has a session at all is told so.
        let thread = named.and_then(|(_, value)| value.parse().ok());
        let member = page_member(&parts.headers)?;
        let visitor = sessions::find(&api.db, &browser.hash(), thread, member.as_ref()).await?;
        Ok(Self {
            family_id: visitor.family_id,
            user_id: visitor.user_id,
            only: Some(visitor.threads),
        })
    }
}

/// For whom the page that asks was made. People may share a browser: what is done on one's page is
/// never done as the other.
fn page_member(headers: &HeaderMap) -> Result<Option<UserId>, Problem> {
    let Some(value) = headers.get(MEMBER) else { return Ok(None) };
    let id = value.to_str().ok().and_then(|id| id.parse().ok());
    id.map(Some).ok_or_else(Problem::unauthenticated)
}

/// The browser that asks, by its cookie; one that has none is a new one.
#[derive(Debug, Clone)]
pub struct Browser {
    secret: BrowserSecret,
    is_new: bool,
    site: Arc<Site>,
}

impl Browser {
    /// It came without a cookie of ours.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Its secret.
    #[must_use]
    pub const fn secret(&self) -> &BrowserSecret {
        &self.secret
    }

    /// A `Set-Cookie` by which it is known next time.
    #[must_use]
    pub fn set_cookie(&self) -> HeaderValue {
        self.site.keep(&self.secret)
    }

    /// The same browser under another secret.
    #[must_use]
    pub fn renamed(self, secret: BrowserSecret) -> Self {
        Self { secret, ..self }
    }

    /// A `Set-Cookie` by which it becomes another one.
    #[must_use]
    pub fn forget_cookie(&self) -> HeaderValue {
        self.site.forget()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Browser
where
    Api: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let site = Api::from_ref(state).site;
        let secret = site.browser(&parts.headers);
        Ok(Self {
            is_new: secret.is_none(),
            secret: secret.unwrap_or_else(BrowserSecret::new),
            site,
        })
    }
}

/// A request that no other site's page has made a browser send.
#[derive(Debug, Clone, Copy)]
pub struct OwnPage;

impl<S: Send + Sync> FromRequestParts<S> for OwnPage
where
    Api: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Api::from_ref(state).site.same_site(&parts.method, &parts.headers).map(|()| Self)
    }
}

/// The host application itself, for one family.
#[derive(Debug, Clone)]
pub struct HostService {
    /// The family that the token is limited to; `None` for all.
    only: Option<FamilyId>,
}

impl HostService {
    /// Checks that this token may work on `family`.
    ///
    /// # Errors
    /// The `404` of a family that does not exist.
    pub fn may_provision(&self, family: &FamilyId) -> Result<(), Problem> {
        match &self.only {
            Some(only) if only != family => Err(shared::Error::FamilyNotFound.into()),
            _ => Ok(()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for HostService
where
    Api: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let claims = Api::from_ref(state).auth.service(&parts.headers).await?;
        let only = claims.family.map(|id| id.parse()).transpose();
        Ok(Self { only: only.map_err(|_| Problem::unauthenticated())? })
    }
}
