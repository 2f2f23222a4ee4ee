//! The pages that a member sees in a browser, and the browser's cookie.

pub(crate) mod archive;
pub(crate) mod pages;
pub mod site;
