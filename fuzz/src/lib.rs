//! What the fuzz targets share: a node under watch, a small cluster on a faulty network, and the three inputs.
//!
//! - [`watched`]: one node with everything checked that must hold after any input
//! - [`cluster`]: two to five watched nodes, virtual time, a network that loses, repeats, delays and alters
//! - [`plan`]: the input of the target `cluster`: operations, then a calm in which the cluster must become live
//! - [`datagram`]: the input of the target `datagram`: a situation, then datagrams
//! - [`replay`]: the input of the target `replay`: a record of a node
//! - [`wire`]: the little that the targets know of the wire format
//!
//! The targets only report; no rule of the protocol lives here. Everything is decided by the input: no clock, no
//! randomness, no threads.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

pub mod cluster;
pub mod datagram;
pub mod plan;
pub mod replay;
pub mod watched;
pub mod wire;

#[cfg(test)]
mod tests;
