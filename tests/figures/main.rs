//! Figures that the documentation states, measured on clusters of up to 1,000 nodes and compared
//! with their bounds.
//!
//! The tests print what they measure with `-- --nocapture`.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod accuracy;
mod crash_detection;
mod prediction;
mod telemetry_flow;
