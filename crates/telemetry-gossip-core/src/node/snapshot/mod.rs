//! Snapshots: the whole state of a node as bytes, and a node restored from them. A log of inputs
//! replays from a snapshot.
//!
//! The state is that of [`Node`], field by field, and so it belongs to one version of this crate:
//! [`STATE_VERSION`] counts the shapes. Damaged and forged bytes are refused unless they are a
//! state that a running node can go on from: each part checks every value that it later relies on,
//! and the invariants are checked in the end. So a restored node never panics, stays due or breaks
//! an invariant. What it believes of the cluster is not checked: it may be nonsense.

mod slots;

use alloc::vec::Vec;

use postcard::ser_flavors::{ExtendFlavor, Flavor as _};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Node;
use super::apply::{self, IdConflict};
use crate::address::Address;
use crate::anti_entropy::{self, AntiEntropy};
use crate::config::ConfigError;
use crate::cx::{self, Activity, Cx, Part as _};
use crate::detector::{self, Detector};
use crate::dissemination::{self, Dissemination};
use crate::membership::claim::Accusers;
use crate::membership::newcomers::Newcomers;
use crate::node::freshness::{self, Freshness};
use crate::node::leaving::{self, Farewell};
use crate::violation::{Unsound, Violation, check_rules};

/// The version of the state in a [snapshot](Node::snapshot). It increases with each change of the
/// shape, and this build restores snapshots of this version only: a record of another build would
/// not replay as it was recorded.
///
/// It is the sum of the shape versions of all parts, plus one. Each of those only increases, so a
/// part that changes its own shape changes nothing here.
pub const STATE_VERSION: u32 = 1
    + apply::SHAPE
    + cx::SHAPE
    + detector::SHAPE
    + anti_entropy::SHAPE
    + dissemination::SHAPE
    + freshness::SHAPE
    + leaving::SHAPE;

/// Why a snapshot cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Datagrams or events wait to be polled. They are not part of a snapshot.
    #[error(
        "the node has datagrams or events waiting, which a snapshot does not hold; \
         poll transmits and events to the end first"
    )]
    NotDrained,
    /// The node works on a table lent by the host, which is not part of its state.
    #[error(
        "the node works on a table lent by the host, which a snapshot does not hold; \
         take the snapshot outside of with_table"
    )]
    TableLent,
    /// The host's address type failed to serialise.
    #[error("the address type of the node failed to serialise")]
    Address,
}

/// Why a node cannot be restored from bytes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The snapshot has a state version that this build does not read.
    #[error("the snapshot has state version {found}, but this build reads version {STATE_VERSION}")]
    Version {
        /// The state version of the snapshot.
        found: u32,
    },
    /// The bytes are damaged: too few, too many, or with values that do not exist.
    #[error("the bytes are not the state of a node")]
    Malformed,
    /// A setting in the snapshot breaks its rule.
    #[error("the snapshot's settings break a rule: {0}")]
    Config(#[from] ConfigError),
    /// A part names a row that does not exist, or has a value beyond its bound.
    #[error("the {part} in the snapshot breaks a rule: {rule}")]
    #[non_exhaustive]
    Unsound {
        /// The part of the state.
        part: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// The restored state breaks an invariant.
    #[error("the state in the snapshot breaks an invariant: {0}")]
    Contradiction(#[from] Violation),
}

/// The fields of [`Node`], which the compiler holds to be all of them. Outbox and events are empty.
#[derive(Serialize, Deserialize)]
#[serde(
    remote = "Node",
    bound(serialize = "A: Address + Serialize", deserialize = "A: Address + Deserialize<'de>")
)]
struct State<A> {
    detector: Detector<A>,
    anti_entropy: AntiEntropy<A>,
    dissemination: Dissemination,
    freshness: Freshness<A>,
    id_conflict: IdConflict<A>,
    newcomers: Newcomers<A>,
    farewell: Farewell,
    wrong_accusers: Accusers,
    quiet: bool,
    lent: bool,
    /// Last, so that the counters, which are its last field, end the bytes.
    cx: Cx<A>,
}

impl<A: Address + Serialize> Node<A> {
    /// Saves the whole state of the node, including the state of its random numbers.
    ///
    /// [`Node::restore`] makes a node from it that goes on exactly as this one does, bit for bit.
    /// Transmits and events must have been polled to the end before.
    ///
    /// The size is about 50 bytes per member, plus its telemetry, plus some kilobytes.
    ///
    /// ```
    /// # use telemetry_gossip_core::{Config, Identity, Input, Instant, Node};
    /// # let identity = Identity::new("a".parse()?, 1_u32);
    /// # let mut node = Node::new(Config::default(), identity, [0; 32], Instant::ORIGIN)?;
    /// # while node.poll_event().is_some() {}
    /// let saved = node.snapshot()?;
    /// let mut twin = Node::<u32>::restore(&saved)?;
    ///
    /// // The same input has the same outcome at both.
    /// let seeds = Input::Join { seeds: vec![2].into() };
    /// let (mut one, mut other) = ([0; 1_232], [0; 1_232]);
    /// node.handle(Instant::from_millis(5), seeds.clone())?;
    /// twin.handle(Instant::from_millis(5), seeds)?;
    /// assert_eq!(node.poll_transmit(&mut one), twin.poll_transmit(&mut other));
    /// assert_eq!(one, other);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(&self) -> Result<Vec<u8>, SnapshotError> {
        if self.lent {
            return Err(SnapshotError::TableLent);
        }
        if !self.cx.outbox.is_empty() || !self.cx.events.is_empty() {
            return Err(SnapshotError::NotDrained);
        }
        let mut serializer = postcard::Serializer { output: ExtendFlavor::new(Vec::new()) };
        // Only the host's address type can fail to serialise.
        STATE_VERSION.serialize(&mut serializer).map_err(|_| SnapshotError::Address)?;
        State::serialize(self, &mut serializer).map_err(|_| SnapshotError::Address)?;
        serializer.output.finalize().map_err(|_| SnapshotError::Address)
    }
}

impl<A: Address + Serialize + for<'de> Deserialize<'de>> Node<A> {
    /// Restores the node of which [`Node::snapshot`] was taken: to replay what happened, or to look
    /// at a state.
    ///
    /// A host that goes on with the node among others passes
    /// [`Input::Restored`](crate::Input::Restored) in first, and has a clock that shows no less
    /// than [`Node::now`]: until then, no time passes for the node. Without it the node would
    /// publish other values under versions that the members hold already, and none of them would
    /// ever take these in. After a restart of the process, most hosts rather start a new node, and
    /// tell it the [peers](crate::Input::Peers) of the last run.
    ///
    /// Damaged bytes are refused with an error; rarely, they make another state that keeps all
    /// rules. Store snapshots with a checksum.
    ///
    /// A node that is restored keeps its invariants from then on, whatever the bytes. Reading them
    /// takes at most 24 times their length in memory, and 8 MiB: the table in memory is that much
    /// longer if all of its members were forgotten.
    pub fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut deserializer = postcard::Deserializer::from_bytes(bytes);
        let found = u32::deserialize(&mut deserializer).map_err(|_| RestoreError::Malformed)?;
        if found != STATE_VERSION {
            return Err(RestoreError::Version { found });
        }
        let mut node: Self =
            State::deserialize(&mut deserializer).map_err(|_| RestoreError::Malformed)?;
        if deserializer.finalize() != Ok(&[]) {
            return Err(RestoreError::Malformed);
        }
        node.cx.config.validate()?;
        node.cx.check_restored()?;
        let config = &node.cx.config;
        node.cx.table.bound_telemetry(config.max_telemetry_held, config.max_members);
        node.check_restored()?;
        Ok(node)
    }

    fn check_restored(&self) -> Result<(), RestoreError> {
        let Self {
            cx,
            detector,
            anti_entropy,
            dissemination,
            freshness,
            id_conflict,
            newcomers,
            farewell: _,
            wrong_accusers,
            quiet: _,
            lent,
        } = self;
        let (table, times) = (&cx.table, cx.time_rules());
        let named = slots::are_in_use(
            |slot| table.is_in_use(slot),
            |walker| State::serialize(self, walker),
        );
        check_rules(
            "node",
            &[
                (named, "each slot that is named is that of a member"),
                (!*lent, "its table is its own"),
                (freshness.is_sound(times), "the datagrams that are parked are few"),
                (id_conflict.is_sound(times), "what it knows of a rival is possible"),
                (
                    !matches!(cx.activity, Activity::Waiting(_)) || id_conflict.has_rival(),
                    "a node that waits has yielded to another",
                ),
                (wrong_accusers.is_empty(), "no accuser waits between two datagrams"),
                (newcomers.is_sound(times), "the claims that wait are few, and do so not for long"),
            ],
        )?;
        detector.check_restored(cx)?;
        anti_entropy.check_restored(cx)?;
        dissemination.check_restored(cx)?;
        self.check_invariants()?;
        let quiet = (!self.quiet || self.is_quiet(), "a node that is quiet has nothing else due");
        Ok(check_rules("deadlines", &[quiet])?)
    }
}

impl From<Unsound> for RestoreError {
    fn from(Unsound { part, rule }: Unsound) -> Self {
        Self::Unsound { part, rule }
    }
}
