//! When this node last heard from each member itself.
//!
//! A row has one time, at which it was last observed: its record changed, or a datagram came from
//! the member. For most members the latter is the last thing that happened, and a bit of the row
//! says so. For the others, the time at which they were heard stands here beside the rows, so that
//! it costs no memory in a quiet cluster. No rule of the protocol reads it.

use alloc::vec::Vec;

use super::row::Row;
use super::slot::Slot;
use super::table::Membership;
use crate::address::Address;
use crate::time::{Instant, TimeRules};

/// When members were heard whose records have changed since, in the order of the slots.
#[derive(Debug, Default)]
pub(super) struct HeardBefore(Vec<(Slot, Instant)>);

impl HeardBefore {
    fn place(&self, slot: Slot) -> Result<usize, usize> {
        self.0.binary_search_by_key(&slot, |&(slot, _)| slot)
    }

    /// Returns when a datagram of the member in this row last came; `None` if none has.
    pub(super) fn last_heard(&self, slot: Slot, row: &Row) -> Option<Instant> {
        if row.is_heard() {
            return Some(row.observed());
        }
        self.place(slot).ok().map(|at| self.0[at].1)
    }

    pub(super) fn set(&mut self, slot: Slot, heard: Instant) {
        match self.place(slot) {
            Ok(at) => self.0[at].1 = heard,
            Err(at) => self.0.insert(at, (slot, heard)),
        }
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        if let Ok(at) = self.place(slot) {
            self.0.remove(at);
        }
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<(Slot, Instant)>()
    }
}

impl<A: Address> Membership<A> {
    /// Returns when a datagram of the member itself last came, directly or passed on by a helper;
    /// `None` if none has.
    pub(crate) fn last_heard(&self, slot: Slot) -> Option<Instant> {
        self.heard_before.last_heard(slot, self.row(slot))
    }

    /// Marks a row as heard from just now.
    pub(super) fn note_heard(&mut self, slot: Slot, now: Instant) {
        let row = &mut self.rows[slot.index()];
        row.observe(now);
        if !row.set_heard(true) {
            self.heard_before.forget(slot);
        }
    }

    /// Keeps the time at which a member was heard, before its record changes.
    pub(super) fn keep_heard(&mut self, slot: Slot) {
        let row = &mut self.rows[slot.index()];
        if row.set_heard(false) {
            let heard = row.observed();
            self.heard_before.set(slot, heard);
        }
    }

    /// Whether all members of a restored table were heard from in the past.
    pub(super) fn heard_in_the_past(&self, times: TimeRules) -> bool {
        self.heard_before.0.iter().all(|&(_, heard)| times.is_past(heard))
    }

    /// Whether the times beside the rows are those of members whose records have changed since.
    pub(super) fn heard_before_is_sound(&self) -> bool {
        let HeardBefore(times) = &self.heard_before;
        times.is_sorted_by(|(one, _), (next, _)| one < next)
            && times.iter().all(|&(slot, _)| {
                let row = self.rows.get(slot.index());
                row.is_some_and(|row| !row.id_bytes().is_empty() && !row.is_heard())
            })
    }
}
