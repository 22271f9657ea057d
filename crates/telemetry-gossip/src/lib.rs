//! Cluster membership, failure detection and per-node telemetry by gossip: every process knows,
//! locally and at once, who is alive, who is suspected, who is dead, and how loaded each node is.
//!
//! - [`node::GossipNode`]: a whole node, and what most programs want
//! - [`membership::MembershipState`]: the reconciled state alone
//! - [`swim::SwimDetector`]: probing alone, direct and indirect
//! - [`gossip::PushPullGossip`]: push-pull exchanges of a state, one round at a time
//! - [`transport`]: the network, real or in memory
//!
//! All of them drive the same state machine, [`telemetry_gossip_core`], re-exported as [`core`];
//! the tokio driver below them is [`driver`].
//!
//! ```
//! use std::time::Duration;
//! use telemetry_gossip::node::GossipNode;
//! use telemetry_gossip::transport::{Sealing, UdpTransport};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let transport = UdpTransport::bind("127.0.0.1:0".parse()?, Sealing::Plaintext).await?;
//! let seed = transport.local_addr().to_string();
//! let first = GossipNode::new("edge-1".into(), vec![], transport);
//! first.start().await;
//!
//! let transport = UdpTransport::bind("127.0.0.1:0".parse()?, Sealing::Plaintext).await?;
//! let second = GossipNode::new("edge-2".into(), vec![seed], transport);
//! second.start().await;
//! second.publish("load", b"0.7").await?;
//!
//! let mut events = first.events().expect("it is started");
//! while first.telemetry("edge-2", "load").is_none() {
//!     events.recv().await;
//! }
//! assert_eq!(first.members().len(), 2);
//! second.leave(Duration::from_secs(5)).await?;
//! second.shutdown().await;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

mod endpoint;
pub mod gossip;
pub mod membership;
pub mod node;
pub mod swim;
pub mod transport;

pub use telemetry_gossip_core as core;
pub use telemetry_gossip_core::{
    DetectorFeatures, Evidence, Explanation, HelperReport, Incident, OpenSuspicion,
};
pub use telemetry_gossip_recorder as recorder;
pub use telemetry_gossip_seal as seal;
pub use telemetry_gossip_tokio as driver;
pub use telemetry_gossip_tokio::{Fixed, TelemetryChange, TelemetryChanges, TelemetryValue};

pub use crate::gossip::PushPullGossip;
pub use crate::membership::{MemberInfo, MemberStatus, MembershipState};
pub use crate::node::GossipNode;
pub use crate::swim::SwimDetector;
pub use crate::transport::Transport;

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
