//! The registry of which nodes belong to the cluster.
//!
//! Gossip says which nodes are there now; a registry says which nodes belong. A node follows one
//! with [`NodeBuilder::registry`](crate::NodeBuilder::registry), and goes on with what it has while
//! the registry is down. `tgossip registry` is the operator's side, and the crate
//! [`telemetry_gossip_registry`] has the documents and the edits for programs.

pub use telemetry_gossip_registry::follow::{Gone, InForce, Reason, State, Status, WhenRemoved};
pub use telemetry_gossip_registry::host::{Following, Knock, Registry};
pub use telemetry_gossip_registry::{Location, LocationError, MemoryStore, Store, StoreError};
