//! The dead and the left: since when, and until when they are remembered.
//!
//! A tombstone keeps the generation that a stale Alive must not undercut. Its age travels with the claim, so that all
//! nodes forget it at about the same time and no node brings it back.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use crate::membership::Slot;
use crate::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    declared: BTreeMap<Slot, Instant>,
    order: BTreeSet<(Instant, Slot)>,
}

impl Tombstones {
    /// `slot` died at `declared`, by the first word or a later one.
    pub(crate) fn set(&mut self, slot: Slot, declared: Instant) {
        self.clear(slot);
        self.declared.insert(slot, declared);
        self.order.insert((declared, slot));
    }

    pub(crate) fn clear(&mut self, slot: Slot) {
        if let Some(declared) = self.declared.remove(&slot) {
            self.order.remove(&(declared, slot));
        }
    }

    /// Whole seconds since `slot` was declared.
    pub(crate) fn age_secs(&self, slot: Slot, now: Instant) -> u32 {
        let age = self.declared.get(&slot).map_or(0, |&declared| now.since(declared).as_secs());
        u32::try_from(age).unwrap_or(u32::MAX)
    }

    pub(crate) fn deadline(&self, ttl: Duration) -> Option<Instant> {
        self.order.first().map(|&(declared, _)| declared + ttl)
    }

    pub(crate) fn due(&self, now: Instant, ttl: Duration) -> Option<Slot> {
        let &(declared, slot) = self.order.first()?;
        (declared + ttl <= now).then_some(slot)
    }

    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.declared.contains_key(&slot)
    }

    pub(crate) fn len(&self) -> usize {
        self.declared.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.declared.is_empty()
    }
}
