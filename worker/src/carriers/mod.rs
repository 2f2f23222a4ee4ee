//! Carriers: the providers that send SMS.

pub mod sns;
