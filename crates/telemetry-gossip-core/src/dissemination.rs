//! The news: whose record or telemetry still has to be told, and how often it was.
//!
//! A rumor is a slot of the table, not bytes: what is sent is what the table holds when the datagram is encoded. News
//! sent least often goes first, and each piece is sent `multiplier * ceil(log10(n + 1))` times in all; a change
//! while it is queued starts it anew.
//!
//! There is one queue for each count of sends. The row itself remembers its count ([`IDLE`] if it is no news), so an
//! entry whose count is not its queue's is an old one and is dropped when it is met.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::address::Address;
use crate::membership::{Membership, Slot};

/// The count of a row that is no news.
pub(crate) const IDLE: u8 = u8::MAX;

/// What the news is about. Membership goes before telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Membership = 0,
    Telemetry = 1,
}

#[derive(Debug, Default)]
pub(crate) struct Dissemination {
    queues: [Vec<VecDeque<Slot>>; 2],
    /// Entries in the queues, old ones included.
    queued: [usize; 2],
    /// Rows that are news.
    active: [usize; 2],
    /// Rumors in the datagram being encoded, with their new counts.
    taken: Vec<(Slot, u8)>,
}

impl Dissemination {
    /// `slot` is news, and was not told before.
    pub(crate) fn push<A: Address>(&mut self, table: &mut Membership<A>, topic: Topic, slot: Slot) {
        let sends = &mut table.sends_mut(slot)[topic as usize];
        if core::mem::replace(sends, 0) == IDLE {
            self.active[topic as usize] += 1;
        }
        self.enqueue(topic, slot, 0);
        if self.queued[topic as usize] > 2 * table.len() + 64 {
            self.sweep(table, topic);
        }
    }

    fn enqueue(&mut self, topic: Topic, slot: Slot, sends: u8) {
        let queues = &mut self.queues[topic as usize];
        while queues.len() <= sends.into() {
            queues.push(VecDeque::new());
        }
        queues[usize::from(sends)].push_back(slot);
        self.queued[topic as usize] += 1;
    }

    /// Drops the old entries; each was outlived by a newer one, so this is paid for by pushes.
    fn sweep<A: Address>(&mut self, table: &mut Membership<A>, topic: Topic) {
        let mut queued = 0;
        for (queue, sends) in self.queues[topic as usize].iter_mut().zip(0_u8..) {
            queue.retain(|&slot| {
                // A row is kept once: its count is lifted out while the queue is walked.
                let held = &mut table.sends_mut(slot)[topic as usize];
                let keep = *held == sends;
                if keep {
                    *held = IDLE - 1;
                }
                keep
            });
            for &slot in queue.iter() {
                table.sends_mut(slot)[topic as usize] = sends;
            }
            queued += queue.len();
        }
        self.queued[topic as usize] = queued;
    }

    /// Whether there is anything to tell.
    pub(crate) fn is_idle(&self) -> bool {
        self.active == [0, 0]
    }

    /// Whether there is anything to tell on this topic.
    pub(crate) fn has(&self, topic: Topic) -> bool {
        self.active[topic as usize] > 0
    }

    /// The least-told rumor that is not yet in this datagram.
    pub(crate) fn take<A: Address>(&mut self, table: &Membership<A>, topic: Topic) -> Option<Slot> {
        for (queue, sends) in self.queues[topic as usize].iter_mut().zip(0_u8..) {
            while let Some(slot) = queue.pop_front() {
                self.queued[topic as usize] -= 1;
                if table.row(slot).sends[topic as usize] == sends {
                    self.taken.push((slot, sends));
                    return Some(slot);
                }
            }
        }
        None
    }

    /// The last rumor taken did not fit: it stays first in its queue.
    pub(crate) fn put_back(&mut self, topic: Topic) {
        if let Some((slot, sends)) = self.taken.pop()
            && let Some(queue) = self.queues[topic as usize].get_mut(usize::from(sends))
        {
            queue.push_front(slot);
            self.queued[topic as usize] += 1;
        }
    }

    /// The rumors taken are in the datagram: each counts one more, and those told `limit` times are done.
    pub(crate) fn commit<A: Address>(&mut self, table: &mut Membership<A>, topic: Topic, limit: u8) {
        let mut taken = core::mem::take(&mut self.taken);
        for (slot, sends) in taken.drain(..) {
            let sends = sends.saturating_add(1);
            if sends < limit {
                table.sends_mut(slot)[topic as usize] = sends;
                self.enqueue(topic, slot, sends);
            } else {
                table.sends_mut(slot)[topic as usize] = IDLE;
                self.active[topic as usize] = self.active[topic as usize].saturating_sub(1);
            }
        }
        self.taken = taken;
    }

    /// `slot` leaves the table.
    pub(crate) fn forget<A: Address>(&mut self, table: &mut Membership<A>, slot: Slot) {
        for topic in [Topic::Membership, Topic::Telemetry] {
            if core::mem::replace(&mut table.sends_mut(slot)[topic as usize], IDLE) != IDLE {
                self.active[topic as usize] = self.active[topic as usize].saturating_sub(1);
            }
            // The slot may get another member, whose count must not revive these.
            for queue in &mut self.queues[topic as usize] {
                let before = queue.len();
                queue.retain(|&queued| queued != slot);
                self.queued[topic as usize] -= before - queue.len();
            }
        }
    }

    /// The counts kept up to date against the rows.
    pub(crate) fn check<A: Address>(&self, table: &Membership<A>) -> Result<(), &'static str> {
        for topic in [0, 1] {
            let active = table.slots().filter(|&slot| table.row(slot).sends[topic] != IDLE).count();
            if active != self.active[topic] {
                return Err("the count of active rumors is wrong");
            }
            let queued: usize = self.queues[topic].iter().map(VecDeque::len).sum();
            if queued != self.queued[topic] {
                return Err("the count of queued rumors is wrong");
            }
            if queued > 2 * table.len() + 65 {
                return Err("the rumor queue outgrew its bound");
            }
        }
        Ok(())
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let queues = self.queues.iter().flatten().map(|queue| queue.capacity() * size_of::<Slot>());
        queues.sum::<usize>() + self.taken.capacity() * size_of::<(Slot, u8)>()
    }
}

/// How often each member that learns a piece of news tells it: `multiplier * ceil(log10(n + 1))`, as memberlist does.
pub(crate) fn send_limit(multiplier: u8, members: u32) -> u8 {
    // ceil(log10(n + 1)) is the number of decimal digits of n.
    let digits = members.max(1).ilog10() + 1;
    u8::try_from(u32::from(multiplier) * digits).unwrap_or(IDLE - 2).min(IDLE - 2)
}
