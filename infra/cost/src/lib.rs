//! Kinline's cost and capacity, computed from prices, assumptions and measurements.

pub mod bill;
pub mod evening;
pub mod inputs;
