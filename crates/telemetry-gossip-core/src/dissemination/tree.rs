//! How telemetry spreads: each owner's along a tree over the live members, so that everybody gets
//! each update once.
//!
//! Members stand on a circle in the order of their ids' hashes, the roster. A node that has
//! something to pass on to an *arc*, the members that follow it up to some end, splits it: the
//! member 1 place on, the one 2 places on, 4, 8 and so on each get it once, and with it the arc up
//! to the next of them.
//!
//! ```text
//!   owner   +1    +2    +3    +4    +5    +6    +7    +8 ...
//!     |------>     |           |                       |        branch 0: an arc of 1
//!     |------------>----->     |                       |        branch 1: an arc of 2, of which +2 passes on to +3
//!     |------------------------>----->                 |        branch 2: an arc of 4: +5, +6 (and +7) by +4
//!     |------------------------>----------->----->     |
//!     |------------------------------------------------> ...    branch 3
//! ```
//!
//! It is a binomial tree with every owner at its own root: log2 n steps at most, half of them on
//! average, and each node has the same log2 n partners whoever the owner is, so that updates travel
//! together. Where all publish all the time the load is the same for all. The end of the arc
//! travels along, so that nodes whose rosters differ still split what they are given: then some are
//! told twice, which they see and do not pass on, and whom the giver does not know may be left out.
//!
//! A branch has one *flight* at a time: some datagrams, each acknowledged; what was lost goes back
//! into the queue. Meanwhile updates wait, and a newer one of the same owner takes the place of the
//! older: slow branches thin out by themselves. A partner that stays silent is passed over for its
//! successor. What is left out after all is found by comparing fingerprints (`sync`). Nothing here
//! is about claims: trees break where membership is in flux, rumors do not.

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::branch::{Branch, FLIGHT, Furthest, InFlight, Update};
use super::gaps::Gaps;
use crate::address::Address;
use crate::id::{IdHash, RequestId};
use crate::membership::rtt::RttBound;
use crate::membership::{Membership, Slot, grow};
use crate::outbox::MAX_FLIGHT_DATAGRAMS;
use crate::time::Instant;

/// How often a flight is sent before the partner is passed over: at 5 % loss each way one in a
/// million is, for nothing.
const TRIES: u8 = 6;

/// Room for so many updates is made where one comes.
const QUEUE: usize = 32;

/// More branches than any table has members for.
pub(crate) const BRANCHES: usize = 31;

const _: () = assert!(FLIGHT * BRANCHES == MAX_FLIGHT_DATAGRAMS, "the outbox has room for all");

/// Marks an update that did not come by a tree: it is passed on when the tree brings it, though it
/// is no news by then.
const BY_ANTI_ENTROPY: u32 = 1 << BRANCHES;

/// The branches of one node.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Trees {
    branches: Vec<Branch>,
    /// For each slot a bit for each queue that it is in, and [`UNTOLD`].
    marks: Vec<u32>,
    /// The branches that have something to do.
    busy: u32,
    /// The version of the roster that the branches were chosen for.
    roster: Option<u32>,
    /// When to try again whoever is passed over.
    review_at: Option<Instant>,
    /// Round trips to partners of late, whichever.
    usual: RttBound,
    /// Updates that came with a gap before them, and are passed on once it is filled.
    pub(crate) gaps: Gaps,
}

impl Trees {
    /// Chooses the branches anew if others are live than when they were chosen, or it is time to
    /// try again who was silent.
    pub(super) fn adapt<A: Address>(&mut self, table: &Membership<A>, me: Slot, now: Instant) {
        let due = self.review_at.is_some_and(|at| at <= now);
        if self.roster == Some(table.roster_version()) && !due {
            return;
        }
        self.roster = Some(table.roster_version());
        self.review_at = None;
        // The least that reach everybody: log2 of the members, rounded up.
        let wanted = (table.live().saturating_sub(1).checked_ilog2().map_or(0, |log| log + 1)
            as usize)
            .min(BRANCHES);
        while self.branches.len() < wanted {
            self.branches.push(Branch::new(table.id_hash(me)));
        }
        while self.branches.len() > wanted {
            let Some(mut gone) = self.branches.pop() else { break };
            let index = self.branches.len();
            gone.requeue(&mut self.marks, index);
            self.busy &= !(1 << index);
            for update in gone.queue {
                self.unmark(update.owner, index);
                if let Some(last) = index.checked_sub(1) {
                    self.put(last, update, 0, false);
                }
            }
        }
        for index in 0..wanted {
            self.choose(index, table, me, now);
        }
    }

    /// Chooses the partner of a branch, and its arc.
    fn choose<A: Address>(&mut self, index: usize, table: &Membership<A>, me: Slot, now: Instant) {
        let (live, from) = (table.live() as usize, table.live_rank(me));
        let Some(branch) = self.branches.get_mut(index) else { return };
        if branch.passed_until <= now {
            branch.passed_over = 0;
        } else {
            let at = branch.passed_until;
            self.review_at = Some(self.review_at.map_or(at, |other| other.min(at)));
        }
        let (begin, end) = (1_usize << index, (2_usize << index).min(live));
        let at = |places: usize| table.at_live_rank((from + places) % live.max(1));
        let mine = table.id_hash(me);
        branch.distance =
            at(begin).map_or(Furthest::ALL, |slot| Furthest::between(mine, table.id_hash(slot)));
        branch.end = at(end).map_or(mine, |slot| table.id_hash(slot));
        let mut candidates = (begin + branch.passed_over..end).filter_map(at);
        let partner = candidates.find(|&slot| table.address(slot).is_some());
        if partner != branch.partner {
            branch.requeue(&mut self.marks, index);
            (branch.partner, branch.tries, branch.not_before) = (partner, 0, now);
        }
        self.rest(index);
    }

    /// Queues an update that takes about `len` bytes for all members within reach, before all else
    /// if it is urgent. On how many branches another update of the same owner was still waiting.
    pub(crate) fn spread(
        &mut self,
        update: Update,
        len: usize,
        urgent: bool,
        furthest: Furthest,
    ) -> u32 {
        let mut merged = 0;
        for index in 0..self.branches.len() {
            if self.branches[index].distance >= furthest && furthest != Furthest::ALL {
                break;
            }
            merged += u32::from(self.put(index, update, len, urgent));
        }
        merged
    }

    fn put(&mut self, index: usize, update: Update, len: usize, urgent: bool) -> bool {
        self.make_room(update.owner);
        let Some(branch) = self.branches.get_mut(index) else { return false };
        let mark = &mut self.marks[update.owner.index()];
        if branch.queue.capacity() == 0 {
            branch.queue.reserve(QUEUE);
            branch.flight.reserve(QUEUE);
        }
        branch.bytes += len;
        self.busy |= 1 << index;
        let waits = *mark & (1 << index) != 0;
        *mark |= 1 << index;
        if urgent {
            branch.urgent = true;
            // It takes the one that waits along.
            let waiting = branch.queue.iter().position(|other| other.owner == update.owner);
            let first = waiting.and_then(|at| branch.queue.remove(at));
            if first.is_some() || !waits {
                branch.queue.push_front(first.unwrap_or(update));
            }
        } else if !waits {
            branch.queue.push_back(update);
        }
        waits
    }

    fn make_room(&mut self, slot: Slot) {
        while self.marks.len() <= slot.index() {
            grow(&mut self.marks);
            self.marks.push(0);
        }
    }

    /// News of this owner came by other ways than a tree.
    pub(crate) fn mark_learned_by_anti_entropy(&mut self, owner: Slot) {
        self.make_room(owner);
        self.marks[owner.index()] |= BY_ANTI_ENTROPY;
    }

    /// Whether what a tree brings is to be passed on though it is known. Asked once.
    pub(crate) fn take_learned_by_anti_entropy(&mut self, owner: Slot) -> bool {
        let mark = self.marks.get_mut(owner.index());
        mark.is_some_and(|mark| {
            core::mem::replace(mark, *mark & !BY_ANTI_ENTROPY) & BY_ANTI_ENTROPY != 0
        })
    }

    fn unmark(&mut self, owner: Slot, index: usize) {
        if let Some(mark) = self.marks.get_mut(owner.index()) {
            *mark &= !(1 << index);
        }
    }

    /// When there is something to do next.
    pub(crate) fn deadline(&self, room: usize, ready_at: Instant) -> Option<Instant> {
        if self.busy == 0 {
            return None;
        }
        self.branches.iter().filter_map(|branch| branch.due_at(room, ready_at)).min()
    }

    /// A branch that is due for a flight, to whom, and of how many datagrams of `room` bytes. The
    /// next one is begun `pause` later, or sooner if there is enough to fill a datagram. Nothing
    /// but what is urgent departs before `ready_at`.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        room: usize,
        pause: Duration,
        ready_at: Instant,
    ) -> Option<(usize, Slot, usize)> {
        if self.busy == 0 {
            return None;
        }
        for (index, branch) in self.branches.iter_mut().enumerate() {
            let Some(partner) = branch.partner.filter(|_| branch.in_flight.is_empty()) else {
                continue;
            };
            if branch.due_at(room, ready_at).is_some_and(|due| due <= now) {
                branch.not_before = now + pause;
                branch.unsent = branch.bytes.div_ceil(room.max(1)).clamp(1, FLIGHT);
                (branch.more, branch.urgent) = (false, false);
                return Some((index, partner, branch.unsent));
            }
        }
        None
    }

    /// A datagram of a branch's flight cannot be sent, or nothing is left for it.
    pub(crate) fn cancel(&mut self, index: usize) {
        if let Some(branch) = self.branches.get_mut(index) {
            branch.unsent = branch.unsent.saturating_sub(1);
            // What is left waits for the next flight.
            (branch.bytes, branch.more) = (0, false);
        }
        self.rest(index);
    }

    /// Where the arc of a branch ends, if a datagram of its flight to this member is to be encoded.
    pub(crate) fn accepts(&self, index: usize, to: Option<Slot>) -> Option<IdHash> {
        let branch = self.branches.get(index)?;
        (branch.unsent > 0 && branch.partner == to).then_some(branch.end)
    }

    /// Whether nothing waits and nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.busy == 0
    }

    /// The next update of a branch.
    pub(crate) fn next(&self, index: usize) -> Option<Update> {
        self.branches.get(index)?.queue.front().copied()
    }

    /// The next update of a branch has nothing to say any more.
    pub(crate) fn skip(&mut self, index: usize) {
        if let Some(update) =
            self.branches.get_mut(index).and_then(|branch| branch.queue.pop_front())
        {
            self.unmark(update.owner, index);
            self.rest(index);
        }
    }

    /// The next update of a branch is in the datagram, up to a version if not all of it was.
    pub(crate) fn include(&mut self, index: usize, up_to: Option<u64>) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        let Some(update) = branch.queue.pop_front() else { return };
        branch.flight.push_back(update);
        match up_to {
            Some(since) => branch.rest.push_back(Update { since, ..update }),
            None => self.unmark(update.owner, index),
        }
    }

    /// The datagram is complete.
    pub(crate) fn sent(
        &mut self,
        index: usize,
        number: RequestId,
        len: usize,
        sent_at: Instant,
        deadline: Instant,
    ) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        let before: usize =
            branch.in_flight.iter().map(|datagram| usize::from(datagram.updates)).sum();
        branch.deadline = deadline;
        branch.unsent = branch.unsent.saturating_sub(1);
        branch.bytes = branch.bytes.saturating_sub(len);
        // A flight has no more datagrams than there is room for.
        let _ = branch.in_flight.try_push(InFlight {
            number,
            // A datagram has less than 2^16 bytes.
            updates: u16::try_from(branch.flight.len() - before).unwrap_or(u16::MAX),
            len: u16::try_from(len).unwrap_or(u16::MAX),
            arrived: false,
            sent_at,
        });
        branch.more = branch.in_flight.is_full() && !branch.queue.is_empty();
        self.rest(index);
    }

    /// An acknowledgement took so long.
    pub(crate) fn add_rtt_sample(&mut self, took: Duration) {
        self.usual.add_sample(took);
    }

    /// How long they usually take.
    pub(crate) fn usual_round_trip(&self) -> Option<Duration> {
        self.usual.longest()
    }

    /// How often the flight of a branch was sent before.
    pub(crate) fn tries(&self, index: usize) -> u8 {
        self.branches.get(index).map_or(0, |branch| branch.tries)
    }

    /// A datagram has arrived: when it was sent. `None` if none of this number is under way to this
    /// partner.
    pub(crate) fn arrived(&mut self, from: Slot, number: RequestId) -> Option<Instant> {
        for (index, branch) in self.branches.iter_mut().enumerate() {
            let datagram = branch.in_flight.iter_mut().find(|datagram| datagram.number == number);
            if let Some(datagram) = datagram.filter(|_| branch.partner == Some(from)) {
                datagram.arrived = true;
                let sent_at = datagram.sent_at;
                if branch.in_flight.iter().all(|datagram| datagram.arrived) {
                    branch.in_flight.clear();
                    branch.flight.clear();
                    branch.tries = 0;
                    branch.more |= !branch.rest.is_empty();
                    branch.take_rest();
                    self.rest(index);
                }
                return Some(sent_at);
            }
        }
        None
    }

    /// A flight that was not acknowledged in time: what was lost is queued again. The number of
    /// datagrams lost.
    pub(crate) fn give_up<A: Address>(
        &mut self,
        table: &Membership<A>,
        me: Slot,
        now: Instant,
        pass_over_for: Duration,
    ) -> Option<usize> {
        if self.busy == 0 {
            return None;
        }
        let late = |branch: &Branch| !branch.in_flight.is_empty() && branch.deadline <= now;
        let (index, branch) =
            self.branches.iter_mut().enumerate().find(|(_, branch)| late(branch))?;
        let lost = branch.in_flight.iter().filter(|datagram| !datagram.arrived).count();
        // One that answers at all is there.
        branch.tries = if lost < branch.in_flight.len() { 1 } else { branch.tries + 1 };
        branch.requeue(&mut self.marks, index);
        branch.not_before = now;
        if branch.tries >= TRIES {
            // With those before it, who have no address.
            let (live, from) = (table.live() as usize, table.live_rank(me));
            let place = branch
                .partner
                .map_or(0, |slot| (table.live_rank(slot) + live - from) % live.max(1));
            let passed_over = (place + 1).saturating_sub(1 << index);
            branch.passed_over = passed_over.max(branch.passed_over + 1);
            branch.passed_until = now + pass_over_for;
            self.choose(index, table, me, now);
        }
        self.rest(index);
        Some(lost)
    }

    /// `owner` leaves the table, or begins a new life.
    pub(crate) fn forget(&mut self, owner: Slot) {
        self.gaps.forget(owner);
        for index in 0..self.branches.len() {
            let branch = &mut self.branches[index];
            branch.queue.retain(|update| update.owner != owner);
            branch.rest.retain(|update| update.owner != owner);
            let mut at = 0;
            for datagram in &mut branch.in_flight {
                let updates = branch.flight.iter().skip(at).take(datagram.updates.into());
                let gone = updates.filter(|update| update.owner == owner).count();
                at += usize::from(datagram.updates);
                datagram.updates -= u16::try_from(gone).unwrap_or(datagram.updates);
            }
            branch.flight.retain(|update| update.owner != owner);
            if branch.partner == Some(owner) {
                branch.partner = None;
            }
            self.rest(index);
        }
        if let Some(mark) = self.marks.get_mut(owner.index()) {
            *mark = 0;
        }
        // A partner that is gone is replaced before anything else is done.
        self.roster = None;
    }

    /// What the branch has to do may have changed.
    fn rest(&mut self, index: usize) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        if branch.is_idle() {
            branch.bytes = 0;
        }
        if branch.is_idle() && branch.in_flight.is_empty() {
            self.busy &= !(1 << index);
        } else {
            self.busy |= 1 << index;
        }
    }

    /// Whether marks and queues agree.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.branches.len() > BRANCHES || self.busy >> self.branches.len() != 0 {
            return Err("a branch is beyond the last");
        }
        for (index, branch) in self.branches.iter().enumerate() {
            let marked = self.marks.iter().filter(|&&mark| mark & (1 << index) != 0).count();
            let mark = |update: &Update| self.marks.get(update.owner.index()).copied().unwrap_or(0);
            let mut waiting = branch.queue.iter().chain(&branch.rest);
            if marked != branch.queue.len() + branch.rest.len()
                || !waiting.all(|update| mark(update) & (1 << index) != 0)
            {
                return Err("a branch's queue is not what is marked as queued");
            }
            let in_flight: usize =
                branch.in_flight.iter().map(|datagram| usize::from(datagram.updates)).sum();
            if in_flight != branch.flight.len() {
                return Err("a flight's in_flight do not carry its updates");
            }
            if branch.unsent > FLIGHT || branch.tries > TRIES || branch.passed_over > 1 << BRANCHES
            {
                return Err("a branch has more datagrams or tries than there may be");
            }
            let idle = branch.is_idle() && branch.in_flight.is_empty();
            if idle == (self.busy & (1 << index) != 0) {
                return Err("a branch with something to do is not known to be busy");
            }
        }
        Ok(())
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let held = |branch: &Branch| {
            let updates =
                branch.queue.capacity() + branch.rest.capacity() + branch.flight.capacity();
            updates * size_of::<Update>()
        };
        self.branches.capacity() * size_of::<Branch>()
            + self.branches.iter().map(held).sum::<usize>()
            + self.marks.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests;
