//! Who calls: the extractors that verify a bearer token, so that no handler can forget it.

use axum::{extract::FromRef, extract::FromRequestParts};
use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use shared::{
    config::{self, ConfigError, Secret},
    ids::{FamilyId, UserId},
};

use crate::{error::Problem, state::Api};

const SECRET: &str = "KINLINE_AUTH_SECRET";
/// How far the clocks of the host application and ours may be apart, in seconds.
const LEEWAY_SECONDS: u64 = 30;
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

/// A member of a family, by the host application's word.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Their family.
    pub family_id: FamilyId,
    /// Who they are in it.
    pub user_id: UserId,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller
where
    Api: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let claims = Api::from_ref(state).auth.verify(&parts.headers)?;
        if claims.is_service() {
            return Err(Problem::forbidden("This is for members; a service token is not one."));
        }
        let id = |claim: Option<String>| claim.ok_or_else(Problem::unauthenticated);
        Ok(Self {
            family_id: id(claims.family_id)?.parse().map_err(|_| Problem::unauthenticated())?,
            user_id: id(claims.sub)?.parse().map_err(|_| Problem::unauthenticated())?,
        })
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
