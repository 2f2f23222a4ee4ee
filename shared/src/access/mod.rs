//! Access control: the roles of a thread's members.

mod role;

pub use role::Role;
