//! The browser that a request comes from, by its cookie.

use std::{convert::Infallible, sync::Arc};

use axum::extract::{FromRef, FromRequestParts};
use http::{HeaderValue, request::Parts};
use shared::sessions::BrowserSecret;

use crate::{error::Problem, openapi::problems::problems, state::Api, web::site::Site};

/// The browser of a request, by its cookie. Without a cookie, a new one.
#[derive(Debug, Clone)]
pub struct Browser {
    secret: BrowserSecret,
    is_new: bool,
    site: Arc<Site>,
}

impl Browser {
    /// Whether the request had no valid cookie.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// The browser's secret.
    #[must_use]
    pub const fn secret(&self) -> &BrowserSecret {
        &self.secret
    }

    /// A `Set-Cookie` that keeps the secret in the browser.
    #[must_use]
    pub fn set_cookie(&self) -> HeaderValue {
        self.site.keep(&self.secret)
    }

    /// The same browser with another secret.
    #[must_use]
    pub fn renamed(self, secret: BrowserSecret) -> Self {
        Self { secret, ..self }
    }

    /// A `Set-Cookie` that deletes the secret from the browser.
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

/// A request that no other site's page made a browser send.
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

problems! {
    /// Another site's page made the request.
    OwnPage: [Problem::cross_site()];
}
