//! Cluster membership, failure detection and per-node telemetry by gossip. Every process holds the
//! complete view in memory: which nodes are alive, suspected or dead, and what each of them
//! publishes. A read never leaves the process and never waits.
//!
//! ```no_run
//! use telemetry_gossip::{GossipNode, Sealing, UdpTransport};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let transport = UdpTransport::bind("127.0.0.1:7946".parse()?, Sealing::Plaintext).await?;
//!     let node = GossipNode::builder("edge-1")?.seeds(["10.0.0.1:7946"]).start(transport).await?;
//!     node.publish("load", b"0.7").await?;
//!     let mut events = node.events();
//!     while let Ok(event) = events.recv().await {
//!         println!("{event:?}: {:?}", node.members());
//!     }
//!     Ok(())
//! }
//! ```
//!
//! - [`node::GossipNode`]: a whole node, which is what most programs want
//! - [`membership::MembershipState`]: the reconciled state alone
//! - [`swim::SwimDetector`]: probing alone, direct and indirect
//! - [`gossip::PushPullGossip`]: push-pull exchanges of a state, one round at a time
//! - [`transport`]: the network, real or in memory
//! - [`config`], [`event`], [`telemetry`]: the settings, and what a node reports
//!
//! All of them drive one state machine, the crate [`telemetry_gossip_core`]. A program with its own
//! event loop, or without tokio, uses that crate directly; the tokio driver is
//! [`telemetry_gossip_tokio`].
//!
//! # Trust
//!
//! [`Sealing::Plaintext`] lets everybody on the network be a member and lie; with a key, only its
//! holders can. `SECURITY.md` of the repository says what is promised against which attacker.
//! `apply_cluster_config` and `allowed_networks` say which members belong and where they may be.
//! The single parts know no proof of members: their host answers for those that it names.
//!
//! # Features
//!
//! - `stream`: `Events::into_stream` and `TelemetryChanges::into_stream`, which implement
//!   `futures_core::Stream`
//! - `registry`: a node follows a registry of which nodes belong to the cluster, kept in a file
//! - `registry-etcd`: the same, and registries on etcd
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

mod builder;
pub mod config;
mod endpoint;
mod error;
pub mod event;
pub mod gossip;
pub mod membership;
pub mod node;
#[cfg(feature = "registry")]
pub mod registry;
pub mod swim;
pub mod telemetry;
pub mod transport;

pub use crate::config::{Config, Label, NodeId, Options};
pub use crate::error::{NodeError, NodeErrorKind};
pub use crate::event::{Event, Events, Evidence, Explanation, Health, Incident, RecvError, Stats};
pub use crate::gossip::PushPullGossip;
pub use crate::membership::{MemberInfo, MemberStatus, MembershipState};
pub use crate::node::{GossipNode, NodeBuilder};
pub use crate::swim::SwimDetector;
pub use crate::telemetry::{Fixed, TelemetryChange, TelemetryChanges, TelemetryValue};
pub use crate::transport::{MemoryNetwork, PeerAddr, Sealing, Transport, UdpTransport};

/// Runs the examples that end by themselves.
#[cfg(doctest)]
mod examples {
    macro_rules! run {
        ($($name:ident)*) => {
            $(
                #[doc = concat!(
                    "```\n",
                    include_str!(concat!("../examples/", stringify!($name), ".rs")),
                    "\n```"
                )]
                mod $name {}
            )*
        };
    }
    run! { events own_transport typed }
}

/// Compiles and runs the example of the crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
