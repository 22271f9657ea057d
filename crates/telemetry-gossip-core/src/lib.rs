//! Deterministic, sans-IO state machine for SWIM-based cluster membership and per-node telemetry.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]
#![warn(clippy::cast_possible_truncation)]

extern crate alloc;

mod address;
mod awareness;
mod cluster;
mod config;
mod contact;
mod dissemination;
mod error;
mod event;
mod id;
mod input;
mod invariants;
mod join;
mod member;
mod membership;
mod node;
mod outbox;
mod probe;
mod relay;
mod rng;
mod stats;
mod suspicion;
mod sync;
mod telemetry;
mod time;
mod tombstone;
mod wire;

pub use address::{Address, MAX_ADDRESS_LEN};
pub use config::{Config, ConfigError, MAX_MTU, MIN_MTU, Mode, Suspicion};
pub use error::{CommandError, InputError, WireError};
pub use event::{Event, ExchangeOutcome, IsolationEnd, ProbeOutcome, RemovalReason};
pub use id::{Generation, IdError, Instance, Label, MAX_ID_LEN, NodeId, Number, Tag};
pub use input::{Identity, Input};
pub use invariants::Violation;
pub use member::{Accusers, Claim, MAX_ACCUSERS, Precedence, Status};
pub use membership::{Member, Membership, Merged};
pub use node::{Node, Transmit};
pub use stats::{Health, Stats};
pub use telemetry::TelemetryEntry;
pub use time::Instant;
pub use wire::WIRE_VERSION;
