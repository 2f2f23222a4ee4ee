//! Harnesses for readers of foreign input, with assertions that hold for any bytes. libFuzzer runs them
//! (`main.rs`), and so does a property test under `cargo test` (`tests/twin.rs`).

#![expect(clippy::expect_used, reason = "a panic is how a harness says no")]

mod bodies;
mod cookie;
mod cursor;
mod gateway;
mod ids;
mod input;
mod job;
mod jwt;
mod nowhere;
mod phone;
mod records;
mod text;
mod token;
mod written;

pub use bodies::bodies;

/// A harness: panics if an assertion does not hold for the bytes.
pub type Harness = fn(&[u8]);

/// Every harness by its name, which is also that of its folder of seeds.
pub const HARNESSES: [(&str, Harness); 12] = [
    ("bodies", bodies::harness),
    ("cookie", cookie::harness),
    ("cursor", cursor::harness),
    ("gateway", gateway::harness),
    ("ids", ids::harness),
    ("job", job::harness),
    ("jwt", jwt::harness),
    ("phone", phone::harness),
    ("records", records::harness),
    ("text", text::harness),
    ("token", token::harness),
    ("written", written::harness),
];
