//! What a node tells its host.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dropped::Dropped;
use crate::evidence::Evidence;
use crate::id::{Generation, Instance, NodeId};

/// A change of the view, or the end of something that the host asked for.
///
/// Folding the member events (`Joined` to `Removed`) over an empty view gives the view of
/// [`Node::members`](crate::Node::members): ids, statuses, generations, and the addresses of live
/// members.
///
/// Later versions may add events, and fields to an event: match with `..` and a `_` arm. Each event
/// with fields has a constructor, such as [`Event::joined`], for programs that test how they handle
/// it.
///
/// ```
/// use telemetry_gossip_core::{Event, Generation, NodeId};
///
/// fn report(event: &Event<u32>) -> Option<String> {
///     match event {
///         Event::Dead { id, generation, .. } => Some(format!("{id} is dead at {generation}")),
///         _ => None,
///     }
/// }
/// let dead = Event::dead("edge-17".parse()?, Generation(5));
/// assert_eq!(report(&dead).unwrap(), "edge-17 is dead at 5");
/// # Ok::<(), telemetry_gossip_core::IdError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event<A> {
    /// A member became known. It is Alive until another event says otherwise.
    #[non_exhaustive]
    Joined {
        /// The id of the member.
        id: NodeId,
        /// The address of the member, if known.
        address: Option<A>,
        /// The generation of its record.
        generation: Generation,
    },
    /// A member is Alive at a new generation: it refuted, recovered, restarted or came back.
    #[non_exhaustive]
    Alive {
        /// The id of the member.
        id: NodeId,
        /// The generation of its record.
        generation: Generation,
    },
    /// A member is Suspected, or was Suspected before and is now at a higher generation.
    #[non_exhaustive]
    Suspected {
        /// The id of the member.
        id: NodeId,
        /// The generation of its record.
        generation: Generation,
        /// The first accuser, if it is known here.
        by: Option<NodeId>,
    },
    /// A member is Dead. Also sent for a member that becomes known as Dead.
    #[non_exhaustive]
    Dead {
        /// The id of the member.
        id: NodeId,
        /// The generation of its record.
        generation: Generation,
    },
    /// A member has announced that it left. Also sent for a member that becomes known as Left.
    #[non_exhaustive]
    Left {
        /// The id of the member.
        id: NodeId,
        /// The generation of its record.
        generation: Generation,
    },
    /// A member has a new address.
    #[non_exhaustive]
    Moved {
        /// The id of the member.
        id: NodeId,
        /// The new address.
        address: Option<A>,
    },
    /// A member is no longer in the table.
    #[non_exhaustive]
    Removed {
        /// The id of the member.
        id: NodeId,
        /// Why it was removed.
        reason: RemovalReason,
    },
    /// There is evidence for or against a member. Evidence that changes its status has an event of
    /// its own instead; only this node's own verdict [`Evidence::Dead`] comes in addition to one.
    /// See [`Node::explain`](crate::Node::explain).
    #[non_exhaustive]
    Evidence {
        /// The id of the member.
        id: NodeId,
        /// The evidence.
        evidence: Evidence,
    },
    /// The telemetry of a member changed.
    #[non_exhaustive]
    Telemetry {
        /// The id of the member.
        id: NodeId,
        /// The version that was known before: entries above it are new.
        since: u64,
        /// The version that is known now.
        version: u64,
    },
    /// This node was called Suspected or Dead, and refuted at a higher generation.
    #[non_exhaustive]
    Refuted {
        /// The new generation of this node.
        generation: Generation,
    },
    /// This node cannot reach more than half of the members, itself counted, and assumes that it is
    /// on the smaller side of a partition. It declares no member Dead. Members on the other side,
    /// and members that have crashed since, stay Alive or Suspected here.
    #[non_exhaustive]
    Isolated {
        /// How many of the members that were asked did not answer.
        lost: u32,
        /// How many members were asked, this node included.
        of: u32,
    },
    /// The isolation is over.
    #[non_exhaustive]
    Reconnected {
        /// How it ended.
        end: IsolationEnd,
    },
    /// The number of live members has doubled within ten minutes. If you did not add so many, a
    /// process that answers under many ids may be at work. A cluster config
    /// ([`Input::ApplyClusterConfig`](crate::Input::ApplyClusterConfig)) removes all members that
    /// it does not name.
    #[non_exhaustive]
    TableDoubled {
        /// The number of live members some minutes ago.
        before: u32,
        /// The number of live members now.
        now: u32,
    },
    /// Another process uses the id of this node: it has answered twice, or it answers at this
    /// node's own address, where nothing reaches this node. If the instance is that of this node,
    /// the other process is a copy of this one, as after a running machine was cloned.
    #[non_exhaustive]
    IdentityConflict {
        /// The instance of the other process.
        instance: Instance,
        /// The address of the other process, if known.
        address: Option<A>,
        /// Whether this node yields, since most of the members that it asked hold the other
        /// process. It is no member from now on, and asks every 30 s whether the other is gone.
        lost: bool,
    },
    /// This node is accused, and no ping has reached it for some probe intervals, though it has
    /// asked members for pings: it hears the others, but what they send to its address is lost. It
    /// refutes once a ping reaches it, so that the others hold it Dead rather than suspect it for
    /// ever. Check the address that this node states, and the firewalls before it.
    #[non_exhaustive]
    Unreached {
        /// The address from which members see its datagrams come, if that is another than it
        /// states. Members may be wrong.
        seen_at: Option<A>,
    },
    /// Members see the datagrams of this node come from another address than it states. It is
    /// reached at the one that it states, and works as any other node, unless
    /// [`Event::Unreached`] follows. Told once per hour and address, for at most four addresses.
    #[non_exhaustive]
    SeenElsewhere {
        /// The address from which they come, as a member says.
        address: A,
    },
    /// A member answers from another address than the one at which it was asked. It is a member as
    /// any other. Its host may have several addresses, or its settings may name the wrong one. Told
    /// once per hour and member.
    #[non_exhaustive]
    AnswersElsewhere {
        /// The id of the member.
        id: NodeId,
        /// The address at which it was asked, which it states.
        stated: A,
        /// The address from which its answer came.
        source: A,
    },
    /// Another node does not count this one as a member, by its cluster config: it answers pings
    /// and tells nothing else. That may be a lie, or a config that is older than this node's. A
    /// good time to ask the registry. Told once per minute of each node, and of four at most.
    #[non_exhaustive]
    NotAMember {
        /// The version of that cluster config.
        version: u64,
        /// The node that said so, if it is known here.
        by: Option<NodeId>,
    },
    /// Datagrams were dropped that this node cannot read or may not take, or claims for which the
    /// table has no room: another key, label or version, say. Told at once of the first, and then
    /// once in ten minutes for each reason while it goes on. Nothing is sent to their senders,
    /// which anyone can forge: so tell an operator.
    #[non_exhaustive]
    Dropped {
        /// What was dropped, and why. Its `Display` is a sentence.
        dropped: Dropped<A>,
    },
    /// Long datagrams to a member are lost, while short ones arrive: telemetry of some length was
    /// sent to it again and again, and it answers pings. Where the path is to blame, lower
    /// [`Config::mtu`](crate::Config::mtu) to what it carries. Told once per hour.
    #[non_exhaustive]
    LongDatagramsLost {
        /// The id of the member.
        id: NodeId,
        /// The address of the member.
        address: A,
        /// About how many bytes the longest datagram has that arrived, without a seal.
        arrive: u16,
        /// About how many bytes the shortest datagram has that was lost, without a seal.
        lost: u16,
    },
    /// A member is farther away than a probe can wait: its answers come later than one and a half
    /// [`Config::probe_timeout`](crate::Config::probe_timeout). It is suspected time and again,
    /// and may be held Dead for a while, so give all nodes a longer timeout. Told of one member,
    /// once per hour.
    #[non_exhaustive]
    Distant {
        /// The id of the member.
        id: NodeId,
        /// The address of the member.
        address: A,
        /// The time from the first ping of a probe to the answer.
        round_trip: Duration,
    },
    /// This node is a member again: the process to which it had yielded its id is gone.
    #[non_exhaustive]
    IdentityRegained {
        /// The new generation of this node.
        generation: Generation,
    },
    /// The join is complete: one seed has sent all that it knows. Where many nodes join at once, it
    /// has sent a part; the rest comes within some gossip intervals from the members that are known
    /// by then.
    #[non_exhaustive]
    JoinCompleted {
        /// The address of the seed.
        seed: A,
    },
    /// No seed has answered for [`Config::join_timeout`](crate::Config::join_timeout), or, if
    /// there are no seeds, no member of an earlier run. The node goes on asking. A good time to
    /// resolve host names again and to send another [`Input::Join`](crate::Input::Join).
    JoinFailed,
    /// Seeds are asked again, now or soon: a good time to resolve their names anew and to send
    /// [`Input::Seeds`](crate::Input::Seeds). Sent every 30 s or so while a seed is no live member,
    /// every 4 s or so while this node is alone or isolated, and every five minutes otherwise.
    SeedsDue,
    /// This node has left: the others were told as often as any rumor is sent. It is silent from
    /// now on.
    #[non_exhaustive]
    LeaveCompleted {
        /// How many members have confirmed that they heard of it, of at most 32 that were told
        /// directly. The others hear of it as a rumor.
        heard_by: u32,
        /// How many other members were live in the end. If there are any, and none has confirmed,
        /// nothing that this node sent may have reached them: they find out by probing.
        others: u32,
    },
    /// The probe that the host asked for has ended.
    #[non_exhaustive]
    ProbeCompleted {
        /// The id of the member that was probed.
        id: NodeId,
        /// How the probe ended.
        outcome: ProbeOutcome,
    },
    /// The exchange that the host asked for has ended.
    #[non_exhaustive]
    ExchangeCompleted {
        /// The partner, if there was one.
        peer: Option<NodeId>,
        /// How the exchange ended.
        outcome: ExchangeOutcome,
    },
    /// A node that the cluster config in force does not name asks this node for something: it pings
    /// it, or asks to join. It learns nothing, and this node believes nothing of it: the id may be
    /// made up, and the address forged. A newer config may name it, so this is a good time to ask
    /// the registry. Told at most once in 30 s for each id, and four times in ten seconds.
    #[non_exhaustive]
    Knocked {
        /// The id that the node states.
        id: NodeId,
        /// The address from which its datagram came.
        address: A,
    },
}

/// Constructors, for programs that test how they handle events.
impl<A> Event<A> {
    /// A member became known.
    pub const fn joined(id: NodeId, address: Option<A>, generation: Generation) -> Self {
        Self::Joined { id, address, generation }
    }

    /// The number of live members has doubled.
    pub const fn table_doubled(before: u32, now: u32) -> Self {
        Self::TableDoubled { before, now }
    }

    /// A member is Alive at a new generation.
    pub const fn alive(id: NodeId, generation: Generation) -> Self {
        Self::Alive { id, generation }
    }

    /// A member is Suspected.
    pub const fn suspected(id: NodeId, generation: Generation, by: Option<NodeId>) -> Self {
        Self::Suspected { id, generation, by }
    }

    /// A member is Dead.
    pub const fn dead(id: NodeId, generation: Generation) -> Self {
        Self::Dead { id, generation }
    }

    /// A member has left.
    pub const fn left(id: NodeId, generation: Generation) -> Self {
        Self::Left { id, generation }
    }

    /// This node has left.
    pub const fn leave_completed(heard_by: u32, others: u32) -> Self {
        Self::LeaveCompleted { heard_by, others }
    }

    /// A member has a new address.
    pub const fn moved(id: NodeId, address: Option<A>) -> Self {
        Self::Moved { id, address }
    }

    /// A member is no longer in the table.
    pub const fn removed(id: NodeId, reason: RemovalReason) -> Self {
        Self::Removed { id, reason }
    }

    /// There is evidence for or against a member.
    pub const fn evidence(id: NodeId, evidence: Evidence) -> Self {
        Self::Evidence { id, evidence }
    }

    /// The telemetry of a member changed from one version to another.
    pub const fn telemetry(id: NodeId, since: u64, version: u64) -> Self {
        Self::Telemetry { id, since, version }
    }

    /// This node refuted at a higher generation.
    pub const fn refuted(generation: Generation) -> Self {
        Self::Refuted { generation }
    }

    /// This node cannot reach `lost` of `of` members.
    pub const fn isolated(lost: u32, of: u32) -> Self {
        Self::Isolated { lost, of }
    }

    /// The isolation is over.
    pub const fn reconnected(end: IsolationEnd) -> Self {
        Self::Reconnected { end }
    }

    /// Another process uses the id of this node.
    pub const fn identity_conflict(instance: Instance, address: Option<A>, lost: bool) -> Self {
        Self::IdentityConflict { instance, address, lost }
    }

    /// No ping reaches this node.
    pub const fn unreached(seen_at: Option<A>) -> Self {
        Self::Unreached { seen_at }
    }

    /// The datagrams of this node come from this address.
    pub const fn seen_elsewhere(address: A) -> Self {
        Self::SeenElsewhere { address }
    }

    /// A member answers from another address than it states.
    pub const fn answers_elsewhere(id: NodeId, stated: A, source: A) -> Self {
        Self::AnswersElsewhere { id, stated, source }
    }

    /// Another node does not count this one as a member.
    pub const fn not_a_member(version: u64, by: Option<NodeId>) -> Self {
        Self::NotAMember { version, by }
    }

    /// Long datagrams to a member are lost.
    pub const fn long_datagrams_lost(id: NodeId, address: A, arrive: u16, lost: u16) -> Self {
        Self::LongDatagramsLost { id, address, arrive, lost }
    }

    /// A member is farther away than a probe can wait.
    pub const fn distant(id: NodeId, address: A, round_trip: Duration) -> Self {
        Self::Distant { id, address, round_trip }
    }

    /// Something was dropped.
    pub const fn dropped(dropped: Dropped<A>) -> Self {
        Self::Dropped { dropped }
    }

    /// This node is a member again.
    pub const fn identity_regained(generation: Generation) -> Self {
        Self::IdentityRegained { generation }
    }

    /// The join through this seed is complete.
    pub const fn join_completed(seed: A) -> Self {
        Self::JoinCompleted { seed }
    }

    /// The probe that the host asked for has ended.
    pub const fn probe_completed(id: NodeId, outcome: ProbeOutcome) -> Self {
        Self::ProbeCompleted { id, outcome }
    }

    /// The exchange that the host asked for has ended.
    pub const fn exchange_completed(peer: Option<NodeId>, outcome: ExchangeOutcome) -> Self {
        Self::ExchangeCompleted { peer, outcome }
    }

    /// A node that the cluster config does not name asks this node for something.
    pub const fn knocked(id: NodeId, address: A) -> Self {
        Self::Knocked { id, address }
    }
}

/// Why a member was removed from the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RemovalReason {
    /// It was dead for [`Config::tombstone_ttl`](crate::Config::tombstone_ttl), or the table was
    /// full and it had been dead the longest, for at least 10 s.
    Expired,
    /// The cluster config does not name it.
    NotInClusterConfig,
    /// A page of this node's join named it, and it has not answered for a minute.
    NeverAnswered,
    /// It answered while this node was joining, before its seeds had named another process of this
    /// id, which answers, too. That one takes its place.
    Displaced,
}

/// How an isolation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum IsolationEnd {
    /// At least half of the members answer again.
    MembersAnswer,
    /// The host accepted the loss.
    LossAccepted,
    /// [`Config::isolation_limit`](crate::Config::isolation_limit) has passed.
    Limit,
    /// A cluster config without the lost members was applied.
    ClusterConfig,
}

/// How a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ProbeOutcome {
    /// The member answered.
    Direct,
    /// The member answered through a helper.
    Indirect,
    /// The member did not answer, neither directly nor through helpers.
    Failed,
    /// The member is not known here, has no address, is this node itself, or has left; or it was
    /// gone, or in another process, before it answered.
    NotProbed,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExchangeOutcome {
    /// Both tables were equal.
    InSync,
    /// Differences were exchanged.
    Exchanged,
    /// No partner answered.
    Failed,
    /// There is no member to exchange with.
    NoPartner,
}
