//! The network: real ([`UdpTransport`]) or simulated ([`MemoryNetwork`]), behind the object-safe
//! [`Transport`].
//!
//! A node's seed is `host:port` over UDP and a node's id in memory. One transport may be shared: a
//! detector, an exchange and a node on it each see every datagram and take none from the others.
//! Datagrams may get lost, come twice and out of order; the protocol lives with that, and so may
//! your own implementation.

//!
//! Whether datagrams are sealed is the transport's matter, so that a node, a detector and an
//! exchange on it need not know: [`Sealing`] says it when a transport is made, and its keys change
//! under way. What sealing protects from is told in [`seal`](crate::seal).
//!
//! ```
//! use telemetry_gossip::core::Label;
//! use telemetry_gossip::node::GossipNode;
//! use telemetry_gossip::transport::{Sealing, Transport, UdpTransport, create_key};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("telemetry-gossip-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder)?;
//! # let file = folder.join("cluster.key");
//! create_key(&file)?; // once a cluster; then copied to every node
//! let sealing = Sealing::from_files(Label::of("production"), [&file])?;
//! let transport = UdpTransport::bind("127.0.0.1:0".parse()?, sealing).await?;
//! let node = GossipNode::new("edge-1".into(), vec![], transport.clone());
//! node.try_start().await?;
//! assert_eq!(transport.seal().expect("it seals").keys().len(), 1);
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok(())
//! # }
//! ```

pub use telemetry_gossip_seal::{Key, KeyId, KeyText, Keyring, KeyringError, SealStats};
pub use telemetry_gossip_tokio::{
    BindError, BoxFuture, Delivery, KeyFileError, MemoryNetwork, MemoryTransport, NameError, Peer,
    Sealing, SharedSeal, Subscribers, Subscription, Transport, UdpTransport, create_key, read_key,
};
