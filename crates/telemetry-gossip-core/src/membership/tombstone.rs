//! How long dead members and members that left are remembered.
//!
//! The row of such a member is its tombstone: it keeps the generation above which an Alive is
//! believed, so that a stale one is not. The age of the tombstone travels with the claim, so that
//! all nodes forget the member at about the same time and no node brings it back. Stored is the end
//! of that time, since its beginning may lie before the origin of this node's clock.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::membership::Slot;
use crate::time::{Instant, TimeRules};

/// The members that are remembered until a set time.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tombstones {
    ends: BTreeMap<Slot, Instant>,
    /// The same pairs, the earliest end first.
    order: BTreeSet<(Instant, Slot)>,
}

impl Tombstones {
    /// Remembers `slot` until `end`, in place of any earlier end.
    pub(crate) fn set(&mut self, slot: Slot, end: Instant) {
        self.clear(slot);
        self.ends.insert(slot, end);
        self.order.insert((end, slot));
    }

    /// Removes the tombstone of `slot`, if it has one.
    pub(crate) fn clear(&mut self, slot: Slot) {
        if let Some(end) = self.ends.remove(&slot) {
            self.order.remove(&(end, slot));
        }
    }

    /// Returns the whole seconds since `slot` was declared dead or left, where tombstones last
    /// `ttl`.
    pub(crate) fn age_secs(&self, slot: Slot, now: Instant, ttl: Duration) -> u32 {
        u32::try_from(self.age(slot, now, ttl).as_secs()).unwrap_or(u32::MAX)
    }

    /// Returns the time since `slot` was declared dead or left, where tombstones last `ttl`.
    pub(crate) fn age(&self, slot: Slot, now: Instant, ttl: Duration) -> Duration {
        let end = self.ends.get(&slot);
        end.map_or(Duration::ZERO, |&end| ttl.saturating_sub(end.since(now)))
    }

    /// Returns the earliest end.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.order.first().map(|&(end, _)| end)
    }

    /// Returns the members in the order in which their tombstones end.
    pub(crate) fn oldest(&self) -> impl Iterator<Item = Slot> {
        self.order.iter().map(|&(_, slot)| slot)
    }

    /// Returns a member whose tombstone has ended.
    pub(crate) fn due(&self, now: Instant) -> Option<Slot> {
        let &(end, slot) = self.order.first()?;
        (end <= now).then_some(slot)
    }

    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.ends.contains_key(&slot)
    }

    /// Whether both collections hold the same pairs, and every tombstone ends.
    pub(crate) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { ends, order } = self;
        let ordered = |(&slot, &end): (&Slot, &Instant)| order.contains(&(end, slot));
        ends.len() == order.len()
            && ends.iter().all(ordered)
            && ends.values().all(|&end| times.are_deadlines(&[Some(end)]))
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}
