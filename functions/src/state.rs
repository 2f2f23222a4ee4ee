//! What every handler may use.

use std::sync::Arc;

use shared::{config::ConfigError, db::Database};
use sqlx::PgPool;

use crate::{auth::Auth, site::Site};

/// The database, and who is believed to be who. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// The pool, of a role that owns nothing.
    pub db: PgPool,
    /// Verifies the host application's tokens.
    pub auth: Arc<Auth>,
    /// Where the pages are, whose browsers have sessions.
    pub site: Arc<Site>,
}

impl Api {
    /// An API on `db` that believes what `auth` verifies, and the browsers of `site`.
    #[must_use]
    pub fn new(db: PgPool, auth: Auth, site: Site) -> Self {
        Self { db, auth: Arc::new(auth), site: Arc::new(site) }
    }

    /// What a Lambda function's environment says. Connects when the first request needs it.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self::new(Database::from_env()?.pool(), Auth::from_env()?, Site::from_env()?))
    }
}
