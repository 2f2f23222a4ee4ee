//! Kinline's HTTP API: a router per Lambda function, and all of them together for the local stack.

pub mod auth;
pub mod edge;
pub mod error;
pub mod extract;
pub mod gateway;
pub mod migrate;
pub mod openapi;
pub mod routes;
pub mod state;
pub mod views;
pub mod web;

use std::sync::{Arc, LazyLock};

use axum::Router;
use serde_json::Value;
use shared::{links::LinkKeys, queue::Queue};
use utoipa::openapi::OpenApi;

pub use edge::edge;
pub use state::{Api, Rules};

/// Makes [`all`] and [`described`] from one list: `"function": module(what its router needs);`. They are
/// functions, not a table of both: the binary that serves the document links no other handler.
macro_rules! functions {
    (($api:ident, $keys:ident, $queue:ident) $($function:literal: $module:ident($($part:expr),*);)+) => {
        /// All routes of all functions, for the local stack and the tests, without [`edge()`].
        pub fn all($api: &Api, $keys: &Arc<LinkKeys>, $queue: &Queue) -> Router {
            Router::new()$(.merge(routes::$module::router($($part),*)))+
        }

        /// The description of each module of routes, with the name of its Lambda function.
        #[must_use]
        pub fn described() -> Vec<(&'static str, OpenApi)> {
            vec![$(($function, routes::$module::described())),+]
        }
    };
}

// Tests compare this with the binaries, with cargo-lambda's router in Cargo.toml and with the events of
// infra/template.yaml, and print the lines that are missing there.
functions! { (api, keys, queue)
    "docs": docs(&DOCUMENT);
    "export": export(api.clone());
    "families": families(api.clone());
    "families": audit(api.clone());
    "health": health(api.db.clone());
    "history": history(api.clone());
    "links": links(api.clone(), Arc::clone(keys), queue.clone());
    "members": members(api.clone());
    "messages": messages(api.clone(), queue.clone());
    "threads": threads(api.clone());
    "web": web(api.clone());
}

/// The OpenAPI document of every route.
#[must_use]
pub fn document() -> Value {
    openapi::document(described().into_iter().map(|(_, module)| module))
}

/// [`document`] as it is served. It changes only with the program.
pub static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string());
