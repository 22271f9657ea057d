//! A node as bytes, and a node from them: whatever a log of inputs goes on from.
//!
//! The state is that of [`Node`], field by field, and so of one version of this crate:
//! [`STATE_VERSION`] counts its shapes. Bytes that came to harm are refused. Those that were made
//! up by somebody who knows the shape are checked as far as memory goes (every row that is named
//! exists, every queue has an end), not for sense: a snapshot is trusted like the memory that it
//! was taken from.

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
use crate::violation::Violation;

/// The shape of the state in a [snapshot](Node::snapshot). It counts up with each change of it; a
/// node is restored by a version of this crate that has the same.
///
/// It is one above the sum of the shapes of all parts, each of which only counts up: a part that
/// changes its own shape changes nothing here.
pub const STATE_VERSION: u32 =
    1 + cx::SHAPE + detector::SHAPE + anti_entropy::SHAPE + dissemination::SHAPE;

/// Why a snapshot cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Datagrams or events wait to be polled: they are no part of a snapshot.
    #[error("a snapshot is taken of a node whose transmits and events have been polled to the end")]
    NotDrained,
    /// The node's table is the host's: what happens to it is not known here.
    #[error("a node cannot be saved while it works on a table that is not its own")]
    TableLent,
    /// An address has no serialised form.
    #[error("the address type of this node cannot be serialised")]
    Address,
}

/// Why bytes are no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The snapshot has another shape.
    #[error("the snapshot has state version {found}, this build reads {STATE_VERSION}")]
    Version {
        /// The shape of the snapshot.
        found: u32,
    },
    /// The bytes are cut off, too many, or name values that there are not.
    #[error("the bytes are no state of a node")]
    Malformed,
    /// A setting breaks its rule.
    #[error("the snapshot's settings break a rule: {0}")]
    Config(#[from] ConfigError),
    /// A part names a row that the table has not, or has a value beyond its bound.
    #[error("the snapshot's {part} is not sound")]
    Unsound {
        /// The part.
        part: &'static str,
    },
    /// Two parts contradict each other.
    #[error("the snapshot contradicts itself: {0}")]
    Contradiction(#[from] Violation),
}

/// The fields of [`Node`], which the compiler holds to be all of them. Outbox and events are empty.
#[derive(Serialize, Deserialize)]
#[serde(
    remote = "Node",
    bound(serialize = "A: Address + Serialize", deserialize = "A: Address + Deserialize<'de>")
)]
struct State<A> {
    cx: Cx<A>,
    detector: Detector<A>,
    anti_entropy: AntiEntropy<A>,
    dissemination: Dissemination,
    id_conflict: Option<IdConflict>,
    wrong_accusers: Accusers,
    quiet: bool,
    lent: bool,
}

impl<A: Address + Serialize> Node<A> {
    /// The node's whole state, its random numbers to come included: [`Node::restore`] makes a node
    /// of it that goes on as this one does, bit for bit. Taken after transmits and events have been
    /// polled to the end.
    ///
    /// Its size is that of the table, about 50 bytes a member and its telemetry, and some
    /// kilobytes.
    ///
    /// ```
    /// # use telemetry_gossip_core::{Config, Identity, Input, Instant, Node};
    /// # let identity = Identity::new("a".parse()?, 1_u32);
    /// # let mut node = Node::new(Config::default(), identity, [0; 32], Instant::ORIGIN)?;
    /// # while node.poll_event().is_some() {}
    /// let saved = node.snapshot()?;
    /// let mut twin = Node::<u32>::restore(&saved)?;
    ///
    /// // What happens to both has the same outcome.
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
        // Nothing but the host's address type can refuse.
        STATE_VERSION.serialize(&mut serializer).map_err(|_| SnapshotError::Address)?;
        State::serialize(self, &mut serializer).map_err(|_| SnapshotError::Address)?;
        serializer.output.finalize().map_err(|_| SnapshotError::Address)
    }
}

impl<A: Address + Serialize + for<'de> Deserialize<'de>> Node<A> {
    /// The node that [`Node::snapshot`] was taken of. Bytes that came to harm are refused with an
    /// error, or make, seldom, another state that keeps all rules: whoever stores snapshots adds a
    /// checksum.
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
            return Err(RestoreError::Unsound { part: "name of a row" });
        }
        let this = &cx.this;
        let mut buf = [0; MAX_ADDRESS_LEN];
        let len = this.address.encode(&mut buf);
        let same_address = buf.get(..len).and_then(A::decode) == Some(this.address);
        let myself = cx.table.id(this.slot) == this.id && cx.table.me() == Some(this.slot);
        for (part, sound) in [
            ("own row", myself && this.id_hash == this.id.id_hash() && same_address && !self.lent),
            ("cluster config", cx.admission.is_sound()),
            ("list of the dead", cx.tombstones.is_sound()),
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
