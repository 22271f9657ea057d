//! The news: whose record still has to be told, and how often it was. (Telemetry goes other ways:
//! see `tree`.)
//!
//! A rumor is a slot of the table, not bytes: what is sent is what the table holds when the
//! datagram is encoded. News sent least often goes first, and each piece is sent
//! `multiplier * ceil(log10(n + 1))` times in all; a change while it is queued starts it anew.
//!
//! There is one queue for each count of sends, linked through arrays over the slots: a slot is in
//! one queue or none, every step is O(1), and nothing is allocated but when the table grows.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::membership::{Slot, grow};

/// The count of a slot that is no news.
const IDLE: u8 = u8::MAX;

/// The end of a queue.
const NONE: u32 = u32::MAX;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rumors {
    /// The first and last slot of the queue of each count.
    ends: Vec<(u32, u32)>,
    next: Vec<u32>,
    prev: Vec<u32>,
    sends: Vec<u8>,
    /// Slots that are news.
    active: usize,
    /// Rumors in the datagram being encoded: in no queue for now.
    taken: Vec<Slot>,
}

impl Rumors {
    /// `slot` is news, and was not told before.
    pub(crate) fn push(&mut self, slot: Slot) {
        self.make_room(slot);
        self.forget(slot);
        self.active += 1;
        self.link_last(slot, 0);
    }

    /// Whether there is nothing to tell.
    pub(crate) fn is_idle(&self) -> bool {
        self.active == 0
    }

    /// Whether this is still to be told.
    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.sends.get(slot.index()).is_some_and(|&sends| sends != IDLE)
    }

    /// The least-told rumor that is not yet in this datagram.
    pub(crate) fn take(&mut self) -> Option<Slot> {
        let first = self.ends.iter().map(|&(first, _)| first).find(|&first| first != NONE)?;
        let slot = Slot(first);
        self.unlink(slot);
        self.taken.push(slot);
        Some(slot)
    }

    /// The last rumor taken did not fit: it stays first in its queue.
    pub(crate) fn put_back(&mut self) {
        if let Some(slot) = self.taken.pop() {
            self.link_first(slot);
        }
    }

    /// The rumors taken are in the datagram: each counts one more, and those told `limit` times are
    /// done. `untold` was taken but is said otherwise.
    pub(crate) fn commit(&mut self, limit: u8, untold: Option<Slot>) {
        for at in 0..self.taken.len() {
            let slot = self.taken[at];
            if Some(slot) == untold {
                self.link_first(slot);
                continue;
            }
            let sends = self.sends[slot.index()].saturating_add(1);
            if sends < limit {
                self.link_last(slot, sends);
            } else {
                self.sends[slot.index()] = IDLE;
                self.active -= 1;
            }
        }
        self.taken.clear();
        if self.active == 0 {
            // News is rare: its queues are no part of what a member costs.
            *self = Self::default();
        }
    }

    /// `slot` is no news any more, or leaves the table.
    pub(crate) fn forget(&mut self, slot: Slot) {
        if self.contains(slot) {
            self.unlink(slot);
            self.sends[slot.index()] = IDLE;
            self.active -= 1;
        }
    }

    /// The queue as counted against the queue as walked.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.next.len() != self.sends.len() || self.prev.len() != self.sends.len() {
            return Err("a rumor has no links");
        }
        let mut walked = 0;
        for (&(first, last), sends) in self.ends.iter().zip(0_u8..) {
            let (mut before, mut at) = (NONE, first);
            while at != NONE {
                let slot = Slot(at).index();
                if self.sends.get(slot) != Some(&sends) {
                    return Err("a rumor is in the queue of another count");
                }
                if self.prev[slot] != before || walked == self.sends.len() {
                    return Err("a queue of rumors is not linked both ways");
                }
                walked += 1;
                (before, at) = (at, self.next[slot]);
            }
            if before != last {
                return Err("a queue of rumors does not end where it should");
            }
        }
        let news = self.sends.iter().filter(|&&sends| sends != IDLE).count();
        if walked != self.active || news != self.active {
            return Err("the count of rumors is wrong");
        }
        Ok(())
    }

    fn make_room(&mut self, slot: Slot) {
        while self.sends.len() <= slot.index() {
            for links in [&mut self.next, &mut self.prev] {
                grow(links);
                links.push(NONE);
            }
            grow(&mut self.sends);
            self.sends.push(IDLE);
        }
        // As many rumors may be taken as there are.
        self.taken
            .reserve_exact(self.sends.len().saturating_sub(self.taken.capacity()).min(MOST_TAKEN));
    }

    fn unlink(&mut self, slot: Slot) {
        let at = slot.index();
        let (prev, next) = (self.prev[at], self.next[at]);
        let ends = &mut self.ends[usize::from(self.sends[at])];
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

    fn link_last(&mut self, slot: Slot, sends: u8) {
        while self.ends.len() <= sends.into() {
            self.ends.push((NONE, NONE));
        }
        let at = slot.index();
        let ends = &mut self.ends[usize::from(sends)];
        let last = core::mem::replace(&mut ends.1, slot.0);
        if last == NONE {
            ends.0 = slot.0;
        } else {
            self.next[Slot(last).index()] = slot.0;
        }
        (self.prev[at], self.next[at], self.sends[at]) = (last, NONE, sends);
    }

    fn link_first(&mut self, slot: Slot) {
        let at = slot.index();
        let ends = &mut self.ends[usize::from(self.sends[at])];
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
            + self.sends.capacity()
            + self.ends.capacity() * size_of::<(u32, u32)>()
    }
}

/// More rumors than any datagram of usual size holds; a list that outgrows it grows by itself.
const MOST_TAKEN: usize = 128;

/// How often each member that learns a piece of news tells it: `multiplier * ceil(log10(n + 1))`,
/// as memberlist does.
pub(crate) fn send_limit(multiplier: u8, members: u32) -> u8 {
    // ceil(log10(n + 1)) is the number of decimal digits of n.
    let digits = members.max(1).ilog10() + 1;
    u8::try_from(u32::from(multiplier) * digits).unwrap_or(IDLE - 1).min(IDLE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes up to `room` rumors as a datagram with that much room would.
    fn send(news: &mut Rumors, room: usize, limit: u8) -> Vec<u32> {
        let mut sent = Vec::new();
        while let Some(slot) = news.take() {
            if sent.len() == room {
                news.put_back();
                break;
            }
            sent.push(slot.0);
        }
        news.commit(limit, None);
        news.check().unwrap();
        sent.sort_unstable();
        sent
    }

    #[test]
    fn the_least_told_goes_first_and_each_is_told_as_often_as_the_limit() {
        let mut news = Rumors::default();
        for slot in 0..4 {
            news.push(Slot(slot));
        }
        let mut told = [0; 4];
        while !news.is_idle() {
            for slot in send(&mut news, 3, 3) {
                told[slot as usize] += 1;
            }
            assert!(told.iter().max().unwrap() - told.iter().min().unwrap() <= 1, "{told:?}");
        }
        assert_eq!(told, [3; 4]);
        assert!(news.is_idle());
    }

    #[test]
    fn a_change_starts_a_rumor_anew() {
        let mut news = Rumors::default();
        news.push(Slot(7));
        assert_eq!(send(&mut news, 9, 2), [7]);
        news.push(Slot(7));
        assert_eq!(send(&mut news, 9, 2), [7]);
        assert_eq!(send(&mut news, 9, 2), [7]);
        assert_eq!(send(&mut news, 9, 2), []);
    }

    #[test]
    fn a_forgotten_rumor_is_told_no_more() {
        let mut news = Rumors::default();
        for slot in 0..3 {
            news.push(Slot(slot));
        }
        news.forget(Slot(1));
        assert_eq!(send(&mut news, 9, 1), [0, 2]);
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
