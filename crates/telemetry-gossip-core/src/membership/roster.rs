//! The index of the table: every slot, in the order of the hash of its id.
//!
//! One sorted array serves the look-up by id and by id hash, the ranges of anti-entropy, the
//! uniform random choice, and the common order of the members that all nodes share. A look-up is a
//! binary search within one hash range. An insertion moves the tail (40 KB at 10,000 members); it
//! happens when a member is first met, not with each datagram.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Range;

use serde::{Deserialize, Serialize};

use super::row::Row;
use super::slot::{Slot, grow};
use super::{BUCKETS, bucket_of};
use crate::id::{IdHash, id_hash_of};

/// The most entries that are searched one by one instead of by halving.
const MAX_LINEAR_SEARCH: usize = 16;

/// A place in the roster that all nodes understand: an id hash, and how many of its members come
/// before the place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) id_hash: IdHash,
    pub(crate) nth: u32,
}

/// The most members of one id hash that a look-up by it finds. Honest ids hardly ever share one;
/// those that were made to must not cost a walk for each frame that names them.
pub(crate) const MAX_NAMESAKES: usize = 64;

/// The slots of all members, sorted by the hashes of their ids, and those of one id hash by their
/// ids.
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

    /// Returns the ranks from a place on.
    pub(super) fn from(&self, place: Place) -> Range<usize> {
        let nth = usize::try_from(place.nth).unwrap_or(usize::MAX);
        self.first(place.id_hash).saturating_add(nth).min(self.len())..self.len()
    }

    /// Returns the slots of one id hash: one, collisions aside; of more than [`MAX_NAMESAKES`] only
    /// the first.
    #[inline]
    pub(super) fn with_id_hash(&self, id_hash: IdHash) -> impl Iterator<Item = Slot> {
        let entries = self.entries.get(self.first(id_hash)..).unwrap_or_default();
        let entries = entries.iter().take(MAX_NAMESAKES);
        entries.take_while(move |&&(other, _)| other == id_hash).map(|&(_, slot)| slot)
    }

    /// Returns the rank of the member with this id, or the rank at which it is to be inserted.
    ///
    /// Ids of one hash can be made at will, so they are searched by halving.
    #[inline]
    pub(super) fn search(&self, rows: &[Row], id_hash: IdHash, id: &[u8]) -> Result<usize, usize> {
        let first = self.first(id_hash);
        let entries = self.entries.get(first..).unwrap_or_default();
        let row = |slot: Slot| rows[slot.index()].id_bytes();
        match entries.first() {
            Some(&(other, slot)) if other == id_hash => match row(slot).cmp(id) {
                Ordering::Equal => Ok(first),
                Ordering::Greater => Err(first),
                Ordering::Less => entries
                    .binary_search_by(|&(other, slot)| {
                        other.cmp(&id_hash).then_with(|| row(slot).cmp(id))
                    })
                    .map(|at| first + at)
                    .map_err(|at| first + at),
            },
            _ => Err(first),
        }
    }

    /// Inserts a slot whose row is filled in.
    pub(super) fn insert(&mut self, rows: &[Row], slot: Slot) {
        let row = &rows[slot.index()];
        let hash = row.hash();
        let id_hash = id_hash_of(hash);
        let (Ok(at) | Err(at)) = self.search(rows, id_hash, row.id_bytes());
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
        let row = &rows[slot.index()];
        let found = self.search(rows, id_hash_of(row.hash()), row.id_bytes()).ok()?;
        (self.entries.get(found)?.1 == slot).then_some(found)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(IdHash, Slot)>()
    }
}
