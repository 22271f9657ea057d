//! The table: one record a known member, and the one merge rule of the workspace.
//!
//! [`Membership::merge`] keeps the higher of two claims ([`Claim::precedence`]); nothing else
//! changes a row's generation, status, instance or address. What follows from a change (a
//! suspicion's deadline, a rumor, an event) is not decided here.

mod echoes;
mod roster;
mod row;
pub(crate) mod snapshot;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::marker::PhantomData;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::id::{Generation, IdHash, Instance, NodeId, full_id_hash, id_hash_of};
use crate::member::{Accusers, Claim, Status};
use crate::probe::RoundTrip;
use crate::rng::Random;
use crate::telemetry::{LogEntry, TelemetryEntry};
use crate::time::Instant;
use echoes::{Echoes, first_plain};
use roster::Roster;
pub(crate) use roster::grow;
pub(crate) use row::Row;
use row::Sums;

/// The number of hash ranges whose fingerprints are kept up to date.
pub(crate) const BUCKETS: usize = 64;

/// The place of a row; stable while the member is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Slot(pub(crate) u32);

impl Slot {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

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
    rows: Vec<Row>,
    free: Vec<Slot>,
    roster: Roster,
    echoes: Echoes,
    me: Option<Slot>,
    limit: u32,
    sums: Sums,
    buckets: [u64; BUCKETS],
    counts: [u32; 4],
    /// Live members in the hash ranges before each, and in all.
    live_before: [u32; BUCKETS + 1],
    /// When a claim last changed something, and when telemetry did.
    changed_at: Instant,
    telemetry_changed_at: Instant,
    /// Counts the changes of who is live, and where.
    roster_version: u32,
    /// Whether the dead count in the fingerprints.
    dead_count: bool,
    address: PhantomData<A>,
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
                row.round_trip = RoundTrip::default();
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

    fn account(&mut self, hash: u64, old: Sums, new: Sums) {
        self.sums = self.sums.replace(old, new);
        let bucket = &mut self.buckets[bucket_of(hash)];
        *bucket = bucket.wrapping_sub(old.whole()).wrapping_add(new.whole());
    }

    fn count(&mut self, status: Status, hash: u64, by: i32) {
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
                row.drop_markers(now, false);
            }
        });
    }

    /// The telemetry of a member is read anew, from this floor on.
    pub(crate) fn reset_telemetry(&mut self, slot: Slot, now: Instant, floor: u64) {
        self.change_telemetry(slot, now, |row| row.reset_telemetry(floor));
    }

    /// Room is scarce: drops what is left of removed keys, however young.
    pub(crate) fn drop_markers(&mut self, slot: Slot, now: Instant) {
        self.change_telemetry(slot, now, |row| row.drop_markers(now, true));
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
    pub(crate) fn note_round_trip(&mut self, slot: Slot, took: Duration) {
        self.rows[slot.index()].round_trip.note(took);
    }

    /// Places for rows, the free ones included.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Makes `slot` the row of the node itself.
    pub(crate) fn set_me(&mut self, slot: Slot) {
        self.me = Some(slot);
    }

    pub(crate) fn me(&self) -> Option<Slot> {
        self.me
    }

    /// Members in the table, in whatever status.
    #[must_use]
    pub fn len(&self) -> usize {
        self.roster.len()
    }

    /// Whether nobody is known, not even this node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many members have this status.
    #[must_use]
    pub fn count_of(&self, status: Status) -> u32 {
        self.counts[usize::from(status.rank())]
    }

    /// Members Alive or Suspected.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.count_of(Status::Alive) + self.count_of(Status::Suspected)
    }

    /// A hash of all live members' records and telemetry versions: equal tables have equal
    /// fingerprints. (The dead count in a table [for exchange](Membership::for_exchange) only.)
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.sums.whole()
    }

    /// The fingerprint as it stands in datagrams: one of the claims, and one of the telemetry, 32
    /// bits each.
    pub(crate) fn fingerprints(&self) -> Fingerprints {
        Fingerprints { claims: fold(self.sums.claims), telemetry: fold(self.sums.telemetry) }
    }

    pub(crate) fn bucket(&self, bucket: usize) -> u64 {
        self.buckets.get(bucket).copied().unwrap_or(0)
    }

    pub(crate) fn changed_at(&self) -> Instant {
        self.changed_at
    }

    pub(crate) fn telemetry_changed_at(&self) -> Instant {
        self.telemetry_changed_at
    }

    /// Another number each time that a member comes, goes, or moves.
    pub(crate) fn roster_version(&self) -> u32 {
        self.roster_version
    }

    /// The member called `id`.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Member<'_, A>> {
        self.find(id).map(|slot| self.member(slot))
    }

    /// All members, in the roster's order (by the hash of their ids), which is the same on every
    /// node.
    pub fn iter(&self) -> impl Iterator<Item = Member<'_, A>> {
        self.slots().map(|slot| self.member(slot))
    }

    /// All members as claims, as [`Membership::merge`] takes them.
    pub fn claims(&self) -> impl Iterator<Item = Claim<'_, A>> {
        self.slots().map(|slot| self.claim(slot))
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..self.roster.len()).filter_map(|rank| self.roster.slot(rank))
    }

    pub(crate) fn member(&self, slot: Slot) -> Member<'_, A> {
        Member { row: self.row(slot), address: PhantomData }
    }

    pub(crate) fn row(&self, slot: Slot) -> &Row {
        &self.rows[slot.index()]
    }

    pub(crate) fn status(&self, slot: Slot) -> Status {
        self.row(slot).status
    }

    pub(crate) fn is_live(&self, slot: Slot) -> bool {
        self.status(slot).is_live()
    }

    pub(crate) fn address(&self, slot: Slot) -> Option<A> {
        self.row(slot).address()
    }

    pub(crate) fn id(&self, slot: Slot) -> NodeId {
        NodeId::known(self.row(slot).id())
    }

    pub(crate) fn hash(&self, slot: Slot) -> u64 {
        self.row(slot).hash()
    }

    pub(crate) fn id_hash(&self, slot: Slot) -> IdHash {
        id_hash_of(self.hash(slot))
    }

    /// The row as a claim without evidence.
    pub(crate) fn claim(&self, slot: Slot) -> Claim<'_, A> {
        let row = self.row(slot);
        Claim {
            id: row.id(),
            address: row.address(),
            instance: row.instance,
            generation: row.generation,
            status: row.status,
            accusers: Accusers::new(),
            age_secs: 0,
        }
    }

    pub(crate) fn find(&self, id: &str) -> Option<Slot> {
        self.find_hashed(full_id_hash(id.as_bytes()), id.as_bytes())
    }

    fn find_hashed(&self, hash: u64, id: &[u8]) -> Option<Slot> {
        self.roster.tagged(id_hash_of(hash)).find(|&slot| self.row(slot).id_bytes() == id)
    }

    /// Passes over the claims at the front that are known already: how many, and what comes after
    /// them. What it costs to be told what one knows is mostly this.
    pub(crate) fn pass_over<'a>(&mut self, claims: &'a [u8]) -> (u32, &'a [u8]) {
        let (mut known, mut rest) = (0, claims);
        while let Some(claim) = first_plain(rest) {
            if let Some(print) = self.echoes.print_unless_kept(claim) {
                if !self.holds(claim) {
                    break;
                }
                self.echoes.keep(print);
            }
            (known, rest) = (known + 1, &rest[claim.len()..]);
        }
        (known, rest)
    }

    /// Whether a plain claim is no more than the table holds: the member is Alive, there, at this
    /// generation at least, and its names are word for word what was checked before.
    fn holds(&self, claim: &[u8]) -> bool {
        let held = || {
            let (&[_, generation, a, b, c, d], names) = claim.split_first_chunk()?;
            let (&len, rest) = names.split_first()?;
            let id = rest.get(..usize::from(len))?;
            let row = self.row(self.find_hashed(full_id_hash(id), id)?);
            let same = row.instance.0 == u32::from_be_bytes([a, b, c, d]);
            let older = row.generation.0 > generation.into();
            let no_news = older || (row.generation.0 == generation.into() && same);
            Some(
                no_news
                    && row.status == Status::Alive
                    && names.strip_suffix(&[0, 0])? == row.names(),
            )
        };
        held() == Some(true)
    }

    /// The members whose id hashes lie in `from..=to`: all of them for the full range, one
    /// (collisions aside) for one.
    pub(crate) fn tagged(&self, from: IdHash, to: IdHash) -> impl Iterator<Item = Slot> {
        self.roster.ranks(from, to).filter_map(|rank| self.roster.slot(rank))
    }

    /// The members with this id hash.
    pub(crate) fn with_id_hash(&self, id_hash: IdHash) -> impl Iterator<Item = Slot> {
        self.roster.tagged(id_hash)
    }

    /// The member at a rank of the roster, modulo its length.
    pub(crate) fn at_rank(&self, rank: usize) -> Option<Slot> {
        self.roster.slot(rank.checked_rem(self.roster.len())?)
    }

    pub(crate) fn rank(&self, slot: Slot) -> Option<usize> {
        self.roster.rank(&self.rows, slot)
    }

    /// The slots of one hash range, in the roster's order.
    fn slots_in(&self, bucket: usize) -> impl Iterator<Item = Slot> {
        self.roster.bucket(bucket).filter_map(|rank| self.roster.slot(rank))
    }

    /// How many live members come before this one in the roster.
    pub(crate) fn live_rank(&self, slot: Slot) -> usize {
        let bucket = bucket_of(self.hash(slot));
        let within = self.slots_in(bucket).take_while(|&other| other != slot);
        self.live_before[bucket] as usize + within.filter(|&other| self.is_live(other)).count()
    }

    /// The live member before which so many others come in the roster.
    pub(crate) fn at_live_rank(&self, rank: usize) -> Option<Slot> {
        let bucket =
            self.live_before.partition_point(|&before| before as usize <= rank).checked_sub(1)?;
        let (&[before, after], ranks) =
            (self.live_before.get(bucket..)?.first_chunk()?, self.roster.bucket(bucket));
        let left = rank - before as usize;
        if (after - before) as usize == ranks.len() {
            // All of them live.
            return self.roster.slot(ranks.start + left);
        }
        self.slots_in(bucket).filter(|&slot| self.is_live(slot)).nth(left)
    }

    /// A member that `eligible` accepts, uniformly at random; draws a few times, then walks on from
    /// a random rank.
    pub(crate) fn random(&self, rng: &mut Random, eligible: impl Fn(Slot) -> bool) -> Option<Slot> {
        const DRAWS: usize = 8;
        let len = self.roster.len();
        for _ in 0..DRAWS {
            let slot = self.roster.slot(rng.below(len))?;
            if eligible(slot) {
                return Some(slot);
            }
        }
        let start = rng.below(len);
        (start..start + len).filter_map(|rank| self.at_rank(rank)).find(|&slot| eligible(slot))
    }

    /// Bytes of heap memory that the table holds: records, index, texts and telemetry.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let texts: usize = self.rows.iter().map(Row::heap_bytes).sum();
        self.rows.capacity() * size_of::<Row>()
            + self.free.capacity() * size_of::<Slot>()
            + self.roster.heap_bytes()
            + texts
    }

    /// The sums kept up to date against the sums made anew.
    pub(crate) fn check_sums(&self) -> Result<(), &'static str> {
        let (mut sums, mut buckets, mut counts) = (Sums::default(), [0_u64; BUCKETS], [0_u32; 4]);
        let mut live_before = [0_u32; BUCKETS + 1];
        let mut last = 0;
        for rank in 0..self.roster.len() {
            let Some(slot) = self.roster.slot(rank) else { break };
            let (row, hash) = (self.row(slot), self.hash(slot));
            if hash != full_id_hash(row.id_bytes()) || hash < last {
                return Err("the roster is not in the order of the ids' hashes");
            }
            last = hash;
            let added = row.sums(self.dead_count);
            sums = sums.replace(Sums::default(), added);
            buckets[bucket_of(hash)] = buckets[bucket_of(hash)].wrapping_add(added.whole());
            counts[usize::from(row.status.rank())] += 1;
            for live in &mut live_before[bucket_of(hash) + 1..] {
                *live += u32::from(row.status.is_live());
            }
        }
        if sums != self.sums || buckets != self.buckets {
            return Err("a fingerprint is not the sum of its rows");
        }
        if counts != self.counts || live_before != self.live_before {
            return Err("a status is miscounted");
        }
        if self.rows.len() != self.roster.len() + self.free.len() {
            return Err("a row is neither in the roster nor free");
        }
        Ok(())
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

/// What a node holds of one member; borrowed from its table.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a, A> {
    row: &'a Row,
    address: PhantomData<A>,
}

impl<'a, A: Address> Member<'a, A> {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> &'a str {
        self.row.id()
    }

    /// Where it listens, if known.
    #[must_use]
    pub fn address(&self) -> Option<A> {
        self.row.address()
    }

    /// What it is held to be.
    #[must_use]
    pub fn status(&self) -> Status {
        self.row.status
    }

    /// At which generation.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.row.generation
    }

    /// Which life of it.
    #[must_use]
    pub fn instance(&self) -> Instance {
        self.row.instance
    }

    /// When its record last changed here, or a datagram last came from it.
    #[must_use]
    pub fn last_observed(&self) -> Instant {
        self.row.observed()
    }

    /// The version up to which its telemetry is known; 0 before the first.
    #[must_use]
    pub fn telemetry_version(&self) -> u64 {
        self.row.telemetry_version()
    }

    /// Its telemetry, removed entries aside, in order of version.
    pub fn telemetry(&self) -> impl Iterator<Item = TelemetryEntry<'a>> + use<'a, A> {
        self.row.entries().filter(|entry| entry.value.is_some()).filter_map(|entry| entry.read())
    }

    /// The value under `key`, with its version and time of publication.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<TelemetryEntry<'a>> {
        self.telemetry().find(|entry| entry.key == key)
    }
}
