//! The circle of members that the trees go over, as seen by a node that may have left it.
//!
//! It has all live members, or those on this node's side while the node is isolated. A side follows
//! from roll calls alone, so nothing is asked of the table for each datagram: whatever changes the
//! circle changes the version of the roster, too.

use alloc::vec::Vec;

use crate::address::Address;
use crate::membership::{Membership, Slot};

/// The members that the trees go over, as this node sees them.
pub(super) struct Circle<'a, A> {
    pub(super) table: &'a Membership<A>,
    pub(super) me: Slot,
    /// The members of this side; `None` for all live members.
    side: Option<Vec<Slot>>,
    /// The rank of this node on the circle.
    rank: usize,
    /// 0 if this node is on the circle, else 1: its successor then has its rank.
    gone: usize,
}

impl<'a, A: Address> Circle<'a, A> {
    pub(super) fn new(table: &'a Membership<A>, me: Slot) -> Self {
        let gone = usize::from(!table.is_live(me));
        let mut circle = Self { table, me, side: table.circle(me), rank: 0, gone };
        circle.rank = circle.rank_of(me);
        circle
    }

    /// Returns how many members there are, with this node if it is one of them.
    fn len(&self) -> usize {
        self.side.as_ref().map_or(self.table.live() as usize, Vec::len)
    }

    /// Returns the number of members besides this node.
    pub(super) fn others(&self) -> usize {
        (self.len() + self.gone).saturating_sub(1)
    }

    fn rank_of(&self, slot: Slot) -> usize {
        match &self.side {
            Some(side) => side.iter().position(|&other| other == slot).unwrap_or(0),
            None => self.table.live_rank(slot),
        }
    }

    /// Returns the member so many places after this node, around the circle; `None` for this node
    /// itself, if it has left.
    pub(super) fn at(&self, places: usize) -> Option<Slot> {
        let ranks = places.checked_sub(self.gone)?;
        if self.gone > 0 && ranks >= self.len() {
            return None;
        }
        let rank = (self.rank + ranks).checked_rem(self.len())?;
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
        (rank + self.len() - self.rank).checked_rem(self.len()).unwrap_or(0) + self.gone
    }
}
