//! Runs that are determined by a file or a seed: pinned traces, random scenarios, and recorded
//! incidents.
#![forbid(unsafe_code)]
#![deny(warnings)]

mod determinism;
mod swarm;
mod traces;
