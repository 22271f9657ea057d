//! Telemetry: the values that members publish, and their changes.
//!
//! ```
//! use telemetry_gossip::telemetry::Fixed;
//! # use telemetry_gossip::{GossipNode, MemoryNetwork};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let transport = MemoryNetwork::new(1).transport("a")?;
//! # let node = GossipNode::builder("a")?.start(transport).await?;
//! let mut changes = node.subscribe("load");
//! node.publish_as("load", &Fixed::<2>::from(0.75)).await?;
//! let change = changes.recv().await.expect("the node runs");
//! assert_eq!(change.value.unwrap().decode::<Fixed<2>>()?, Fixed(75));
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "stream")]
pub use telemetry_gossip_tokio::TelemetryStream;
pub use telemetry_gossip_tokio::{
    Fixed, MemberView, TelemetryChange, TelemetryChanges, TelemetryValue, ValueError, View,
};
