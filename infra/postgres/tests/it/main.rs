//! Tests of the crate from outside, in one program: it also starts itself as the process that others kill.

#![expect(
    clippy::unwrap_used,
    reason = "clippy doesn't see that functions beside a test are of the test too"
)]

mod server;
mod support;
mod testing;
