//! What the fuzz targets share, and what each does with its input.
//!
//! Shared:
//! - [`watched`]: one node with everything checked that must hold after any input
//! - [`cluster`]: two to five watched nodes, virtual time, a network that loses, repeats, delays
//!   and alters
//! - [`warm`]: nodes in all situations, kept warm for single datagrams
//! - [`say`]: what a peer may say to a node
//! - [`seeds`]: the first inputs
//! - [`wire`]: headers and numbers; the reader, the writer and the shapes of datagrams are those of
//!   the core's `tests/wire`
//!
//! Inputs, by target:
//! - [`bytes`]: one datagram to a warm node
//! - [`canonical`]: the same, read by two readers, and in its shortest form
//! - [`datagram`]: a situation, then datagrams
//! - [`node`]: the life of one node: all that a host and peers can do, and snapshots
//! - [`plan`] of `cluster`: operations, then a calm in which the cluster must become live
//! - [`replay`]: a record of a node
//! - [`seal`]: datagrams, letters and keys between nodes that seal
//!
//! The targets only report; no rule of the protocol lives here. Everything is decided by the input:
//! no clock, no randomness, no threads.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

pub mod bytes;
pub mod canonical;
pub mod cluster;
pub mod datagram;
pub mod node;
pub mod plan;
pub mod replay;
pub mod say;
pub mod seal;
pub mod seeds;
pub mod warm;
pub mod watched;
pub mod wire;

// The wire as `docs/wire.md` describes it, without the core's code.
extern crate alloc;
#[path = "../../crates/telemetry-gossip-core/tests/wire/meaning.rs"]
#[allow(dead_code, reason = "the golden datagrams are for tests and seeds")]
mod meaning;
#[path = "../../crates/telemetry-gossip-core/tests/wire/reader.rs"]
mod reader;
#[path = "../../crates/telemetry-gossip-core/tests/wire/writer.rs"]
mod writer;

#[cfg(test)]
mod tests;
