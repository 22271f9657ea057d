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

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::id::{IdHash, RequestId};
use crate::membership::{Membership, Slot, grow};
use crate::probe::RoundTrip;
use crate::time::Instant;

/// The most datagrams in one flight.
const FLIGHT: usize = 8;

/// How often a flight is sent before the partner is passed over: at 5 % loss each way one in a
/// million is, for nothing.
const TRIES: u8 = 6;

/// How many updates with a gap before them are kept in mind.
const GAPS: usize = 16;

/// Room for so many updates is made where one comes.
const QUEUE: usize = 32;

/// More branches than any table has members for.
pub(crate) const BRANCHES: usize = 31;

/// The most datagrams on their way out at once.
pub(crate) const MOST_DATAGRAMS: usize = FLIGHT * BRANCHES;

/// Marks an update that did not come by a tree: it is passed on when the tree brings it, though it
/// is no news by then.
const UNTOLD: u32 = 1 << BRANCHES;

/// How far an arc goes: places on the circle of id hashes, from this node on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Reach(u32);

impl Reach {
    /// All the way round.
    pub(crate) const ALL: Self = Self(u32::MAX);

    /// From `me` up to `end`, which is not reached itself.
    pub(crate) const fn between(me: IdHash, end: IdHash) -> Self {
        match end.0.wrapping_sub(me.0) {
            0 => Self::ALL,
            distance => Self(distance),
        }
    }
}

/// Somebody's telemetry since a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Update {
    pub(crate) owner: Slot,
    pub(crate) since: u64,
}

/// A datagram under way: how many updates of the flight are in it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Leg {
    number: RequestId,
    updates: u16,
    len: u16,
    arrived: bool,
    sent_at: Instant,
}

#[derive(Debug, Serialize, Deserialize)]
struct Branch {
    /// To whom; `None` if all of the arc have been passed over.
    partner: Option<Slot>,
    /// Where the arc begins.
    distance: Reach,
    /// The first member beyond it.
    end: IdHash,
    queue: VecDeque<Update>,
    /// What the queue takes on the wire, about.
    bytes: usize,
    /// Something urgent waits, first in the queue.
    urgent: bool,
    /// There was more than the last flight took: the next one need not wait.
    more: bool,
    /// What is left of updates that the flight took a part of: parts must not overtake each other.
    rest: VecDeque<Update>,
    /// The updates of the flight, in the order of its legs.
    flight: VecDeque<Update>,
    legs: ArrayVec<Leg, FLIGHT>,
    /// Datagrams of the flight that are still to be encoded.
    boarding: usize,
    /// No flight begins sooner.
    not_before: Instant,
    /// When the flight is given up.
    deadline: Instant,
    tries: u8,
    /// How many members at the beginning of the arc are passed over, and until when.
    passed_over: usize,
    passed_until: Instant,
}

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
    usual: RoundTrip,
    /// Updates that came with a gap before them, and are passed on once it is filled.
    gaps: ArrayVec<Gap, GAPS>,
}

/// An update that came with a gap before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    owner: Slot,
    reach: Reach,
    /// When what is missing was asked for last.
    asked: Option<Instant>,
}

impl Trees {
    /// Chooses the branches anew if others are live than when they were chosen, or it is time to
    /// try again who was silent.
    pub(crate) fn adapt<A: Address>(&mut self, table: &Membership<A>, me: Slot, now: Instant) {
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
            gone.land(&mut self.marks, index);
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
            at(begin).map_or(Reach::ALL, |slot| Reach::between(mine, table.id_hash(slot)));
        branch.end = at(end).map_or(mine, |slot| table.id_hash(slot));
        let mut candidates = (begin + branch.passed_over..end).filter_map(at);
        let partner = candidates.find(|&slot| table.address(slot).is_some());
        if partner != branch.partner {
            branch.land(&mut self.marks, index);
            (branch.partner, branch.tries, branch.not_before) = (partner, 0, now);
        }
        self.rest(index);
    }

    /// Queues an update that takes about `len` bytes for all members within reach, before all else
    /// if it is urgent. On how many branches another update of the same owner was still waiting.
    pub(crate) fn spread(&mut self, update: Update, len: usize, urgent: bool, reach: Reach) -> u32 {
        let mut merged = 0;
        for index in 0..self.branches.len() {
            if self.branches[index].distance >= reach && reach != Reach::ALL {
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
    pub(crate) fn note_untold(&mut self, owner: Slot) {
        self.make_room(owner);
        self.marks[owner.index()] |= UNTOLD;
    }

    /// Whether what a tree brings is to be passed on though it is known. Asked once.
    pub(crate) fn take_untold(&mut self, owner: Slot) -> bool {
        let mark = self.marks.get_mut(owner.index());
        mark.is_some_and(|mark| core::mem::replace(mark, *mark & !UNTOLD) & UNTOLD != 0)
    }

    fn unmark(&mut self, owner: Slot, index: usize) {
        if let Some(mark) = self.marks.get_mut(owner.index()) {
            *mark &= !(1 << index);
        }
    }

    /// An update could not be taken in: it is passed on later. Whether what is missing is to be
    /// asked for now, which may get lost and is asked again after `pause`; not if there is no
    /// `room` for the question.
    pub(crate) fn note_gap(
        &mut self,
        owner: Slot,
        reach: Reach,
        now: Instant,
        pause: Duration,
        room: bool,
    ) -> bool {
        let at = self.gaps.iter().position(|gap| gap.owner == owner).unwrap_or(self.gaps.len());
        if at == self.gaps.len() && self.gaps.try_push(Gap { owner, reach, asked: None }).is_err() {
            // What is not kept in mind is found by its fingerprint.
            return false;
        }
        let gap = &mut self.gaps[at];
        gap.reach = gap.reach.max(reach);
        let ask = room && gap.asked.is_none_or(|asked| now.since(asked) >= pause);
        if ask {
            gap.asked = Some(now);
        }
        ask
    }

    /// What came fills a gap: so far it is passed on.
    pub(crate) fn fill_gap(&mut self, owner: Slot) -> Option<Reach> {
        let at = self.gaps.iter().position(|gap| gap.owner == owner)?;
        Some(self.gaps.swap_remove(at).reach)
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
    pub(crate) fn depart(
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
            let Some(partner) = branch.partner.filter(|_| branch.legs.is_empty()) else { continue };
            if branch.due_at(room, ready_at).is_some_and(|due| due <= now) {
                branch.not_before = now + pause;
                branch.boarding = branch.bytes.div_ceil(room.max(1)).clamp(1, FLIGHT);
                (branch.more, branch.urgent) = (false, false);
                return Some((index, partner, branch.boarding));
            }
        }
        None
    }

    /// A datagram of a branch's flight cannot be sent, or nothing is left for it.
    pub(crate) fn cancel(&mut self, index: usize) {
        if let Some(branch) = self.branches.get_mut(index) {
            branch.boarding = branch.boarding.saturating_sub(1);
            // What is left waits for the next flight.
            (branch.bytes, branch.more) = (0, false);
        }
        self.rest(index);
    }

    /// Where the arc of a branch ends, if a datagram of its flight to this member is to be encoded.
    pub(crate) fn boards(&self, index: usize, to: Option<Slot>) -> Option<IdHash> {
        let branch = self.branches.get(index)?;
        (branch.boarding > 0 && branch.partner == to).then_some(branch.end)
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
    pub(crate) fn board(&mut self, index: usize, up_to: Option<u64>) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        let Some(update) = branch.queue.pop_front() else { return };
        branch.flight.push_back(update);
        match up_to {
            Some(since) => branch.rest.push_back(Update { since, ..update }),
            None => self.unmark(update.owner, index),
        }
    }

    /// The datagram is complete.
    pub(crate) fn launch(
        &mut self,
        index: usize,
        number: RequestId,
        len: usize,
        sent_at: Instant,
        deadline: Instant,
    ) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        let before: usize = branch.legs.iter().map(|leg| usize::from(leg.updates)).sum();
        branch.deadline = deadline;
        branch.boarding = branch.boarding.saturating_sub(1);
        branch.bytes = branch.bytes.saturating_sub(len);
        // A flight has no more datagrams than there is room for.
        let _ = branch.legs.try_push(Leg {
            number,
            // A datagram has less than 2^16 bytes.
            updates: u16::try_from(branch.flight.len() - before).unwrap_or(u16::MAX),
            len: u16::try_from(len).unwrap_or(u16::MAX),
            arrived: false,
            sent_at,
        });
        branch.more = branch.legs.is_full() && !branch.queue.is_empty();
        self.rest(index);
    }

    /// An acknowledgement took so long.
    pub(crate) fn note_round_trip(&mut self, took: Duration) {
        self.usual.note(took);
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
            let leg = branch.legs.iter_mut().find(|leg| leg.number == number);
            if let Some(leg) = leg.filter(|_| branch.partner == Some(from)) {
                leg.arrived = true;
                let sent_at = leg.sent_at;
                if branch.legs.iter().all(|leg| leg.arrived) {
                    branch.legs.clear();
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
        let late = |branch: &Branch| !branch.legs.is_empty() && branch.deadline <= now;
        let (index, branch) =
            self.branches.iter_mut().enumerate().find(|(_, branch)| late(branch))?;
        let lost = branch.legs.iter().filter(|leg| !leg.arrived).count();
        // One that answers at all is there.
        branch.tries = if lost < branch.legs.len() { 1 } else { branch.tries + 1 };
        branch.land(&mut self.marks, index);
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
        self.gaps.retain(|gap| gap.owner != owner);
        for index in 0..self.branches.len() {
            let branch = &mut self.branches[index];
            branch.queue.retain(|update| update.owner != owner);
            branch.rest.retain(|update| update.owner != owner);
            let mut at = 0;
            for leg in &mut branch.legs {
                let updates = branch.flight.iter().skip(at).take(leg.updates.into());
                let gone = updates.filter(|update| update.owner == owner).count();
                at += usize::from(leg.updates);
                leg.updates -= u16::try_from(gone).unwrap_or(leg.updates);
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
        if branch.is_idle() && branch.legs.is_empty() {
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
            let legs: usize = branch.legs.iter().map(|leg| usize::from(leg.updates)).sum();
            if legs != branch.flight.len() {
                return Err("a flight's legs do not carry its updates");
            }
            if branch.boarding > FLIGHT
                || branch.tries > TRIES
                || branch.passed_over > 1 << BRANCHES
            {
                return Err("a branch has more datagrams or tries than there may be");
            }
            let idle = branch.is_idle() && branch.legs.is_empty();
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

impl Branch {
    fn new(me: IdHash) -> Self {
        Self {
            partner: None,
            distance: Reach::ALL,
            end: me,
            queue: VecDeque::new(),
            bytes: 0,
            urgent: false,
            more: false,
            rest: VecDeque::new(),
            flight: VecDeque::new(),
            legs: ArrayVec::new(),
            boarding: 0,
            not_before: Instant::ORIGIN,
            deadline: Instant::ORIGIN,
            tries: 0,
            passed_over: 0,
            passed_until: Instant::ORIGIN,
        }
    }

    /// When to do something: give the flight up, or begin one, at once if it fills a datagram of
    /// `room` bytes.
    fn due_at(&self, room: usize, ready_at: Instant) -> Option<Instant> {
        if !self.legs.is_empty() {
            return Some(self.deadline);
        }
        if self.queue.is_empty() || self.boarding > 0 {
            return None;
        }
        match self.partner {
            Some(_) if self.urgent => Some(Instant::ORIGIN),
            Some(_) if self.more || self.bytes >= room => Some(ready_at),
            Some(_) => Some(self.not_before.max(ready_at)),
            None => (self.passed_over > 0).then_some(self.passed_until),
        }
    }

    /// Nothing waits.
    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.rest.is_empty()
    }

    /// What the flight left of its updates is queued again.
    fn take_rest(&mut self) {
        while let Some(update) = self.rest.pop_back() {
            self.queue.push_front(update);
        }
    }

    /// The flight is over: what has not arrived is queued again, before all else.
    fn land(&mut self, marks: &mut [u32], index: usize) {
        self.take_rest();
        let legs = core::mem::take(&mut self.legs);
        for leg in legs.iter().rev() {
            self.bytes += if leg.arrived { 0 } else { leg.len.into() };
            for _ in 0..leg.updates {
                let Some(update) = self.flight.pop_back().filter(|_| !leg.arrived) else {
                    continue;
                };
                let Some(mark) = marks.get_mut(update.owner.index()) else { continue };
                if *mark & (1 << index) == 0 {
                    *mark |= 1 << index;
                    self.queue.push_front(update);
                } else if let Some(newer) =
                    self.queue.iter_mut().find(|other| other.owner == update.owner)
                {
                    newer.since = newer.since.min(update.since);
                }
            }
        }
        self.flight.clear();
        self.boarding = 0;
    }
}

#[cfg(test)]
mod tests;
