//! The network: real ([`UdpTransport`]) or simulated ([`MemoryNetwork`]), behind the object-safe
//! [`Transport`].
//!
//! A node's seed is `host:port` over UDP, and a node's id in memory. One transport may be shared by
//! a detector and either a node or an exchange: each sees every datagram, and takes none from the
//! others. A node and an exchange need a transport each, or others would take them for two members.
//! Datagrams may be lost, duplicated and reordered; the protocol allows for that, and your own
//! implementation may do it too.
//!
//! The transport decides whether datagrams are sealed, so that a node, a detector and an exchange
//! on it need not know. [`Sealing`] is given when the transport is made, and the keys can be
//! changed while it is used. [`telemetry_gossip_seal`] says what sealing protects against.
//!
//! ```
//! use telemetry_gossip::Label;
//! use telemetry_gossip::node::GossipNode;
//! use telemetry_gossip::transport::{Sealing, Transport, UdpTransport, create_key};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = format!("telemetry-gossip-doc-{}", std::process::id());
//! # let folder = std::env::temp_dir().join(folder);
//! # std::fs::create_dir_all(&folder)?;
//! # let file = folder.join("cluster.key");
//! create_key(&file)?; // once per cluster; then copy the file to every node
//! let sealing = Sealing::from_files(Label::of("production"), [&file])?;
//! let transport = UdpTransport::bind("127.0.0.1:0".parse()?, sealing).await?;
//! let node = GossipNode::builder("edge-1")?.start(transport.clone()).await?;
//! assert_eq!(transport.seal().expect("it seals").keys().len(), 1);
//! # std::fs::remove_dir_all(&folder)?;
//! # drop(node);
//! # Ok(())
//! # }
//! ```

pub use telemetry_gossip_seal::{Key, KeyId, KeyText, Keyring, KeyringError, SealStats};
pub use telemetry_gossip_tokio::{
    BindError, BoxFuture, Delivery, KeyFileError, MemoryNetwork, MemoryTransport, NameError,
    PeerAddr, Provenance, SUBSCRIPTION_CAPACITY, Sealing, SharedSeal, Subscribers, Subscription,
    Transport, UdpTransport, create_key, read_key,
};
