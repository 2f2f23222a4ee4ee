//! Kinline's domain: its types, its rules, its use cases, and every SQL statement.
//!
//! One folder an aggregate: `mod.rs` holds types, rules and use cases, `store.rs` the SQL.
//! Nothing here knows of HTTP or Lambda.

pub mod audit;
pub mod aws;
pub mod config;
pub mod cursor;
pub mod db;
pub mod erasure;
pub mod error;
pub mod exports;
pub mod failpoint;
pub mod families;
pub mod fetch;
pub mod https;
pub mod ids;
pub mod limits;
pub mod links;
pub mod logging;
pub mod members;
pub mod messages;
pub mod metrics;
pub mod notifications;
pub mod origin;
pub mod phone;
pub mod pool;
pub mod queue;
mod retention;
pub mod secrets;
pub mod sessions;
pub mod spending;
pub mod startup;
pub mod text;
pub mod threads;
pub mod words;

pub use error::{Error, Result};

/// Of whatever links this: glibc's was 12 to 17 % of what a request's profile showed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
