//! One probe round: ping, then ask others to ping, then give a verdict; and the order in which members are probed.
//!
//! ```text
//!           start         no answer in time: ask K helpers, ping again     half of what is left: ask K others, ping again
//!   idle ---------> Direct -------------------------------> Indirect --------------------------------> Last ---> failed
//!                     | ack of the target                      | ack of the target or a helper           | (two timeouts
//!                     v                                        v                                         v  after start)
//!                  answered                                 answered                                  answered
//! ```
//!
//! The time of the first stage is one timeout, or four times the longest of the member's recent round trips if that is
//! less: the rest is better spent on other paths.
//!
//! The verdict is about the (id, instance, address) that was probed: an answer of another life of the member, or a
//! record that changed meanwhile, ends the round without one.

use alloc::vec::Vec;
use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::history::{Witness, Witnesses};
use crate::id::{Generation, Instance, Number, Tag};
use crate::membership::{Membership, Slot};
use crate::rng::Random;
use crate::time::Instant;

/// The most helpers of one probe.
pub(crate) const MAX_HELPERS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Direct,
    Indirect,
    Last,
}

/// The probe under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Probe<A> {
    pub(crate) number: Number,
    pub(crate) target: Slot,
    pub(crate) address: A,
    pub(crate) instance: Instance,
    /// What was held of it when the probe began.
    pub(crate) generation: Generation,
    pub(crate) stage: Stage,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    /// When it has failed.
    pub(crate) ends: Instant,
    pub(crate) helpers: ArrayVec<Helper<A>, MAX_HELPERS>,
    /// How many of the helpers were asked early enough to be judged by their nacks.
    pub(crate) judged: usize,
    /// The host asked for it and awaits the outcome.
    pub(crate) commanded: bool,
}

/// Who was asked to ping the target.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Helper<A> {
    pub(crate) address: A,
    pub(crate) tag: Tag,
    /// It said that it is there and the target silent.
    pub(crate) nacked: bool,
}

/// What an ack says about the probe under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The target answered.
    Direct,
    /// The target answered to this helper.
    Indirect(Tag),
    /// Another life of the target answered, itself or to a helper.
    Renewed,
    /// The ack is not for this probe: another number, or not from the target or a chosen helper.
    Unrelated,
}

impl<A: Copy + PartialEq> Probe<A> {
    pub(crate) fn judge(&self, from: A, number: Number, instance: Instance) -> Answer {
        let direct = from == self.address;
        let helper = self.helpers.iter().find(|helper| helper.address == from);
        if number != self.number || !(direct || helper.is_some()) {
            Answer::Unrelated
        } else if self.instance != Instance(0) && instance != Instance(0) && instance != self.instance {
            // Instance 0 is that of whoever does not tell its lives apart.
            Answer::Renewed
        } else {
            helper.filter(|_| !direct).map_or(Answer::Direct, |helper| Answer::Indirect(helper.tag))
        }
    }

    /// Notes a helper's nack; false if it is none.
    pub(crate) fn nack(&mut self, from: A, number: Number) -> bool {
        let helper = self.helpers.iter_mut().find(|helper| helper.address == from && !helper.nacked);
        helper.filter(|_| number == self.number).is_some_and(|helper| {
            helper.nacked = true;
            true
        })
    }

    /// The helpers as evidence.
    pub(crate) fn witnesses(&self) -> Witnesses {
        let mut witnesses = Witnesses::default();
        for (place, helper) in witnesses.iter_mut().zip(&self.helpers) {
            *place = Some(Witness { helper: helper.tag, nacked: helper.nacked });
        }
        witnesses
    }

    /// What the failure says about this node: one point for each helper that was silent too, or one if there was
    /// no helper to judge by (Lifeguard).
    pub(crate) fn blame(&self, nacks: bool) -> usize {
        if self.judged == 0 || !nacks {
            return 1;
        }
        self.helpers.iter().take(self.judged).filter(|helper| !helper.nacked).count()
    }
}

/// The longest of a member's recent round trips: it rises at once and falls slowly. In units of 64 microseconds, so that
/// it fits 2 bytes up to 4 s; 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RoundTrip(u16);

impl RoundTrip {
    const UNIT: u64 = 64;

    pub(crate) fn note(&mut self, took: Duration) {
        let units = u16::try_from(took.as_micros().div_ceil(Self::UNIT.into())).unwrap_or(u16::MAX).max(1);
        self.0 = units.max(self.0 - self.0 / 8);
    }

    /// The time itself, if there was a round trip.
    pub(crate) fn longest(self) -> Option<Duration> {
        (self.0 > 0).then(|| Duration::from_micros(u64::from(self.0) * Self::UNIT))
    }

    /// How long to wait for an answer before others are asked: between a quarter and the whole of `timeout`.
    pub(crate) fn patience(self, timeout: Duration) -> Duration {
        self.longest().map_or(timeout, |longest| (longest * 4).clamp(timeout / 4, timeout))
    }
}

/// The round-robin order of probing: each member once before any twice, in a random order that changes each round; a
/// new member comes at a random place among those still to come.
#[derive(Debug, Default, Serialize, Deserialize)]
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

    /// Whether the next one is among them.
    pub(crate) fn is_sound(&self) -> bool {
        self.next <= self.slots.len()
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

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(300);

    /// The probe of the member at address 1, instance 7, with helpers at 2 and 3, of which the first was asked early enough.
    fn probe() -> Probe<u32> {
        let helper = |n: u32| Helper { address: n, tag: Tag(n), nacked: false };
        Probe {
            number: Number(9),
            target: Slot(1),
            address: 1,
            instance: Instance(7),
            generation: Generation(0),
            stage: Stage::Indirect,
            started: Instant::ORIGIN,
            deadline: Instant::ORIGIN,
            ends: Instant::ORIGIN,
            helpers: [2, 3].map(helper).into_iter().collect(),
            judged: 1,
            commanded: false,
        }
    }

    #[test]
    fn an_ack_counts_by_number_source_and_life() {
        for (from, number, instance, expected) in [
            (1, 9, 7, Answer::Direct),
            (2, 9, 7, Answer::Indirect(Tag(2))),
            (1, 9, 0, Answer::Direct), // from whoever does not tell its lives apart
            (1, 9, 8, Answer::Renewed),
            (3, 9, 8, Answer::Renewed),
            (4, 9, 7, Answer::Unrelated),
            (1, 8, 7, Answer::Unrelated),
            (2, 8, 7, Answer::Unrelated),
            (4, 9, 8, Answer::Unrelated),
        ] {
            let answer = probe().judge(from, Number(number), Instance(instance));
            assert_eq!(answer, expected, "{number} from {from}, instance {instance}");
        }
        let unknown = Probe { instance: Instance(0), ..probe() };
        assert_eq!(unknown.judge(1, Number(9), Instance(8)), Answer::Direct);
    }

    #[test]
    fn a_nack_counts_once_and_spares_this_node_the_blame() {
        let mut probe = probe();
        assert_eq!((probe.blame(true), probe.blame(false)), (1, 1));
        assert!(!probe.nack(4, Number(9)) && !probe.nack(2, Number(8)));
        assert!(probe.nack(2, Number(9)) && !probe.nack(2, Number(9)));
        assert_eq!(
            (probe.blame(true), probe.blame(false)),
            (0, 1),
            "the other was asked too late to be judged by"
        );
        let nacked: Vec<_> = probe.witnesses().iter().flatten().map(|w| (w.helper, w.nacked)).collect();
        assert_eq!(nacked, [(Tag(2), true), (Tag(3), false)]);
        let both = Probe { judged: 2, ..super::tests::probe() };
        assert_eq!(both.blame(true), 2);
        let alone = Probe { judged: 0, ..probe };
        assert_eq!(alone.blame(true), 1, "there was nobody to judge by");
    }

    #[test]
    fn a_round_trip_rises_at_once_and_falls_slowly() {
        let mut round_trip = RoundTrip::default();
        assert_eq!((round_trip.longest(), round_trip.patience(TIMEOUT)), (None, TIMEOUT));
        let micros = Duration::from_micros;
        let longest: Vec<_> = [0, 6_400, 100, 100, 12_801, 10_000_000]
            .into_iter()
            .filter_map(|took| {
                round_trip.note(micros(took));
                round_trip.longest()
            })
            .collect();
        assert_eq!(longest, [64, 6_400, 5_632, 4_928, 12_864, 4_194_240].map(micros));
    }

    #[test]
    fn patience_is_four_round_trips_within_the_timeout() {
        for (took, expected) in [(1, 75), (20, 80), (50, 200), (75, 300), (900, 300)] {
            let mut round_trip = RoundTrip::default();
            // Whole units of the clock.
            round_trip.note(Duration::from_micros(took * 1_000 / 64 * 64));
            let patience = round_trip.patience(TIMEOUT);
            assert_eq!(patience.as_millis().next_multiple_of(5), expected, "after {took} ms: {patience:?}");
        }
    }

    #[test]
    fn each_member_comes_once_in_a_round_and_a_new_one_in_the_same_round() {
        let mut rng = Random::new([3; 32]);
        let mut cycle = Cycle::default();
        assert_eq!(cycle.draw(&mut rng, |_| true), None);
        (0..20).for_each(|n| cycle.insert(Slot(n), &mut rng));
        for _ in 0..5 {
            let mut round: Vec<_> = (0..10).filter_map(|_| cycle.draw(&mut rng, |_| true)).collect();
            // The eleventh is new; whom it replaces has gone.
            let gone = round[3];
            cycle.remove(gone);
            cycle.remove(gone);
            cycle.insert(gone, &mut rng);
            assert!(cycle.is_sound() && cycle.len() == 20);
            round.remove(3);
            round.extend((0..11).filter_map(|_| cycle.draw(&mut rng, |_| true)));
            round.sort_unstable();
            assert_eq!(round, (0..20).map(Slot).collect::<Vec<_>>());
        }
        let only = Slot(13);
        for _ in 0..3 {
            assert_eq!(cycle.draw(&mut rng, |slot| slot == only), Some(only));
        }
        assert_eq!(cycle.draw(&mut rng, |_| false), None);
    }
}
