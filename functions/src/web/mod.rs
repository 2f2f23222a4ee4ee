//! The pages that a member sees in a browser, the archive page, and the browser's cookie.

pub(crate) mod archive;
pub(crate) mod error;
pub(crate) mod landing;
mod locale;
pub(crate) mod page;
pub mod site;
pub(crate) mod thread;
