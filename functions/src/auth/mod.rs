//! Verification of tokens of the host application and its identity provider.

mod jwks;
mod keys;
mod settings;
mod tokens;

pub use self::tokens::Auth;
pub(crate) use self::tokens::{not_a_member, not_the_host};
