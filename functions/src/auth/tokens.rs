//! Token verification with configured keys and one configured algorithm, never those that a token
//! names.

use std::{collections::BTreeMap, fmt, sync::Arc};

use http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, Validation};
use platform::config::SecretString;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::Value;
use shared::ids::{FamilyId, UserId};

use super::keys::{KeySet, Keys, NoKeys};
use crate::error::Problem;

/// Allowed difference between the host application's clock and ours, in seconds.
const LEEWAY_SECONDS: u64 = 30;
/// Longest accepted token, in bytes.
const TOKEN_MAX: usize = 8 * 1024;

/// Verifies the host application's tokens.
pub struct Auth {
    pub(super) members: Verifier,
    pub(super) service: Service,
}

/// The tokens that count as the host application's own.
pub(super) enum Service {
    /// Those with the role `service`, verified with the keys of members' tokens.
    ByRole,
    /// Those with the role `service`, verified with separate keys.
    Own(Box<Verifier>),
    /// None: the identity provider signs members' tokens, and there are no separate keys.
    Disabled,
}

impl Auth {
    /// Verifies members' and the host application's tokens with one HS256 secret.
    #[must_use]
    pub fn hs256(secret: &SecretString) -> Self {
        let keys = Keys::Fixed(Arc::new(KeySet::shared(secret)));
        let members = Verifier::new(keys, Algorithm::HS256, ClaimNames::default());
        Self { members, service: Service::ByRole }
    }

    /// The family and the member that a member's token names.
    pub(crate) async fn member(&self, headers: &HeaderMap) -> Result<(FamilyId, UserId), Problem> {
        let claims = self.members.verify(bearer(headers)?).await?;
        match self.service {
            _ if !claims.is_service() => claims.member().ok_or_else(Problem::unauthenticated),
            Service::ByRole => Err(not_a_member()),
            // The provider, or even its user, chose this claim: it proves nothing.
            Service::Own(_) | Service::Disabled => Err(Problem::unauthenticated()),
        }
    }

    /// The family that a token of the host application is limited to; `None` for all.
    pub(crate) async fn service(&self, headers: &HeaderMap) -> Result<Option<FamilyId>, Problem> {
        let token = bearer(headers)?;
        let claims = match &self.service {
            Service::ByRole => self.members.verify(token).await?,
            Service::Own(verifier) => verifier.verify(token).await?,
            Service::Disabled => return Err(Problem::unauthenticated()),
        };
        if !claims.is_service() {
            return Err(not_the_host());
        }
        let family = claims.family.map(|id| id.parse()).transpose();
        family.map_err(|_| Problem::unauthenticated())
    }
}

pub(crate) fn not_a_member() -> Problem {
    Problem::forbidden("This operation needs a member's token or session, not a service token.")
}

pub(crate) fn not_the_host() -> Problem {
    Problem::forbidden("This operation needs a token with the role \"service\".")
}

/// The one token that a request carries.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Problem::unauthenticated());
    };
    let parts = value.to_str().ok().and_then(|text| text.split_once(' '));
    match parts {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Problem::unauthenticated()),
    }
}

/// The reason why a token is refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// The token is not valid. One answer for all causes.
    Token,
    /// There are no keys to verify it with at the moment.
    NoKeys,
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Token => Self::unauthenticated(),
            Refused::NoKeys => Self::no_keys(),
        }
    }
}

/// Verifies tokens of one issuer.
pub(super) struct Verifier {
    pub(super) keys: Keys,
    algorithm: Algorithm,
    validation: Validation,
    names: ClaimNames,
}

impl Verifier {
    /// Accepts only tokens signed with `algorithm`.
    pub(super) fn new(keys: Keys, algorithm: Algorithm, names: ClaimNames) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        // Without a configured audience, `aud` is ignored; with this on, a token that has one fails.
        validation.validate_aud = false;
        Self { keys, algorithm, validation, names }
    }

    /// Accepts only tokens with this `iss`.
    pub(super) fn set_issuer(&mut self, issuer: &str) {
        self.validation.set_issuer(&[issuer]);
        self.validation.required_spec_claims.insert("iss".to_owned());
    }

    /// Accepts only tokens with this `aud`, perhaps among others (RFC 7519, 4.1.3).
    pub(super) fn set_audience(&mut self, audience: &str) {
        self.validation.validate_aud = true;
        self.validation.set_audience(&[audience]);
        self.validation.required_spec_claims.insert("aud".to_owned());
    }

    pub(super) async fn verify(&self, token: &str) -> Result<Claims, Refused> {
        if token.len() > TOKEN_MAX {
            return Err(Refused::Token);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refused::Token)?;
        // Checked first, so that a token of another kind causes no fetch of keys. Critical
        // extensions must be understood (RFC 7515, 4.1.11), and none are.
        if header.alg != self.algorithm || header.crit.is_some() {
            return Err(Refused::Token);
        }
        let kid = header.kid.as_deref();
        let keys = self.keys.for_kid(kid).await.map_err(|NoKeys| Refused::NoKeys)?;
        keys.candidates(kid)
            .into_iter()
            .find_map(|key| jsonwebtoken::decode::<Payload>(token, key, &self.validation).ok())
            .and_then(|token| Claims::read(token.claims, &self.names))
            .ok_or(Refused::Token)
    }
}

/// The names of the claims that are read.
#[derive(Debug, Clone)]
pub(super) struct ClaimNames {
    pub(super) user: String,
    pub(super) family: String,
    pub(super) role: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self { user: "sub".to_owned(), family: "familyId".to_owned(), role: "role".to_owned() }
    }
}

/// The claims of a token. `exp` and the like have been verified.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) user: Option<String>,
    pub(super) family: Option<String>,
    role: Option<String>,
}

impl Claims {
    /// Reads the claims of these names; `None` if one is not a string.
    fn read(Payload(mut claims): Payload, names: &ClaimNames) -> Option<Self> {
        let mut text = |name: &str| match claims.remove(name) {
            None | Some(Value::Null) => Some(None),
            Some(Value::String(text)) => Some(Some(text)),
            Some(_) => None,
        };
        Some(Self {
            user: text(&names.user)?,
            family: text(&names.family)?,
            role: text(&names.role)?,
        })
    }

    /// The family and the member; `None` if either is missing or malformed.
    fn member(&self) -> Option<(FamilyId, UserId)> {
        Some((self.family.as_ref()?.parse().ok()?, self.user.as_ref()?.parse().ok()?))
    }

    fn is_service(&self) -> bool {
        self.role.as_deref() == Some("service")
    }
}

/// A token's claims, each present once: of duplicates, some parsers take the first, others the last.
struct Payload(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once;

        impl<'de> Visitor<'de> for Once {
            type Value = Payload;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("claims")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Payload, A::Error> {
                let mut claims = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if claims.insert(name, value).is_some() {
                        return Err(A::Error::custom("duplicate claim"));
                    }
                }
                Ok(Payload(claims))
            }
        }

        deserializer.deserialize_map(Once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Claims> {
        Claims::read(serde_json::from_str(json).ok()?, &ClaimNames::default())
    }

    #[test]
    fn claims_are_strings_without_duplicates() {
        let claims = read(r#"{"sub":"u","familyId":null,"x":{"a":1},"exp":1}"#).expect("claims");
        assert_eq!((claims.user.as_deref(), claims.family), (Some("u"), None));
        for refused in [
            r#"{"sub":"u","sub":"u"}"#,
            // The same name, escaped.
            r#"{"sub":"u","\u0073ub":"v"}"#,
            r#"{"sub":"u","x":1,"x":1}"#,
            r#"{"sub":7}"#,
            r#"{"familyId":["f"]}"#,
            r#"{"role":["service"]}"#,
            r#"{"role":{"service":true}}"#,
            r#""sub""#,
            "[]",
        ] {
            assert!(read(refused).is_none(), "{refused}");
        }
    }

    #[test]
    fn the_service_role_is_compared_exactly() {
        let is_service = |role: &str| {
            let claims = read(&format!(r#"{{"role":"{role}"}}"#));
            claims.expect("claims").is_service()
        };
        assert!(is_service("service"));
        assert!(!["Service", "service ", "services", "", "member"].into_iter().any(is_service));
        assert!(!read("{}").expect("claims").is_service());
    }
}
