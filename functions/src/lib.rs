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

use std::sync::Arc;

use axum::Router;
use shared::{links::LinkKeys, queue::Queue};

pub use edge::edge;
pub use state::{Api, Rules};

/// Every route of every function, for the local stack and the tests; not yet behind [`edge()`].
pub fn all(api: &Api, keys: &Arc<LinkKeys>, queue: &Queue) -> Router {
    Router::new()
        .merge(routes::audit::router(api.clone()))
        .merge(routes::docs::router())
        .merge(routes::export::router(api.clone()))
        .merge(routes::families::router(api.clone()))
        .merge(routes::health::router(api.db.clone()))
        .merge(routes::history::router(api.clone()))
        .merge(routes::links::router(api.clone(), Arc::clone(keys), queue.clone()))
        .merge(routes::members::router(api.clone()))
        .merge(routes::messages::router(api.clone(), queue.clone()))
        .merge(routes::threads::router(api.clone()))
        .merge(web::routes::router(api.clone()))
}
