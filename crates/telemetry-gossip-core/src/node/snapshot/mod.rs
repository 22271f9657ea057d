//! Snapshots: the whole state of a node as bytes, and a node restored from them. A log of inputs
//! replays from a snapshot.
//!
//! The state is that of [`Node`], field by field, and so it belongs to one version of this crate:
//! [`STATE_VERSION`] counts the shapes. Damaged bytes are refused. Bytes forged with knowledge of
//! the shape are checked only for the safety of memory (every row that is named exists, every queue
//! has an end), not for sense: a snapshot is trusted like the memory that it was taken from.

mod slots;
mod v1;

use alloc::vec::Vec;

use postcard::ser_flavors::{ExtendFlavor, Flavor as _};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Node;
use super::apply::IdConflict;
use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::anti_entropy::{self, AntiEntropy};
use crate::config::ConfigError;
use crate::cx::{self, Cx};
use crate::detector::{self, Detector};
use crate::dissemination::{self, Dissemination};
use crate::membership::claim::Accusers;
use crate::node::freshness::{self, Freshness};
use crate::violation::Violation;

/// The version of the state in a [snapshot](Node::snapshot). It increases with each change of the
/// shape; this build restores snapshots of this version and of version 1.
///
/// It is the sum of the shape versions of all parts, plus one. Each of those only increases, so a
/// part that changes its own shape changes nothing here.
pub const STATE_VERSION: u32 =
    1 + cx::SHAPE + detector::SHAPE + anti_entropy::SHAPE + dissemination::SHAPE + freshness::SHAPE;

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
    #[error(
        "the snapshot has state version {found}, but this build reads versions 1 and \
         {STATE_VERSION}"
    )]
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
    #[error("the {part} in the snapshot breaks its rules")]
    Unsound {
        /// The part of the state.
        part: &'static str,
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
    id_conflict: Option<IdConflict>,
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
    /// let (mut one, mut other) = ([0; 1_400], [0; 1_400]);
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
    /// Restores the node of which [`Node::snapshot`] was taken.
    ///
    /// Damaged bytes are refused with an error; rarely, they make another state that keeps all
    /// rules. Store snapshots with a checksum.
    pub fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut deserializer = postcard::Deserializer::from_bytes(bytes);
        let found = u32::deserialize(&mut deserializer).map_err(|_| RestoreError::Malformed)?;
        let node = match found {
            v1::STATE_VERSION => v1::State::deserialize(&mut deserializer).map(Self::from),
            STATE_VERSION => State::deserialize(&mut deserializer),
            _ => return Err(RestoreError::Version { found }),
        };
        let node: Self = node.map_err(|_| RestoreError::Malformed)?;
        if deserializer.finalize() != Ok(&[]) {
            return Err(RestoreError::Malformed);
        }
        node.check_restored()?;
        Ok(node)
    }

    fn check_restored(&self) -> Result<(), RestoreError> {
        let Self { cx, detector, anti_entropy, .. } = self;
        cx.config.validate()?;
        if !slots::are_below(cx.table.rows(), |walker| State::serialize(self, walker)) {
            return Err(RestoreError::Unsound { part: "slot of a member" });
        }
        let this = &cx.this;
        let mut buf = [0; MAX_ADDRESS_LEN];
        let len = this.address.encode(&mut buf);
        let same_address = buf.get(..len).and_then(A::decode) == Some(this.address);
        let myself = cx.table.id(this.slot) == this.id && cx.table.me() == Some(this.slot);
        for (part, sound) in [
            ("own row", myself && this.id_hash == this.id.id_hash() && same_address && !self.lent),
            ("cluster config", cx.admission.is_sound()),
            ("list of tombstones", cx.tombstones.is_sound()),
            ("deadline", !self.quiet || self.is_quiet()),
        ] {
            if !sound {
                return Err(RestoreError::Unsound { part });
            }
        }
        if let Some(part) = detector.unsound(&cx.config).or_else(|| anti_entropy.unsound()) {
            return Err(RestoreError::Unsound { part });
        }
        Ok(self.check_invariants()?)
    }
}
