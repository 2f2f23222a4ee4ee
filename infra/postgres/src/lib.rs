//! Finds or fetches PostgreSQL and runs it beside a process, for the local stack and for tests. The
//! server never outlives that process.

mod account;
mod cluster;
mod error;
mod fetch;
mod find;
mod folder;
mod installation;
mod orphan;
mod server;
pub mod testing;
mod watchdog;

pub use error::Error;
pub use server::{Options, Server};
