//! The index of the table: every slot, in the order of its id's hash.
//!
//! One sorted array serves look-up by id, look-up by tag, ranges for the sync, uniform random choice, and a common
//! order of the members that all nodes share. Look-up is a binary search over 8-byte hashes; insertion moves the
//! tail (80 KB at 10,000 members), which happens when a member is met, not when a datagram is handled.

use alloc::vec::Vec;
use core::ops::Range;

use super::Slot;

#[derive(Debug, Default)]
pub(super) struct Roster {
    hashes: Vec<u64>,
    slots: Vec<Slot>,
}

impl Roster {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn slot(&self, rank: usize) -> Option<Slot> {
        self.slots.get(rank).copied()
    }

    pub(super) fn hash(&self, rank: usize) -> Option<u64> {
        self.hashes.get(rank).copied()
    }

    /// The ranks whose hashes lie in `from..=to`.
    pub(super) fn ranks(&self, from: u64, to: u64) -> Range<usize> {
        let start = self.hashes.partition_point(|&hash| hash < from);
        let len = self.hashes[start..].partition_point(|&hash| hash <= to);
        start..start + len
    }

    pub(super) fn insert(&mut self, hash: u64, slot: Slot) {
        let at = self.hashes.partition_point(|&other| other <= hash);
        grow(&mut self.hashes);
        grow(&mut self.slots);
        self.hashes.insert(at, hash);
        self.slots.insert(at, slot);
    }

    pub(super) fn remove(&mut self, hash: u64, slot: Slot) {
        if let Some(at) = self.rank(hash, slot) {
            self.hashes.remove(at);
            self.slots.remove(at);
        }
    }

    pub(super) fn rank(&self, hash: u64, slot: Slot) -> Option<usize> {
        self.ranks(hash, hash).find(|&rank| self.slots[rank] == slot)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.hashes.capacity() * size_of::<u64>() + self.slots.capacity() * size_of::<Slot>()
    }
}

/// Makes room by an eighth, not by doubling: the table's memory per member stays flat.
pub(crate) fn grow<T>(items: &mut Vec<T>) {
    if items.len() == items.capacity() {
        items.reserve_exact((items.len() / 8).max(8));
    }
}
