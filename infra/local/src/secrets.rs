//! The secrets of one data folder: made once, so that tokens and links survive a restart.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::Context;
use jsonwebtoken::{EncodingKey, Header, get_current_timestamp};
use platform::config::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::{config, links::LinkKeys};
use uuid::Uuid;

/// The secrets that sign tokens and links.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secrets {
    auth: String,
    link: String,
}

impl Secrets {
    /// New secrets.
    #[must_use]
    pub fn new() -> Self {
        let random = || format!("{}{}", Uuid::new_v4().as_simple(), Uuid::new_v4().as_simple());
        Self { auth: random(), link: random() }
    }

    /// The secrets in `file`, which is created if it is missing.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn at(file: &Path) -> anyhow::Result<Self> {
        let context = || format!("can't use {}; --fresh starts over with new ones", file.display());
        if file.exists() {
            return serde_json::from_slice(&fs::read(file).with_context(context)?)
                .with_context(context);
        }
        let secrets = Self::new();
        // Renamed when complete, so that a kill leaves no half file.
        let part = file.with_extension("part");
        fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&part)
            .and_then(|mut part| part.write_all(&serde_json::to_vec(&secrets)?))
            .and_then(|()| fs::rename(&part, file))
            .with_context(context)?;
        Ok(secrets)
    }

    /// The secret that the host application signs with.
    ///
    /// # Errors
    /// When the file was edited to a secret that is too short.
    pub fn auth(&self) -> anyhow::Result<SecretString> {
        Ok(config::AUTH_SECRET.secret(self.auth.as_str())?)
    }

    /// The value of `KINLINE_LINK_KEYS`.
    #[must_use]
    pub fn link_pairs(&self) -> String {
        format!("a={}", self.link)
    }

    /// The keys that sign the links.
    ///
    /// # Errors
    /// When the file was edited to a secret that is too short.
    pub fn link_keys(&self) -> anyhow::Result<LinkKeys> {
        Ok(LinkKeys::parse(&self.link_pairs())?)
    }

    /// A token as the host application makes it for a member, or for itself with the role `service`.
    ///
    /// # Errors
    /// When the signing library fails.
    pub fn token(&self, claims: &TokenClaims<'_>) -> anyhow::Result<String> {
        let mut body = json!({
            "sub": claims.user_id,
            "familyId": claims.family_id,
            "exp": get_current_timestamp().saturating_add_signed(claims.expires_in),
        });
        for (name, value) in [("name", claims.name), ("role", claims.role)] {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        }
        let key = EncodingKey::from_secret(self.auth.as_bytes());
        Ok(jsonwebtoken::encode(&Header::default(), &body, &key)?)
    }
}

impl Default for Secrets {
    fn default() -> Self {
        Self::new()
    }
}

/// A day, in seconds.
const DAY: i64 = 86_400;

/// The claims of a token.
#[derive(Debug, Clone, Copy)]
pub struct TokenClaims<'a> {
    /// The user's id: `sub`.
    pub user_id: &'a str,
    /// The family's id; `None` for a service token of every family.
    pub family_id: Option<&'a str>,
    /// The user's name.
    pub name: Option<&'a str>,
    /// `service`, for the host application itself.
    pub role: Option<&'a str>,
    /// Seconds until it expires; negative for an expired one.
    pub expires_in: i64,
}

impl<'a> TokenClaims<'a> {
    /// A member's claims, for a day.
    #[must_use]
    pub const fn member(family_id: &'a str, user_id: &'a str) -> Self {
        Self { user_id, family_id: Some(family_id), name: None, role: None, expires_in: DAY }
    }

    /// The host application's claims, for every family, for a day.
    #[must_use]
    pub const fn service() -> Self {
        Self {
            user_id: "host",
            family_id: None,
            name: None,
            role: Some("service"),
            expires_in: DAY,
        }
    }
}
