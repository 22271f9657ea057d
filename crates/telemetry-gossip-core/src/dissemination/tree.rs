//! How telemetry spreads: the updates of each owner travel along a tree over the live members, so
//! that each member gets each update once.
//!
//! The members form a circle in the order of their id hashes, the roster. A node passes an update
//! on to an *arc*: the members that follow the node, up to some end. It splits the arc: the members
//! 1, 2, 4, 8 and so on places on each get the update once, and with it the arc up to the next of
//! them.
//!
//! ```text
//!   owner   +1    +2    +3    +4    +5    +6    +7    +8 ...
//!     |------>     |           |                       |        branch 0: an arc of 1
//!     |------------>----->     |                       |        branch 1: an arc of 2;
//!     |                        |                       |           +2 passes on to +3
//!     |------------------------>----->                 |        branch 2: an arc of 4;
//!     |------------------------>----------->----->     |           +4 to +5 and +6, +6 to +7
//!     |------------------------------------------------> ...    branch 3
//! ```
//!
//! This is a binomial tree with every owner at its own root. An update takes at most log2 n steps,
//! and half of that on average. A node has the same log2 n partners for all owners, so updates of
//! different owners travel together, and where all members publish all the time, all carry the same
//! load. The end of the arc travels along, so nodes with different rosters still split exactly the
//! arc that they were given. Some members then get an update twice, which they notice and do not
//! pass on, and a member that the sender does not know may be left out.
//!
//! A branch has one *flight* at a time: a few datagrams, each acknowledged. The updates of lost
//! datagrams go back into the queue. Updates wait during a flight, and two of the same owner become
//! one, so slow branches thin out by themselves. A partner that stays silent is passed over for its
//! successor. Anti-entropy finds updates that are left out after all, by comparing fingerprints.
//!
//! Claims do not travel along trees, because trees break where membership is in flux, and rumors do
//! not. Time-outs and encoding are not decided here, but in `flight`.

mod arcs;
mod check;
mod circle;
mod late;

use alloc::vec::Vec;
use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::branch::{Branch, Furthest, InFlight, MAX_DATAGRAMS_PER_FLIGHT, Update};
use super::gaps::Gaps;
use super::long_lost::GivenUp;
use crate::address::Address;
use crate::bounded::list;
use crate::id::{IdHash, RequestId};
use crate::membership::rtt::RttBound;
use crate::membership::{Membership, Slot, grow};
use crate::outbox::MAX_FLIGHT_DATAGRAMS;
use crate::time::Instant;
use circle::Circle;
use late::Late;

/// The number of updates for which a branch makes room with its first.
const QUEUE_CAPACITY: usize = 32;

/// The largest number of branches: enough for 2^31 members.
pub(crate) const MAX_BRANCHES: usize = 31;

const _: () = assert!(
    MAX_DATAGRAMS_PER_FLIGHT * MAX_BRANCHES == MAX_FLIGHT_DATAGRAMS,
    "the outbox must have room for full flights of all branches"
);

/// Marks an owner whose latest update was learned by anti-entropy. When a tree brings the same
/// update later, it is passed on although this node knows it.
const BY_ANTI_ENTROPY: u32 = 1 << MAX_BRANCHES;

/// The branches of one node.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Trees {
    #[serde(deserialize_with = "list::<_, _, _, MAX_BRANCHES>")]
    branches: Vec<Branch>,
    /// Per slot, one bit per branch in whose queue the owner is, and [`BY_ANTI_ENTROPY`].
    marks: Vec<u32>,
    /// One bit per branch that has updates waiting or under way.
    busy: u32,
    /// The version of the roster for which the branches were chosen.
    roster: Option<u32>,
    /// When the next silent partner that was passed over is tried again.
    review_at: Option<Instant>,
    /// The longest recent round trip to any partner.
    usual: RttBound,
    /// The datagrams that were given up last, and may be acknowledged late.
    pub(super) late: Late,
    /// Updates that arrived with a gap before them, to be passed on once the gap is filled.
    pub(crate) gaps: Gaps,
    /// One bit per branch whose flight began while this node's own telemetry had to wait for the
    /// budget. It matters until the flight is encoded, and a snapshot is taken later than that.
    #[serde(skip)]
    own_waits: u32,
}

impl Trees {
    /// Chooses the branches anew if the live members have changed, or it is time to try a silent
    /// partner again.
    pub(super) fn adapt<A: Address>(&mut self, table: &Membership<A>, me: Slot, now: Instant) {
        let due = self.review_at.is_some_and(|at| at <= now);
        if self.roster == Some(table.roster_version()) && !due {
            return;
        }
        self.roster = Some(table.roster_version());
        self.review_at = None;
        let circle = Circle::new(table, me);
        // Branch i reaches the members from 2^i places on, so log2 of the members, rounded up, is
        // the smallest number of branches that reaches all of them.
        let others = circle.others();
        let wanted = (others.checked_ilog2().map_or(0, |log| log + 1) as usize).min(MAX_BRANCHES);
        while self.branches.len() < wanted {
            self.branches.push(Branch::new(table.id_hash(me)));
        }
        // Fewer members need fewer branches. The updates of a branch that goes must still reach the
        // members left in its arc, which now belong to the last branch: hand them over to it.
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
        let mine = table.id_hash(me);
        let ends: ArrayVec<Furthest, MAX_BRANCHES> =
            self.branches.iter().map(|branch| Furthest::between(mine, branch.end)).collect();
        for index in 0..wanted {
            self.choose(index, &circle, now);
        }
        self.cover_unverified(&circle);
        for (index, end) in ends.into_iter().enumerate() {
            self.hand_on(index, end);
        }
    }

    /// Queues an update of about `len` bytes on all branches whose arcs begin before `furthest`, in
    /// front of all others if it is urgent. Returns on how many branches an update of the same
    /// owner was still waiting.
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

    /// Queues an update on one branch; true if an update of the same owner was waiting there.
    fn put(&mut self, index: usize, update: Update, len: usize, urgent: bool) -> bool {
        self.make_room(update.owner);
        let Some(branch) = self.branches.get_mut(index) else { return false };
        let mark = &mut self.marks[update.owner.index()];
        if branch.queue.capacity() == 0 {
            branch.queue.reserve(QUEUE_CAPACITY);
            branch.flight.reserve(QUEUE_CAPACITY);
        }
        branch.bytes += len;
        self.busy |= 1 << index;
        let waits = *mark & (1 << index) != 0;
        *mark |= 1 << index;
        if urgent {
            branch.urgent = true;
            // An update of the owner that waits already begins at an earlier version: move it to
            // the front instead, so that no entries are left out.
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

    /// Remembers that an update of `owner` was learned by anti-entropy, not from a tree.
    pub(crate) fn mark_learned_by_anti_entropy(&mut self, owner: Slot) {
        self.make_room(owner);
        self.marks[owner.index()] |= BY_ANTI_ENTROPY;
    }

    /// Whether an update of `owner` that a tree brings is to be passed on even if it is known. True
    /// once per [`mark_learned_by_anti_entropy`](Self::mark_learned_by_anti_entropy).
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

    /// When a branch has something to do next. The updates of `me` wait until `ready_at`.
    pub(crate) fn deadline(&self, room: usize, ready_at: Instant, me: Slot) -> Option<Instant> {
        if self.busy == 0 {
            return None;
        }
        let own = self.own_bits(me);
        let branches = self.branches.iter().enumerate();
        let due =
            |(at, branch): (_, &Branch)| branch.due_at(room, ready_at, branch.relays(own, at));
        branches.filter_map(due).min()
    }

    /// One bit per branch on which an update of this node itself waits.
    fn own_bits(&self, me: Slot) -> u32 {
        self.marks.get(me.index()).copied().unwrap_or(0)
    }

    /// Begins a flight on a branch that is due. Returns the branch, its partner, and the number of
    /// datagrams of `room` bytes to encode.
    ///
    /// The next flight of the branch begins `pause` later, or sooner if its updates fill a
    /// datagram. Before `ready_at`, of the updates of `me` only urgent ones are sent.
    pub(crate) fn begin(
        &mut self,
        now: Instant,
        room: usize,
        pause: Duration,
        ready_at: Instant,
        me: Slot,
    ) -> Option<(usize, Slot, usize)> {
        if self.busy == 0 {
            return None;
        }
        let own = self.own_bits(me);
        for (index, branch) in self.branches.iter_mut().enumerate() {
            let Some(partner) = branch.partner.filter(|_| branch.in_flight.is_empty()) else {
                continue;
            };
            let relays = branch.relays(own, index);
            if branch.due_at(room, ready_at, relays).is_some_and(|due| due <= now) {
                let waits = u32::from(ready_at > now) << index;
                self.own_waits = self.own_waits & !(1 << index) | waits;
                branch.not_before = now + pause;
                branch.unsent =
                    branch.bytes.div_ceil(room.max(1)).clamp(1, MAX_DATAGRAMS_PER_FLIGHT);
                (branch.more, branch.urgent) = (false, false);
                return Some((index, partner, branch.unsent));
            }
        }
        None
    }

    /// Cancels one datagram of a flight that cannot be sent, or for which no update is left.
    pub(crate) fn cancel(&mut self, index: usize) {
        if let Some(branch) = self.branches.get_mut(index) {
            branch.unsent = branch.unsent.saturating_sub(1);
            // The updates that are left wait for the next flight.
            (branch.bytes, branch.more) = (0, false);
        }
        self.update_busy(index);
    }

    /// The end of a branch's arc, if a datagram of its flight to this member is still to be
    /// encoded.
    pub(crate) fn accepts(&self, index: usize, to: Option<Slot>) -> Option<IdHash> {
        let branch = self.branches.get(index)?;
        (branch.unsent > 0 && branch.partner == to).then_some(branch.end)
    }

    /// Whether no update waits or is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.busy == 0
    }

    /// The first update in the queue of a branch.
    pub(crate) fn next(&self, index: usize) -> Option<Update> {
        self.branches.get(index)?.queue.front().copied()
    }

    /// Whether the flight of a branch must leave out what this node itself publishes.
    pub(crate) fn own_waits(&self, index: usize) -> bool {
        self.own_waits & (1 << index) != 0
    }

    /// Moves the first update in the queue of a branch behind the others; false if it is the only
    /// one.
    pub(crate) fn defer(&mut self, index: usize) -> bool {
        let Some(branch) = self.branches.get_mut(index) else { return false };
        branch.queue.rotate_left(usize::from(!branch.queue.is_empty()));
        branch.queue.len() > 1
    }

    /// Drops the first update in the queue of a branch: there is nothing to send of it any more.
    pub(crate) fn skip(&mut self, index: usize) {
        if let Some(update) =
            self.branches.get_mut(index).and_then(|branch| branch.queue.pop_front())
        {
            self.unmark(update.owner, index);
            self.update_busy(index);
        }
    }

    /// Moves the first update from the queue to the flight: it is in the datagram, wholly or up to
    /// a version.
    pub(crate) fn include(&mut self, index: usize, up_to: Option<u64>) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        let Some(update) = branch.queue.pop_front() else { return };
        branch.flight.push_back(update);
        match up_to {
            Some(since) => branch.rest.push_back(Update { since, ..update }),
            None => self.unmark(update.owner, index),
        }
    }

    /// Records that a datagram of the flight is complete: it carries the updates included since the
    /// last one.
    pub(crate) fn sent(
        &mut self,
        index: usize,
        request_id: RequestId,
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
        // `unsent` was at most the capacity, so there is room.
        let _ = branch.in_flight.try_push(InFlight {
            request_id,
            // A datagram has less than 2^16 bytes.
            updates: u16::try_from(branch.flight.len() - before).unwrap_or(u16::MAX),
            len: u16::try_from(len).unwrap_or(u16::MAX),
            arrived: false,
            sent_at,
        });
        branch.more = branch.in_flight.is_full() && !branch.queue.is_empty();
        self.update_busy(index);
    }

    /// Adds the time that an acknowledgement took.
    pub(crate) fn add_rtt_sample(&mut self, took: Duration) {
        self.usual.add_sample(took);
    }

    /// How often the flight of a branch was given up before.
    pub(crate) fn tries(&self, index: usize) -> u8 {
        self.branches.get(index).map_or(0, |branch| branch.tries)
    }

    /// Handles the acknowledgement of a datagram, and returns the partner, when that was sent, and
    /// the bytes of its updates; `None` if no such datagram is under way.
    pub(crate) fn arrived(&mut self, request_id: RequestId) -> Option<(Slot, Instant, u16)> {
        for (index, branch) in self.branches.iter_mut().enumerate() {
            let datagram =
                branch.in_flight.iter_mut().find(|datagram| datagram.request_id == request_id);
            if let Some((datagram, partner)) = datagram.zip(branch.partner) {
                datagram.arrived = true;
                let (sent_at, len) = (datagram.sent_at, datagram.len);
                branch.longest_acked = branch.longest_acked.max(len);
                if branch.passed_over == 0 {
                    branch.forgive();
                }
                if branch.in_flight.iter().all(|datagram| datagram.arrived) {
                    branch.in_flight.clear();
                    branch.flight.clear();
                    branch.tries = 0;
                    branch.more |= !branch.rest.is_empty();
                    branch.take_rest();
                    self.update_busy(index);
                }
                return Some((partner, sent_at, len));
            }
        }
        None
    }

    /// Gives up one flight that was not acknowledged in time, and queues its lost updates again.
    /// Returns what was lost.
    ///
    /// After some flights without any acknowledgement, the partner is passed over, for
    /// `pass_over_for` at first.
    pub(super) fn give_up<A: Address>(
        &mut self,
        table: &Membership<A>,
        me: Slot,
        now: Instant,
        pass_over_for: Duration,
    ) -> Option<GivenUp> {
        if self.busy == 0 {
            return None;
        }
        let late = |branch: &Branch| !branch.in_flight.is_empty() && branch.deadline <= now;
        let (index, branch) =
            self.branches.iter_mut().enumerate().find(|(_, branch)| late(branch))?;
        let lost = branch.in_flight.iter().filter(|datagram| !datagram.arrived);
        let given_up = GivenUp {
            lost: lost.clone().count(),
            partner: branch.partner,
            shortest_lost: lost.map(|datagram| datagram.len).min().unwrap_or(0),
            longest_acked: branch.longest_acked,
        };
        let lost = given_up.lost;
        self.late.given_up(branch);
        // A partner that acknowledged any datagram is running.
        branch.tries = if lost < branch.in_flight.len() { 1 } else { branch.tries + 1 };
        branch.requeue(&mut self.marks, index);
        branch.not_before = now;
        let circle = Circle::new(table, me);
        let place = branch.partner.map_or(0, |slot| circle.places_to(slot));
        let before = place.saturating_sub(1 << index);
        if branch.tries >= branch.most_tries(before) {
            // Pass over the partner together with the members before it, which cannot be partners.
            branch.pass_over(before + 1, pass_over_for, now);
            self.choose(index, &circle, now);
            self.cover_unverified(&circle);
            self.drop_unwanted(index);
        }
        self.update_busy(index);
        Some(given_up)
    }

    /// Forgets all updates of `owner`, which leaves the table or has begun a new instance.
    pub(crate) fn forget(&mut self, owner: Slot) {
        self.gaps.forget(owner);
        self.late.forget(owner);
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
            self.update_busy(index);
        }
        if let Some(mark) = self.marks.get_mut(owner.index()) {
            *mark = 0;
        }
        // Makes the next `adapt` replace a partner that is gone.
        self.roster = None;
    }

    /// Sets the busy bit of a branch to whether updates wait or are under way.
    fn update_busy(&mut self, index: usize) {
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

    pub(crate) fn heap_bytes(&self) -> usize {
        self.branches.capacity() * size_of::<Branch>()
            + self.branches.iter().map(Branch::heap_bytes).sum::<usize>()
            + self.marks.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests;
