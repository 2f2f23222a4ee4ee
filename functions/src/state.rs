//! What every handler may use.

use std::sync::Arc;

use platform::config::ConfigError;
use shared::{
    db::{Database, Pool},
    limits::Pace,
    phone::Region,
};

use crate::{auth::Auth, error::Problem, openapi::problems::problems, web::site::Site};

/// The database, and who is believed to be who. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// The pool, of a role that owns nothing.
    pub db: Pool,
    /// Verifies the host application's tokens.
    pub auth: Arc<Auth>,
    /// Where the pages are, whose browsers have sessions.
    pub site: Arc<Site>,
    /// What abuse is held to.
    pub rules: Arc<Rules>,
}

/// What holds for whoever nothing else was said of.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// How fast a member may post; `None` is as fast as they like.
    pub posts: Option<Pace>,
    /// Where texts may go of a family that names no country; `None` is anywhere.
    pub regions: Option<Vec<Region>>,
}

impl Rules {
    /// Reads `KINLINE_POSTS_PER_HOUR` and `KINLINE_SMS_REGIONS`.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Ok(Self { posts: Pace::of_posts()?, regions: Region::list_from_env()? })
    }
}

problems! {
    /// What asks the database, which may not answer.
    Api: [Problem::unavailable()];
}

impl Api {
    /// An API on `db` that believes what `auth` verifies, and the browsers of `site`.
    #[must_use]
    pub fn new(db: Pool, auth: Auth, site: Site, rules: Rules) -> Self {
        Self { db, auth: Arc::new(auth), site: Arc::new(site), rules: Arc::new(rules) }
    }

    /// What a Lambda function's environment says. Connects when the first request needs it.
    ///
    /// # Errors
    /// [`ConfigError`] naming the variable.
    pub async fn from_env() -> Result<Self, ConfigError> {
        let (auth, site, rules) = (Auth::from_env()?, Site::from_env()?, Rules::from_env()?);
        Ok(Self::new(Database::from_env().await?.pool(), auth, site, rules))
    }
}
