//! The state that handlers share.

use std::sync::Arc;

use platform::config::ConfigError;
use shared::{
    db::{Database, Pool},
    limits::Pace,
    phone::Region,
};

use crate::{auth::Auth, error::Problem, openapi::problems::problems, web::site::Site};

/// The database pool, token verification, the public site and the limits. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// The pool, of a database role without ownership.
    pub db: Pool,
    /// Verifies tokens.
    pub auth: Arc<Auth>,
    /// The public address of the pages, for cookies and origins.
    pub site: Arc<Site>,
    /// Limits against abuse.
    pub rules: Arc<Rules>,
}

/// Limits that hold unless a family has its own.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The rate of posts of a member; `None` for no limit.
    pub posts: Option<Pace>,
    /// The rate of new threads of a member; `None` for no limit.
    pub threads: Option<Pace>,
    /// Countries that SMS of a family without a country may go to; `None` for all.
    pub regions: Option<Vec<Region>>,
}

impl Rules {
    /// Reads `KINLINE_POSTS_PER_HOUR`, `KINLINE_THREADS_PER_HOUR` and `KINLINE_SMS_REGIONS`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self {
            posts: Pace::of_posts()?,
            threads: Pace::of_threads()?,
            regions: Region::list_from_env()?,
        })
    }
}

problems! {
    /// The database may be unavailable.
    Api: [Problem::unavailable()];
}

impl Api {
    /// The state of these parts.
    #[must_use]
    pub fn new(db: Pool, auth: Auth, site: Site, rules: Rules) -> Self {
        Self { db, auth: Arc::new(auth), site: Arc::new(site), rules: Arc::new(rules) }
    }

    /// Reads a Lambda function's environment. Connects when the first request needs it.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub async fn from_env() -> Result<Self, ConfigError> {
        let (auth, site, rules) = (Auth::from_env()?, Site::from_env()?, Rules::from_env()?);
        Ok(Self::new(Database::from_env().await?.pool(), auth, site, rules))
    }
}
