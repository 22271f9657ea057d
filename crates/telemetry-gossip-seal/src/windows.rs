//! Replay windows: which datagrams of each nonce prefix were accepted.
//!
//! ```text
//!                 highest - WINDOW                  highest
//!   ... stale ... |  set bit: seen; clear bit: new  |  ... new: the window moves on ...
//! ```
//!
//! Only authentic datagrams change a window. When all slots are taken, a clock hand chooses the
//! window to forget (second chance): it passes over a window that was used since its last visit,
//! and stops at the first that was not. A new window counts as used after its second datagram, so
//! that senders of a single datagram are forgotten first.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::nonce::NoncePrefix;

/// The number of counters by which a datagram may be late.
///
/// A sender has one counter for all its receivers: at 1,000 datagrams per second this is one
/// second.
pub const WINDOW: u64 = 1_024;

/// The default for the most replay windows, one per start of a sender. A table has as many members.
pub const MAX_WINDOWS: usize = 16_384;

/// The most memory per replay window in bytes, with its share of the index and of spare slots.
pub const WINDOW_BYTES: usize = 256;

/// One word more than the window needs, so that whole words are cleared as it moves on.
const WORDS: usize = (WINDOW / 64) as usize + 1;

/// How a counter stands to the replay window of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    New,
    Seen,
    /// Below the window, so that it may have been seen.
    Stale,
}

#[derive(Clone, Debug)]
struct ReplayWindow {
    prefix: NoncePrefix,
    highest: u64,
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
        slot.map_or(Freshness::New, |&at| self.slots[at as usize].check(counter))
    }

    /// Accepts the counter of a new and authentic datagram. Returns whether another window was
    /// forgotten for it.
    pub(crate) fn accept(&mut self, prefix: NoncePrefix, counter: u64) -> bool {
        if let Some(&at) = self.index.get(&prefix) {
            self.slots[at as usize].accept(counter);
            return false;
        }
        let window = ReplayWindow::new(prefix, counter);
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
    fn new(prefix: NoncePrefix, counter: u64) -> Self {
        let mut window = Self { prefix, highest: counter, bits: [0; WORDS], used: false };
        window.mark(counter);
        window
    }

    fn check(&self, counter: u64) -> Freshness {
        if counter > self.highest {
            Freshness::New
        } else if self.highest - counter >= WINDOW {
            Freshness::Stale
        } else if self.bits[word(counter)] & bit(counter) != 0 {
            Freshness::Seen
        } else {
            Freshness::New
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

    proptest! {
        /// Compares the window with a set of all counters that were accepted.
        #[test]
        fn a_window_agrees_with_a_set_of_all_counters(
            start in prop_oneof![0..5_000_u64, Just(u64::MAX - 3_000)],
            steps in proptest::collection::vec((0..3_000_u64, any::<bool>()), 1..400),
        ) {
            let mut windows = ReplayWindows::new(1);
            let (mut seen, mut highest) = (BTreeSet::new(), start);
            for (step, near) in steps {
                // Either near the end of the window, or a jump forward.
                let counter = if near {
                    highest.saturating_sub(step % 1_100)
                } else {
                    highest.saturating_add(step)
                };
                let below = counter <= highest && highest - counter >= WINDOW;
                let expected = if !seen.is_empty() && below {
                    Freshness::Stale
                } else if seen.contains(&counter) {
                    Freshness::Seen
                } else {
                    Freshness::New
                };
                let found = windows.check(prefix(1), counter);
                prop_assert_eq!(found, expected, "{} after {}", counter, highest);
                if expected == Freshness::New {
                    windows.accept(prefix(1), counter);
                    highest = if seen.is_empty() { counter } else { highest.max(counter) };
                    seen.insert(counter);
                }
            }
        }
    }

    #[test]
    fn prefixes_heard_once_are_forgotten_before_those_heard_again() {
        let mut windows = ReplayWindows::new(4);
        for byte in 0..3 {
            windows.accept(prefix(byte), 0);
            windows.accept(prefix(byte), 1);
        }
        assert!(!windows.accept(prefix(3), 0));
        // Recordings of past instances, each once: they displace each other, not the three.
        for byte in 10..200 {
            assert!(windows.accept(prefix(byte), 0));
            for live in 0..3 {
                windows.accept(prefix(live), u64::from(byte));
            }
            assert_eq!(windows.len(), 4);
        }
        for live in 0..3 {
            assert_eq!(windows.check(prefix(live), 1), Freshness::Seen);
        }
        assert_eq!(windows.check(prefix(198), 0), Freshness::New, "its window is forgotten");
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
                    windows.accept(NoncePrefix::new(bytes), number);
                }
            });
            held = info.bytes_current;
            assert_eq!(windows.len(), max);
        });
        assert!(held > 0 && held as usize <= max * WINDOW_BYTES, "{held} bytes for {max}");
    }
}
