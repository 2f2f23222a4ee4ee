//! The token of a magic link, and the keys that sign it.
//!
//! A token is a JWS (RFC 7515) over `{"jti":"…"}` without its constant header: one character
//! for the key, then `payload.signature`. The link's data is in its database row.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::ids::LinkId;
use platform::{
    config::{ConfigError, ExposeSecret},
    secrets,
};

use crate::config::{LINK_KEYS, LINK_KEYS_ARN};

/// Length of a token, in characters: one for the key, 28 for `{"jti":"…"}`, a dot, 43 for the signature.
pub const TOKEN_LEN: usize = 73;

/// A token without a valid signature. Never holds the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid link token")]
pub struct BadToken;

#[derive(Serialize, Deserialize)]
struct Claims {
    jti: String,
}

struct Key {
    id: char,
    signing: EncodingKey,
    verifying: DecodingKey,
}

/// The signing keys of links: the first one signs, all of them verify.
pub struct LinkKeys {
    keys: Vec<Key>,
    /// The encoded header of every token, with the dot after it.
    header: String,
    validation: Validation,
}

impl LinkKeys {
    /// Reads `KINLINE_LINK_KEYS`, or the secret that `KINLINE_LINK_KEYS_ARN` names: `kid=secret`
    /// pairs, separated by commas; a `kid` is one letter or digit. To rotate: add a pair in
    /// front, and remove the old one when its links need no renewal any more.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub async fn from_env() -> Result<Self, ConfigError> {
        Self::parse(secrets::required(LINK_KEYS, LINK_KEYS_ARN).await?.expose_secret())
    }

    /// Parses `kid=secret` pairs. A secret without a `kid`, as Secrets Manager generates it, gets the `kid`
    /// `a`.
    ///
    /// # Errors
    /// [`ConfigError`] when a pair is malformed, a `kid` is repeated, or a secret is too short.
    pub fn parse(pairs: &str) -> Result<Self, ConfigError> {
        let mut keys: Vec<Key> = Vec::new();
        for pair in pairs.split(',') {
            let (id, secret) = pair.trim().split_once('=').unwrap_or(("a", pair.trim()));
            let mut chars = id.chars();
            let id = match (chars.next(), chars.next()) {
                (Some(id), None) if id.is_ascii_alphanumeric() => id,
                _ => return Err(LINK_KEYS.invalid("a kid is one letter or digit")),
            };
            if keys.iter().any(|key| key.id == id) {
                return Err(LINK_KEYS.invalid("a kid is repeated"));
            }
            let secret = LINK_KEYS.secret(secret)?;
            let bytes = secret.expose_secret().as_bytes();
            keys.push(Key {
                id,
                signing: EncodingKey::from_secret(bytes),
                verifying: DecodingKey::from_secret(bytes),
            });
        }
        let header = serde_json::to_vec(&Header::new(Algorithm::HS256))
            .map_err(|error| LINK_KEYS.invalid(&error.to_string()))?;
        let mut validation = Validation::new(Algorithm::HS256);
        // The link's row has its expiry.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        Ok(Self { keys, header: format!("{}.", URL_SAFE_NO_PAD.encode(header)), validation })
    }

    /// Signs `link`. The token has [`TOKEN_LEN`] characters of `A–Z a–z 0–9 - _ .`.
    ///
    /// # Errors
    /// [`BadToken`] if the signing library fails, which no id causes.
    pub fn sign(&self, link: LinkId) -> Result<String, BadToken> {
        let key = self.keys.first().ok_or(BadToken)?;
        let claims = Claims { jti: URL_SAFE_NO_PAD.encode(link.as_bytes()) };
        let jws = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key.signing)
            .map_err(|_| BadToken)?;
        let signed = jws.strip_prefix(&self.header).ok_or(BadToken)?;
        Ok(format!("{}{signed}", key.id))
    }

    /// Returns the link of a `token` signed by any of the keys. Does not use the database.
    ///
    /// # Errors
    /// [`BadToken`] for every invalid token.
    pub fn verify(&self, token: &str) -> Result<LinkId, BadToken> {
        if token.len() != TOKEN_LEN {
            return Err(BadToken);
        }
        let mut chars = token.chars();
        let id = chars.next().ok_or(BadToken)?;
        let key = self.keys.iter().find(|key| key.id == id).ok_or(BadToken)?;
        let jws = format!("{}{}", self.header, chars.as_str());
        let claims = jsonwebtoken::decode::<Claims>(&jws, &key.verifying, &self.validation)
            .map_err(|_| BadToken)?
            .claims;
        let bytes = URL_SAFE_NO_PAD.decode(claims.jti).map_err(|_| BadToken)?;
        bytes.try_into().map_err(|_| BadToken)
    }
}

impl fmt::Debug for LinkKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkKeys({})", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONE: &str = "0123456789abcdef0123456789abcdef";
    const TWO: &str = "fedcba9876543210fedcba9876543210";

    fn keys(pairs: &str) -> LinkKeys {
        LinkKeys::parse(pairs).expect("valid keys")
    }

    #[test]
    fn a_token_round_trips_as_its_link() {
        let keys = keys(&format!("a={ONE}"));
        for _ in 0..200 {
            let link = LinkId::new();
            let token = keys.sign(link).expect("signed");
            assert_eq!(token.len(), TOKEN_LEN);
            // A phone's link detector cuts a trailing hyphen, underscore or dot.
            assert!(token.ends_with(|c: char| c.is_ascii_alphanumeric()));
            assert_eq!(keys.verify(&token), Ok(link));
        }
    }

    #[test]
    fn every_changed_cut_or_longer_token_is_refused() {
        let keys = keys(&format!("a={ONE}"));
        let token = keys.sign(LinkId::new()).expect("signed");
        for i in 0..token.len() {
            assert_eq!(keys.verify(&token[..i]), Err(BadToken));
            for c in "aZ0-_.=é\0".chars().filter(|&c| !token[i..].starts_with(c)) {
                let mut changed = token.clone();
                changed.replace_range(i..=i, c.encode_utf8(&mut [0; 4]));
                assert_eq!(keys.verify(&changed), Err(BadToken), "character {i}");
            }
        }
        for more in ["a", ".", "=", " ", "\0"] {
            assert_eq!(keys.verify(&format!("{token}{more}")), Err(BadToken));
        }
    }

    proptest! {
        #[test]
        fn no_other_character_and_no_other_string_passes(
            at in any::<prop::sample::Index>(), other in any::<char>(), text in any::<String>(),
            more in ".{1,20}",
        ) {
            let keys = keys(&format!("a={ONE}"));
            let token = keys.sign(LinkId::new()).expect("signed");
            let i = at.index(token.len());
            if !token[i..].starts_with(other) {
                let changed = format!("{}{other}{}", &token[..i], &token[i + 1..]);
                prop_assert_eq!(keys.verify(&changed), Err(BadToken));
            }
            let inserted = format!("{}{more}{}", &token[..i], &token[i..]);
            prop_assert_eq!(keys.verify(&inserted), Err(BadToken));
            prop_assert_eq!(keys.verify(&text), Err(BadToken));
        }
    }

    #[test]
    fn keys_rotate() {
        let old = keys(&format!("a={ONE}"));
        let both = keys(&format!("b={TWO},a={ONE}"));
        let new = keys(&format!("b={TWO}"));
        let (link, token) = (LinkId::new(), old.sign(LinkId::new()).expect("signed"));
        assert!(both.verify(&token).is_ok());
        assert_eq!(new.verify(&token), Err(BadToken));
        let token = both.sign(link).expect("signed");
        assert!(token.starts_with('b'));
        assert_eq!(new.verify(&token), Ok(link));
        // A secret without a kid is the key `a`.
        assert!(keys(ONE).verify(&old.sign(link).expect("signed")).is_ok());
        assert!(keys(&format!("b={TWO},{ONE}")).verify(&old.sign(link).expect("signed")).is_ok());
        // The same kid with another secret is another key.
        assert_eq!(keys(&format!("b={ONE}")).verify(&token), Err(BadToken));
    }

    #[test]
    fn bad_keys_are_refused_and_not_shown() {
        for pairs in ["", "a", "=x", &format!("ab={ONE}"), "a=short", &format!("a={ONE},a={TWO}")] {
            let error = LinkKeys::parse(pairs).expect_err(pairs).to_string();
            assert!(error.contains(LINK_KEYS.name) && !error.contains("0123"), "{error}");
        }
    }
}
