//! The routes, one file for each group: request shapes, handlers and a router.

pub mod audit;
pub mod docs;
pub mod export;
pub mod families;
pub mod health;
pub mod history;
pub mod links;
pub mod members;
pub mod messages;
pub mod threads;
pub mod web;
