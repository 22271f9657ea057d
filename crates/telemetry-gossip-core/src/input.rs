//! Everything that can happen to a node.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{Generation, Instance, NodeId};

/// Who a node is: its id, where others reach it, and where its generations start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity<A> {
    /// The node's name.
    pub id: NodeId,
    /// Where the other nodes reach this one.
    pub address: A,
    /// The first generation to use, at most 2^56: zero, or one above the last that the host has kept. A node
    /// that restarts at zero learns its old generation on first contact and moves above it.
    pub generation: Generation,
    /// Which life of the node this is; `None` draws it from the seed. Set it only to reproduce a run.
    pub instance: Option<Instance>,
}

impl<A> Identity<A> {
    /// A node that starts at generation 0.
    pub fn new(id: NodeId, address: A) -> Self {
        Self { id, address, generation: Generation(0), instance: None }
    }
}

/// One thing that happens to a node: time passed, a datagram came, or the host wants something.
///
/// Serialisable: a log of `(Instant, Input)` with the config, the identity and the seed replays a node bit for bit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "A: Serialize", deserialize = "A: Deserialize<'de>"))]
pub enum Input<'a, A: Clone> {
    /// The time of [`Node::poll_timeout`](crate::Node::poll_timeout) has come (or any other time: late, early
    /// and repeated ticks are harmless).
    Tick,
    /// A datagram arrived.
    Datagram {
        /// The address that the socket saw.
        from: A,
        /// The payload.
        bytes: Cow<'a, [u8]>,
    },
    /// Find the cluster through these nodes. A join that is still under way is replaced and gets no event of its own; a
    /// node that leaves or retires gives it up.
    Join {
        /// Addresses of some members. The node's own address is ignored.
        seeds: Cow<'a, [A]>,
    },
    /// Tell everybody that this node goes, then fall silent.
    Leave,
    /// Set one entry of this node's telemetry. Others read it, with its version and age.
    Publish {
        /// Its key.
        key: Cow<'a, str>,
        /// Its value.
        value: Cow<'a, [u8]>,
        /// Whether it goes before what is not: at once, and whatever the [byte budget](crate::Config::byte_budget) is. For
        /// what changes seldom and matters, such as a node's health; load is not.
        urgent: bool,
    },
    /// Remove one entry of this node's telemetry; an unknown key is no error.
    Unpublish {
        /// Its key.
        key: Cow<'a, str>,
    },
    /// The host knows of a member (from a file, an earlier life, a registry): hold it Alive at this generation
    /// unless more is known. It is no news of this node's own: others hear of it when tables are compared. Refused if the
    /// cluster config in force does not name the member.
    Introduce {
        /// The member's name.
        id: NodeId,
        /// Where it listens, if known.
        address: Option<A>,
        /// Its instance, if known. `None` is below every instance, so that the member's own claim
        /// at this generation replaces it at once. Of two known instances at one generation the
        /// greater is kept: a member that restarted with a lower one hears of the record held
        /// here when it is probed, and moves one generation above it.
        instance: Option<Instance>,
        /// Its generation as far as known.
        generation: Generation,
    },
    /// Probe this member as soon as no other probe is under way, and report [`Event::ProbeCompleted`](crate::Event::ProbeCompleted).
    Probe {
        /// The member's name.
        id: NodeId,
    },
    /// Exchange state with one chosen member now, and report
    /// [`Event::ExchangeCompleted`](crate::Event::ExchangeCompleted).
    Exchange,
    /// The registry's word on which nodes belong. Members outside are removed and not admitted again.
    ApplyClusterConfig {
        /// Higher versions replace lower ones.
        version: u64,
        /// The ids that belong.
        members: Cow<'a, [NodeId]>,
    },
    /// The host's word that the members out of touch are really gone: ends an isolation by declaring them dead.
    AcceptLoss,
}

impl<A: Clone> Input<'_, A> {
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
        }
    }
}
