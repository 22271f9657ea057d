//! The nodes that have knocked: they asked this node for something, and the list does not name
//! them. An operator sees them and may add them.

use std::collections::VecDeque;
use std::time::Instant;

use telemetry_gossip_core::NodeId;
use telemetry_gossip_tokio::PeerAddr;

/// The most nodes that are remembered. Any holder of the key can make ids up, so the node that
/// knocked first makes room for a new one.
const MAX_KNOCKS: usize = 256;

/// A node that asked this one for something and does not belong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Knock {
    /// The id that it states. Nothing proves that.
    pub id: NodeId,
    /// The address from which it came last.
    pub address: PeerAddr,
    /// When it came last.
    pub at: Instant,
}

/// The nodes that have knocked, the last at the end.
#[derive(Debug, Default)]
pub(super) struct Knocks(VecDeque<Knock>);

impl Knocks {
    pub(super) fn add(&mut self, id: NodeId, address: PeerAddr, at: Instant) {
        self.forget(|other| other == id);
        if self.0.len() >= MAX_KNOCKS {
            self.0.pop_front();
        }
        self.0.push_back(Knock { id, address, at });
    }

    /// Forgets the nodes of which this is true.
    pub(super) fn forget(&mut self, is_known: impl Fn(NodeId) -> bool) {
        self.0.retain(|knock| !is_known(knock.id));
    }

    pub(super) fn list(&self) -> Vec<Knock> {
        self.0.iter().rev().cloned().collect()
    }
}
