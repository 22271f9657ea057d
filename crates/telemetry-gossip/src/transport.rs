//! The network: real ([`UdpTransport`]) or simulated ([`MemoryNetwork`]), behind the object-safe [`Transport`].
//!
//! A node's seed is `host:port` over UDP and a node's id in memory. One transport may be shared: a detector, an exchange
//! and a node on it each see every datagram and take none from the others. Datagrams may get lost, come twice and out of
//! order; the protocol lives with that, and so may your own implementation.

pub use telemetry_gossip_tokio::{
    BindError, BoxFuture, Delivery, MemoryNetwork, MemoryTransport, NameError, Peer, Subscribers,
    Subscription, Transport, UdpTransport,
};
