//! SWIM's order of probing, used where the common schedule is switched off.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::membership::Slot;
use crate::rng::Random;

/// The round-robin order of probing: each member once before any twice, in a random order that
/// changes with each round. A new member gets a random place among those still to come.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct RoundRobin {
    slots: Vec<Slot>,
    /// The place of the next member to probe.
    next: usize,
}

impl RoundRobin {
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

    /// Draws the next member that `eligible` accepts, if there is any.
    pub(crate) fn draw(
        &mut self,
        rng: &mut Random,
        eligible: impl Fn(Slot) -> bool,
    ) -> Option<Slot> {
        // The rest of this round, then a whole round, which holds every member.
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

    /// Whether the place of the next member is within the order, and no member has two places.
    pub(crate) fn is_sound(&self) -> bool {
        let Self { slots, next } = self;
        let mut places = slots.clone();
        places.sort_unstable();
        *next <= slots.len() && places.windows(2).all(|pair| pair.first() != pair.last())
    }

    /// Whether `slot` has a place in the order.
    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.slots.contains(&slot)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_comes_once_in_a_round_and_a_new_one_in_the_same_round() {
        let mut rng = Random::new([3; 32]);
        let mut round_robin = RoundRobin::default();
        assert_eq!(round_robin.draw(&mut rng, |_| true), None);
        (0..20).for_each(|n| round_robin.insert(Slot(n), &mut rng));
        for _ in 0..5 {
            let mut round: Vec<_> =
                (0..10).filter_map(|_| round_robin.draw(&mut rng, |_| true)).collect();
            // One of the ten leaves and comes back as a new member in the same round.
            let gone = round[3];
            round_robin.remove(gone);
            round_robin.remove(gone);
            round_robin.insert(gone, &mut rng);
            assert!(round_robin.is_sound() && round_robin.len() == 20);
            round.remove(3);
            round.extend((0..11).filter_map(|_| round_robin.draw(&mut rng, |_| true)));
            round.sort_unstable();
            assert_eq!(round, (0..20).map(Slot).collect::<Vec<_>>());
        }
        let only = Slot(13);
        for _ in 0..3 {
            assert_eq!(round_robin.draw(&mut rng, |slot| slot == only), Some(only));
        }
        assert_eq!(round_robin.draw(&mut rng, |_| false), None);
    }
}
