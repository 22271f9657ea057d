//! The index of the table: every slot, in the order of the hash of its id.
//!
//! One sorted array serves the look-up by id and by id hash, the ranges of anti-entropy, the
//! uniform random choice, and the common order of the members that all nodes share. A look-up is a
//! binary search within one hash range. An insertion moves the tail (40 KB at 10,000 members); it
//! happens when a member is first met, not with each datagram.

use alloc::vec::Vec;
use core::ops::Range;

use super::row::Row;
use super::slot::{Slot, grow};
use super::{BUCKETS, bucket_of};
use crate::id::{IdHash, id_hash_of};

/// The most entries that are searched one by one instead of by halving.
const MAX_LINEAR_SEARCH: usize = 16;

/// The slots of all members, sorted by the hashes of their ids.
#[derive(Debug)]
pub(super) struct Roster {
    /// Each slot with the upper half of its hash, so that a search does not read the rows.
    entries: Vec<(IdHash, Slot)>,
    /// The first rank of each hash range; last, the length.
    begins: [u32; BUCKETS + 1],
}

impl Roster {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), begins: [0; BUCKETS + 1] }
    }

    /// Returns the roster with the slots in this order. Whether that is the order of the hashes is
    /// for the caller to check.
    pub(super) fn in_order(order: impl ExactSizeIterator<Item = (u64, Slot)>) -> Self {
        let mut roster = Self { entries: Vec::with_capacity(order.len()), ..Self::new() };
        for (hash, slot) in order {
            roster.entries.push((id_hash_of(hash), slot));
            roster.begins[bucket_of(hash) + 1] += 1;
        }
        for bucket in 0..BUCKETS {
            roster.begins[bucket + 1] += roster.begins[bucket];
        }
        roster
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the slot at a rank.
    pub(super) fn slot(&self, rank: usize) -> Option<Slot> {
        self.entries.get(rank).map(|&(_, slot)| slot)
    }

    /// Returns the ranks of one hash range.
    pub(super) fn bucket(&self, bucket: usize) -> Range<usize> {
        self.begins[bucket] as usize..self.begins[bucket + 1] as usize
    }

    /// Returns the first rank whose id hash is not below `id_hash`.
    fn first(&self, id_hash: IdHash) -> usize {
        let range = self.bucket(bucket_of(u64::from(id_hash.0) << 32));
        let begin = range.start;
        let entries = self.entries.get(range).unwrap_or_default();
        let before = if entries.len() <= MAX_LINEAR_SEARCH {
            entries.iter().take_while(|&&(other, _)| other < id_hash).count()
        } else {
            entries.partition_point(|&(other, _)| other < id_hash)
        };
        begin + before
    }

    /// Returns the ranks whose id hashes lie in `from..=to`.
    pub(super) fn ranks(&self, from: IdHash, to: IdHash) -> Range<usize> {
        self.first(from)..to.0.checked_add(1).map_or(self.len(), |after| self.first(IdHash(after)))
    }

    /// Returns the slots of one id hash: one, collisions aside.
    #[inline]
    pub(super) fn with_id_hash(&self, id_hash: IdHash) -> impl Iterator<Item = Slot> {
        let entries = self.entries.get(self.first(id_hash)..).unwrap_or_default();
        entries.iter().take_while(move |&&(other, _)| other == id_hash).map(|&(_, slot)| slot)
    }

    /// Inserts a slot whose row is filled in. Among equal hashes the latest stands first.
    pub(super) fn insert(&mut self, rows: &[Row], slot: Slot) {
        let hash = rows[slot.index()].hash();
        let id_hash = id_hash_of(hash);
        let first = self.first(id_hash);
        let at = first
            + self
                .with_id_hash(id_hash)
                .take_while(|other| rows[other.index()].hash() < hash)
                .count();
        grow(&mut self.entries);
        self.entries.insert(at, (id_hash, slot));
        for begin in &mut self.begins[bucket_of(hash) + 1..] {
            *begin += 1;
        }
    }

    pub(super) fn remove(&mut self, rows: &[Row], slot: Slot) {
        if let Some(at) = self.rank(rows, slot) {
            self.entries.remove(at);
            for begin in &mut self.begins[bucket_of(rows[slot.index()].hash()) + 1..] {
                *begin -= 1;
            }
        }
    }

    /// Returns the rank of a slot.
    pub(super) fn rank(&self, rows: &[Row], slot: Slot) -> Option<usize> {
        let id_hash = id_hash_of(rows[slot.index()].hash());
        self.ranks(id_hash, id_hash).find(|&rank| self.entries[rank].1 == slot)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(IdHash, Slot)>()
    }
}
