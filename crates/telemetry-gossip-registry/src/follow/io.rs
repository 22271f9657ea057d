//! What a follower and its host say to each other: settings and hints in, actions out, and what is
//! kept on the disk.

use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip_core::{Label, NodeId};

use super::fleet::Published;
use super::status::Gone;
#[cfg(doc)]
use super::{Follower, TELEMETRY_KEY};
use crate::document::{ClusterId, DocumentHash, Edition};

/// How a node follows the registry.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The id of the node.
    pub me: NodeId,
    /// The gossip label of the node.
    pub label: Label,
    /// What the node does once the list no longer names it.
    pub when_removed: WhenRemoved,
    /// How often to look for a new head.
    pub poll: Duration,
    /// The seed of all random delays.
    pub seed: [u8; 32],
}

impl Settings {
    /// The settings of this node, which leaves when it is removed, and looks every 30 s.
    #[must_use]
    pub fn new(me: NodeId, label: Label, seed: [u8; 32]) -> Self {
        let poll = Duration::from_secs(30);
        Self { me, label, when_removed: WhenRemoved::Leave, poll, seed }
    }

    /// Sets how often to look for a new head.
    #[must_use]
    pub fn poll(mut self, poll: Duration) -> Self {
        self.poll = poll;
        self
    }

    /// Sets what the node does once the list no longer names it.
    #[must_use]
    pub fn when_removed(mut self, when_removed: WhenRemoved) -> Self {
        self.when_removed = when_removed;
        self
    }
}

/// What a node does once the list no longer names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenRemoved {
    /// It leaves the cluster.
    #[default]
    Leave,
    /// It goes on, and warns. The others answer its pings and tell it nothing.
    Stay,
}

/// What a node keeps on its disk: a document, and since which version its machine is the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub(super) bytes: Arc<[u8]>,
    pub(super) since: Option<u64>,
}

impl Kept {
    /// A document that was kept. `since` is the version since which this machine is the node, if it
    /// is.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>, since: Option<u64>) -> Self {
        Self { bytes: bytes.into(), since }
    }

    /// The bytes of the document.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The version since which this machine is the node.
    #[must_use]
    pub fn since(&self) -> Option<u64> {
        self.since
    }
}

/// The version in force. Only its bytes are held: they are a tenth of the document in memory, and
/// needed again only when a new version comes.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(super) cluster: ClusterId,
    pub(super) version: u64,
    pub(super) hash: DocumentHash,
    pub(super) members: u64,
    pub(super) bytes: Arc<[u8]>,
    pub(super) since: Option<u64>,
}

impl Held {
    pub(super) fn new(edition: &Edition, bytes: Arc<[u8]>, since: Option<u64>) -> Self {
        let document = edition.document();
        let (cluster, version) = (document.cluster(), document.version());
        let members = document.members().len() as u64;
        Self { cluster, version, hash: edition.hash(), members, bytes, since }
    }
}

/// What hints at a change of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// A live member publishes this.
    Published {
        /// The member.
        by: NodeId,
        /// What it publishes.
        published: Published,
    },
    /// A member says that this node does not belong, by this version.
    NotAMember {
        /// The version.
        version: u64,
        /// The member, if it is known.
        by: Option<NodeId>,
    },
    /// A node that the version in force does not name has knocked.
    Knocked,
    /// An operator of this host asks to read now.
    Asked,
}

/// What the host is asked to do. It reports the outcome of the first four. A host that passes over
/// an action comes to a halt, so a new one is a breaking change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the head: [`Follower::on_head`].
    ReadHead,
    /// Read a document: [`Follower::on_document`].
    ReadDocument {
        /// The version.
        version: u64,
        /// In how many parts it is stored.
        chunks: u32,
    },
    /// Keep this on disk: [`Follower::on_kept`].
    Keep(Kept),
    /// Apply this list to the node: [`Follower::on_applied`].
    Apply {
        /// The version.
        version: u64,
        /// The nodes that belong.
        members: Vec<NodeId>,
    },
    /// Publish this value under [`TELEMETRY_KEY`].
    Publish(String),
    /// Try these addresses of members as well, if the node has found no other member yet.
    Seeds(Vec<String>),
    /// Leave the cluster, and end.
    Leave(Gone),
    /// Log that the list no longer names this node, which stays all the same.
    Warn(Gone),
}
