//! The table: one record per known member, and the one merge rule of the workspace.
//!
//! [`Membership::merge`] keeps the higher of two claims ([`Claim::precedence`]); nothing else
//! changes a row's generation, status, instance or address. The consequences of a change (the
//! deadline of a suspicion, a rumor, an event) are not decided here.

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::claim::Claim;
use super::echoes::Echoes;
use super::last_heard::HeardBefore;
use super::proof::Answered;
use super::roster::Roster;
use super::row::{Row, Sums};
use super::rtt::RttBound;
use super::side::Reached;
use super::slot::{Slot, grow};
use super::telemetry::{Held, Room};
use crate::address::Address;
use crate::config::MAX_TELEMETRY_HELD;
use crate::id::{Generation, IdHash, NodeId, full_id_hash};
use crate::status::Status;
use crate::time::Instant;

/// The number of hash ranges, each with its own fingerprint.
pub(crate) const BUCKETS: usize = 64;

/// The table of the known members: a join-semilattice under [`Membership::merge`].
///
/// A [`Node`](crate::Node) owns one. By itself it is the state that the two sides of an exchange
/// reconcile.
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
    pub(super) heard_before: HeardBefore,
    pub(super) echoes: Echoes,
    pub(super) me: Option<Slot>,
    /// The other members on this side of a partition, in the order of the roster, while this node
    /// is isolated.
    pub(super) side: Option<Vec<Reached>>,
    pub(super) limit: u32,
    pub(super) sums: Sums,
    pub(super) buckets: [u64; BUCKETS],
    /// The number of members per status.
    pub(super) counts: [u32; 4],
    /// The number of live members in the hash ranges before each one; last, the number in all.
    pub(super) live_before: [u32; BUCKETS + 1],
    /// When a claim last changed a row.
    pub(super) changed_at: Instant,
    /// When telemetry last changed a row.
    pub(super) telemetry_changed_at: Instant,
    /// Counts the changes of the set of live members, of their addresses, of which addresses are
    /// known to be right, and of which members are on this side of a partition.
    pub(super) roster_version: u32,
    /// Whether dead members and members that left add to the fingerprints.
    pub(super) includes_dead: bool,
    /// How much telemetry may be held, and how much is.
    pub(super) room: Room,
    pub(super) address: PhantomData<A>,
}

/// The fingerprints of a table: equal tables have equal fingerprints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fingerprints {
    /// The fingerprint of the records of all live members.
    pub(crate) claims: u32,
    /// The fingerprint of their telemetry versions.
    pub(crate) telemetry: u32,
}

/// Folds a sum of mixed hashes into 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "folds 64 bits into 32")]
pub(crate) const fn fold(sum: u64) -> u32 {
    (sum ^ (sum >> 32)) as u32
}

/// The effect of a merge on the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// The claim added a member that was not known before.
    Inserted,
    /// The claim replaced the one that the table held.
    Replaced {
        /// The status before.
        was: Status,
        /// Whether the address changed.
        moved: bool,
        /// Whether the instance changed.
        renewed: bool,
    },
    /// The table holds this very claim already.
    Same,
    /// The table holds a claim of higher precedence.
    Stale,
    /// The claim was refused: its generation is above [`Generation::MAX`].
    Implausible,
    /// The claim was refused: the member is unknown and the table is full.
    Full,
}

impl<A: Address> Membership<A> {
    /// Returns an empty table for at most `limit` members.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
            roster: Roster::new(),
            heard_before: HeardBefore::default(),
            echoes: Echoes::new(),
            me: None,
            side: None,
            limit,
            sums: Sums::default(),
            buckets: [0; BUCKETS],
            counts: [0; 4],
            live_before: [0; BUCKETS + 1],
            changed_at: Instant::ORIGIN,
            telemetry_changed_at: Instant::ORIGIN,
            roster_version: 0,
            includes_dead: false,
            room: Room::new(MAX_TELEMETRY_HELD, limit),
            address: PhantomData,
        }
    }

    /// Returns an empty table for a state that is exchanged and that never forgets a member.
    ///
    /// Its fingerprint includes dead members and members that left, so that two tables are equal
    /// only if they hold the same records of these, too. Compare it with tables of the same kind
    /// only.
    #[doc(hidden)]
    #[must_use]
    pub fn for_exchange(limit: u32) -> Self {
        Self { includes_dead: true, ..Self::new(limit) }
    }

    /// Merges one claim: the table keeps the higher precedence, in whatever order claims arrive.
    pub fn merge(&mut self, now: Instant, claim: &Claim<'_, A>) -> Merged {
        self.merge_at(now, claim).0
    }

    /// Merges one claim, and returns the slot of its member, if the member is in the table.
    pub(crate) fn merge_at(
        &mut self,
        now: Instant,
        claim: &Claim<'_, A>,
    ) -> (Merged, Option<Slot>) {
        let hash = full_id_hash(claim.id.as_bytes());
        let known = self.find_hashed(hash, claim.id.as_bytes());
        if claim.generation > Generation::MAX {
            return (Merged::Implausible, known);
        }
        let Some(slot) = known else {
            let Some(slot) = self.insert(hash, claim) else {
                return (Merged::Full, None);
            };
            self.change(slot, hash, now, |row| write_claim(row, claim, now));
            return (Merged::Inserted, Some(slot));
        };
        let held = self.claim(slot);
        let (new, old) = (claim.precedence(), held.precedence());
        if !new.beats(&old) {
            let merged = if new == old { Merged::Same } else { Merged::Stale };
            return (merged, Some(slot));
        }
        let moved = held.address != claim.address;
        let merged =
            Merged::Replaced { was: held.status, moved, renewed: held.instance != claim.instance };
        self.keep_heard(slot);
        self.change(slot, hash, now, |row| {
            let (renewed, moved) = (row.instance != claim.instance, row.address() != claim.address);
            // The versions of a new instance begin anew.
            if renewed {
                row.clear_telemetry();
            }
            if moved {
                row.set_address(claim.address);
            }
            // The proof and the round trips were those of another process or another path.
            if renewed || moved {
                row.round_trip = RttBound::default();
            }
            if moved {
                row.answered = Answered::NEVER;
            } else if renewed {
                row.answered = row.answered.as_other_process();
            } else if claim.status.is_live() && !row.status.is_live() {
                row.answered = row.answered.revived();
            }
            write_claim(row, claim, now);
        });
        if moved || matches!(merged, Merged::Replaced { renewed: true, .. }) {
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
        let added = self.row(slot).sums(self.includes_dead);
        self.account(hash, Sums::default(), added);
        Some(slot)
    }

    /// Raises the limit, if need be, so that one more member fits.
    pub(crate) fn make_room(&mut self) {
        let len = u32::try_from(self.len()).unwrap_or(u32::MAX);
        self.limit = self.limit.max(len.saturating_add(1));
    }

    /// Removes a member from the table and returns its id; `None` if `slot` is this node itself.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<NodeId> {
        if self.me == Some(slot) {
            return None;
        }
        let id = self.id(slot);
        let hash = self.hash(slot);
        self.change(slot, hash, self.changed_at, |row| row.status = Status::Left);
        let share = self.row(slot).sums(self.includes_dead);
        self.account(hash, share, Sums::default());
        self.room.replace(self.room.held_by(self.row(slot)), Held::default());
        self.count(Status::Left, hash, -1);
        self.forget_in_side(slot);
        self.heard_before.forget(slot);
        self.roster.remove(&self.rows, slot);
        self.rows[slot.index()] = Row::new::<A>("", None);
        self.free.push(slot);
        Some(id)
    }

    /// Changes a row, and with it the fingerprints and the counts.
    fn change<T>(
        &mut self,
        slot: Slot,
        hash: u64,
        now: Instant,
        edit: impl FnOnce(&mut Row) -> T,
    ) -> T {
        // An echo says that its claim is known; that may no longer hold once a record changes.
        self.echoes.clear();
        let includes_dead = self.includes_dead;
        let row = &mut self.rows[slot.index()];
        let (status, old) = (row.status, row.sums(includes_dead));
        let held = self.room.held_by(row);
        let result = edit(row);
        let (new_status, new) = (row.status, row.sums(includes_dead));
        self.room.replace(held, self.room.held_by(row));
        self.count(status, hash, -1);
        self.count(new_status, hash, 1);
        if status.is_live() != new_status.is_live() {
            self.roster_version = self.roster_version.wrapping_add(1);
        }
        self.account(hash, old, new);
        self.changed_at = now;
        result
    }

    /// Replaces the share `old` of a row by `new`, in the sums and in its hash range.
    pub(super) fn account(&mut self, hash: u64, old: Sums, new: Sums) {
        self.sums = self.sums.replace(old, new);
        let bucket = &mut self.buckets[bucket_of(hash)];
        *bucket = bucket.wrapping_sub(old.whole()).wrapping_add(new.whole());
    }

    /// Adds `by` to the number of members of this status, and to those of the live members.
    pub(super) fn count(&mut self, status: Status, hash: u64, by: i32) {
        let count = &mut self.counts[usize::from(status.rank())];
        *count = count.saturating_add_signed(by);
        if status.is_live() {
            for live in &mut self.live_before[bucket_of(hash) + 1..] {
                *live = live.saturating_add_signed(by);
            }
        }
    }

    /// Records that a datagram came from the member's address; `verified` if that proves that the
    /// member receives what is sent to the address.
    pub(crate) fn heard(&mut self, slot: Slot, now: Instant, verified: bool) {
        self.note_heard(slot, now);
        if verified {
            let row = &mut self.rows[slot.index()];
            // The address is known to be right from now on, so that the member may be a partner.
            if !row.answered.directly() {
                self.roster_version = self.roster_version.wrapping_add(1);
            }
            row.answered = row.answered.again();
        }
    }

    /// Records that the member answered before the seeds of this node had their say.
    pub(crate) fn heard_early(&mut self, slot: Slot) {
        let row = &mut self.rows[slot.index()];
        row.answered = row.answered.early();
    }

    /// Records that a helper has passed on an answer of the member.
    pub(crate) fn heard_through(&mut self, slot: Slot, now: Instant, helper: IdHash) {
        self.note_heard(slot, now);
        let row = &mut self.rows[slot.index()];
        row.answered = row.answered.through(helper);
    }

    /// Records that two helpers have passed on an answer of the member.
    pub(crate) fn heard_through_two(&mut self, slot: Slot, now: Instant) {
        self.note_heard(slot, now);
        let row = &mut self.rows[slot.index()];
        row.answered = row.answered.through_two();
    }

    /// Records that the host vouches for the member.
    pub(crate) fn introduced(&mut self, slot: Slot) {
        let row = &mut self.rows[slot.index()];
        row.answered = row.answered.by_host();
        self.roster_version = self.roster_version.wrapping_add(1);
    }

    /// Records how long an answer of the member took.
    pub(crate) fn add_rtt_sample(&mut self, slot: Slot, took: Duration) {
        self.rows[slot.index()].round_trip.add_sample(took);
    }

    /// Records how long the answer to a ping of a probe took.
    pub(crate) fn add_probe_rtt_sample(&mut self, slot: Slot, took: Duration, timeout: Duration) {
        self.rows[slot.index()].round_trip.add_probe_sample(took, timeout);
    }

    /// Whether the member is too far away for a probe, by an answer to one that took this long.
    pub(crate) fn is_beyond_patience(
        &mut self,
        slot: Slot,
        took: Duration,
        timeout: Duration,
    ) -> bool {
        self.rows[slot.index()].round_trip.is_beyond_patience(took, timeout)
    }
}

fn write_claim<A>(row: &mut Row, claim: &Claim<'_, A>, now: Instant) {
    row.generation = claim.generation;
    row.status = claim.status;
    row.instance = claim.instance;
    row.observe(now);
}

/// Returns the hash range of a full id hash.
#[expect(clippy::cast_possible_truncation, reason = "the upper 6 bits")]
pub(crate) const fn bucket_of(hash: u64) -> usize {
    (hash >> (64 - BUCKETS.trailing_zeros())) as usize
}
