//! The members on this node's side of a partition: those that answer while the node is isolated.
//!
//! An isolated node declares no member dead, so its live members are mostly silent. Telemetry goes
//! along trees over this side instead. All nodes of a side that have called the whole roll have the
//! same members in it, so they split arcs alike; where they differ, some members get an update
//! twice, or a step later.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::slot::Slot;
use super::table::Membership;
use crate::address::Address;

/// How often in a row a member is asked in vain before it is no longer on this side. Loss alone
/// would make a member silent once in a while.
const MAX_SILENT_CALLS: u8 = 2;

/// A member that has answered a roll call of the isolated node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reached {
    pub(super) slot: Slot,
    /// How many roll calls in a row it has not answered since.
    pub(super) silent: u8,
}

impl<A: Address> Membership<A> {
    /// Whether this node is isolated, and knows who else is on its side.
    pub(crate) const fn has_side(&self) -> bool {
        self.side.is_some()
    }

    /// Adds the members that have answered a roll call to this side, and takes those out that have
    /// been silent in two; `asked` are the members that it has asked, and whether they answered.
    pub(crate) fn update_side(&mut self, asked: impl Iterator<Item = (Slot, bool)>) {
        let mut side = self.side.take().unwrap_or_default();
        side.sort_unstable_by_key(|reached| reached.slot);
        let known = side.len();
        for (slot, answered) in asked {
            let at = side.get(..known).unwrap_or_default();
            match (at.binary_search_by_key(&slot, |reached| reached.slot), answered) {
                (Ok(at), true) => side[at].silent = 0,
                (Ok(at), false) => side[at].silent = side[at].silent.saturating_add(1),
                (Err(_), true) => side.push(Reached { slot, silent: 0 }),
                (Err(_), false) => {}
            }
        }
        side.retain(|reached| reached.silent < MAX_SILENT_CALLS);
        side.sort_unstable_by_key(|reached| self.rank(reached.slot));
        side.dedup_by_key(|reached| reached.slot);
        self.side = Some(side);
        self.roster_version = self.roster_version.wrapping_add(1);
    }

    /// Forgets which members are on this side: the node is isolated no longer.
    pub(crate) fn clear_side(&mut self) {
        if self.side.take().is_some() {
            self.roster_version = self.roster_version.wrapping_add(1);
        }
    }

    /// Takes a member out that leaves the table.
    pub(super) fn forget_in_side(&mut self, slot: Slot) {
        if let Some(side) = &mut self.side {
            side.retain(|reached| reached.slot != slot);
        }
    }

    /// Returns the live members over which telemetry travels, as the slots of a circle in the order
    /// of the roster; `None` if these are all live members.
    pub(crate) fn circle(&self, me: Slot) -> Option<Vec<Slot>> {
        let side = self.side.as_ref()?;
        let others = side.iter().map(|reached| reached.slot);
        let mut circle: Vec<Slot> =
            others.filter(|&slot| slot != me && self.is_live(slot)).collect();
        let rank = self.rank(me);
        let at = circle.partition_point(|&slot| self.rank(slot) < rank);
        circle.insert(at, me);
        Some(circle)
    }

    pub(super) fn side_bytes(&self) -> usize {
        self.side.as_ref().map_or(0, |side| side.capacity() * size_of::<Reached>())
    }

    /// Whether a restored side names each of its members once, in the order of the roster.
    pub(super) fn side_is_sound(&self) -> bool {
        self.side
            .iter()
            .flatten()
            .all(|reached| reached.silent < MAX_SILENT_CALLS && self.is_in_use(reached.slot))
            && self.side.as_ref().is_none_or(|side| {
                side.is_sorted_by(|one, other| self.rank(one.slot) < self.rank(other.slot))
            })
    }
}
