//! The comparison of two tables: two nodes find the rows that differ and exchange only those, in
//! both directions.
//!
//! ```text
//!   asker                                   partner
//!     | versions of all rows -------------->|   a small table; no difference: done
//!     |<- claims newer there, wants --------|
//!     | claims wanted --------------------->|
//!     |<- done -----------------------------|
//!     |                                     |
//!     | open (fingerprint in the header) -->|   a large table, on command; equal: done
//!     |<- done, more -----------------------|
//!     | digest: 16 or 64 range sums ------->|   a large table, known to differ
//!     |<- sums of parts of the ranges ------|   only if the rows of the ranges do not fit
//!     | versions of the differing parts --->|
//!     |<- versions of the differing ranges -|   otherwise
//!     | claims newer here, wants ---------->|
//!     |<- claims wanted, done --------------|
//! ```
//!
//! The partner keeps no state, and answers each datagram with at most one. Rows that do not fit are
//! left to the next session, which the asker opens at once if a datagram said `more`. This module
//! only compares; `node` merges the claims and telemetry that arrive.

use crate::address::Address;
use crate::id::{IdHash, full_id_hash, mix};
use crate::membership::{BUCKETS, Membership, Row, Slot, fold};
use crate::outbox::{Diff, Item, OutgoingDiffs, Want};
use crate::status::Status;
use crate::wire::items::{Items, Ranges};
use crate::wire::{WireSum, WireVersion, WireWant};

/// The largest number of members of a table that is compared row by row from the start: its version
/// list is no longer than a digest.
pub(crate) const SMALL_TABLE_MEMBERS: usize = 32;

/// Which members a partner is told of that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    All,
    /// Those that have answered this node, and those that are not live.
    Proved,
}

impl Told {
    fn includes<A: Address>(self, table: &Membership<A>, slot: Slot) -> bool {
        self == Self::All || table.is_told(slot)
    }
}

/// The most rows that are visited to serve the wants of one datagram: more than it has room for
/// wants, as long as few members share an id hash.
const MAX_ROWS_GRANTED: u64 = 512;

/// A row as it stands in a version list.
pub(crate) fn version_of(id_hash: IdHash, row: &Row) -> WireVersion {
    WireVersion {
        id_hash: id_hash.0,
        content: content(row),
        status: row.status.rank(),
        generation: row.generation.0,
        telemetry: row.telemetry_version(),
    }
}

/// A hash of the parts of a claim that its rank does not order: instance and address.
#[expect(clippy::cast_possible_truncation, reason = "16 of 64 mixed bits")]
pub(crate) fn content(row: &Row) -> u16 {
    mix(u64::from(row.instance.0) ^ full_id_hash(row.address_bytes())) as u16
}

fn want_of(row: WireVersion, claim: bool, since: u64) -> Want {
    Want { id_hash: IdHash(row.id_hash), claim, since }
}

/// The fingerprints of `ranges` equal hash ranges, 32 bits of each.
pub(crate) fn sums<A: Address>(table: &Membership<A>, ranges: usize) -> impl Iterator<Item = u32> {
    let each = BUCKETS / ranges.max(1);
    (0..ranges).map(move |range| {
        let sum = (range * each..(range + 1) * each)
            .fold(0_u64, |sum, at| sum.wrapping_add(table.bucket(at)));
        fold(sum)
    })
}

/// The buckets in which a digest differs from this table, as a bit mask over all [`BUCKETS`].
pub(crate) fn differing<A: Address>(table: &Membership<A>, digest: Items<'_, WireSum>) -> u64 {
    let ranges = digest.count();
    let each = BUCKETS / ranges.clamp(1, BUCKETS);
    let mut mask = 0_u64;
    for (range, (theirs, ours)) in digest.zip(sums(table, ranges)).enumerate() {
        if theirs.sum != ours {
            let bits = if each >= 64 { u64::MAX } else { (1 << each) - 1 };
            mask |= bits << (range * each);
        }
    }
    mask
}

/// The number of ranges of this table's digest: a quarter of the buckets, or all of them for a
/// table of more than two rows per bucket.
pub(crate) fn digest_ranges<A: Address>(table: &Membership<A>) -> usize {
    if table.len() <= 2 * BUCKETS { BUCKETS / 4 } else { BUCKETS }
}

impl OutgoingDiffs {
    /// Compares a version list with the table. Returns the diff: the rows to send, and those to
    /// request.
    ///
    /// Both lists are in the order of the id hashes, so one pass over each finds all differences.
    /// It also returns how many rows of the table it visited: no more than the list has rows, and
    /// one diff has items.
    pub(crate) fn compare<A: Address>(
        &mut self,
        table: &Membership<A>,
        ranges: Ranges<'_>,
        told: Told,
    ) -> (Diff, u64) {
        let (mut diff, mut visited) = (Diff::default(), 0);
        'ranges: for (range, mut rows) in ranges {
            let mut theirs = rows.next();
            let (from, to) = (IdHash(range.from), IdHash(range.to));
            for slot in table.in_range(from, to) {
                visited += 1;
                let id_hash = table.id_hash(slot);
                while let Some(row) = theirs.filter(|row| row.id_hash < id_hash.0) {
                    self.want(&mut diff, want_of(row, true, 0));
                    theirs = rows.next();
                }
                match theirs.filter(|row| row.id_hash == id_hash.0) {
                    Some(row) => {
                        self.compare_row(&mut diff, table, slot, row);
                        theirs = rows.next();
                    }
                    None if told.includes(table, slot) => {
                        self.push(&mut diff, Item { slot, claim: true, since: Some(0) });
                    }
                    None => {}
                }
                // The rest of the table has nothing to add that the reply has room for. The next
                // session finds it.
                if diff.more {
                    break 'ranges;
                }
            }
            while let Some(row) = theirs {
                self.want(&mut diff, want_of(row, true, 0));
                theirs = rows.next();
            }
        }
        (diff, visited)
    }

    /// Compares one row that both tables hold, and adds the difference to `diff`.
    fn compare_row<A: Address>(
        &mut self,
        diff: &mut Diff,
        table: &Membership<A>,
        slot: Slot,
        theirs: WireVersion,
    ) {
        let row = table.row(slot);
        let their_status = Status::from_rank(theirs.status).unwrap_or(Status::Alive);
        let ours = (row.generation.0, row.status);
        // A log of which only the version is held is read from its beginning, if at all. Whether
        // there is room for it was decided before: without room, the version is theirs by now.
        let version = row.telemetry_version();
        let known = if row.holds_telemetry() { version } else { 0 };
        if content(row) != theirs.content {
            // Two processes, or one that has moved: both sides get both claims. The higher one may
            // be of a process that is gone, or a lie, and the one that runs has to climb above it.
            self.want(diff, want_of(theirs, true, known));
            self.push(diff, Item { slot, claim: true, since: Some(0) });
            return;
        }
        match ours.cmp(&(theirs.generation, their_status)) {
            core::cmp::Ordering::Less => self.want(diff, want_of(theirs, true, known)),
            core::cmp::Ordering::Greater => {
                self.push(diff, Item { slot, claim: true, since: Some(theirs.telemetry) });
            }
            core::cmp::Ordering::Equal => match version.cmp(&theirs.telemetry) {
                core::cmp::Ordering::Less => self.want(diff, want_of(theirs, false, known)),
                core::cmp::Ordering::Greater if !row.holds_telemetry() => {}
                core::cmp::Ordering::Greater => {
                    self.push(diff, Item { slot, claim: false, since: Some(theirs.telemetry) });
                }
                core::cmp::Ordering::Equal => {}
            },
        }
    }

    /// The diff that sends the rows which the partner requests, as far as they are `told`, and how
    /// many rows it visited.
    ///
    /// Each row is sent once, however often it is requested: a want names an id hash, which several
    /// rows may share.
    pub(crate) fn grant<A: Address>(
        &mut self,
        table: &Membership<A>,
        wants: Items<'_, WireWant>,
        told: Told,
    ) -> (Diff, u64) {
        let (mut diff, mut visited) = (Diff::default(), 0);
        for want in wants {
            for slot in table.with_id_hash(IdHash(want.id_hash)) {
                visited += 1;
                let item = Item { slot, claim: want.claim, since: Some(want.since) };
                match self.items.iter_mut().rev().take(diff.items).find(|item| item.slot == slot) {
                    Some(known) => {
                        known.claim |= item.claim;
                        known.since = known.since.min(item.since);
                    }
                    None if told.includes(table, slot) => self.push(&mut diff, item),
                    None => {}
                }
                if diff.more || visited >= MAX_ROWS_GRANTED {
                    diff.more = true;
                    return (diff, visited);
                }
            }
        }
        (diff, visited)
    }
}
