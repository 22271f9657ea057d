//! Tokio driver for telemetry-gossip: sockets, timers, and a read view that never waits.
//!
//! An [`Agent`] runs one core node as one task, on a [`Transport`]: [`UdpTransport`] on a network, [`MemoryNetwork`] within
//! a process. Readers get a [`View`] without a lock; whoever wants to follow what happens reads [`Events`].
//!
//! The driver carries datagrams, time and commands. Every rule of the protocol is in `telemetry-gossip-core`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

mod agent;
mod clock;
mod memory;
mod peer;
mod shared;
mod task;
mod transport;
mod udp;
mod view;

pub use agent::{Agent, AgentError, Events, Notice, Options, SpawnError};
pub use memory::{MemoryNetwork, MemoryTransport};
pub use peer::Peer;
pub use shared::SharedTable;
pub use transport::{
    BoxFuture, Delivery, NameError, SUBSCRIPTION_CAPACITY, Subscribers, Subscription, Transport,
};
pub use udp::{BindError, UdpTransport};
pub use view::{MemberView, TelemetryValue, View};
