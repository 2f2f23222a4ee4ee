//! Jobs, a file a kind.

pub(crate) mod deliver;
