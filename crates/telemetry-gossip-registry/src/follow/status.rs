//! What a follower is doing, in words for operators.

use std::fmt;

use telemetry_gossip_core::{Instant, NodeId};

use crate::document::{ClusterId, DocumentHash};

/// What a follower is doing, and with which version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// The version that the node goes by; `None` if it has none yet.
    pub in_force: Option<InForce>,
    /// The version that the store had when it was read last; `None` if it was never read, or had
    /// none.
    pub store: Option<u64>,
    /// When the store answered last.
    pub answered_at: Option<Instant>,
    /// How often the head was read.
    pub reads: u64,
    /// How many of these reads failed.
    pub failures: u64,
    /// Whether members say that this node does not belong by a newer version, which this node
    /// cannot read.
    pub doubted: bool,
    /// A live member that publishes the version in force with another hash: its list says something
    /// else.
    pub differs: Option<NodeId>,
    /// Whether the node has left, since the list no longer names it.
    pub left: bool,
}

impl Status {
    /// Whether the node has a list, belongs by it, and has no reason to doubt that.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let belongs = matches!(self.state, State::Current | State::Held(_) | State::Waiting(None));
        self.in_force.is_some() && belongs && !self.doubted
    }
}

/// The version that a node goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InForce {
    /// The version.
    pub version: u64,
    /// The hash of its document.
    pub hash: DocumentHash,
    /// How many members it has.
    pub members: u64,
}

/// What a follower is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// The node has no list yet, for this reason; it is not ready. `None` until the store was
    /// asked: until then a node goes by what it has kept.
    Waiting(Option<Reason>),
    /// The node goes by what the store has.
    Current,
    /// The node goes by an earlier version than the store has, or by one that the store cannot
    /// confirm, for this reason. Gossip goes on.
    Held(Reason),
    /// The list does not name this node, and never did. It asks until an operator adds it.
    NotYetMember {
        /// The version that does not name it.
        version: u64,
    },
    /// The list no longer names this node.
    Gone(Gone),
}

impl State {
    /// One word for it, for metrics and for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting(_) => "waiting",
            Self::Current => "current",
            Self::Held(_) => "held",
            Self::NotYetMember { .. } => "not_yet_member",
            Self::Gone(_) => "gone",
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Waiting(None)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting(None) => f.write_str("waiting: the registry was not read yet"),
            Self::Waiting(Some(reason)) => write!(f, "waiting: {reason}"),
            Self::Current => f.write_str("current"),
            Self::Held(reason) => write!(f, "held: {reason}"),
            Self::NotYetMember { version } => write!(
                f,
                "not yet a member: version {version} of the registry does not name this node: add \
                 it with `tgossip registry URL add`"
            ),
            Self::Gone(gone) => write!(f, "gone: {gone}"),
        }
    }
}

/// Why the version of the store is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The store has no registry: it was never initialised, or it is gone.
    Missing,
    /// The store does not answer.
    Unreachable(String),
    /// The store refuses this node.
    Refused(String),
    /// The store has an older version than this node, or than half of the live members.
    RolledBack {
        /// The version of the store.
        store: u64,
        /// The version of this node, or of the others.
        known: u64,
    },
    /// The store has another history than this node: another content for a version that it had.
    Forked {
        /// The first version that differs.
        version: u64,
    },
    /// The store has the registry of another cluster.
    OtherCluster {
        /// The cluster in the store.
        theirs: ClusterId,
        /// The cluster of this node.
        ours: ClusterId,
    },
    /// The registry is that of a cluster with another gossip label.
    OtherLabel {
        /// The label in the registry.
        label: String,
    },
    /// A newer program has written the registry.
    NewerFormat {
        /// The format.
        format: u32,
    },
    /// The head or the document breaks a rule, or the two do not belong together.
    Damaged(String),
    /// The version takes away more members than any edit should.
    Guarded {
        /// The version.
        version: u64,
        /// How many members it takes away.
        gone: u64,
        /// How many members there are.
        of: u64,
    },
    /// The version could not be kept on this host's disk, and is not applied before it is.
    NotKept(String),
    /// The node could not apply the version; it is tried again.
    NotApplied(String),
}

impl Reason {
    /// One word for it, for metrics and for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::RolledBack { .. } => "rolled_back",
            Self::Forked { .. } => "forked",
            Self::OtherCluster { .. } => "other_cluster",
            Self::OtherLabel { .. } => "other_label",
            Self::NewerFormat { .. } => "newer_format",
            Self::Damaged(_) => "damaged",
            Self::Guarded { .. } => "guarded",
            Self::NotKept(_) => "not_kept",
            Self::NotApplied(_) => "not_applied",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "the store has no registry: if there was one, restore it; if there never was, \
                 `tgossip registry URL init` makes it",
            ),
            Self::Unreachable(why) => f.write_str(why),
            Self::Refused(why) => f.write_str(why),
            Self::RolledBack { store, known } => write!(
                f,
                "the store has version {store}, and {known} was in force: if it was restored from \
                 a backup, `tgossip registry URL recover` makes a new version of the right list"
            ),
            Self::Forked { version } => write!(
                f,
                "the store has another content for version {version} than this node has: compare \
                 both with `tgossip registry URL check`, and end it with `recover`"
            ),
            Self::OtherCluster { theirs, ours } => write!(
                f,
                "the store has the registry of cluster {theirs}, and this node belongs to {ours}: \
                 check the URL, or start the node with an empty state folder"
            ),
            Self::OtherLabel { label } => write!(
                f,
                "the registry is that of the cluster `{label}`, and this node has another label: \
                 start it with `--label {label}`, or with another registry"
            ),
            Self::NewerFormat { format } => write!(
                f,
                "the registry has format {format}, which this program cannot read: install a newer \
                 version of it"
            ),
            Self::Damaged(what) => {
                write!(f, "{what}: repair it, or restore an earlier version with `recover`")
            }
            Self::Guarded { version, gone, of } => write!(
                f,
                "version {version} takes away {gone} of {of} members: if that is meant, write it \
                 again with `--yes-remove {gone}`"
            ),
            Self::NotKept(why) => write!(f, "the version cannot be kept on this host: {why}"),
            Self::NotApplied(why) => write!(f, "the version cannot be applied: {why}"),
        }
    }
}

/// Why the list no longer names this node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gone {
    /// An operator removed it.
    Removed {
        /// By which version.
        version: u64,
        /// The operator; empty if unknown.
        by: String,
        /// Why; empty if unknown.
        why: String,
    },
    /// Another machine is the node now.
    Replaced {
        /// Since which version.
        version: u64,
    },
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removed { version, by, why } => {
                write!(f, "this node was removed in version {version} of the registry")?;
                if !by.is_empty() {
                    write!(f, " by {by}")?;
                }
                if !why.is_empty() {
                    write!(f, ": {why}")?;
                }
                Ok(())
            }
            Self::Replaced { version } => write!(
                f,
                "this machine was replaced by another one with its id in version {version} of the \
                 registry"
            ),
        }
    }
}
