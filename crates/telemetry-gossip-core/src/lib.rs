//! Deterministic, sans-IO state machine for SWIM-based cluster membership and per-node telemetry.
//!
//! A [`Node`] holds what one process knows of its cluster: which members are alive, suspected or
//! dead, and the telemetry that each publishes. The host passes in datagrams, the time and its own
//! commands as [`Input`]s; the node hands out datagrams to send, [`Event`]s, and the one time at
//! which it wants to be called again. It reads no clock, opens no socket, starts no thread, and
//! takes its randomness from one seed: a log of inputs replays a node bit for bit.
//!
//! # How it works
//!
//! - **Probing.** The nodes share a schedule by which each member is pinged once per interval. A
//!   silent member is pinged again, and through helpers.
//! - **Suspecting.** A member that stays silent is *suspected*, at one generation above its own,
//!   but only after its accuser has proved with a *roll call* that it is itself in touch with at
//!   least half of the members.
//! - **Refuting.** A member that hears that it is suspected or dead says Alive one generation
//!   higher. Of two claims about a member the higher generation wins; see [`Claim::precedence`] for
//!   ties.
//! - **Dying.** A suspicion that is not refuted in time becomes Dead, after another roll call. A
//!   node on the smaller side of a partition declares no member dead. [`Node::explain`] tells how
//!   each verdict came about.
//! - **Believing.** What a peer says of another is not believed as it stands: a member has to
//!   answer before it is known, an accuser has to confirm before its accusation counts, and a
//!   process gives up its id only to one that the other members hold.
//! - **Gossip.** Rumors ride on every datagram and, while there are any, on some extra ones in each
//!   gossip interval.
//! - **Anti-entropy.** Every datagram carries a fingerprint of the sender's table. Tables that stay
//!   different are compared by ranges of ids, and only the differences are exchanged.
//! - **Telemetry.** Each node owns a small key-value log; the others hold a prefix of it, by
//!   version. Updates go along trees over the live members, and each datagram is acknowledged.
//!   Anti-entropy finds the rest.
//!
//! # How to drive it
//!
//! After every [`Node::handle`] drain [`Node::poll_transmit`] and [`Node::poll_event`], then arm
//! one timer for [`Node::poll_timeout`]. [`Node`] has an example; the crates
//! `telemetry-gossip-tokio` and `telemetry-gossip-sim` are whole drivers.
//!
//! # Guarantees
//!
//! No panic and no unbounded memory on any bytes, times, orders or settings; the work for a
//! datagram is bounded, and what is refused is named by a typed error and counted in [`Stats`].
//! Nothing is authenticated: that is the business of a layer between socket and node. So a peer can
//! lie, about itself and for a while about others; `SECURITY.md` of the repository says what is
//! promised against lies, and what is not.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]
#![warn(clippy::cast_possible_truncation)]

extern crate alloc;

// From the ground up: a module imports only from the groups above its own, and the three parts of
// the protocol import nothing of each other. `tests/layout.rs` holds them to it.
mod address;
#[doc(hidden)]
pub mod bounded;
mod config;
mod dropped;
mod error;
mod event;
mod evidence;
mod features;
mod id;
mod input;
mod network;
mod rng;
mod setters;
mod stats;
mod status;
mod time;
mod violation;
#[doc(hidden)]
pub mod work;

mod membership;

mod wire;

mod outbox;

mod cx;

mod anti_entropy;
mod detector;
mod dissemination;

mod node;

mod plan;

pub use address::{Address, MAX_ADDRESS_LEN};
pub use config::{Config, ConfigError, MAX_MTU, MIN_MTU, Mode, SuspicionTimeout};
#[doc(hidden)]
pub use dropped::Drops;
pub use dropped::{DropReason, Dropped, MAX_DROP_SOURCES};
pub use error::{CommandError, InputError, WireError};
pub use event::{Event, ExchangeOutcome, IsolationEnd, ProbeOutcome, RemovalReason};
pub use evidence::{
    Evidence, Explanation, HelperReport, HelperReports, Incident, MAX_HELPER_REPORTS, OpenSuspicion,
};
pub use features::DetectorFeatures;
pub use id::{Generation, IdError, IdHash, Instance, Label, MAX_ID_LEN, NodeId};
pub use input::{Identity, Input, MAX_CONFIG_IDS, MAX_PEERS, MAX_SEEDS, Stamp};
#[doc(hidden)]
pub use membership::claim::Precedence;
pub use membership::claim::{Accusers, Claim, MAX_ACCUSERS};
pub use membership::telemetry_log::TelemetryEntry;
pub use membership::{Member, Membership, Merged};
pub use network::{Network, NetworkError, Networks};
pub use node::snapshot::{RestoreError, STATE_VERSION, SnapshotError};
pub use node::{Node, Transmit};
pub use plan::{Plan, PlanError, PlanRule, Prediction};
pub use stats::{Health, Stats};
pub use status::Status;
pub use time::Instant;
pub use violation::Violation;
pub use wire::{SEALED_FORMAT, WIRE_VERSION};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
