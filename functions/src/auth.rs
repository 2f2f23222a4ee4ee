//! Who calls: the extractors that verify a token or a session, so that no handler can forget it.

use std::{convert::Infallible, sync::Arc};

use axum::extract::{FromRef, FromRequestParts, RawPathParams};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION, request::Parts};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use shared::{
    Error,
    config::{self, ConfigError, Secret},
    ids::{FamilyId, ThreadId, UserId},
    sessions::{self, BrowserSecret},
};

use crate::{error::Problem, site::Site, state::Api};

const SECRET: &str = "KINLINE_AUTH_SECRET";
/// How far the clocks of the host application and ours may be apart, in seconds.
const LEEWAY_SECONDS: u64 = 30;
/// The header in which a page says for whom it was made.
const MEMBER: HeaderName = HeaderName::from_static("x-kin-member");
/// Longest token that is looked at, in bytes.
const TOKEN_MAX: usize = 8 * 1024;

/// Verifies the host application's tokens.
pub struct Auth {
    key: DecodingKey,
    validation: Validation,
}

impl Auth {
    /// Reads `KINLINE_AUTH_SECRET`, which the host application signs with.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        let secret = config::required(
            SECRET,
            "the secret that the host application's tokens are signed with",
        )?;
        Ok(Self::hs256(&Secret::new(SECRET, secret)?))
    }

    /// Tokens signed with HS256. The algorithm is this one whatever a token's header says.
    #[must_use]
    pub fn hs256(secret: &Secret) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        // No audience is configured, so none is asked for; with this on, a token that names one fails.
        validation.validate_aud = false;
        Self { key: DecodingKey::from_secret(secret.reveal().as_bytes()), validation }
    }

    fn verify(&self, headers: &HeaderMap) -> Result<Claims, Problem> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Problem::unauthenticated());
        };
        let (scheme, token) = value
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .ok_or_else(Problem::unauthenticated)?;
        if !scheme.eq_ignore_ascii_case("bearer") || token.len() > TOKEN_MAX {
            return Err(Problem::unauthenticated());
        }
        jsonwebtoken::decode::<Claims>(token.trim(), &self.key, &self.validation)
            .map(|token| token.claims)
            .map_err(|_| Problem::unauthenticated())
    }
}

/// What a token says. `exp` is required and checked by the validation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    sub: Option<String>,
    family_id: Option<String>,
    role: Option<String>,
}

impl Claims {
    fn is_service(&self) -> bool {
        self.role.as_deref() == Some("service")
    }
}

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
            return Self::by_token(&api, &parts.headers);
        }
        match api.site.browser(&parts.headers) {
            Some(browser) => Self::by_session(&api, &browser, parts, state).await,
            None => Err(Problem::unauthenticated()),
        }
    }
}

impl Caller {
    fn by_token(api: &Api, headers: &HeaderMap) -> Result<Self, Problem> {
        let claims = api.auth.verify(headers)?;
        if claims.is_service() {
            return Err(Problem::forbidden("This is for members; a service token is not one."));
        }
        let id = |claim: Option<String>| claim.ok_or_else(Problem::unauthenticated);
        Ok(Self {
            family_id: id(claims.family_id)?.parse().map_err(|_| Problem::unauthenticated())?,
            user_id: id(claims.sub)?.parse().map_err(|_| Problem::unauthenticated())?,
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
        let claims = Api::from_ref(state).auth.verify(&parts.headers)?;
        if !claims.is_service() {
            return Err(Problem::forbidden("This needs a token with the role \"service\"."));
        }
        let only = claims.family_id.map(|id| id.parse()).transpose();
        Ok(Self { only: only.map_err(|_| Problem::unauthenticated())? })
    }
}
