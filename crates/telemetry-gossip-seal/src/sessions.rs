//! Which datagrams have come: a sliding window of counters for each sender's session, and which
//! sessions are remembered.
//!
//! ```text
//!                 highest - WINDOW                highest
//!   ... stale ... |  seen: refused; not seen: new  |  ... new: the window moves on ...
//! ```
//!
//! Only what is authentic comes here. When all places are taken, a hand goes round them: a session
//! heard from since the hand last passed stays, the first that was not gives its place to the new
//! one (second chance). A new session counts as heard with its second datagram, so that those that
//! spoke once go first.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::seal::Session;

/// How many counters back a datagram may come late. A sender counts all that it sends, to whomever:
/// at 1,000 datagrams a second this is one second.
pub const WINDOW: u64 = 1_024;

/// The sessions that are remembered by default, one a sender and start of it: as many as a table
/// has members.
pub const MAX_SESSIONS: usize = 16_384;

/// The most memory that a session takes, index and spare places included.
pub const SESSION_BYTES: usize = 256;

/// One word more than the window has, so that whole words are cleared as it moves on.
const WORDS: usize = (WINDOW / 64) as usize + 1;

/// What a counter is to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    New,
    Before,
    /// So long ago that nobody knows.
    Stale,
}

#[derive(Clone, Debug)]
struct Place {
    session: Session,
    highest: u64,
    /// A bit for each of the last counters, at its remainder.
    bits: [u64; WORDS],
    /// Since the hand last passed.
    heard: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Sessions {
    max: usize,
    places: Vec<Place>,
    index: BTreeMap<Session, u32>,
    hand: usize,
}

impl Sessions {
    pub(crate) const fn new(max: usize) -> Self {
        Self { max, places: Vec::new(), index: BTreeMap::new(), hand: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether a datagram can be new; asked before its contents are known to be authentic.
    pub(crate) fn look(&self, session: Session, counter: u64) -> Seen {
        self.index.get(&session).map_or(Seen::New, |&at| self.places[at as usize].look(counter))
    }

    /// An authentic datagram has come that is new; whether another session was forgotten for it.
    pub(crate) fn enter(&mut self, session: Session, counter: u64) -> bool {
        if let Some(&at) = self.index.get(&session) {
            self.places[at as usize].enter(counter);
            return false;
        }
        let place = Place::new(session, counter);
        if self.places.len() < self.max {
            self.grow();
            self.index.insert(session, self.places.len() as u32);
            self.places.push(place);
            return false;
        }
        let at = self.unheard();
        self.index.remove(&self.places[at].session);
        self.index.insert(session, at as u32);
        self.places[at] = place;
        true
    }

    /// Twice as many places, but never more than can be used.
    fn grow(&mut self) {
        if self.places.len() == self.places.capacity() {
            let more = self.places.len().max(4).min(self.max - self.places.len());
            self.places.reserve_exact(more);
        }
    }

    /// The next place whose session was not heard from for a whole round of the hand.
    fn unheard(&mut self) -> usize {
        loop {
            let at = self.hand;
            self.hand = (self.hand + 1) % self.places.len();
            if !core::mem::take(&mut self.places[at].heard) {
                return at;
            }
        }
    }
}

impl Place {
    fn new(session: Session, counter: u64) -> Self {
        let mut place = Self { session, highest: counter, bits: [0; WORDS], heard: false };
        place.mark(counter);
        place
    }

    fn look(&self, counter: u64) -> Seen {
        if counter > self.highest {
            Seen::New
        } else if self.highest - counter >= WINDOW {
            Seen::Stale
        } else if self.bits[word(counter)] & bit(counter) != 0 {
            Seen::Before
        } else {
            Seen::New
        }
    }

    fn enter(&mut self, counter: u64) {
        self.heard = true;
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

    fn session(byte: u8) -> Session {
        Session([byte; 16])
    }

    proptest! {
        /// The window against a set of all counters that ever came.
        #[test]
        fn a_window_knows_what_came(start in prop_oneof![0..5_000_u64, Just(u64::MAX - 3_000)],
            steps in proptest::collection::vec((0..3_000_u64, any::<bool>()), 1..400)) {
            let mut sessions = Sessions::new(1);
            let (mut came, mut highest) = (BTreeSet::new(), start);
            for (step, near) in steps {
                // Now near the end of the window, now a jump forward.
                let counter = if near { highest.saturating_sub(step % 1_100) } else { highest.saturating_add(step) };
                let expected = if !came.is_empty() && counter <= highest && highest - counter >= WINDOW {
                    Seen::Stale
                } else if came.contains(&counter) {
                    Seen::Before
                } else {
                    Seen::New
                };
                prop_assert_eq!(sessions.look(session(1), counter), expected, "{} after {}", counter, highest);
                if expected == Seen::New {
                    sessions.enter(session(1), counter);
                    highest = if came.is_empty() { counter } else { highest.max(counter) };
                    came.insert(counter);
                }
            }
        }
    }

    #[test]
    fn who_spoke_once_is_forgotten_before_who_goes_on_speaking() {
        let mut sessions = Sessions::new(4);
        for byte in 0..3 {
            sessions.enter(session(byte), 0);
            sessions.enter(session(byte), 1);
        }
        assert!(!sessions.enter(session(3), 0));
        // Recordings of past lives, each once: they push out each other, while the three go on.
        for byte in 10..200 {
            assert!(sessions.enter(session(byte), 0));
            for speaking in 0..3 {
                sessions.enter(session(speaking), u64::from(byte));
            }
            assert_eq!(sessions.len(), 4);
        }
        for speaking in 0..3 {
            assert_eq!(sessions.look(session(speaking), 1), Seen::Before);
        }
        assert_eq!(sessions.look(session(198), 0), Seen::New, "it is forgotten");
    }

    #[test]
    fn memory_stays_within_its_bound() {
        let max = 1_000;
        let mut held = 0;
        let _ = allocation_counter::measure(|| {
            let mut sessions = Sessions::new(max);
            let info = allocation_counter::measure(|| {
                for number in 0..5_000_u64 {
                    let mut bytes = [0; 16];
                    bytes[..8]
                        .copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
                    sessions.enter(Session(bytes), number);
                }
            });
            held = info.bytes_current;
            assert_eq!(sessions.len(), max);
        });
        assert!(held > 0 && held as usize <= max * SESSION_BYTES, "{held} bytes for {max}");
    }
}
