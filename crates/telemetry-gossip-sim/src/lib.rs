//! A deterministic simulator for telemetry-gossip: virtual time, a faulty network, scenarios and reports.
//!
//! The core's nodes run as they do in production; sockets, clocks and entropy are replaced by an event heap, virtual
//! time and a seed. A minute of 250 nodes takes a fraction of a second, and one seed gives one run, bit for bit, on every
//! platform and in every build profile. No rule of the protocol is in this crate: it carries, the core decides.
//!
//! # A test in the words of its subject
//!
//! ```
//! use std::time::Duration;
//! use telemetry_gossip_core::Status;
//! use telemetry_gossip_sim::{Cluster, Network, Settings, Share};
//!
//! let mut cluster = Cluster::new(Settings {
//!     nodes: 10,
//!     network: Network::losing(Share::percent(1)),
//!     seed: 42,
//!     ..Settings::default()
//! });
//! cluster.start_joined();
//!
//! cluster.crash(7);
//! let known = cluster.run_until(|cluster| cluster.everyone_holds(7, Status::Dead), Duration::from_secs(20));
//! assert!(known.is_some(), "somebody never learned of the crash");
//!
//! cluster.partition(0..6, 6..10);
//! cluster.run_for(Duration::from_secs(30));
//! cluster.heal();
//! cluster.run_for(Duration::from_secs(30));
//! assert!(cluster.views_complete_and_alive());
//! ```
//!
//! # Layers
//!
//! | what | for |
//! |---|---|
//! | [`Cluster`] | tests: start, break, wait, look; panics on a broken rule |
//! | [`Rounds`] | push-pull in explicit rounds, without timers |
//! | [`Scenario`], [`run`], [`Report`] | a run as a value (and a TOML file), its outcome as a value |
//! | [`swarm`] | random scenarios of many seeds: what broke, what happened at all, the least that still breaks |
//! | [`experiment`] | many runs, side by side: our figures beside published ones |
//! | [`Simulation`] | the engine: processes, network, virtual time |
//!
//! # What is checked
//!
//! While a cluster runs, every input of every node is followed by checks ([`Rule`] lists them): rows change only as the
//! merge rule lets them, Alive comes from its owner alone, events folded give the view, datagrams fit the MTU, deadlines
//! pass once, and the nodes' own invariants hold. [`Checking`] says how often whole tables are compared.
//!
//! # What is deliberately absent
//!
//! Wall time, threads within a run, floats that decide anything, and any order of a hash map. Three random streams are kept apart
//! (protocol, network, operations), so that a change of one does not change what the others draw.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

mod checker;
mod clock;
mod cluster;
pub mod experiment;
mod network;
mod parallel;
mod process;
mod report;
mod rng;
mod rounds;
mod scenario;
mod simulation;
pub mod swarm;
mod tamper;
mod trace;
mod units;
mod watch;

pub use checker::{Checking, Rule, Violation};
pub use clock::Clock;
pub use cluster::{Cluster, Held, node_id};
pub use network::{Kind, Latency, LoseKind, Network, Shape, Traffic};
pub use process::{Condition, Memory, Place, Rejoin, Spawn, Usage};
pub use report::{Expectation, NewsSummary, Quantiles, Report, Unmet};
pub use rounds::{Round, RoundSettings, Rounds};
pub use scenario::{
    Expectations, Group, GroupError, Load, Operation, Options, Overrides, Progress, Scenario, ScenarioError,
    Start, Step, run, run_with,
};
pub use simulation::{EventCounts, Logged, Settings, Simulation};
pub use units::{Share, ShareError};
pub use watch::{News, Spread};
