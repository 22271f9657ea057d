//! What a session says of the ranges of id hashes in which two tables differ: the versions of their
//! rows, or the sums of their parts.
//!
//! The functions here only write; `anti_entropy::narrow` has the rules.

use super::Node;
use crate::address::Address;
use crate::anti_entropy::diff::version_of;
use crate::anti_entropy::narrow::{
    are_long, first_row, joined, may_fit, parts_of, row_at, to_split,
};
use crate::id::{IdHash, RequestId};
use crate::membership::{HashRange, MAX_NAMESAKES};
use crate::wire::encode::Writer;
use crate::wire::{PARTS_LEN, RANGE_HEAD_LEN, RangeHead, SumsHead, VersionsHead, kind};

/// The bytes of a frame of this kind before its ranges.
const HEAD_BYTES: usize = 10;

/// How much of a range of rows a version list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// All rows.
    All,
    /// The rows that fit.
    Part,
    /// The rows before those of this id hash. They are so many that they may fit no datagram, so
    /// they are left out, or nothing behind them would ever be compared.
    UpTo(IdHash),
}

impl<A: Address> Node<A> {
    /// Writes the versions of the rows in these ranges or, if they do not fit and the ranges are
    /// long, the sums of their parts. `more` says that other ranges differ, too. Returns how many
    /// rows it visited.
    pub(super) fn put_ranges(
        &self,
        w: &mut Writer<'_>,
        request_id: RequestId,
        ranges: impl Iterator<Item = HashRange> + Clone,
        more: bool,
    ) -> u64 {
        let (count, rows) = self.count(ranges.clone());
        let mut visited = 0;
        if are_long(rows, count) {
            let before = w.len();
            let (tried, all) = self.try_rows(w, request_id, ranges.clone(), more);
            visited += tried;
            if all {
                return visited;
            }
            w.truncate(before);
            let (summed, any) = self.put_sums(w, request_id, ranges.clone(), more);
            visited += summed;
            if any {
                return visited;
            }
        }
        visited + self.put_rows(w, request_id, ranges, more)
    }

    /// Writes the versions of the rows in these ranges, as many as fit. Returns how many rows it
    /// visited.
    pub(super) fn put_rows(
        &self,
        w: &mut Writer<'_>,
        request_id: RequestId,
        ranges: impl Iterator<Item = HashRange> + Clone,
        more: bool,
    ) -> u64 {
        let before = w.len();
        let (tried, all) = self.try_rows(w, request_id, ranges.clone(), more);
        if all {
            return tried;
        }
        w.truncate(before);
        // Begin at another row in each session, or the rows that never fit would never be compared.
        let (count, rows) = self.count(ranges.clone());
        let room = w.room().saturating_sub(HEAD_BYTES + count * RANGE_HEAD_LEN);
        let first = row_at(&self.cx.table, ranges.clone(), first_row(rows, room, request_id));
        let (visited, _) = self.put_versions(w, request_id, ranges, first, true);
        tried + visited
    }

    /// Returns the number of ranges and of the rows in them.
    fn count(&self, ranges: impl Iterator<Item = HashRange>) -> (usize, usize) {
        ranges
            .fold((0, 0), |(count, rows), range| (count + 1, rows + self.cx.table.count_in(range)))
    }

    /// Writes the versions of the rows in these ranges if they may all fit. Returns how many rows
    /// it visited, and whether all are written.
    fn try_rows(
        &self,
        w: &mut Writer<'_>,
        request_id: RequestId,
        ranges: impl Iterator<Item = HashRange> + Clone,
        more: bool,
    ) -> (u64, bool) {
        let (_, rows) = self.count(ranges.clone());
        if may_fit(rows, w.room()) {
            self.put_versions(w, request_id, ranges, None, more)
        } else {
            (0, false)
        }
    }

    /// Writes the versions of the rows in these ranges from an id hash on: whole ranges while they
    /// fit, then a part of the next one. Returns how many rows it visited, and whether all are
    /// written.
    fn put_versions(
        &self,
        w: &mut Writer<'_>,
        request_id: RequestId,
        ranges: impl Iterator<Item = HashRange>,
        first: Option<IdHash>,
        more: bool,
    ) -> (u64, bool) {
        let Some(open) = w.open(kind::SYNC_VERSIONS) else { return (0, false) };
        let head_at = w.len();
        let mut head = VersionsHead { number: request_id.0, more };
        if !w.item(&head) {
            w.abandon(&open);
            return (0, false);
        }
        let (mut visited, mut all) = (0, true);
        let first = first.unwrap_or(IdHash(0));
        'ranges: for (from, to) in joined(ranges).filter(|&(_, to)| to >= first) {
            let mut from = Some(from.max(first));
            while let Some(begin) = from {
                let (rows, written) = self.put_range(w, begin, to);
                visited += rows;
                all &= written == Written::All;
                from = match written {
                    Written::All => None,
                    Written::UpTo(crowd) => {
                        crowd.0.checked_add(1).map(IdHash).filter(|&next| next <= to)
                    }
                    Written::Part => break 'ranges,
                };
            }
        }
        head.more |= !all;
        w.rewrite(head_at, &head);
        w.close(open);
        (visited, all)
    }

    /// Writes one range of a version list. Returns how many rows it visited, and how much it wrote.
    fn put_range(&self, w: &mut Writer<'_>, from: IdHash, to: IdHash) -> (u64, Written) {
        let head_at = w.len();
        let mut head = RangeHead { from: from.0, to: to.0, rows: 0 };
        if !w.item(&head) {
            return (0, Written::Part);
        }
        let (mut before, mut last) = (w.len(), None);
        let mut visited = 0;
        for slot in self.cx.table.in_range(from, to) {
            visited += 1;
            let id_hash = self.cx.table.id_hash(slot);
            if last != Some(id_hash.0) {
                before = w.len();
            }
            if head.rows == u16::MAX || !w.item(&version_of(id_hash, self.cx.table.row(slot))) {
                // End the range before this id hash: a range must hold all rows of each of its id
                // hashes, or the receiver would send the others back as missing.
                w.truncate(before);
                if id_hash.0 == from.0 || head.rows == 0 {
                    w.truncate(head_at);
                } else {
                    head.to = id_hash.0 - 1;
                    w.rewrite(head_at, &head);
                }
                let crowd = self.cx.table.with_id_hash(id_hash).count() >= MAX_NAMESAKES;
                return (visited, if crowd { Written::UpTo(id_hash) } else { Written::Part });
            }
            last = Some(id_hash.0);
            head.rows += 1;
        }
        w.rewrite(head_at, &head);
        (visited, Written::All)
    }

    /// Writes the sums of the parts of these ranges, as far as they fit and are within the bounds.
    /// Returns how many rows it visited, and whether it wrote any sums.
    pub(super) fn put_sums(
        &self,
        w: &mut Writer<'_>,
        request_id: RequestId,
        ranges: impl Iterator<Item = HashRange> + Clone,
        more: bool,
    ) -> (u64, bool) {
        let table = &self.cx.table;
        let most = w.room().saturating_sub(HEAD_BYTES) / PARTS_LEN;
        let (split, all) = to_split(table, ranges, most, request_id);
        let mut split = split.peekable();
        if split.peek().is_none() {
            return (0, false);
        }
        let Some(open) = w.open(kind::SYNC_SUMS) else { return (0, false) };
        let mut visited = 0;
        let mut fits = w.item(&SumsHead { number: request_id.0, more: more || !all });
        for range in split {
            visited += table.count_in(range) as u64;
            fits = fits && w.item(&parts_of(table, range));
        }
        if fits {
            w.close(open);
        } else {
            w.abandon(&open);
        }
        (visited, fits)
    }
}
