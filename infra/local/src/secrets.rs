//! The secrets of one data folder: made once, so that tokens and links outlive a restart.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::Context;
use jsonwebtoken::{EncodingKey, Header, get_current_timestamp};
use platform::config::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::{config, links::LinkKeys};
use uuid::Uuid;

/// What signs tokens and links.
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

    /// The secrets in `file`, which is made when it is not there.
    ///
    /// # Errors
    /// When the file can't be read or written.
    pub fn at(file: &Path) -> anyhow::Result<Self> {
        let context = || format!("can't use {}; --fresh makes a new one", file.display());
        if file.exists() {
            return serde_json::from_slice(&fs::read(file).with_context(context)?)
                .with_context(context);
        }
        let secrets = Self::new();
        // Whole or not at all, whenever a kill comes.
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

    /// What the host application signs with.
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

    /// What signs the links.
    ///
    /// # Errors
    /// When the file was edited to a secret that is too short.
    pub fn link_keys(&self) -> anyhow::Result<LinkKeys> {
        Ok(LinkKeys::parse(&self.link_pairs())?)
    }

    /// A token such as the host application gives a member, or itself with the role `service`.
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

/// What a token says.
#[derive(Debug, Clone, Copy)]
pub struct TokenClaims<'a> {
    /// Whose it is.
    pub user_id: &'a str,
    /// Of which family; `None` for a service token of every family.
    pub family_id: Option<&'a str>,
    /// What they are called.
    pub name: Option<&'a str>,
    /// `service`, for the host application itself.
    pub role: Option<&'a str>,
    /// How long it holds, in seconds; negative for one that has expired.
    pub expires_in: i64,
}

impl<'a> TokenClaims<'a> {
    /// A member's, for a day.
    #[must_use]
    pub const fn member(family_id: &'a str, user_id: &'a str) -> Self {
        Self { user_id, family_id: Some(family_id), name: None, role: None, expires_in: DAY }
    }

    /// The host application's, for every family, for a day.
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
