//! What waits for the host to poll it.

use alloc::collections::VecDeque;

use crate::event::Event;
use crate::membership::Slot;

/// The most events that wait for the host, and the most changes of telemetry.
const MAX_EVENTS: usize = 65_536;

/// Room for events that is kept once they are polled.
const EVENTS_KEPT: usize = 16;

/// Room for the telemetry changes of one datagram of usual size; larger ones make more.
const CHANGES: usize = 32;

#[derive(Debug)]
pub(crate) struct Events<A> {
    queue: VecDeque<Event<A>>,
    /// Telemetry that changed, as (member, known up to before, known up to now): frequent, so kept
    /// small until the host polls.
    changes: VecDeque<(Slot, u64, u64)>,
}

impl<A> Events<A> {
    pub(crate) fn new() -> Self {
        Self { queue: VecDeque::new(), changes: VecDeque::with_capacity(CHANGES) }
    }

    /// False if there is no room.
    pub(crate) fn push(&mut self, event: Event<A>) -> bool {
        let fits = self.queue.len() < MAX_EVENTS;
        if fits {
            self.queue.push_back(event);
        }
        fits
    }

    /// False if there is no room.
    pub(crate) fn push_change(&mut self, slot: Slot, since: u64, version: u64) -> bool {
        let fits = self.changes.len() < MAX_EVENTS;
        if fits {
            self.changes.push_back((slot, since, version));
        }
        fits
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.changes.is_empty()
    }

    /// Whether polling does anything: something waits, or room is to be given back.
    pub(crate) fn wants_poll(&self) -> bool {
        !self.is_empty() || self.queue.capacity() > EVENTS_KEPT
    }

    /// The next event that is no change of telemetry.
    pub(crate) fn pop(&mut self) -> Option<Event<A>> {
        let event = self.queue.pop_front();
        if event.is_none() && self.queue.capacity() > EVENTS_KEPT {
            // The burst of a join or a partition is over.
            self.queue.shrink_to(0);
        }
        event
    }

    /// The next change of telemetry.
    pub(crate) fn pop_change(&mut self) -> Option<(Slot, u64, u64)> {
        self.changes.pop_front()
    }

    /// Forgets the changes of a member that goes.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.changes.retain(|&(changed, ..)| changed != slot);
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.queue.capacity() * size_of::<Event<A>>()
            + self.changes.capacity() * size_of::<(Slot, u64, u64)>()
    }
}
