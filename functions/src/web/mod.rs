//! The pages that a member sees in a browser, and the browser's cookie.

pub(crate) mod archive;
mod pages;
pub mod routes;
pub mod site;
