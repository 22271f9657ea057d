//! How members are found in the table: by id, by id hash, by rank, and at random.
//!
//! Nothing here changes a record. The echoes of claims that are known already are the one thing
//! that a look-up writes.

use core::marker::PhantomData;

use super::claim::{Accusers, Claim};
use super::echoes::first_plain;
use super::member::Member;
use super::range::HashRange;
use super::roster::Place;
use super::row::{Row, Sums};
use super::slot::Slot;
use super::table::{BUCKETS, Fingerprints, Membership, bucket_of, fold};
use super::telemetry::Held;
use core::time::Duration;

use crate::address::Address;
use crate::id::{IdHash, NodeId, full_id_hash, id_hash_of};
use crate::rng::Random;
use crate::status::Status;
use crate::time::Instant;

impl<A: Address> Membership<A> {
    /// Returns the number of slots, the free ones included.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Makes `slot` the row of this node itself.
    pub(crate) fn set_me(&mut self, slot: Slot) {
        self.me = Some(slot);
    }

    /// Returns the slot of this node itself, if the table has one.
    pub(crate) fn me(&self) -> Option<Slot> {
        self.me
    }

    /// Returns the number of members in the table, whatever their status.
    #[must_use]
    pub fn len(&self) -> usize {
        self.roster.len()
    }

    /// Whether the table has no members, not even this node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of members of this status.
    #[must_use]
    pub fn count_of(&self, status: Status) -> u32 {
        self.counts[usize::from(status.rank())]
    }

    /// Returns the number of members that are Alive or Suspected.
    #[must_use]
    pub fn live(&self) -> u32 {
        self.count_of(Status::Alive) + self.count_of(Status::Suspected)
    }

    /// Returns a hash of the records and telemetry versions of all live members: equal tables have
    /// equal fingerprints. A table [for exchange](Membership::for_exchange) includes the members
    /// that are not live.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.sums.whole()
    }

    /// Returns the fingerprints as they stand in datagrams: one of the claims, one of the
    /// telemetry, 32 bits each.
    pub(crate) fn fingerprints(&self) -> Fingerprints {
        Fingerprints { claims: fold(self.sums.claims), telemetry: fold(self.sums.telemetry) }
    }

    /// Returns the fingerprint of one hash range.
    pub(crate) fn bucket(&self, bucket: usize) -> u64 {
        self.buckets.get(bucket).copied().unwrap_or(0)
    }

    /// Returns the time at which a claim last changed a record.
    pub(crate) fn changed_at(&self) -> Instant {
        self.changed_at
    }

    /// Returns the time at which telemetry last changed a record.
    pub(crate) fn telemetry_changed_at(&self) -> Instant {
        self.telemetry_changed_at
    }

    /// Whether dead members and members that left add to the fingerprints.
    pub(crate) fn includes_dead(&self) -> bool {
        self.includes_dead
    }

    /// Returns a number that changes each time that a member comes, goes, moves, or has its address
    /// verified.
    pub(crate) fn roster_version(&self) -> u32 {
        self.roster_version
    }

    /// Returns the member with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Member<'_, A>> {
        self.find(id).map(|slot| self.member(slot))
    }

    /// Returns all members, in the order of the hashes of their ids, which is the same on every
    /// node.
    pub fn iter(&self) -> impl Iterator<Item = Member<'_, A>> {
        self.slots().map(|slot| self.member(slot))
    }

    /// Returns the claims about all members, as [`Membership::merge`] takes them.
    pub fn claims(&self) -> impl Iterator<Item = Claim<'_, A>> {
        self.slots().map(|slot| self.claim(slot))
    }

    /// Returns the slots of all members, in the order of the roster.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..self.roster.len()).filter_map(|rank| self.roster.slot(rank))
    }

    pub(crate) fn member(&self, slot: Slot) -> Member<'_, A> {
        let heard_before = &self.heard_before;
        Member { row: self.row(slot), slot, heard_before, address: PhantomData }
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

    /// Returns the full hash of a member's id.
    pub(crate) fn hash(&self, slot: Slot) -> u64 {
        self.row(slot).hash()
    }

    pub(crate) fn id_hash(&self, slot: Slot) -> IdHash {
        id_hash_of(self.hash(slot))
    }

    /// Returns the row as a claim without evidence.
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

    pub(super) fn find_hashed(&self, hash: u64, id: &[u8]) -> Option<Slot> {
        let rank = self.roster.search(&self.rows, id_hash_of(hash), id).ok()?;
        self.roster.slot(rank)
    }

    /// Skips the claims at the front that are known already. Returns how many there are, and the
    /// bytes after them.
    ///
    /// This is most of the cost of a datagram that brings nothing new.
    pub(crate) fn pass_over<'a>(&mut self, claims: &'a [u8]) -> (u32, &'a [u8]) {
        let (mut known, mut rest) = (0, claims);
        while let Some(claim) = first_plain(rest) {
            if let Some(hash) = self.echoes.hash_unless_kept(claim) {
                if !self.holds(claim) {
                    break;
                }
                self.echoes.keep(hash);
            }
            (known, rest) = (known + 1, &rest[claim.len()..]);
        }
        (known, rest)
    }

    /// Whether a plain claim says no more than the table holds: the member is Alive at this
    /// generation or a later one, and its id and address are byte for byte those of the row, which
    /// were validated when they entered the table.
    fn holds(&self, claim: &[u8]) -> bool {
        let held = || {
            let (&[_, generation, a, b, c, d], names) = claim.split_first_chunk()?;
            let (&len, rest) = names.split_first()?;
            let id = rest.get(..usize::from(len))?;
            let row = self.row(self.find_hashed(full_id_hash(id), id)?);
            let same = row.instance.0 == u32::from_be_bytes([a, b, c, d]);
            let older = row.generation.0 > generation.into();
            let known = older || (row.generation.0 == generation.into() && same);
            Some(
                known && row.status == Status::Alive && names.strip_suffix(&[0, 0])? == row.names(),
            )
        };
        held() == Some(true)
    }

    /// Returns the members whose id hashes lie in `from..=to`, in the order of the roster.
    pub(crate) fn in_range(&self, from: IdHash, to: IdHash) -> impl Iterator<Item = Slot> {
        self.roster.ranks(from, to).filter_map(|rank| self.roster.slot(rank))
    }

    /// Returns how many members have id hashes in a range.
    pub(crate) fn count_in(&self, range: HashRange) -> usize {
        self.roster.ranks(range.first(), range.last()).len()
    }

    /// Returns the sum over all rows of any range, those of members that are gone included. It
    /// visits all of them; the [sums](Self::bucket) of the live members of whole hash ranges are
    /// kept.
    pub(crate) fn sum_of(&self, range: HashRange) -> u64 {
        let rows = self.in_range(range.first(), range.last()).map(|slot| self.row(slot));
        rows.map(|row| row.sums(self.includes_dead))
            .fold(0, |sum, row| sum.wrapping_add(row.whole()).wrapping_add(row.gone))
    }

    /// Returns the number of members that are dead or have left.
    pub(crate) fn gone(&self) -> u32 {
        self.count_of(Status::Dead) + self.count_of(Status::Left)
    }

    /// Returns the sum over the records of all members that are gone.
    pub(crate) fn gone_sum(&self) -> u32 {
        fold(self.sums.gone)
    }

    /// Returns the members from a place on, in the order of the roster.
    pub(crate) fn starting_at(&self, place: Place) -> impl Iterator<Item = Slot> {
        self.roster.from(place).filter_map(|rank| self.roster.slot(rank))
    }

    /// Returns all members once, from a place in the roster on and around the circle.
    pub(crate) fn around_from(&self, place: Place) -> impl Iterator<Item = Slot> {
        let all = self.starting_at(place).chain(self.starting_at(Place::default()));
        all.take(self.roster.len())
    }

    /// Returns the place in the roster after a member.
    pub(crate) fn place_after(&self, slot: Slot) -> Place {
        let id_hash = self.id_hash(slot);
        let before = self.starting_at(Place { id_hash, nth: 0 }).take_while(|&other| other != slot);
        Place { id_hash, nth: u32::try_from(before.count() + 1).unwrap_or(u32::MAX) }
    }

    /// Returns the members with this id hash: one, collisions aside.
    pub(crate) fn with_id_hash(&self, id_hash: IdHash) -> impl Iterator<Item = Slot> {
        self.roster.with_id_hash(id_hash)
    }

    /// Returns the member at a rank of the roster, modulo its length.
    pub(crate) fn at_rank(&self, rank: usize) -> Option<Slot> {
        self.roster.slot(rank.checked_rem(self.roster.len())?)
    }

    /// Returns the rank of a member in the roster.
    pub(crate) fn rank(&self, slot: Slot) -> Option<usize> {
        self.roster.rank(&self.rows, slot)
    }

    /// Whether this node can probe the member: it is another node, live, and its address is known.
    pub(crate) fn can_probe(&self, slot: Slot) -> bool {
        self.me != Some(slot) && self.is_live(slot) && self.address(slot).is_some()
    }

    /// Whether a member has answered, or is this node itself.
    pub(crate) fn is_proved(&self, slot: Slot) -> bool {
        self.me == Some(slot) || self.row(slot).answered.is_proof()
    }

    /// Whether a member has answered since it was last dead, or is this node itself.
    pub(crate) fn is_proved_alive(&self, slot: Slot) -> bool {
        self.me == Some(slot) || self.row(slot).answered.is_proof_of_life()
    }

    /// Whether the address of a member is right.
    pub(crate) fn is_verified(&self, slot: Slot) -> bool {
        self.row(slot).answered.directly()
    }

    /// Whether a member can ping `address` on behalf of this node, which is at `me`. If `proved`,
    /// it has answered this node itself, since it was last dead.
    ///
    /// It is at neither address itself, as is a process that was restarted under another name: its
    /// answer would say nothing.
    pub(crate) fn is_helper(&self, slot: Slot, proved: bool, address: &A, me: &A) -> bool {
        let known = || self.is_verified(slot) && self.is_proved_alive(slot);
        let row = self.row(slot);
        self.can_probe(slot)
            && self.status(slot) == Status::Alive
            && (!proved || known())
            && !(row.is_at(address) || row.is_at(me))
    }

    /// Whether a member has answered, or is not live.
    pub(crate) fn is_told(&self, slot: Slot) -> bool {
        self.is_proved(slot) || !self.is_live(slot)
    }

    /// Returns the slots of one hash range, in the order of the roster.
    fn slots_in(&self, bucket: usize) -> impl Iterator<Item = Slot> {
        self.roster.bucket(bucket).filter_map(|rank| self.roster.slot(rank))
    }

    /// Returns the longest recent round trip of a few members.
    pub(crate) fn round_trip_of_some(&self) -> Option<Duration> {
        const LOOKED_AT: usize = 16;
        let slots = (0..LOOKED_AT.min(self.len())).filter_map(|rank| self.at_rank(rank));
        slots.filter_map(|slot| self.row(slot).round_trip.longest()).max()
    }

    /// Returns the number of live members before this one in the roster.
    pub(crate) fn live_rank(&self, slot: Slot) -> usize {
        let bucket = bucket_of(self.hash(slot));
        let within = self.slots_in(bucket).take_while(|&other| other != slot);
        self.live_before[bucket] as usize + within.filter(|&other| self.is_live(other)).count()
    }

    /// Returns the first live member after this one in the roster, around the circle.
    pub(crate) fn next_live(&self, slot: Slot) -> Option<Slot> {
        let rank = self.live_rank(slot) + usize::from(self.is_live(slot));
        self.at_live_rank(rank.checked_rem(self.live() as usize)?)
    }

    /// Returns the live member with `rank` live members before it in the roster.
    pub(crate) fn at_live_rank(&self, rank: usize) -> Option<Slot> {
        let bucket =
            self.live_before.partition_point(|&before| before as usize <= rank).checked_sub(1)?;
        let (&[before, after], ranks) =
            (self.live_before.get(bucket..)?.first_chunk()?, self.roster.bucket(bucket));
        let left = rank - before as usize;
        if (after - before) as usize == ranks.len() {
            // All members of this range are live, so their ranks are consecutive.
            return self.roster.slot(ranks.start + left);
        }
        self.slots_in(bucket).filter(|&slot| self.is_live(slot)).nth(left)
    }

    /// Returns a random member that `eligible` accepts. The choice is uniform over the first
    /// draws; if all of them fail, the roster is walked from a random rank on.
    pub(crate) fn random(&self, rng: &mut Random, eligible: impl Fn(Slot) -> bool) -> Option<Slot> {
        /// The number of draws before the walk.
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

    /// Returns the bytes of heap memory that the table holds: records, index, texts and telemetry.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let texts: usize = self.rows.iter().map(Row::heap_bytes).sum();
        self.rows.capacity() * size_of::<Row>()
            + self.free.capacity() * size_of::<Slot>()
            + self.roster.heap_bytes()
            + self.side_bytes()
            + self.heard_before.heap_bytes()
            + texts
    }

    /// Checks the sums and counts that are kept up to date against ones computed from all rows.
    pub(crate) fn check_sums(&self) -> Result<(), &'static str> {
        let (mut sums, mut buckets, mut counts) = (Sums::default(), [0_u64; BUCKETS], [0_u32; 4]);
        let mut live_before = [0_u32; BUCKETS + 1];
        let (mut last, mut held) = (None, Held::default());
        for rank in 0..self.roster.len() {
            let Some(slot) = self.roster.slot(rank) else { break };
            let (row, hash) = (self.row(slot), self.hash(slot));
            let place = Some((id_hash_of(hash), row.id_bytes()));
            if hash != full_id_hash(row.id_bytes()) || place <= last {
                return Err("the roster is not in the order of the id hashes and ids");
            }
            last = place;
            let share = row.sums(self.includes_dead);
            sums = sums.replace(Sums::default(), share);
            buckets[bucket_of(hash)] = buckets[bucket_of(hash)].wrapping_add(share.whole());
            counts[usize::from(row.status.rank())] += 1;
            held.add(self.room.held_by(row));
            for live in &mut live_before[bucket_of(hash) + 1..] {
                *live += u32::from(row.status.is_live());
            }
        }
        if sums != self.sums || buckets != self.buckets {
            return Err("a fingerprint is not the sum over its rows");
        }
        if counts != self.counts || live_before != self.live_before {
            return Err("the count of a status is not the number of its rows");
        }
        if !self.room.holds(held) {
            return Err("the telemetry held is not that of the rows");
        }
        if !self.heard_before_is_sound() {
            return Err(
                "a time at which a member was heard is not that of a row that changed since",
            );
        }
        if self.rows.len() != self.roster.len() + self.free.len() {
            return Err("a row is neither in the roster nor free");
        }
        Ok(())
    }
}
