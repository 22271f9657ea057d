//! The fuzz targets: what each does with its input, and what they share.
//!
//! Shared modules:
//! - [`wire`]: headers and numbers; the second reader and the writer are those of the core's
//!   `tests/wire`
//! - [`watched`]: one node, with the rules that hold after every input
//! - [`cluster`]: two to five watched nodes in virtual time, on a faulty network
//! - [`situation`]: recorded runs of a cluster that stop while something is in progress
//! - [`warm`]: one node per situation, used again for each datagram
//! - [`say`]: well-formed frames of a peer
//! - [`seeds`]: the first inputs
//! - [`search`]: a search for inputs that do what no other one does
//! - [`checks`]: what the seeds reach
//!
//! Inputs by target:
//! - [`bytes`]: one datagram to a node in a situation
//! - [`canonical`]: the same, read by two readers, and in its shortest form
//! - [`cost`]: one datagram to a node of 250 members, and what it may cost
//! - [`datagram`]: a situation, then several datagrams
//! - [`node`]: a history of one node, with all actions of a host and of peers, and snapshots
//! - [`plan`] (target `cluster`): operations on a cluster, which must then become live and quiet
//! - [`replay`]: a record of a node
//! - [`document`]: what a store of a registry contains
//! - [`seal`]: sealed datagrams, sealed messages and keys
//!
//! The targets check and report only: no rule of the protocol is implemented here. The input
//! decides everything, without clocks, randomness or threads.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

pub mod bytes;
pub mod canonical;
pub mod checks;
pub mod cluster;
pub mod cost;
pub mod datagram;
pub mod document;
pub mod node;
pub mod plan;
pub mod replay;
pub mod say;
pub mod seal;
pub mod search;
pub mod seeds;
pub mod situation;
pub mod warm;
pub mod watched;
pub mod wire;

// The wire format as in `docs/wire.md`, without the code of the core.
extern crate alloc;
#[path = "../../crates/telemetry-gossip-core/tests/wire/costly.rs"]
mod costly;
#[path = "../../crates/telemetry-gossip-core/tests/wire/meaning.rs"]
#[allow(dead_code, reason = "the golden datagrams are for tests and seeds")]
mod meaning;
#[path = "../../crates/telemetry-gossip-core/tests/wire/reader.rs"]
mod reader;
#[path = "../../crates/telemetry-gossip-core/tests/wire/scenes.rs"]
mod scenes;
#[path = "../../crates/telemetry-gossip-core/tests/wire/writer.rs"]
mod writer;
