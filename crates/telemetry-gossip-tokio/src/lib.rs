//! Tokio driver for telemetry-gossip: sockets, timers, and a read view that never waits.
//!
//! An [`Agent`] runs one node of the core as one task, on a [`Transport`]: [`UdpTransport`] on a
//! network, [`MemoryNetwork`] within a process. Readers get a [`View`] without a lock, and follow
//! changes by [`Events`]. The crate `telemetry-gossip` has a simpler API on top of this one.
//!
//! ```
//! use telemetry_gossip_tokio::{Agent, Options, Sealing, UdpTransport};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let transport = UdpTransport::bind("127.0.0.1:0".parse()?, Sealing::Plaintext).await?;
//! let agent = Agent::spawn(Options::new("edge-17".parse()?), transport)?;
//! agent.publish("load", b"0.7").await?;
//! assert_eq!(agent.view().len(), 1);
//! agent.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! A transport seals its datagrams under the keys of a [`Sealing`], unless plaintext is requested.
//! The driver carries datagrams, time and commands. Every rule of the protocol is in
//! `telemetry-gossip-core`.
//!
//! # Features
//!
//! - `stream`: `Events::into_stream` and `TelemetryChanges::into_stream`, which implement
//!   `futures_core::Stream`
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

mod agent;
mod clock;
mod clocks;
mod drops;
mod error;
mod events;
mod feed;
#[cfg(test)]
mod handles;
mod host;
mod key_file;
mod lookup;
mod memory;
mod options;
mod peer_addr;
mod place;
mod record;
mod sealing;
mod sends;
mod shared;
mod state;
#[cfg(feature = "stream")]
mod stream;
mod task;
mod telemetry;
mod transport;
mod udp;
mod view;

pub use agent::Agent;
pub use error::{AgentError, SpawnError};
pub use events::{Event, Events, RecvError};
#[doc(hidden)]
pub use feed::Feed;
pub use host::HostStatus;
pub use key_file::{KeyFileError, create_key, read_key};
pub use memory::{MemoryNetwork, MemoryTransport};
pub use options::{OnConflict, Options};
pub use peer_addr::PeerAddr;
#[doc(hidden)]
pub use place::Part;
pub use record::{RecordStats, Recording};
pub use sealing::{Provenance, Sealing, SharedSeal};
pub use sends::SendStats;
#[doc(hidden)]
pub use shared::SharedTable;
pub use state::StateError;
pub use state::keeper::StateStatus;
#[cfg(feature = "stream")]
pub use stream::{EventStream, TelemetryStream};
pub use task::seeds::SeedStatus;
pub use telemetry::{Fixed, TelemetryChange, TelemetryChanges, ValueError};
pub use transport::{
    BoxFuture, Delivery, NameError, SUBSCRIPTION_CAPACITY, Subscribers, Subscription, Transport,
};
pub use udp::{BindError, UdpTransport};
pub use view::{Isolation, MemberView, TelemetryValue, View};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
