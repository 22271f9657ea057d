//! A deterministic simulator for telemetry-gossip: virtual time, a faulty network, scenarios and
//! reports.
//!
//! The nodes are those of the core, as in production. An event heap, virtual time and a seed
//! replace sockets, clocks and entropy. A minute of 250 nodes takes a fraction of a second, and one
//! seed gives the same run bit for bit, on every platform and in every build profile. This crate
//! contains no rule of the protocol: it transports datagrams, and the core decides.
//!
//! # A simulation test
//!
//! ```
//! use std::time::Duration;
//! use telemetry_gossip_core::Status;
//! use telemetry_gossip_sim::{Cluster, Network, Settings, Share};
//!
//! let network = Network::losing(Share::percent(1));
//! let mut cluster = Cluster::new(Settings::default().nodes(10).network(network).seed(42));
//! cluster.start_joined();
//!
//! cluster.crash(7);
//! let dead = |cluster: &Cluster| cluster.everyone_holds(7, Status::Dead);
//! let known = cluster.run_until(dead, Duration::from_secs(20));
//! assert!(known.is_some(), "some node never learned of the crash");
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
//! | [`Cluster`] | tests: start nodes, disturb them, let time pass; panics on a broken rule |
//! | [`Registry`] | a registry that the nodes of a cluster follow |
//! | [`Rounds`] | push-pull gossip in explicit rounds, without timers |
//! | [`Scenario`], [`run`], [`Report`] | a run and its outcome as values and files |
//! | [`swarm`] | random scenarios of many seeds: faults, coverage, shrinking |
//! | [`experiment`] | many runs in parallel: our figures beside published ones |
//! | [`Simulation`] | the engine: processes, network, virtual time |
//!
//! # What is checked
//!
//! Every input of every node is followed by checks, which [`Rule`] lists: rows change only as the
//! merge rule allows, only the owner of a row issues Alive, folding the events gives the view,
//! datagrams fit the MTU, deadlines pass once, and the invariants of the nodes hold. [`Checking`]
//! sets how often whole tables are compared.
//!
//! # What is deliberately absent
//!
//! Real time, threads within a run, floats that influence a run, and the order of hash maps.
//! Protocol, network and operations draw from separate random streams, so that a change of one does
//! not affect the random numbers of the others.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

mod checker;
mod clock;
mod cluster;
pub mod experiment;
mod liar;
mod network;
mod parallel;
mod process;
mod registry;
mod report;
mod rng;
mod rounds;
mod scenario;
mod setters;
mod simulation;
pub mod swarm;
mod tamper;
mod trace;
mod units;
mod watch;

pub use checker::{Checking, Rule, Violation};
pub use clock::Clock;
pub use cluster::{Cluster, MemberState, node_id};
pub use liar::LieKind;
pub use network::{Kind, Latency, LoseKind, Network, Shape, Traffic};
pub use process::{Condition, Memory, Place, Rejoin, Spawn, Usage};
pub use registry::Registry;
pub use report::{Expectation, NewsSummary, Quantiles, Report, Unmet};
pub use rounds::{Round, RoundSettings, Rounds};
pub use scenario::{
    Expectations, Group, GroupError, Lie, Load, Operation, Options, Overrides, Progress, Scenario,
    ScenarioError, Start, Step, run, run_with,
};
pub use simulation::{EventCounts, Logged, Settings, Simulation, Tapped};
pub use units::{Share, ShareError};
pub use watch::{News, Spread};
