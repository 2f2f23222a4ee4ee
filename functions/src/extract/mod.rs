//! Extractors: parts of a request as domain types, or a problem.

mod body;
mod browser;
mod caller;
mod idempotency;
mod params;
mod path;
mod source;

pub use body::{BODY_MAX, Valid, Validate, whole};
pub use browser::{Browser, OwnPage};
pub use caller::{Caller, HostToken, ProvisionedFamily, ProvisionedUser, ThreadMember};
pub use idempotency::Idempotency;
pub(crate) use params::bad_limit;
pub use params::{Params, bad_cursor, limit};
pub use path::PathMessage;
pub use source::Source;
