//! Harness of the end-to-end tests: a whole system for each test, driven by conditions.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a test says no"
)]

pub mod checks;
pub mod client;
pub mod dataset;
pub mod document;
pub mod events;
pub mod faults;
pub mod lambda;
pub mod large;
pub mod partitions;
pub mod peer;
pub mod pooler;
pub mod provider;
pub mod secrets_manager;
pub mod statements;
pub mod system;

pub use client::{Answer, Client, ClientAt};
pub use system::System;
