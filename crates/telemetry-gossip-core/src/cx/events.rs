//! The events that wait for the host to poll them, and what it was told of drops.
//!
//! Which events there are is decided where they are emitted. How a change of telemetry becomes an
//! event is decided when the host polls.

use alloc::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::dropped::Drops;
use crate::event::Event;
use crate::membership::Slot;

/// The most events that wait for the host; also the most changes of telemetry.
const MAX_EVENTS: usize = 65_536;

/// The largest capacity, in events, that a polled queue keeps.
const KEPT_CAPACITY: usize = 16;

/// The initial capacity, in changes of telemetry: those of one datagram of the usual size.
const CHANGES_CAPACITY: usize = 32;

/// The two queues of events: the changes of telemetry, and all other events.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "A: Serialize", deserialize = "A: Deserialize<'de>"))]
pub(crate) struct Events<A> {
    #[serde(skip, default = "VecDeque::new")]
    queue: VecDeque<Event<A>>,
    /// The changes of telemetry, as (member, version before, version after). They are frequent, so
    /// they are kept in this small form until the host polls.
    #[serde(skip, default = "no_changes")]
    changes: VecDeque<(Slot, u64, u64)>,
    /// What was dropped, and when the host was told.
    pub(crate) drops: Drops<A>,
}

fn no_changes() -> VecDeque<(Slot, u64, u64)> {
    VecDeque::with_capacity(CHANGES_CAPACITY)
}

impl<A> Events<A> {
    pub(crate) fn new() -> Self {
        Self { queue: VecDeque::new(), changes: no_changes(), drops: Drops::default() }
    }

    /// Queues an event; false if there is no room for it.
    pub(crate) fn push(&mut self, event: Event<A>) -> bool {
        let fits = self.queue.len() < MAX_EVENTS;
        if fits {
            self.queue.push_back(event);
        }
        fits
    }

    /// Queues a change of telemetry; false if there is no room for it.
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

    /// Whether polling has an effect: an event waits, or memory is to be given back.
    pub(crate) fn wants_poll(&self) -> bool {
        !self.is_empty() || self.queue.capacity() > KEPT_CAPACITY
    }

    /// Takes the next event that is no change of telemetry.
    pub(crate) fn pop(&mut self) -> Option<Event<A>> {
        let event = self.queue.pop_front();
        if event.is_none() && self.queue.capacity() > KEPT_CAPACITY {
            // The burst of a join or a partition is over, so its memory is given back.
            self.queue.shrink_to(0);
        }
        event
    }

    /// Takes the next change of telemetry.
    pub(crate) fn pop_change(&mut self) -> Option<(Slot, u64, u64)> {
        self.changes.pop_front()
    }

    /// Drops the changes of a member whose row is about to go.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.changes.retain(|&(changed, ..)| changed != slot);
    }

    pub(crate) fn heap_bytes(&self) -> usize
    where
        A: Copy + PartialEq,
    {
        self.drops.heap_bytes()
            + self.queue.capacity() * size_of::<Event<A>>()
            + self.changes.capacity() * size_of::<(Slot, u64, u64)>()
    }
}
