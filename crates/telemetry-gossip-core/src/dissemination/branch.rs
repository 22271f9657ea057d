//! One branch of the trees: a partner, the arc of members that it serves, the updates that wait for
//! it, and the flight of datagrams under way to it.
//!
//! ```text
//!   update ---> queue --- encoded, wholly ---> flight --- all datagrams acknowledged ---> done
//!                 ^          |                   |
//!                 |          +- partly -> rest   +--- not in time, or the partner changed
//!                 |                        |     |
//!                 +------------------------+-----+
//! ```
//!
//! A branch knows nothing of the table: `tree` chooses its partner and arc, and `flight` its times.

use alloc::collections::VecDeque;
use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::id::{IdHash, RequestId};
use crate::membership::Slot;
use crate::time::{Instant, TimeRules};

/// How often a flight is sent before its partner is passed over. With 5 % loss each way, that
/// happens to a running partner once in a million flights.
pub(super) const MAX_TRIES: u8 = 6;

/// How often in a row the time doubles for which silent members are passed over: up to a minute
/// where nodes probe every second.
const MAX_PASSES: u8 = 6;

/// The largest number of datagrams per flight.
pub(super) const MAX_DATAGRAMS_PER_FLIGHT: usize = 8;

/// How far an arc reaches: a distance on the circle of id hashes, from this node on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Furthest(u32);

impl Furthest {
    /// The whole circle.
    pub(crate) const ALL: Self = Self(u32::MAX);

    /// The distance from `me` to `end`, which is not itself part of the arc.
    pub(crate) const fn between(me: IdHash, end: IdHash) -> Self {
        match end.0.wrapping_sub(me.0) {
            0 => Self::ALL,
            distance => Self(distance),
        }
    }
}

/// The telemetry of one owner since a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Update {
    pub(crate) owner: Slot,
    pub(crate) since: u64,
}

/// A datagram under way.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct InFlight {
    pub(super) request_id: RequestId,
    /// How many of the flight's updates it carries.
    pub(super) updates: u16,
    /// The bytes of its updates.
    pub(super) len: u16,
    pub(super) arrived: bool,
    pub(super) sent_at: Instant,
}

/// The state of one branch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Branch {
    /// The member that gets the updates; `None` if no member of the arc can, because each was
    /// passed over or has no verified address.
    pub(super) partner: Option<Slot>,
    /// The distance to the beginning of the arc.
    pub(super) distance: Furthest,
    /// The first member beyond the arc.
    pub(super) end: IdHash,
    /// The updates that wait, at most one per owner.
    pub(super) queue: VecDeque<Update>,
    /// About how many bytes the queue takes on the wire.
    pub(super) bytes: usize,
    /// Whether an urgent update waits. It is first in the queue.
    pub(super) urgent: bool,
    /// Whether the last flight left updates over. The next flight then need not wait.
    pub(super) more: bool,
    /// The rests of updates of which the flight carries a part. They wait for the end of the
    /// flight, so that parts do not overtake each other.
    pub(super) rest: VecDeque<Update>,
    /// The updates of the flight, in the order of its datagrams.
    pub(super) flight: VecDeque<Update>,
    pub(super) in_flight: ArrayVec<InFlight, MAX_DATAGRAMS_PER_FLIGHT>,
    /// The number of datagrams of the flight that are still to be encoded.
    pub(super) unsent: usize,
    /// The earliest time at which the next flight begins, unless an update is urgent or a datagram
    /// is full.
    pub(super) not_before: Instant,
    /// When the flight is given up.
    pub(super) deadline: Instant,
    /// How often flights to this partner were given up in a row.
    pub(super) tries: u8,
    /// The bytes of updates in the longest datagram that this partner has acknowledged.
    pub(super) longest_acked: u16,
    /// How many members at the beginning of the arc are passed over, and until when.
    pub(super) passed_over: usize,
    pub(super) passed_until: Instant,
    /// How often in a row members were passed over before the first member of the arc has
    /// acknowledged anything.
    pub(super) passes: u8,
    /// How many members at the beginning of the arc were passed over the time before. They get one
    /// try each.
    pub(super) passed_before: usize,
}

impl Branch {
    pub(super) fn new(me: IdHash) -> Self {
        Self {
            partner: None,
            distance: Furthest::ALL,
            end: me,
            queue: VecDeque::new(),
            bytes: 0,
            urgent: false,
            more: false,
            rest: VecDeque::new(),
            flight: VecDeque::new(),
            in_flight: ArrayVec::new(),
            unsent: 0,
            not_before: Instant::ORIGIN,
            deadline: Instant::ORIGIN,
            tries: 0,
            longest_acked: 0,
            passed_over: 0,
            passed_until: Instant::ORIGIN,
            passes: 0,
            passed_before: 0,
        }
    }

    /// Whether the restored times and sums are such as no running branch outgrows, and the partner
    /// is another member.
    pub(super) fn is_sound(&self, me: Slot, times: TimeRules) -> bool {
        /// More bytes than wait on any branch.
        const MOST_BYTES: usize = usize::MAX / 4;
        let Self {
            partner,
            distance: _,
            end: _,
            queue: _,
            bytes,
            urgent: _,
            more: _,
            rest: _,
            flight: _,
            in_flight,
            unsent: _,
            not_before,
            deadline,
            tries: _,
            longest_acked: _,
            passed_over: _,
            passed_until,
            passes: _,
            passed_before: _,
        } = self;
        let sent = in_flight.iter().all(|datagram| {
            let InFlight { request_id: _, updates: _, len: _, arrived: _, sent_at } = datagram;
            times.is_past(*sent_at)
        });
        sent && *partner != Some(me)
            && *bytes <= MOST_BYTES
            && times.are_deadlines(&[Some(*not_before), Some(*deadline), Some(*passed_until)])
    }

    /// How often a flight is sent to a partner with this many members before it in the arc.
    pub(super) const fn most_tries(&self, before: usize) -> u8 {
        if self.passes > 0 && before < self.passed_before { 1 } else { MAX_TRIES }
    }

    /// Passes over the first members of the arc, which have stayed silent: for `span` at first, and
    /// twice as long each time, as long as the first one stays silent. Members that answer pings
    /// and take no telemetry are silent for ever. One that has acknowledged telemetry before is
    /// tried again as often as the first time.
    pub(super) fn pass_over(&mut self, members: usize, span: Duration, now: Instant) {
        if self.passed_over == 0 && self.longest_acked == 0 {
            self.passes = self.passes.saturating_add(1).min(MAX_PASSES);
        }
        self.passed_over = members.max(self.passed_over + 1);
        let doublings = u32::from(self.passes.saturating_sub(1));
        self.passed_until = now + span.saturating_mul(1 << doublings.min(MAX_PASSES.into()));
    }

    /// Tries the members again that were passed over.
    pub(super) fn review(&mut self) {
        self.passed_before = self.passed_over.max(self.passed_before);
        self.passed_over = 0;
    }

    /// Begins anew: another member stands first in the arc, or the first one has answered.
    pub(super) fn forgive(&mut self) {
        (self.passes, self.passed_before) = (0, 0);
    }

    /// When the branch has something to do: give its flight up, or begin one, as soon as the budget
    /// allows (`ready_at`) if the queue fills a datagram of `room` bytes. A branch that `relays`
    /// the updates of other owners does not wait for the budget.
    pub(super) fn due_at(&self, room: usize, ready_at: Instant, relays: bool) -> Option<Instant> {
        let ready_at = if relays { Instant::ORIGIN } else { ready_at };
        if !self.in_flight.is_empty() {
            return Some(self.deadline);
        }
        if self.queue.is_empty() || self.unsent > 0 {
            return None;
        }
        match self.partner {
            Some(_) if self.urgent => Some(Instant::ORIGIN),
            Some(_) if self.more || self.bytes >= room => Some(ready_at),
            Some(_) => Some(self.not_before.max(ready_at)),
            None => (self.passed_over > 0).then_some(self.passed_until),
        }
    }

    /// Whether updates of other owners wait here. `own` has the bits of the branches on which an
    /// update of this node waits, and `index` is the number of this one.
    pub(super) fn relays(&self, own: u32, index: usize) -> bool {
        self.queue.len() > usize::from(own & (1 << index) != 0)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let updates = self.queue.capacity() + self.rest.capacity() + self.flight.capacity();
        updates * size_of::<Update>()
    }

    /// Whether an update of `owner` waits or is under way, and there is a partner to send it to.
    pub(super) fn carries(&self, owner: Slot) -> bool {
        let mut updates = self.queue.iter().chain(&self.rest).chain(&self.flight);
        self.partner.is_some() && updates.any(|update| update.owner == owner)
    }

    /// Whether no update waits.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.rest.is_empty()
    }

    /// Moves the rests of partly sent updates back into the queue, before all others.
    pub(super) fn take_rest(&mut self) {
        while let Some(update) = self.rest.pop_back() {
            self.queue.push_front(update);
        }
    }

    /// Ends the flight, and queues the updates of its lost datagrams again, before all others.
    ///
    /// `index` is the number of this branch, whose bit in `marks` says which owners are queued.
    pub(super) fn requeue(&mut self, marks: &mut [u32], index: usize) {
        // The rests first: they belong after the parts that were sent.
        self.take_rest();
        let in_flight = core::mem::take(&mut self.in_flight);
        // From the last datagram to the first, so that pushing to the front keeps their order.
        for datagram in in_flight.iter().rev() {
            self.bytes += if datagram.arrived { 0 } else { datagram.len.into() };
            for _ in 0..datagram.updates {
                let Some(update) = self.flight.pop_back().filter(|_| !datagram.arrived) else {
                    continue;
                };
                let Some(mark) = marks.get_mut(update.owner.index()) else { continue };
                if *mark & (1 << index) == 0 {
                    *mark |= 1 << index;
                    self.queue.push_front(update);
                } else if let Some(newer) =
                    self.queue.iter_mut().find(|other| other.owner == update.owner)
                {
                    // An update of the owner waits already: let it begin where the lost one did.
                    newer.since = newer.since.min(update.since);
                }
            }
        }
        self.flight.clear();
        self.unsent = 0;
    }
}
