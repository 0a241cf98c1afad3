//! What an operator and a monitor ask: health, readiness, metrics, and the readings that alerts are made of.

pub(super) mod health;
pub(crate) mod metrics;
pub(super) mod readings;
