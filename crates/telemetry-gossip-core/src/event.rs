//! What a node tells its host.

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::id::{Generation, Instance, NodeId};

/// A change of the view, or the end of something that the host asked for.
///
/// Folding the member events (`Joined` to `Removed`) over an empty view gives the view of
/// [`Node::members`](crate::Node::members): ids, statuses, generations, and the addresses of the
/// live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event<A> {
    /// A member is known that was not; it is Alive until another event says otherwise.
    Joined {
        /// Who.
        id: NodeId,
        /// Where, if known.
        address: Option<A>,
        /// At which generation.
        generation: Generation,
    },
    /// A member is Alive at a new generation: it refuted, recovered, restarted or came back.
    Alive {
        /// Who.
        id: NodeId,
        /// At which generation.
        generation: Generation,
    },
    /// A member is Suspected, or was and now is at a higher generation.
    Suspected {
        /// Who.
        id: NodeId,
        /// At which generation.
        generation: Generation,
        /// The first accuser, if known here.
        by: Option<NodeId>,
    },
    /// A member is Dead; also sent for a member that is first heard of as Dead.
    Dead {
        /// Who.
        id: NodeId,
        /// At which generation.
        generation: Generation,
    },
    /// A member left by its own word; also sent for a member that is first heard of as Left.
    Left {
        /// Who.
        id: NodeId,
        /// At which generation.
        generation: Generation,
    },
    /// A member listens at a new address.
    Moved {
        /// Who.
        id: NodeId,
        /// The new address.
        address: Option<A>,
    },
    /// A member is no longer in the table.
    Removed {
        /// Who.
        id: NodeId,
        /// Why.
        reason: RemovalReason,
    },
    /// Something speaks for or against a member; what changes its status has an event of its own,
    /// and this node's own verdict [`Evidence::Dead`] comes beside it. See
    /// [`Node::explain`](crate::Node::explain).
    Evidence {
        /// Whom it is about.
        id: NodeId,
        /// What.
        evidence: Evidence,
    },
    /// A member's telemetry changed.
    Telemetry {
        /// Whose.
        id: NodeId,
        /// The version it was known up to before: entries above it are new.
        since: u64,
        /// The version it is now known up to.
        version: u64,
    },
    /// This node was called Suspected or Dead and says at a higher generation that it is not.
    Refuted {
        /// Its new generation.
        generation: Generation,
    },
    /// This node has lost touch with more than half of the members, itself counted: it declares
    /// nobody Dead, and goes on holding Alive or Suspected whoever is on the other side, or has
    /// crashed since.
    Isolated {
        /// How many of those asked did not answer.
        lost: u32,
        /// How many members were asked, this node included.
        of: u32,
    },
    /// The isolation is over.
    Reconnected {
        /// How it ended.
        end: IsolationEnd,
    },
    /// Another process claims this node's id, and has outbid this one's generation again and again.
    IdentityConflict {
        /// The other process.
        instance: Instance,
        /// Where it listens.
        address: Option<A>,
        /// This node lost: it is silent from now on. The lower instance loses.
        lost: bool,
    },
    /// The join is complete: one seed has sent all it knows, or, where many join at once, a part of
    /// it; what is missing comes within some gossip intervals from the members that are known by
    /// then.
    JoinCompleted {
        /// The seed.
        seed: A,
    },
    /// No seed has answered for [`Config::join_timeout`](crate::Config::join_timeout); the join
    /// goes on. A good time to resolve host names again and to send another
    /// [`Input::Join`](crate::Input::Join).
    JoinFailed,
    /// The news of this node's leaving has been sent as often as news is sent. The node is silent
    /// from now on.
    LeaveCompleted,
    /// The probe that the host asked for has ended.
    ProbeCompleted {
        /// Who was probed.
        id: NodeId,
        /// How it went.
        outcome: ProbeOutcome,
    },
    /// The exchange that the host asked for has ended.
    ExchangeCompleted {
        /// With whom, unless there was nobody.
        peer: Option<NodeId>,
        /// How it went.
        outcome: ExchangeOutcome,
    },
}

/// Why a member was removed from the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RemovalReason {
    /// It was dead for [`Config::tombstone_ttl`](crate::Config::tombstone_ttl), or the table was
    /// full and it dead the longest.
    Expired,
    /// The cluster config does not name it.
    NotInClusterConfig,
}

/// How an isolation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IsolationEnd {
    /// At least half of the members answer again.
    Contact,
    /// The host said that the loss is real.
    HostsWord,
    /// [`Config::isolation_limit`](crate::Config::isolation_limit) has passed.
    Limit,
    /// A cluster config without the lost members was applied.
    ClusterConfig,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeOutcome {
    /// The member answered.
    Direct,
    /// The member answered through another one.
    Indirect,
    /// It did not answer, neither directly nor through others.
    Failed,
    /// It is not known here, has no address, is this node itself, or has left.
    NotProbed,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExchangeOutcome {
    /// Both tables were equal.
    InSync,
    /// Differences were exchanged.
    Exchanged,
    /// No partner answered.
    Failed,
    /// There is nobody to exchange with.
    Nobody,
}
