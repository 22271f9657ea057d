//! The dead and the left: until when they are remembered.
//!
//! A tombstone keeps the generation that a stale Alive must not undercut. Its age travels with the
//! claim, so that all nodes forget it at about the same time and no node brings it back. What is
//! kept is the end of its time: its begin may lie before this node's clock did.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::membership::Slot;
use crate::time::Instant;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tombstones {
    ends: BTreeMap<Slot, Instant>,
    order: BTreeSet<(Instant, Slot)>,
}

impl Tombstones {
    /// `slot` is remembered until `end`.
    pub(crate) fn set(&mut self, slot: Slot, end: Instant) {
        self.clear(slot);
        self.ends.insert(slot, end);
        self.order.insert((end, slot));
    }

    pub(crate) fn clear(&mut self, slot: Slot) {
        if let Some(end) = self.ends.remove(&slot) {
            self.order.remove(&(end, slot));
        }
    }

    /// Whole seconds since `slot` was declared, where the dead are remembered for `ttl`.
    pub(crate) fn age_secs(&self, slot: Slot, now: Instant, ttl: Duration) -> u32 {
        let age =
            self.ends.get(&slot).map_or(0, |&end| ttl.saturating_sub(end.since(now)).as_secs());
        u32::try_from(age).unwrap_or(u32::MAX)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.order.first().map(|&(end, _)| end)
    }

    /// Whose time ends first.
    pub(crate) fn first(&self) -> Option<Slot> {
        self.order.first().map(|&(_, slot)| slot)
    }

    pub(crate) fn due(&self, now: Instant) -> Option<Slot> {
        let &(end, slot) = self.order.first()?;
        (end <= now).then_some(slot)
    }

    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.ends.contains_key(&slot)
    }

    /// Whether both orders have the same.
    pub(crate) fn is_sound(&self) -> bool {
        let ordered = |(&slot, &end): (&Slot, &Instant)| self.order.contains(&(end, slot));
        self.ends.len() == self.order.len() && self.ends.iter().all(ordered)
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}
