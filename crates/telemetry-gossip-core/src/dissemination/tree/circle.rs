//! The circle of members that the trees go over, and the arcs and partners on it.
//!
//! It has all live members, or those on this node's side while the node is isolated. A side follows
//! from roll calls alone, so nothing is asked of the table for each datagram: whatever changes the
//! circle changes the version of the roster, too.

use alloc::vec::Vec;

use super::{Furthest, Trees};
use crate::address::Address;
use crate::membership::{Membership, Slot};
use crate::time::Instant;

/// The members that the trees go over, as this node sees them.
pub(super) struct Circle<'a, A> {
    table: &'a Membership<A>,
    me: Slot,
    /// The members of this side; `None` for all live members.
    side: Option<Vec<Slot>>,
    /// The rank of this node on the circle.
    rank: usize,
}

impl<'a, A: Address> Circle<'a, A> {
    pub(super) fn new(table: &'a Membership<A>, me: Slot) -> Self {
        let mut circle = Self { table, me, side: table.circle(me), rank: 0 };
        circle.rank = circle.rank_of(me);
        circle
    }

    /// Returns how many members there are, with this node.
    pub(super) fn len(&self) -> usize {
        self.side.as_ref().map_or(self.table.live() as usize, Vec::len)
    }

    fn rank_of(&self, slot: Slot) -> usize {
        match &self.side {
            Some(side) => side.iter().position(|&other| other == slot).unwrap_or(0),
            None => self.table.live_rank(slot),
        }
    }

    /// Returns the member so many places after this node, around the circle.
    fn at(&self, places: usize) -> Option<Slot> {
        let rank = (self.rank + places).checked_rem(self.len())?;
        match &self.side {
            Some(side) => side.get(rank).copied(),
            None => self.table.at_live_rank(rank),
        }
    }

    /// Returns how many places after this node a member stands; 0 if it is not on the circle.
    pub(super) fn places_to(&self, slot: Slot) -> usize {
        let rank = match &self.side {
            Some(side) if !side.contains(&slot) => return 0,
            _ => self.rank_of(slot),
        };
        (rank + self.len() - self.rank).checked_rem(self.len()).unwrap_or(0)
    }
}

impl Trees {
    /// Chooses the arc of a branch, and as its partner the first member of the arc that is not
    /// passed over and has a verified address.
    pub(super) fn choose<A: Address>(
        &mut self,
        index: usize,
        circle: &Circle<'_, A>,
        now: Instant,
    ) {
        let (table, live) = (circle.table, circle.len());
        let Some(branch) = self.branches.get_mut(index) else { return };
        if branch.passed_until <= now {
            branch.passed_over = 0;
        } else {
            let at = branch.passed_until;
            self.review_at = Some(self.review_at.map_or(at, |other| other.min(at)));
        }
        let (begin, end) = (1_usize << index, (2_usize << index).min(live));
        let at = |places: usize| circle.at(places);
        let mine = table.id_hash(circle.me);
        branch.distance =
            at(begin).map_or(Furthest::ALL, |slot| Furthest::between(mine, table.id_hash(slot)));
        branch.end = at(end).map_or(mine, |slot| table.id_hash(slot));
        let mut candidates = (begin + branch.passed_over..end).filter_map(at);
        // An address that has not answered may be that of a victim, so no telemetry is sent there.
        let is_partner = |slot| table.address(slot).is_some() && table.is_verified(slot);
        let partner = candidates.find(|&slot| is_partner(slot));
        if partner != branch.partner {
            // The earlier partner may not have received the flight: the new one gets it, too.
            // Members that get an update twice do not pass it on again.
            branch.requeue(&mut self.marks, index);
            (branch.partner, branch.tries, branch.not_before) = (partner, 0, now);
            branch.longest_acked = 0;
        }
        self.update_busy(index);
    }
}
