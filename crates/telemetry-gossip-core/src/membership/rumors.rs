//! The rumors: which rows still have to be gossiped, and how often each was sent.
//!
//! A rumor is a slot of the table, not bytes: the datagram says what the table holds when it is
//! encoded. The rumor that was sent least often goes first. Each is sent
//! `multiplier * ceil(log10(n + 1))` times; a change of its row starts the count anew.
//!
//! ```text
//!            push                    take                  commit, sent `limit` times
//!   idle ----------> queue of count 0..limit ----> taken ------------------------------> idle
//!                        ^                           |
//!                        +---------------------------+
//!                         put_back, or commit: one more send
//! ```
//!
//! Rumors that this node has grounds of its own to believe are *grounded*: its own findings, and
//! accusations that their accusers have confirmed to it. They and all other rumors take turns in a
//! datagram, so that a flood of lies leaves them half of the room.
//!
//! There is one queue per count of sends and kind, linked through arrays over the slots: a slot is
//! in at most one queue, every step is O(1), and memory is allocated only when the table grows.
//!
//! Telemetry is no rumor: it travels along the trees of `dissemination`. Nothing here chooses the
//! receivers of a rumor.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::membership::{Slot, grow};
use crate::violation::{Unsound, check_rules};

/// The queue of a slot that is no rumor.
const IDLE: u8 = u8::MAX;

/// Each count of sends has two queues: that of grounded rumors, and after it that of the others.
const KINDS: u8 = 2;

/// The largest count of sends that has queues.
const MAX_SENDS: u8 = IDLE / KINDS - 1;

/// The link that ends a queue.
const NONE: u32 = u32::MAX;

/// The queues of rumors, two per count of sends.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rumors {
    /// The first and the last slot of each queue.
    ends: Vec<(u32, u32)>,
    /// Per slot: the slot after it in its queue.
    next: Vec<u32>,
    /// Per slot: the slot before it in its queue.
    prev: Vec<u32>,
    /// Per slot: the queue it is in, which is [`KINDS`] times how often it was sent, plus 1 unless
    /// it is grounded; or [`IDLE`].
    queues: Vec<u8>,
    /// The number of rumors.
    active: usize,
    /// The rumors in the datagram that is being encoded: in no queue for now.
    taken: Vec<Slot>,
}

impl Rumors {
    /// Makes `slot` a rumor that was not sent yet, even if it is one already.
    pub(crate) fn push(&mut self, slot: Slot) {
        self.push_to(slot, 1);
    }

    /// Makes `slot` a grounded rumor that was not sent yet, even if it is a rumor already.
    pub(crate) fn push_grounded(&mut self, slot: Slot) {
        self.push_to(slot, 0);
    }

    fn push_to(&mut self, slot: Slot, queue: u8) {
        self.make_room(slot);
        self.forget(slot);
        self.active += 1;
        self.link_last(slot, queue);
    }

    /// Whether `slot` is a grounded rumor.
    pub(crate) fn is_grounded(&self, slot: Slot) -> bool {
        let queue = self.queues.get(slot.index());
        queue.is_some_and(|&queue| queue != IDLE && queue.is_multiple_of(KINDS))
    }

    /// Whether there are no rumors.
    pub(crate) fn is_idle(&self) -> bool {
        self.active == 0
    }

    /// Whether `slot` is a rumor.
    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.queues.get(slot.index()).is_some_and(|&queue| queue != IDLE)
    }

    /// Takes the rumor that was sent least often and is not yet in this datagram: in turn a
    /// grounded one and another, as far as there are any.
    pub(crate) fn take(&mut self) -> Option<Slot> {
        let kinds = usize::from(KINDS);
        let turn = self.taken.len() % kinds;
        let first_of = |kind: usize| {
            let queues = self.ends.iter().skip(kind).step_by(kinds);
            queues.map(|&(first, _)| first).find(|&first| first != NONE)
        };
        let slot = Slot(first_of(turn).or_else(|| first_of(kinds - 1 - turn))?);
        self.unlink(slot);
        self.taken.push(slot);
        Some(slot)
    }

    /// Puts the rumor taken last back to the front of its queue, since it did not fit.
    pub(crate) fn put_back(&mut self) {
        if let Some(slot) = self.taken.pop() {
            self.link_first(slot);
        }
    }

    /// Counts one more send of each rumor taken, since the datagram is complete. A rumor that was
    /// sent `limit` times is done. A rumor `uncounted` keeps its count: the body of the datagram
    /// states it to this one receiver, but it still has to spread.
    pub(crate) fn commit(&mut self, limit: u8, uncounted: Option<Slot>) {
        for at in 0..self.taken.len() {
            let slot = self.taken[at];
            if Some(slot) == uncounted {
                self.link_first(slot);
                continue;
            }
            let queue = self.queues[slot.index()].saturating_add(KINDS);
            if queue / KINDS < limit.min(MAX_SENDS) {
                self.link_last(slot, queue);
            } else {
                self.queues[slot.index()] = IDLE;
                self.active -= 1;
            }
        }
        self.taken.clear();
        if self.active == 0 {
            // Rumors are rare, so their queues take no memory while there are none.
            *self = Self::default();
        }
    }

    /// Removes `slot` from the rumors, if it is one.
    pub(crate) fn forget(&mut self, slot: Slot) {
        if self.contains(slot) {
            self.unlink(slot);
            self.queues[slot.index()] = IDLE;
            self.active -= 1;
        }
    }

    /// Checks what a restored state could get wrong beside the links: whether each rumor is about
    /// a member for which `is_in_use` holds, and none is taken.
    pub(crate) fn check_restored(
        &self,
        rows: usize,
        is_in_use: impl Fn(Slot) -> bool,
    ) -> Result<(), Unsound> {
        let Self { ends, next: _, prev: _, queues, active: _, taken } = self;
        let mut slots = (0_u32..).map(Slot).zip(queues);
        check_rules(
            "rumors",
            &[
                (ends.len() <= usize::from(IDLE), "there are no more queues than counts and kinds"),
                (queues.len() <= rows, "there are no more rumors than rows"),
                (taken.is_empty(), "no rumor is taken between two datagrams"),
                (
                    slots.all(|(slot, &queue)| queue == IDLE || is_in_use(slot)),
                    "a rumor is about a member",
                ),
            ],
        )
    }

    /// Checks the links and the counts of the queues by walking them.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.next.len() != self.queues.len() || self.prev.len() != self.queues.len() {
            return Err("the arrays over the slots differ in length");
        }
        let mut walked = 0;
        for (&(first, last), queue) in self.ends.iter().zip(0_u8..) {
            let (mut before, mut at) = (NONE, first);
            while at != NONE {
                let slot = Slot(at).index();
                if self.queues.get(slot) != Some(&queue) {
                    return Err("a rumor is not in the queue that it states");
                }
                if self.prev[slot] != before || walked == self.queues.len() {
                    return Err("a queue of rumors is not linked both ways");
                }
                walked += 1;
                (before, at) = (at, self.next[slot]);
            }
            if before != last {
                return Err("the last rumor of a queue is not its recorded end");
            }
        }
        let rumors = self.queues.iter().filter(|&&queue| queue != IDLE).count();
        if walked != self.active || rumors != self.active {
            return Err("the count of rumors is not the number of rumors in the queues");
        }
        Ok(())
    }

    fn make_room(&mut self, slot: Slot) {
        while self.queues.len() <= slot.index() {
            for links in [&mut self.next, &mut self.prev] {
                grow(links);
                links.push(NONE);
            }
            grow(&mut self.queues);
            self.queues.push(IDLE);
        }
        // All rumors may be taken for one datagram.
        self.taken
            .reserve_exact(self.queues.len().saturating_sub(self.taken.capacity()).min(TAKEN_ROOM));
    }

    fn unlink(&mut self, slot: Slot) {
        let at = slot.index();
        let (prev, next) = (self.prev[at], self.next[at]);
        let ends = &mut self.ends[usize::from(self.queues[at])];
        if prev == NONE {
            ends.0 = next;
        } else {
            self.next[Slot(prev).index()] = next;
        }
        if next == NONE {
            ends.1 = prev;
        } else {
            self.prev[Slot(next).index()] = prev;
        }
    }

    fn link_last(&mut self, slot: Slot, queue: u8) {
        while self.ends.len() <= queue.into() {
            self.ends.push((NONE, NONE));
        }
        let at = slot.index();
        let ends = &mut self.ends[usize::from(queue)];
        let last = core::mem::replace(&mut ends.1, slot.0);
        if last == NONE {
            ends.0 = slot.0;
        } else {
            self.next[Slot(last).index()] = slot.0;
        }
        (self.prev[at], self.next[at], self.queues[at]) = (last, NONE, queue);
    }

    fn link_first(&mut self, slot: Slot) {
        let at = slot.index();
        let ends = &mut self.ends[usize::from(self.queues[at])];
        let first = core::mem::replace(&mut ends.0, slot.0);
        if first == NONE {
            ends.1 = slot.0;
        } else {
            self.prev[Slot(first).index()] = slot.0;
        }
        (self.prev[at], self.next[at]) = (NONE, first);
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let links = self.next.capacity() + self.prev.capacity() + self.taken.capacity();
        links * size_of::<u32>()
            + self.queues.capacity()
            + self.ends.capacity() * size_of::<(u32, u32)>()
    }
}

/// The most places by which the list of taken rumors is grown ahead: more than a datagram of the
/// usual size holds. A longer list grows by itself.
const TAKEN_ROOM: usize = 128;

/// Returns how often each member that learns a rumor sends it: `multiplier * ceil(log10(n + 1))`,
/// as in memberlist.
pub(crate) fn send_limit(multiplier: u8, members: u32) -> u8 {
    // ceil(log10(n + 1)) is the number of decimal digits of n.
    let digits = members.max(1).ilog10() + 1;
    u8::try_from(u32::from(multiplier) * digits).unwrap_or(MAX_SENDS).min(MAX_SENDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes up to `room` rumors, as a datagram with that much room does.
    fn send(rumors: &mut Rumors, room: usize, limit: u8) -> Vec<u32> {
        let mut sent = Vec::new();
        while let Some(slot) = rumors.take() {
            if sent.len() == room {
                rumors.put_back();
                break;
            }
            sent.push(slot.0);
        }
        rumors.commit(limit, None);
        rumors.check().unwrap();
        sent.sort_unstable();
        sent
    }

    #[test]
    fn the_rumor_sent_least_often_goes_first_and_each_is_sent_as_often_as_the_limit() {
        let mut rumors = Rumors::default();
        for slot in 0..4 {
            rumors.push(Slot(slot));
        }
        let mut sends = [0; 4];
        while !rumors.is_idle() {
            for slot in send(&mut rumors, 3, 3) {
                sends[slot as usize] += 1;
            }
            assert!(sends.iter().max().unwrap() - sends.iter().min().unwrap() <= 1, "{sends:?}");
        }
        assert_eq!(sends, [3; 4]);
        assert!(rumors.is_idle());
    }

    #[test]
    fn a_change_starts_the_count_of_a_rumor_anew() {
        let mut rumors = Rumors::default();
        rumors.push(Slot(7));
        assert_eq!(send(&mut rumors, 9, 2), [7]);
        rumors.push(Slot(7));
        assert_eq!(send(&mut rumors, 9, 2), [7]);
        assert_eq!(send(&mut rumors, 9, 2), [7]);
        assert_eq!(send(&mut rumors, 9, 2), []);
    }

    #[test]
    fn a_forgotten_rumor_is_not_sent_again() {
        let mut rumors = Rumors::default();
        for slot in 0..3 {
            rumors.push(Slot(slot));
        }
        rumors.forget(Slot(1));
        assert_eq!(send(&mut rumors, 9, 1), [0, 2]);
    }

    #[test]
    fn a_flood_of_other_rumors_leaves_half_of_each_datagram_to_grounded_ones() {
        let mut rumors = Rumors::default();
        for slot in 0..4 {
            rumors.push_grounded(Slot(slot));
        }
        for round in 0..3 {
            for slot in 10..30 {
                rumors.push(Slot(slot));
            }
            let sent = send(&mut rumors, 8, 3);
            assert_eq!(sent[..4], [0, 1, 2, 3], "round {round}");
            assert_eq!(sent.len(), 8, "the others have the rest");
        }
        assert!(!rumors.contains(Slot(0)) && rumors.contains(Slot(29)));
    }

    #[test]
    fn a_kind_of_rumors_alone_has_all_of_the_room() {
        let mut rumors = Rumors::default();
        for slot in 0..8 {
            rumors.push_grounded(Slot(slot));
        }
        assert_eq!(send(&mut rumors, 8, 1).len(), 8);
    }

    #[test]
    fn the_send_limit_is_that_of_memberlist() {
        for (members, expected) in
            [(1, 4), (9, 4), (10, 8), (99, 8), (100, 12), (240, 12), (1_000, 16)]
        {
            assert_eq!(send_limit(4, members), expected, "{members} members");
        }
    }
}
