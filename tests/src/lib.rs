//! The end-to-end tests' harness: a whole system of its own for every test, driven by conditions.

pub mod client;
pub mod system;

pub use client::{Answer, Client};
pub use system::System;
