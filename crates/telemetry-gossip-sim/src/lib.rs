//! A deterministic simulator for telemetry-gossip: virtual time, a faulty network, scenarios and reports.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

mod checker;
mod clock;
mod cluster;
mod network;
mod process;
mod rng;
mod simulation;
mod trace;
mod units;
mod watch;

pub use checker::{Checking, Rule, Violation};
pub use clock::Clock;
pub use cluster::{Cluster, Held, node_id};
pub use network::{Latency, Network, Shape, Traffic};
pub use process::{Condition, Memory, Place, Spawn, Usage};
pub use simulation::{EventCounts, Logged, Settings, Simulation};
pub use units::{Share, ShareError};
pub use watch::{News, Spread};
