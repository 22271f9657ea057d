//! Replay windows: which datagrams of each proved nonce prefix were accepted.
//!
//! ```text
//!   proof or highest - WINDOW             highest                      highest + MAX_LEAP
//!   outside |  set bit: seen; clear bit: new  |  new: the window moves on  |  outside
//! ```
//!
//! Only a proof makes a window: a datagram that repeats a number which the receiver drew just
//! before. Counters up to that of the proof lie outside, and what the sender seals later has higher
//! ones. So a recording finds no place here, whatever is replayed how often.
//!
//! A counter outside of the window neither moves it nor is refused: the datagram opens as one of a
//! prefix without a proof, such as one that the proof has overtaken on its way. If it is a proof
//! itself, the window begins anew at its counter. So a datagram with a false counter, which takes
//! the key to make, mutes the prefix only until the true sender answers again.
//!
//! When all slots are taken, a clock hand chooses the window to forget (second chance): it passes
//! over a window that was used since its last visit, and stops at the first that was not. Its
//! sender proves its prefix again.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::nonce::NoncePrefix;

/// The number of counters by which a datagram may be late.
///
/// A sender has one counter for all its receivers: at 1,000 datagrams per second this is one
/// second.
pub const WINDOW: u64 = 1_024;

/// The number of counters by which a datagram may be ahead of the highest one so far.
///
/// A sender has one counter for all its receivers, and may be silent to this one for long: at 1,000
/// datagrams per second this is a quarter of an hour.
pub const MAX_LEAP: u64 = 1 << 20;

/// The default for the most replay windows, one per start of a sender. A table has as many members.
pub const MAX_WINDOWS: usize = 16_384;

/// The most memory per replay window in bytes, with its share of the index and of spare slots.
pub const WINDOW_BYTES: usize = 256;

/// One word more than the window needs, so that whole words are cleared as it moves on.
const WORDS: usize = (WINDOW / 64) as usize + 1;

/// How a counter stands to the replay window of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// In the window, or not far above it, and not accepted before. The prefix was proved at this
    /// time of the host.
    New(u64),
    /// Accepted before.
    Seen,
    /// Below the window, so that it may have been seen, or older than the proof.
    Stale,
    /// Far above the window.
    Ahead,
    /// The prefix has no window.
    Unknown,
}

#[derive(Clone, Debug)]
struct ReplayWindow {
    prefix: NoncePrefix,
    highest: u64,
    /// The counter from which on datagrams are newer than the latest proof.
    floor: u64,
    /// When the prefix was proved last, in a time of the host.
    proved_at: u64,
    /// One bit per counter of the window, at the counter's remainder.
    bits: [u64; WORDS],
    /// A datagram was accepted since the hand last passed.
    used: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct ReplayWindows {
    max: usize,
    slots: Vec<ReplayWindow>,
    index: BTreeMap<NoncePrefix, u32>,
    hand: usize,
}

impl ReplayWindows {
    pub(crate) const fn new(max: usize) -> Self {
        Self { max, slots: Vec::new(), index: BTreeMap::new(), hand: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Checks whether a datagram can be new, before it is known to be authentic.
    pub(crate) fn check(&self, prefix: NoncePrefix, counter: u64) -> Freshness {
        let slot = self.index.get(&prefix);
        slot.map_or(Freshness::Unknown, |&at| self.slots[at as usize].check(counter))
    }

    /// Accepts the counter of an authentic datagram that is new in its window.
    pub(crate) fn accept(&mut self, prefix: NoncePrefix, counter: u64) {
        if let Some(&at) = self.index.get(&prefix) {
            self.slots[at as usize].accept(counter);
        }
    }

    /// Notes that a prefix was proved at time `at` of the host, by a datagram with this counter:
    /// nothing up to it is fresh any more. Returns whether another window was forgotten for it.
    pub(crate) fn prove(&mut self, prefix: NoncePrefix, counter: u64, at: u64) -> bool {
        if let Some(&slot) = self.index.get(&prefix) {
            self.slots[slot as usize].prove(counter, at);
            return false;
        }
        self.insert(ReplayWindow::proved(prefix, counter, at))
    }

    /// Makes a window for the first datagram of a prefix, without a proof.
    pub(crate) fn trust(&mut self, prefix: NoncePrefix, counter: u64) -> bool {
        self.insert(ReplayWindow::new(prefix, counter))
    }

    fn insert(&mut self, window: ReplayWindow) -> bool {
        let prefix = window.prefix;
        if self.slots.len() < self.max {
            self.grow();
            self.index.insert(prefix, self.slots.len() as u32);
            self.slots.push(window);
            return false;
        }
        let at = self.unused();
        self.index.remove(&self.slots[at].prefix);
        self.index.insert(prefix, at as u32);
        self.slots[at] = window;
        true
    }

    /// Doubles the capacity, up to the most slots that can be used.
    fn grow(&mut self) {
        if self.slots.len() == self.slots.capacity() {
            let more = self.slots.len().max(4).min(self.max - self.slots.len());
            self.slots.reserve_exact(more);
        }
    }

    /// Moves the hand to the next window that was not used for a whole round, and returns its slot.
    fn unused(&mut self) -> usize {
        loop {
            let at = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            if !core::mem::take(&mut self.slots[at].used) {
                return at;
            }
        }
    }
}

impl ReplayWindow {
    /// The window after the first datagram of its prefix: counters below it are new.
    fn new(prefix: NoncePrefix, counter: u64) -> Self {
        let mut window = Self {
            prefix,
            highest: counter,
            floor: 0,
            proved_at: 0,
            bits: [0; WORDS],
            used: false,
        };
        window.mark(counter);
        window
    }

    /// The window after a proof: counters up to it are not new.
    fn proved(prefix: NoncePrefix, counter: u64, at: u64) -> Self {
        Self { floor: counter, proved_at: at, ..Self::new(prefix, counter) }
    }

    fn check(&self, counter: u64) -> Freshness {
        if counter > self.highest {
            if counter - self.highest > MAX_LEAP {
                Freshness::Ahead
            } else {
                Freshness::New(self.proved_at)
            }
        } else if self.highest - counter >= WINDOW {
            Freshness::Stale
        } else if self.bits[word(counter)] & bit(counter) != 0 {
            Freshness::Seen
        } else if counter < self.floor {
            Freshness::Stale
        } else {
            Freshness::New(self.proved_at)
        }
    }

    fn accept(&mut self, counter: u64) {
        self.used = true;
        if counter > self.highest {
            let (from, to) = (self.highest / 64, counter / 64);
            for passed in (from + 1..=to).take(WORDS) {
                self.bits[(passed % WORDS as u64) as usize] = 0;
            }
            self.highest = counter;
        }
        self.mark(counter);
    }

    fn prove(&mut self, counter: u64, at: u64) {
        let behind = self.highest.saturating_sub(counter) >= WINDOW;
        if behind || self.check(counter) == Freshness::Ahead {
            let used = self.used;
            *self = Self { used, ..Self::proved(self.prefix, counter, at) };
            return;
        }
        self.accept(counter);
        (self.floor, self.proved_at) = (self.floor.max(counter), at);
    }

    fn mark(&mut self, counter: u64) {
        self.bits[word(counter)] |= bit(counter);
    }
}

fn word(counter: u64) -> usize {
    (counter / 64 % WORDS as u64) as usize
}

fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    fn prefix(byte: u8) -> NoncePrefix {
        NoncePrefix::new([byte; 16])
    }

    #[test]
    fn there_is_room_for_no_more_windows_than_are_kept() {
        for max in [1_u8, 5, 21] {
            let mut windows = ReplayWindows::new(max.into());
            for byte in 0..2 * max {
                windows.trust(prefix(byte), 0);
                assert!(windows.slots.capacity() <= max.into(), "after {byte} of {max}");
            }
            // It grows by doubling, and not to the last place at once.
            let mut few = ReplayWindows::new(1_000);
            few.trust(prefix(max), 0);
            assert!(few.slots.capacity() <= 4);
        }
    }

    /// What the rules say, in the plainest words.
    #[derive(Default)]
    struct Model {
        window: Option<(u64, u64)>,
        seen: BTreeSet<u64>,
        /// Counters below this one are not new.
        proof: u64,
    }

    impl Model {
        fn check(&self, counter: u64) -> Freshness {
            let Some((highest, at)) = self.window else { return Freshness::Unknown };
            if counter > highest && counter - highest > MAX_LEAP {
                Freshness::Ahead
            } else if counter <= highest && highest - counter >= WINDOW {
                Freshness::Stale
            } else if self.seen.contains(&counter) {
                Freshness::Seen
            } else if counter < self.proof {
                Freshness::Stale
            } else {
                Freshness::New(at)
            }
        }

        fn prove(&mut self, counter: u64, at: u64) {
            let outside = self.window.is_none_or(|(highest, _)| {
                highest.saturating_sub(counter) >= WINDOW
                    || counter.saturating_sub(highest) > MAX_LEAP
            });
            if outside {
                self.seen.clear();
                (self.window, self.proof) = (Some((counter, at)), counter);
            }
            let highest = self.window.map_or(counter, |(highest, _)| highest.max(counter));
            (self.window, self.proof) = (Some((highest, at)), self.proof.max(counter));
            self.seen.insert(counter);
        }

        fn accept(&mut self, counter: u64) {
            self.seen.insert(counter);
            if let Some((highest, _)) = &mut self.window {
                *highest = counter.max(*highest);
            }
        }
    }

    proptest! {
        /// Compares the window with a set of all counters that were accepted.
        #[test]
        fn a_window_agrees_with_a_set_of_all_counters(
            start in prop_oneof![0..5_000_u64, Just(u64::MAX - 3_000)],
            steps in proptest::collection::vec(
                (prop_oneof![0..3_000_u64, 1_040_000..1_060_000_u64, Just(u64::MAX / 2)], 0..8_u8),
                1..300,
            ),
        ) {
            let (mut windows, mut model) = (ReplayWindows::new(1), Model::default());
            for (time, (step, kind)) in steps.into_iter().enumerate() {
                let highest = model.window.map_or(start, |(highest, _)| highest);
                // Near the end of the window, a jump forward, or a jump back.
                let counter = match kind % 4 {
                    0 | 1 => highest.saturating_sub(step % 1_100),
                    2 => highest.saturating_add(step),
                    _ => highest.saturating_sub(step),
                };
                let found = windows.check(prefix(1), counter);
                prop_assert_eq!(found, model.check(counter), "{} after {}", counter, highest);
                if kind == 7 || (kind > 4 && model.window.is_none()) {
                    windows.prove(prefix(1), counter, time as u64);
                    model.prove(counter, time as u64);
                } else if let Freshness::New(_) = found {
                    windows.accept(prefix(1), counter);
                    model.accept(counter);
                }
            }
        }

        /// Whatever was recorded before a proof, and in whatever order it comes, none of it is new.
        #[test]
        fn nothing_sealed_before_a_proof_is_new_after_it(
            accepted in proptest::collection::vec(0..10_000_u64, 0..50),
            proof in 0..10_000_u64,
            replayed in proptest::collection::vec(0..10_000_u64, 0..300),
            later in proptest::collection::vec(1..3_000_u64, 0..50),
        ) {
            let mut windows = ReplayWindows::new(1);
            if let Some(&first) = accepted.first() {
                windows.prove(prefix(1), first, 1);
            }
            for counter in accepted {
                if let Freshness::New(_) = windows.check(prefix(1), counter) {
                    windows.accept(prefix(1), counter);
                }
            }
            // An honest answer has the highest counter but for what overtook it.
            windows.prove(prefix(1), proof, 2);
            let mut later = later.into_iter();
            for counter in replayed {
                if let Some(step) = later.next()
                    && let Freshness::New(_) = windows.check(prefix(1), proof + step)
                {
                    windows.accept(prefix(1), proof + step);
                }
                let old = counter.min(proof);
                prop_assert!(!matches!(windows.check(prefix(1), old), Freshness::New(_)));
            }
        }
    }

    #[test]
    fn a_counter_far_ahead_moves_no_window_and_a_proof_brings_the_sender_back() {
        let mut windows = ReplayWindows::new(4);
        windows.prove(prefix(1), 100, 1);
        assert_eq!(windows.check(prefix(1), 100 + MAX_LEAP), Freshness::New(1));
        assert_eq!(windows.check(prefix(1), 101 + MAX_LEAP), Freshness::Ahead);
        assert_eq!(windows.check(prefix(1), u64::MAX), Freshness::Ahead);
        // A holder of the key that answers under a false counter, and then the true sender.
        windows.prove(prefix(1), u64::MAX, 2);
        assert_eq!(windows.check(prefix(1), 150), Freshness::Stale);
        windows.prove(prefix(1), 151, 3);
        assert_eq!(windows.check(prefix(1), 152), Freshness::New(3));
        assert_eq!(windows.check(prefix(1), 150), Freshness::Stale);
        assert_eq!(windows.check(prefix(1), 151), Freshness::Seen);
        assert_eq!(windows.check(prefix(1), u64::MAX), Freshness::Ahead);
    }

    #[test]
    fn only_a_proof_takes_a_place_and_silent_prefixes_are_forgotten_first() {
        let mut windows = ReplayWindows::new(4);
        for byte in 0..3 {
            windows.prove(prefix(byte), 0, 0);
            windows.accept(prefix(byte), 1);
        }
        windows.accept(prefix(9), 0);
        assert_eq!((windows.len(), windows.check(prefix(9), 0)), (3, Freshness::Unknown));
        assert!(!windows.prove(prefix(3), 0, 0));
        // Instances that each prove themselves once displace each other, not the three.
        for byte in 10..200 {
            assert!(windows.prove(prefix(byte), 0, 0));
            for live in 0..3 {
                windows.accept(prefix(live), u64::from(byte));
            }
            assert_eq!(windows.len(), 4);
        }
        for live in 0..3 {
            assert_eq!(windows.check(prefix(live), 1), Freshness::Seen);
        }
        assert_eq!(windows.check(prefix(198), 0), Freshness::Unknown, "its window is forgotten");
    }

    #[test]
    fn memory_stays_within_its_bound() {
        let max = 1_000;
        let mut held = 0;
        let _ = allocation_counter::measure(|| {
            let mut windows = ReplayWindows::new(max);
            let info = allocation_counter::measure(|| {
                for number in 0..5_000_u64 {
                    let mut bytes = [0; 16];
                    bytes[..8]
                        .copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
                    windows.prove(NoncePrefix::new(bytes), number, 0);
                }
            });
            held = info.bytes_current;
            assert_eq!(windows.len(), max);
        });
        assert!(held > 0 && held as usize <= max * WINDOW_BYTES, "{held} bytes for {max}");
    }
}
