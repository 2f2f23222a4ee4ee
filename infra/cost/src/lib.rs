//! What Kinline costs and carries, worked out from prices, assumptions and measurements.

pub mod bill;
pub mod evening;
pub mod inputs;
