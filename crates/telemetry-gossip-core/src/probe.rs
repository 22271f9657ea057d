//! One probe round: ping, then ask others to ping, then give a verdict; and the order in which members are probed.
//!
//! ```text
//!           start               timeout: ask K helpers, ping again           timeout
//!   idle ---------> Direct ----------------------------------> Indirect ------------> failed
//!                     | ack of the target                          | ack of the target or a helper
//!                     v                                            v
//!                  answered                                     answered
//! ```
//!
//! The verdict is about the (id, instance, address) that was probed: an answer of another life of the member, or a
//! record that changed meanwhile, ends the round without one.

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use crate::address::Address;
use crate::id::{Generation, Instance, Number};
use crate::membership::{Membership, Slot};
use crate::rng::Random;
use crate::time::Instant;

/// The most helpers of one probe.
pub(crate) const MAX_HELPERS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Direct,
    Indirect,
}

/// The probe under way.
#[derive(Clone, Debug)]
pub(crate) struct Probe<A> {
    pub(crate) number: Number,
    pub(crate) target: Slot,
    pub(crate) address: A,
    pub(crate) instance: Instance,
    /// What was held of it when the probe began.
    pub(crate) generation: Generation,
    pub(crate) stage: Stage,
    pub(crate) deadline: Instant,
    pub(crate) helpers: ArrayVec<A, MAX_HELPERS>,
    /// Helpers that said they are there.
    pub(crate) nacked: ArrayVec<A, MAX_HELPERS>,
    /// The host asked for it and awaits the outcome.
    pub(crate) commanded: bool,
}

/// What an ack says about the probe under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The target answered.
    Direct,
    /// The target answered to a helper.
    Indirect,
    /// Another life of the target answered.
    Renewed,
    /// The ack is not for this probe: another number, or not from the target or a chosen helper.
    Unrelated,
}

impl<A: Copy + PartialEq> Probe<A> {
    pub(crate) fn judge(&self, from: A, number: Number, instance: Instance) -> Answer {
        let direct = from == self.address;
        let relayed = self.stage == Stage::Indirect && self.helpers.contains(&from);
        if number != self.number || !(direct || relayed) {
            Answer::Unrelated
        } else if self.instance != Instance(0) && instance != Instance(0) && instance != self.instance {
            // Instance 0 is that of whoever does not tell its lives apart.
            Answer::Renewed
        } else if direct {
            Answer::Direct
        } else {
            Answer::Indirect
        }
    }

    /// Notes a helper's nack; false if it is none.
    pub(crate) fn nack(&mut self, from: A, number: Number) -> bool {
        if number != self.number || !self.helpers.contains(&from) || self.nacked.contains(&from) {
            return false;
        }
        self.nacked.try_push(from).is_ok()
    }

    /// What the failure says about this node: one point for each helper that was silent too, or one if there was
    /// no helper to judge by (Lifeguard).
    pub(crate) fn blame(&self, nacks: bool) -> usize {
        if self.helpers.is_empty() || !nacks { 1 } else { self.helpers.len() - self.nacked.len() }
    }
}

/// The round-robin order of probing: each member once before any twice, in a random order that changes each round; a
/// new member comes at a random place among those still to come.
#[derive(Debug, Default)]
pub(crate) struct Cycle {
    slots: Vec<Slot>,
    next: usize,
}

impl Cycle {
    pub(crate) fn insert(&mut self, slot: Slot, rng: &mut Random) {
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact((self.slots.len() / 8).max(8));
        }
        let len = self.slots.len();
        self.slots.push(slot);
        let place = self.next + rng.below(len - self.next + 1);
        self.slots.swap(len, place);
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        if let Some(at) = self.slots.iter().position(|&other| other == slot) {
            self.slots.remove(at);
            if at < self.next {
                self.next -= 1;
            }
        }
    }

    /// The next member that `eligible` accepts, if there is any.
    pub(crate) fn draw(&mut self, rng: &mut Random, eligible: impl Fn(Slot) -> bool) -> Option<Slot> {
        // What is left of this round and a whole one, which has everybody.
        for _ in 0..2 * self.slots.len() {
            if self.next >= self.slots.len() {
                rng.shuffle(&mut self.slots);
                self.next = 0;
            }
            let slot = self.slots.get(self.next).copied()?;
            self.next += 1;
            if eligible(slot) {
                return Some(slot);
            }
        }
        None
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }
}

/// Whether `slot` can be probed: somebody else, live, with an address.
pub(crate) fn can_probe<A: Address>(table: &Membership<A>, slot: Slot) -> bool {
    table.me() != Some(slot) && table.is_live(slot) && table.address(slot).is_some()
}
