//! One branch of the trees: a partner, the arc of members that it serves, what waits for it, and
//! the flight of datagrams that are under way to it.

use alloc::collections::VecDeque;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::id::{IdHash, RequestId};
use crate::membership::Slot;
use crate::time::Instant;

/// The most datagrams in one flight.
pub(super) const FLIGHT: usize = 8;

/// How far an arc goes: places on the circle of id hashes, from this node on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Furthest(u32);

impl Furthest {
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
pub(super) struct InFlight {
    pub(super) number: RequestId,
    pub(super) updates: u16,
    pub(super) len: u16,
    pub(super) arrived: bool,
    pub(super) sent_at: Instant,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Branch {
    /// To whom; `None` if all of the arc have been passed over.
    pub(super) partner: Option<Slot>,
    /// Where the arc begins.
    pub(super) distance: Furthest,
    /// The first member beyond it.
    pub(super) end: IdHash,
    pub(super) queue: VecDeque<Update>,
    /// What the queue takes on the wire, about.
    pub(super) bytes: usize,
    /// Something urgent waits, first in the queue.
    pub(super) urgent: bool,
    /// There was more than the last flight took: the next one need not wait.
    pub(super) more: bool,
    /// What is left of updates that the flight took a part of: parts must not overtake each other.
    pub(super) rest: VecDeque<Update>,
    /// The updates of the flight, in the order of its legs.
    pub(super) flight: VecDeque<Update>,
    pub(super) in_flight: ArrayVec<InFlight, FLIGHT>,
    /// Datagrams of the flight that are still to be encoded.
    pub(super) unsent: usize,
    /// No flight begins sooner.
    pub(super) not_before: Instant,
    /// When the flight is given up.
    pub(super) deadline: Instant,
    pub(super) tries: u8,
    /// How many members at the beginning of the arc are passed over, and until when.
    pub(super) passed_over: usize,
    pub(super) passed_until: Instant,
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
            passed_over: 0,
            passed_until: Instant::ORIGIN,
        }
    }

    /// When to do something: give the flight up, or begin one, at once if it fills a datagram of
    /// `room` bytes.
    pub(super) fn due_at(&self, room: usize, ready_at: Instant) -> Option<Instant> {
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

    /// Nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.rest.is_empty()
    }

    /// What the flight left of its updates is queued again.
    pub(super) fn take_rest(&mut self) {
        while let Some(update) = self.rest.pop_back() {
            self.queue.push_front(update);
        }
    }

    /// The flight is over: what has not arrived is queued again, before all else.
    pub(super) fn requeue(&mut self, marks: &mut [u32], index: usize) {
        self.take_rest();
        let in_flight = core::mem::take(&mut self.in_flight);
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
                    newer.since = newer.since.min(update.since);
                }
            }
        }
        self.flight.clear();
        self.unsent = 0;
    }
}
