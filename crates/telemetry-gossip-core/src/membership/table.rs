//! The table: one record a known member, and the one merge rule of the workspace.
//!
//! [`Membership::merge`] keeps the higher of two claims ([`Claim::precedence`]); nothing else
//! changes a row's generation, status, instance or address. What follows from a change (a
//! suspicion's deadline, a rumor, an event) is not decided here.

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::claim::Claim;
use super::echoes::Echoes;
use super::roster::Roster;
use super::row::{Row, Sums};
use super::rtt::RttBound;
use super::slot::{Slot, grow};
use super::telemetry_log::LogEntry;
use crate::address::Address;
use crate::id::{Generation, NodeId, full_id_hash};
use crate::status::Status;
use crate::time::Instant;

/// The number of hash ranges whose fingerprints are kept up to date.
pub(crate) const BUCKETS: usize = 64;

/// The known members and what is held of each: a join-semilattice under [`Membership::merge`].
///
/// A [`Node`](crate::Node) owns one; alone it is the state that two sides of an exchange reconcile.
///
/// ```
/// use telemetry_gossip_core::{Claim, Generation, Instance, Instant, Membership, Status};
///
/// let mut table = Membership::<u32>::new(100);
/// let alive = Claim {
///     id: "edge-17",
///     address: Some(17),
///     instance: Instance(1),
///     generation: Generation(4),
///     status: Status::Alive,
///     accusers: Default::default(),
///     age_secs: 0,
/// };
/// let dead = Claim { generation: Generation(5), status: Status::Dead, ..alive.clone() };
///
/// // In either order the higher generation wins.
/// table.merge(Instant::ORIGIN, &dead);
/// table.merge(Instant::ORIGIN, &alive);
/// assert_eq!(table.get("edge-17").unwrap().status(), Status::Dead);
/// ```
#[derive(Debug)]
pub struct Membership<A> {
    pub(super) rows: Vec<Row>,
    pub(super) free: Vec<Slot>,
    pub(super) roster: Roster,
    pub(super) echoes: Echoes,
    pub(super) me: Option<Slot>,
    pub(super) limit: u32,
    pub(super) sums: Sums,
    pub(super) buckets: [u64; BUCKETS],
    pub(super) counts: [u32; 4],
    /// Live members in the hash ranges before each, and in all.
    pub(super) live_before: [u32; BUCKETS + 1],
    /// When a claim last changed something, and when telemetry did.
    pub(super) changed_at: Instant,
    pub(super) telemetry_changed_at: Instant,
    /// Counts the changes of who is live, and where.
    pub(super) roster_version: u32,
    /// Whether the dead count in the fingerprints.
    pub(super) dead_count: bool,
    pub(super) address: PhantomData<A>,
}

/// Fingerprints of a table: equal tables have equal ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprints {
    /// Of all live members' records.
    pub(crate) claims: u32,
    /// Of the versions of their telemetry.
    pub(crate) telemetry: u32,
}

/// Folds a sum of mixed hashes into 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "folds 64 bits into 32")]
pub(crate) const fn fold(sum: u64) -> u32 {
    (sum ^ (sum >> 32)) as u32
}

/// What a merge did to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// The member was not known; now it is.
    Inserted,
    /// The claim replaced what was held.
    Replaced {
        /// The status held before.
        was: Status,
        /// Whether the address changed.
        moved: bool,
        /// Whether another life of the member was held before.
        renewed: bool,
    },
    /// The table holds just this.
    Same,
    /// The table holds something higher.
    Stale,
    /// The generation is implausibly far ahead; see [`Generation::is_plausible`].
    Implausible,
    /// The member is unknown and the table is full.
    Full,
}

impl<A: Address> Membership<A> {
    /// An empty table for at most `limit` members.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
            roster: Roster::new(),
            echoes: Echoes::new(),
            me: None,
            limit,
            sums: Sums::default(),
            buckets: [0; BUCKETS],
            counts: [0; 4],
            live_before: [0; BUCKETS + 1],
            changed_at: Instant::ORIGIN,
            telemetry_changed_at: Instant::ORIGIN,
            roster_version: 0,
            dead_count: false,
            address: PhantomData,
        }
    }

    /// An empty table for states that are exchanged and never forget: the dead count in its
    /// fingerprint, so that two tables are equal only if they hold the same of the dead, too.
    /// Compare it with others of its kind.
    #[doc(hidden)]
    #[must_use]
    pub fn for_exchange(limit: u32) -> Self {
        Self { dead_count: true, ..Self::new(limit) }
    }

    /// Merges one claim: the higher precedence is kept, whatever the order of arrival.
    pub fn merge(&mut self, now: Instant, claim: &Claim<'_, A>) -> Merged {
        self.merge_at(now, claim).0
    }

    pub(crate) fn merge_at(
        &mut self,
        now: Instant,
        claim: &Claim<'_, A>,
    ) -> (Merged, Option<Slot>) {
        let hash = full_id_hash(claim.id.as_bytes());
        let Some(slot) = self.find_hashed(hash, claim.id.as_bytes()) else {
            if !claim.is_plausible(Generation(0)) {
                return (Merged::Implausible, None);
            }
            let Some(slot) = self.insert(hash, claim) else {
                return (Merged::Full, None);
            };
            self.change(slot, hash, now, |row| write_claim(row, claim, now));
            return (Merged::Inserted, Some(slot));
        };
        let held = self.claim(slot);
        if !claim.is_plausible(held.generation) {
            return (Merged::Implausible, Some(slot));
        }
        let (new, old) = (claim.precedence(), held.precedence());
        if !new.beats(&old) {
            let merged = if new == old { Merged::Same } else { Merged::Stale };
            return (merged, Some(slot));
        }
        let moved = held.address != claim.address;
        let merged =
            Merged::Replaced { was: held.status, moved, renewed: held.instance != claim.instance };
        self.change(slot, hash, now, |row| {
            let (renewed, moved) = (row.instance != claim.instance, row.address() != claim.address);
            if renewed {
                row.clear_telemetry();
            }
            if moved {
                row.set_address(claim.address);
            }
            if renewed || moved {
                row.verified = false;
                row.round_trip = RttBound::default();
            }
            write_claim(row, claim, now);
        });
        if moved {
            self.roster_version = self.roster_version.wrapping_add(1);
        }
        (merged, Some(slot))
    }

    fn insert(&mut self, hash: u64, claim: &Claim<'_, A>) -> Option<Slot> {
        let row = Row::new(claim.id, claim.address);
        let slot = if let Some(slot) = self.free.pop() {
            self.rows[slot.index()] = row;
            slot
        } else {
            let slot = Slot(u32::try_from(self.rows.len()).ok().filter(|&len| len < self.limit)?);
            grow(&mut self.rows);
            self.rows.push(row);
            slot
        };
        self.roster.insert(&self.rows, slot);
        self.count(Status::Alive, hash, 1);
        self.roster_version = self.roster_version.wrapping_add(1);
        let added = self.row(slot).sums(self.dead_count);
        self.account(hash, Sums::default(), added);
        Some(slot)
    }

    /// Lets one more member in, whatever the limit.
    pub(crate) fn make_room(&mut self) {
        let len = u32::try_from(self.len()).unwrap_or(u32::MAX);
        self.limit = self.limit.max(len.saturating_add(1));
    }

    /// Takes a member out of the table; `None` if `slot` is the node itself.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<NodeId> {
        if self.me == Some(slot) {
            return None;
        }
        let id = self.id(slot);
        let hash = self.hash(slot);
        self.change(slot, hash, self.changed_at, |row| row.status = Status::Left);
        let added = self.row(slot).sums(self.dead_count);
        self.account(hash, added, Sums::default());
        self.count(Status::Left, hash, -1);
        self.roster.remove(&self.rows, slot);
        self.rows[slot.index()] = Row::new::<A>("", None);
        self.free.push(slot);
        Some(id)
    }

    /// Changes a row and keeps the fingerprints and counts true.
    fn change<T>(
        &mut self,
        slot: Slot,
        hash: u64,
        now: Instant,
        edit: impl FnOnce(&mut Row) -> T,
    ) -> T {
        self.echoes.clear();
        let dead_count = self.dead_count;
        let row = &mut self.rows[slot.index()];
        let (status, old) = (row.status, row.sums(dead_count));
        let result = edit(row);
        let (new_status, new) = (row.status, row.sums(dead_count));
        self.count(status, hash, -1);
        self.count(new_status, hash, 1);
        if status.is_live() != new_status.is_live() {
            self.roster_version = self.roster_version.wrapping_add(1);
        }
        self.account(hash, old, new);
        self.changed_at = now;
        result
    }

    pub(super) fn account(&mut self, hash: u64, old: Sums, new: Sums) {
        self.sums = self.sums.replace(old, new);
        let bucket = &mut self.buckets[bucket_of(hash)];
        *bucket = bucket.wrapping_sub(old.whole()).wrapping_add(new.whole());
    }

    pub(super) fn count(&mut self, status: Status, hash: u64, by: i32) {
        let count = &mut self.counts[usize::from(status.rank())];
        *count = count.saturating_add_signed(by);
        if status.is_live() {
            for live in &mut self.live_before[bucket_of(hash) + 1..] {
                *live = live.saturating_add_signed(by);
            }
        }
    }

    /// The next version of this node's own telemetry, or of a member's as its owner published it.
    pub(crate) fn set_entry(&mut self, slot: Slot, now: Instant, entry: &LogEntry<'_>) {
        self.change_telemetry(slot, now, |row| {
            row.set_entry(entry);
            if entry.value.is_none() {
                row.drop_delete_markers(now, false);
            }
        });
    }

    /// The telemetry of a member is read anew, from this compacted version on.
    pub(crate) fn restart_telemetry(&mut self, slot: Slot, now: Instant, compacted: u64) {
        self.change_telemetry(slot, now, |row| row.restart_telemetry(compacted));
    }

    /// Room is scarce: drops what is left of removed keys, however young.
    pub(crate) fn drop_delete_markers(&mut self, slot: Slot, now: Instant) {
        self.change_telemetry(slot, now, |row| row.drop_delete_markers(now, true));
    }

    fn change_telemetry(&mut self, slot: Slot, now: Instant, edit: impl FnOnce(&mut Row)) {
        let hash = self.hash(slot);
        let row = &mut self.rows[slot.index()];
        let old = row.telemetry_sums(hash, self.dead_count);
        edit(row);
        let new = row.telemetry_sums(hash, self.dead_count);
        self.account(hash, old, new);
        self.telemetry_changed_at = now;
    }

    /// An answer came from the member at its address.
    pub(crate) fn heard(&mut self, slot: Slot, now: Instant, verified: bool) {
        let row = &mut self.rows[slot.index()];
        row.observe(now);
        row.verified |= verified;
    }

    /// An answer took so long.
    pub(crate) fn add_rtt_sample(&mut self, slot: Slot, took: Duration) {
        self.rows[slot.index()].round_trip.add_sample(took);
    }
}

fn write_claim<A>(row: &mut Row, claim: &Claim<'_, A>, now: Instant) {
    row.generation = claim.generation;
    row.status = claim.status;
    row.instance = claim.instance;
    row.observe(now);
}

#[expect(clippy::cast_possible_truncation, reason = "the upper 6 bits")]
pub(crate) const fn bucket_of(hash: u64) -> usize {
    (hash >> (64 - BUCKETS.trailing_zeros())) as usize
}
