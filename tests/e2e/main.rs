//! End-to-end tests: over HTTP, at the carrier, and as processes.

#![expect(clippy::expect_used, reason = "a panic is how a test says no")]
#![expect(clippy::too_many_lines, reason = "a table of cases is read as one")]

mod abuse;
mod access;
mod audit;
mod canary;
mod cap;
mod delivery;
mod deployed;
mod dev;
mod edge;
mod erasure;
mod export;
mod fairness;
mod faults;
mod history;
mod lambda;
mod large;
mod links;
mod migrations;
mod openapi;
mod partitions;
mod plans;
mod pool;
mod pooler;
mod posting;
mod provisioning;
mod races;
mod retention;
mod routes;
mod search;
mod structure;
mod sweeping;
mod template;
mod tenancy;
mod threads;
mod tokens;
mod trace;
