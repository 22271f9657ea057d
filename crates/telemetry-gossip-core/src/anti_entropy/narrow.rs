//! How a difference is narrowed down in a table that is too large to be listed.
//!
//! A range whose rows do not fit a datagram is split in 16 equal parts, and the sums of the parts
//! are sent instead of the rows. The receiver compares them with its own, and answers with the rows
//! of the parts that differ, or with sums of parts of these. Each step leaves a sixteenth:
//!
//! ```text
//!   rows of a table     steps after the digest of 64 ranges
//!   up to    7,000      0, the rows of one range fit a datagram of 1,232 bytes
//!   up to  110,000      1
//!   up to 1.8 million   2
//! ```
//!
//! Neither side keeps a state for it: a list of sums names its ranges. Whatever a peer says, a
//! datagram costs no more rows than the bounds here. Ranges beyond the bounds take turns: which of
//! them are looked at follows from the request id, which is another in each session, so none is
//! left out for ever.

use super::session::ALL_BUCKETS;
use crate::address::Address;
use crate::id::{IdHash, RequestId};
use crate::membership::{BUCKETS, HashRange, Membership, PARTS, fold};
use crate::outbox::{Diff, OutgoingDiffs};
use crate::wire::items::Items;
use crate::wire::{VERSION_LENS, WireParts, WireSum};

/// The most rows that are visited to write the sums of one datagram.
const MAX_SUMMED_ROWS: usize = 2_048;

/// The most rows that are visited to compare the sums of one datagram: twice those of the sender,
/// since this node may know more members.
const MAX_COMPARED_ROWS: usize = 2 * MAX_SUMMED_ROWS;

/// The most ranges that are split in one datagram. If one row in each differs, the parts with these
/// rows fill the answer.
const MAX_SPLIT_RANGES: usize = 8;

/// Ranges with no more rows than this, on average, are listed a few at a time: their sums would be
/// hardly shorter than their rows.
const MAX_ROWS_LISTED: usize = 32;

/// The most rows that are listed only to find out whether they fit.
const MAX_ROWS_TRIED: usize = 512;

/// Which ranges of a list are looked at: neighbours on a circle, from one on that the request id
/// chooses, as many as are within the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    first: usize,
    taken: usize,
    of: usize,
}

impl Turn {
    /// `rows` are the numbers of rows of all ranges.
    fn new(
        rows: impl Iterator<Item = usize> + Clone,
        request_id: RequestId,
        max_rows: usize,
        max_ranges: usize,
    ) -> Self {
        let (of, mut left) = (rows.clone().count(), max_rows);
        let first = (request_id.0 as usize).checked_rem(of).unwrap_or(0);
        let fits = |rows: &usize| {
            let rest = left.checked_sub(*rows);
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        let taken = rows.cycle().skip(first).take(of.min(max_ranges)).take_while(fits).count();
        Self { first, taken, of }
    }

    fn includes(&self, index: usize) -> bool {
        (index + self.of - self.first).checked_rem(self.of).is_some_and(|place| place < self.taken)
    }

    const fn takes_all(&self) -> bool {
        self.taken == self.of
    }

    /// Takes the first range even if it is beyond the bound.
    fn of_one_at_least(self) -> Self {
        Self { taken: self.taken.max(1).min(self.of), ..self }
    }
}

/// Whether all of `rows` rows may fit `room` bytes, so that it is worth trying.
pub(crate) const fn may_fit(rows: usize, room: usize) -> bool {
    let (least, most) = VERSION_LENS;
    rows.saturating_mul(most) <= room
        || (rows.saturating_mul(least) <= room && rows <= MAX_ROWS_TRIED)
}

/// Whether ranges with so many rows in all are long enough to be split.
pub(crate) const fn are_long(rows: usize, ranges: usize) -> bool {
    rows > ranges.saturating_mul(MAX_ROWS_LISTED)
}

/// Returns the row at which a list begins that has no room for all of `rows` rows. Rows of any
/// length fill the room from there on, or end the list, so that each has its turn.
pub(crate) fn first_row(rows: usize, room: usize, request_id: RequestId) -> usize {
    let fit = room / VERSION_LENS.1;
    let chosen = (request_id.0 as usize).checked_rem(rows).unwrap_or(0);
    chosen.saturating_sub(fit / 2).min(rows.saturating_sub(fit))
}

/// Returns the id hash of the row in `ranges` before which `nth` others stand.
pub(crate) fn row_at<A: Address>(
    table: &Membership<A>,
    ranges: impl Iterator<Item = HashRange>,
    nth: usize,
) -> Option<IdHash> {
    let mut before = nth;
    for range in ranges {
        let rows = table.count_in(range);
        if before < rows {
            let mut slots = table.in_range(range.first(), range.last());
            return slots.nth(before).map(|slot| table.id_hash(slot));
        }
        before -= rows;
    }
    None
}

/// Returns the ranges of id hashes of the buckets in `mask`.
pub(crate) fn buckets_of(mask: u64) -> impl Iterator<Item = HashRange> + Clone {
    (0..BUCKETS).filter(move |at| mask >> at & 1 != 0).map(HashRange::of_bucket)
}

/// Returns the ranges that are summed to compare whole tables: one, or as many as there are buckets
/// if the table is too large for that.
pub(crate) fn whole_ranges<A: Address>(
    table: &Membership<A>,
) -> impl Iterator<Item = HashRange> + Clone {
    let is_small = table.len() <= MAX_SUMMED_ROWS;
    let buckets = if is_small { 0 } else { ALL_BUCKETS };
    core::iter::once(HashRange::WHOLE).filter(move |_| is_small).chain(buckets_of(buckets))
}

/// Returns the bounds of the ranges, with neighbours joined.
pub(crate) fn joined(
    ranges: impl Iterator<Item = HashRange>,
) -> impl Iterator<Item = (IdHash, IdHash)> {
    let mut ranges = ranges.peekable();
    core::iter::from_fn(move || {
        let range = ranges.next()?;
        let (first, mut last) = (range.first(), range.last());
        while let Some(next) = ranges.next_if(|next| last.0.checked_add(1) == Some(next.first().0))
        {
            last = next.last();
        }
        Some((first, last))
    })
}

/// Returns a range with no more rows than may be summed: this one, or the part of it in which the
/// row stands that the request id chooses. None if the range cannot be split.
///
/// Ids whose hashes crowd in one range can be made at will.
fn within_bounds<A: Address>(
    table: &Membership<A>,
    mut range: HashRange,
    request_id: RequestId,
) -> Option<HashRange> {
    while range.is_divisible() {
        let rows = table.count_in(range);
        if rows <= MAX_SUMMED_ROWS {
            return Some(range);
        }
        let mut before = request_id.0 as usize % rows;
        range = range.parts().find(|&part| {
            let rows = table.count_in(part);
            let found = before < rows;
            before = before.saturating_sub(rows);
            found
        })?;
    }
    None
}

/// Returns the ranges to split in a datagram with room for `max_ranges` of them, and whether they
/// are all.
pub(crate) fn to_split<'a, A: Address>(
    table: &'a Membership<A>,
    ranges: impl Iterator<Item = HashRange> + Clone + 'a,
    max_ranges: usize,
    request_id: RequestId,
) -> (impl Iterator<Item = HashRange> + 'a, bool) {
    let whole = ranges.clone().all(|range| within_bounds(table, range, request_id) == Some(range));
    let bounded = ranges.filter_map(move |range| within_bounds(table, range, request_id));
    let rows = bounded.clone().map(|range| table.count_in(range));
    let turn = Turn::new(rows, request_id, MAX_SUMMED_ROWS, max_ranges.min(MAX_SPLIT_RANGES));
    let split = bounded.enumerate().filter(move |&(index, _)| turn.includes(index));
    (split.map(|(_, range)| range), whole && turn.takes_all())
}

/// Returns the fingerprints of the parts of a range.
pub(crate) fn parts_of<A: Address>(table: &Membership<A>, range: HashRange) -> WireParts {
    let mut sums = [WireSum { sum: 0 }; PARTS];
    for (sum, part) in sums.iter_mut().zip(range.parts()) {
        sum.sum = fold(table.sum_of(part));
    }
    WireParts { from: range.first().0, bits: range.bits(), sums }
}

impl OutgoingDiffs {
    /// Compares the fingerprints of parts of ranges with the table. Returns the diff: the parts
    /// that differ. It also returns how many rows of the table it visited.
    pub(crate) fn compare_parts<A: Address>(
        &mut self,
        table: &Membership<A>,
        split: Items<'_, WireParts>,
        request_id: RequestId,
    ) -> (Diff, u64) {
        let (mut diff, mut visited) = (Diff::default(), 0);
        let ranges = split.filter_map(|parts| HashRange::new(parts.from, parts.bits));
        let rows = ranges.map(|range| table.count_in(range));
        let turn = Turn::new(rows, request_id, MAX_COMPARED_ROWS, usize::MAX).of_one_at_least();
        diff.more = !turn.takes_all();
        for (_, WireParts { from, bits, sums }) in
            split.enumerate().filter(|&(index, _)| turn.includes(index))
        {
            let Some(range) = HashRange::new(from, bits) else { continue };
            for (part, theirs) in range.parts().zip(sums) {
                let rows = table.count_in(part);
                // A part with too many rows is split further, as if it differed.
                let differs = visited + rows > MAX_COMPARED_ROWS || {
                    visited += rows;
                    fold(table.sum_of(part)) != theirs.sum
                };
                if differs {
                    self.range(&mut diff, part);
                }
            }
        }
        (diff, visited as u64)
    }
}
