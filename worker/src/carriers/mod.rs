//! Carriers: providers that send SMS.

pub mod sns;
