//! Tokio driver for telemetry-gossip: sockets, timers, and a read view that never waits.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![deny(warnings)]

mod peer;
mod transport;

pub use peer::Peer;
pub use transport::{BoxFuture, Delivery, SUBSCRIPTION_CAPACITY, Subscribers, Subscription, Transport};
