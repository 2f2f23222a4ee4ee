//! What every handler may use.

use std::sync::Arc;

use shared::{config::ConfigError, db::Database};
use sqlx::PgPool;

use crate::auth::Auth;

/// The database and the keys of the callers' tokens. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// The pool, of a role that owns nothing.
    pub db: PgPool,
    /// Who calls.
    pub auth: Arc<Auth>,
}

impl Api {
    /// An API on `db` that believes what `auth` verifies.
    #[must_use]
    pub fn new(db: PgPool, auth: Auth) -> Self {
        Self { db, auth: Arc::new(auth) }
    }

    /// What a Lambda function's environment says. Connects when the first request needs it.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self::new(Database::from_env()?.pool(), Auth::from_env()?))
    }
}
