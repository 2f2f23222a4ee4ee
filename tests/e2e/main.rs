//! Kinline from the outside: over HTTP, from the carrier's end, and as processes.

mod access;
mod delivery;
mod dev;
mod edge;
mod history;
mod posting;
mod provisioning;
mod threads;
