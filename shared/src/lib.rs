//! Kinline's domain: types, rules, use cases, and all SQL statements.
//!
//! One folder an aggregate: `mod.rs` has types, rules and use cases, `store.rs` the SQL.
//! Nothing here depends on HTTP or Lambda.

pub mod access;
pub mod actor;
pub mod audit;
pub mod config;
pub mod cursor;
pub mod db;
pub mod delivery;
pub mod erasure;
pub mod error;
pub mod export;
pub mod failpoint;
pub mod families;
pub mod i18n;
pub mod ids;
pub mod limits;
pub mod links;
pub mod members;
pub mod messages;
pub mod phone;
pub mod queue;
pub mod retention;
pub mod sessions;
pub mod spending;
pub mod text;
mod text_enum;
pub mod threads;

pub use error::{Error, Result};
