//! Everything that can happen to a node.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::bounded;
use crate::id::{Generation, Instance, NodeId};
use crate::network::Networks;

/// The most ids of a cluster config that is read from bytes, as in a record: an id takes 128 bytes
/// in memory however short it is.
pub const MAX_CONFIG_IDS: usize = 1 << 16;

/// The most seeds of a join.
pub const MAX_SEEDS: usize = 1 << 16;

/// The most members of an earlier run whose addresses are used, of [`Input::Peers`].
pub const MAX_PEERS: usize = 32;

fn read_list<'de, 'a, D, T, const MOST: usize>(deserializer: D) -> Result<Cow<'a, [T]>, D::Error>
where
    D: Deserializer<'de>,
    T: Clone + Deserialize<'de>,
{
    let list: Vec<T> = bounded::list::<_, _, _, MOST>(deserializer)?;
    Ok(Cow::Owned(list))
}

/// What identifies a node: its id, the address at which others reach it, and its first generation.
///
/// ```
/// use telemetry_gossip_core::{Generation, Identity};
///
/// // Addresses may be of any type that implements `Address`.
/// let identity = Identity::new("edge-17".parse()?, 7_u32).generation(Generation(3));
/// assert_eq!(identity.address, 7);
/// # Ok::<(), telemetry_gossip_core::IdError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Identity<A> {
    /// The id of the node.
    pub id: NodeId,
    /// The address at which the other nodes reach this one.
    pub address: A,
    /// The first generation to use, at most 2^56: zero, or one above the last that the host has
    /// stored. A node that restarts at zero learns its old generation from the first member that it
    /// reaches, and moves above it.
    pub generation: Generation,
    /// The instance, which tells this process from earlier ones of the same id; `None` draws it
    /// from the seed. Set it only to reproduce a run.
    pub instance: Option<Instance>,
}

impl<A> Identity<A> {
    /// A node that starts at generation 0.
    pub fn new(id: NodeId, address: A) -> Self {
        Self { id, address, generation: Generation(0), instance: None }
    }

    /// Sets the first generation to use.
    #[must_use]
    pub fn generation(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }

    /// Sets the instance; `None` draws it from the seed.
    #[must_use]
    pub fn instance(mut self, instance: impl Into<Option<Instance>>) -> Self {
        self.instance = instance.into();
        self
    }
}

/// The nonce of a sealed datagram: which run of a seal sealed it, and in what place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The nonce prefix: random, and drawn anew at least at each start of a sender.
    pub prefix: [u8; 16],
    /// The counter, which rises with each datagram of the prefix.
    pub counter: u64,
}

/// One thing that happens to a node: time has passed, a datagram has arrived, or the host gives a
/// command.
///
/// Serialisable: a log of `(Instant, Input)` with the config, the identity and the seed replays a
/// node bit for bit.
///
/// Each variant with fields has a constructor, such as [`Input::datagram`] and [`Input::publish`].
/// A program that uses those still compiles when a later version adds a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "A: Serialize", deserialize = "A: Deserialize<'de>"))]
#[non_exhaustive]
pub enum Input<'a, A: Clone> {
    /// The time of [`Node::poll_timeout`](crate::Node::poll_timeout) has come. Late, early and
    /// repeated ticks are harmless.
    Tick,
    /// A datagram has arrived in plaintext. One that a seal has opened is [`Input::Sealed`].
    Datagram {
        /// The source address that the socket reported.
        from: A,
        /// The payload.
        bytes: Cow<'a, [u8]>,
    },
    /// Join the cluster through these nodes, and keep them as the seeds of this node: those that
    /// are no live members are asked again for life, see [`Event::SeedsDue`](crate::Event). A join
    /// that is still under way is replaced and gets no event of its own; a node that leaves or
    /// loses its id gives it up.
    Join {
        /// The addresses of some members. The node's own address is ignored, and so are all after
        /// the first [`MAX_SEEDS`].
        #[serde(deserialize_with = "read_list::<_, _, MAX_SEEDS>")]
        seeds: Cow<'a, [A]>,
    },
    /// Tell the other members that this node leaves, then fall silent.
    Leave,
    /// Publish one entry of this node's telemetry. Other nodes read it with its version and age.
    Publish {
        /// The key.
        key: Cow<'a, str>,
        /// The value.
        value: Cow<'a, [u8]>,
        /// Whether it is sent before all that is not urgent, at once and regardless of the [byte
        /// budget](crate::Config::byte_budget). For entries that change seldom and matter, such as
        /// the health of the node; load is not.
        urgent: bool,
    },
    /// Remove one entry of this node's telemetry. An unknown key is no error.
    Unpublish {
        /// The key.
        key: Cow<'a, str>,
    },
    /// The host knows of a member from a file, an earlier instance of the node or a registry: take
    /// it for Alive at this generation unless more is known. The node does not gossip it; others
    /// learn of it when tables are compared. Refused if the cluster config in force does not name
    /// the member.
    Introduce {
        /// The id of the member.
        id: NodeId,
        /// The address of the member, if known.
        address: Option<A>,
        /// The instance of the member, if known. `None` is below every instance, so that the
        /// member's own claim at this generation replaces it at once. Of two known instances at one
        /// generation the greater is kept: a member that restarted with a lower one hears of the
        /// record held here when it is probed, and moves one generation above it.
        instance: Option<Instance>,
        /// The generation of the member, as far as known.
        generation: Generation,
    },
    /// Probe this member as soon as no other probe is under way, and report
    /// [`Event::ProbeCompleted`](crate::Event::ProbeCompleted).
    Probe {
        /// The id of the member.
        id: NodeId,
    },
    /// Exchange state with one chosen member now, and report
    /// [`Event::ExchangeCompleted`](crate::Event::ExchangeCompleted).
    Exchange,
    /// Apply the registry's list of nodes that belong to the cluster. The node removes all other
    /// members and does not admit them again.
    /// Of others that ask it for something it tells by [`Event::Knocked`](crate::Event::Knocked).
    ApplyClusterConfig {
        /// The version of the list. Higher versions replace lower ones.
        version: u64,
        /// The ids of the nodes that belong.
        #[serde(deserialize_with = "read_list::<_, _, MAX_CONFIG_IDS>")]
        members: Cow<'a, [NodeId]>,
    },
    /// The host confirms that the unreachable members are really gone: end the isolation by
    /// declaring them dead.
    AcceptLoss,
    /// Believe in members in these networks only; an empty list, as at the start, allows all. What
    /// others say of members at other IP addresses is refused, and nothing is sent there. Members
    /// that are known already stay.
    ///
    /// Whatever is allowed, no node believes in members at port 0, or at an unspecified, multicast
    /// or broadcast address; and only a node whose own address is one of the loopback, or of a
    /// single link, in others that are. Seeds and members that the host passes in are contacted
    /// wherever they are.
    AllowNetworks {
        /// The networks.
        networks: Networks,
    },
    /// A datagram has arrived that a seal has opened.
    ///
    /// A recording of an earlier one opens as well, so the node takes in only what comes from a
    /// nonce prefix that has proved itself: the host keeps the proofs of
    /// [`Node::poll_proof`](crate::Node::poll_proof), which it polls after this input, beside the
    /// replay windows of its seal.
    Sealed {
        /// The source address that the socket reported.
        from: A,
        /// The nonce of the datagram.
        stamp: Stamp,
        /// The time since the nonce prefix was last proved; `None` if it was not, if the proof is
        /// forgotten, or if the counter is outside of the replay window.
        proof_age: Option<Duration>,
        /// The opened payload.
        bytes: Cow<'a, [u8]>,
    },
    /// Mix this randomness into the node's own, from the entropy of the system.
    ///
    /// The host passes it in whenever the process may be a copy, or may have been set back to an
    /// earlier state: after a pause, and when the clocks of the system part. Two copies of one node
    /// then draw different numbers, and answers recorded before fit none of them.
    Reseed {
        /// The random bytes.
        entropy: [u8; 32],
    },
    /// Replace the seeds of this node, such as by the addresses to which their names resolve now.
    /// No join begins: those that are no live members are asked soon whether they know of others.
    Seeds {
        /// The addresses of some members, as of [`Input::Join`].
        #[serde(deserialize_with = "read_list::<_, _, MAX_SEEDS>")]
        seeds: Cow<'a, [A]>,
    },
    /// These were the addresses of live members when an earlier run of this node ended: pass them
    /// in at the start, beside the seeds. At most [`MAX_PEERS`] are used, and only those in the
    /// allowed networks.
    ///
    /// A node without seeds joins through them. A node with seeds asks the seeds first, and these
    /// as well once no seed has answered within
    /// [`Config::join_timeout`](crate::Config::join_timeout). They do not become seeds: some are
    /// asked now and then like the addresses of forgotten members, and for as long.
    Peers {
        /// The addresses.
        #[serde(deserialize_with = "read_list::<_, _, MAX_SEEDS>")]
        peers: Cow<'a, [A]>,
    },
    /// This node was [restored](crate::Node::restore) from a snapshot, to go on as a member. The
    /// host passes it in first.
    ///
    /// The node takes a new instance at the next generation, as a restarted process does, and
    /// publishes its telemetry again: after the snapshot it may have published other values, which
    /// the members hold under the versions that it would use next. What the snapshot says of the
    /// members is compared with theirs, as ever.
    Restored {
        /// 32 random bytes, which are mixed into the randomness of the node. Without them it would
        /// draw the numbers that it has drawn before.
        entropy: [u8; 32],
    },
}

impl<'a, A: Clone> Input<'a, A> {
    /// A datagram with the payload `bytes` has arrived from `from`.
    pub fn datagram(from: A, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::Datagram { from, bytes: bytes.into() }
    }

    /// A datagram with the payload `bytes` was opened by a seal, `proof_age` after its nonce prefix
    /// was proved.
    pub fn sealed(
        from: A,
        stamp: Stamp,
        proof_age: Option<Duration>,
        bytes: impl Into<Cow<'a, [u8]>>,
    ) -> Self {
        Self::Sealed { from, stamp, proof_age, bytes: bytes.into() }
    }

    /// Join the cluster through the nodes at these addresses.
    pub fn join(seeds: impl Into<Cow<'a, [A]>>) -> Self {
        Self::Join { seeds: seeds.into() }
    }

    /// Replace the seeds of this node.
    pub fn seeds(seeds: impl Into<Cow<'a, [A]>>) -> Self {
        Self::Seeds { seeds: seeds.into() }
    }

    /// Members of an earlier run were at these addresses.
    pub fn peers(peers: impl Into<Cow<'a, [A]>>) -> Self {
        Self::Peers { peers: peers.into() }
    }

    /// Publish one entry of this node's telemetry.
    ///
    /// ```
    /// use telemetry_gossip_core::Input;
    ///
    /// let input: Input<'_, u32> = Input::publish("load", b"0.7");
    /// assert!(matches!(input, Input::Publish { urgent: false, .. }));
    /// ```
    pub fn publish(key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::Publish { key: key.into(), value: value.into(), urgent: false }
    }

    /// Publish one entry that is sent before all that is not urgent.
    pub fn publish_urgent(key: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::Publish { key: key.into(), value: value.into(), urgent: true }
    }

    /// Remove one entry of this node's telemetry.
    pub fn unpublish(key: impl Into<Cow<'a, str>>) -> Self {
        Self::Unpublish { key: key.into() }
    }

    /// The host knows of this member, in an instance that it does not know.
    pub const fn introduce(id: NodeId, address: Option<A>, generation: Generation) -> Self {
        Self::Introduce { id, address, instance: None, generation }
    }

    /// Probe this member.
    pub const fn probe(id: NodeId) -> Self {
        Self::Probe { id }
    }

    /// Apply the registry's list of nodes that belong to the cluster.
    pub fn apply_cluster_config(version: u64, members: impl Into<Cow<'a, [NodeId]>>) -> Self {
        Self::ApplyClusterConfig { version, members: members.into() }
    }

    /// Believe in members in these networks only.
    pub const fn allow_networks(networks: Networks) -> Self {
        Self::AllowNetworks { networks }
    }

    /// The same input, owning its data.
    #[must_use]
    pub fn into_owned(self) -> Input<'static, A> {
        fn own<T: ToOwned + ?Sized>(data: Cow<'_, T>) -> Cow<'static, T> {
            Cow::Owned(data.into_owned())
        }
        use alloc::borrow::ToOwned;
        match self {
            Self::Tick => Input::Tick,
            Self::Datagram { from, bytes } => Input::Datagram { from, bytes: own(bytes) },
            Self::Join { seeds } => Input::Join { seeds: Cow::Owned(Vec::from(seeds)) },
            Self::Leave => Input::Leave,
            Self::Publish { key, value, urgent } => {
                Input::Publish { key: own(key), value: own(value), urgent }
            }
            Self::Unpublish { key } => Input::Unpublish { key: own(key) },
            Self::Introduce { id, address, instance, generation } => {
                Input::Introduce { id, address, instance, generation }
            }
            Self::Probe { id } => Input::Probe { id },
            Self::Exchange => Input::Exchange,
            Self::ApplyClusterConfig { version, members } => {
                Input::ApplyClusterConfig { version, members: Cow::Owned(Vec::from(members)) }
            }
            Self::AcceptLoss => Input::AcceptLoss,
            Self::AllowNetworks { networks } => Input::AllowNetworks { networks },
            Self::Sealed { from, stamp, proof_age, bytes } => {
                Input::Sealed { from, stamp, proof_age, bytes: own(bytes) }
            }
            Self::Reseed { entropy } => Input::Reseed { entropy },
            Self::Seeds { seeds } => Input::Seeds { seeds: Cow::Owned(Vec::from(seeds)) },
            Self::Peers { peers } => Input::Peers { peers: Cow::Owned(Vec::from(peers)) },
            Self::Restored { entropy } => Input::Restored { entropy },
        }
    }
}
