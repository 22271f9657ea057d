//! Pings on behalf of others: what this node was asked to find out, and for whom.
//!
//! At most [`LIMIT`] at a time; a request beyond is shed. An entry lives for two probe timeouts; if
//! its target has not answered at four fifths of the first, the asker gets a nack: the helper is
//! there, the target is silent.

use alloc::collections::VecDeque;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{IdHash, RequestId};
use crate::time::Instant;

/// The most relays under way.
pub(crate) const LIMIT: usize = 128;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Relay<A> {
    ours: RequestId,
    theirs: RequestId,
    asker: (A, IdHash),
    target: A,
    nack_at: Option<Instant>,
    ends: Instant,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Relays<A> {
    /// In order of their ends, as all last equally long.
    entries: VecDeque<Relay<A>>,
}

impl<A: Copy + PartialEq> Relays<A> {
    pub(crate) const fn new() -> Self {
        Self { entries: VecDeque::new() }
    }

    /// Notes a request; false if there are too many.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        (ours, theirs): (RequestId, RequestId),
        (asker, target): ((A, IdHash), A),
        timeout: Duration,
    ) -> bool {
        if self.entries.len() >= LIMIT {
            return false;
        }
        let nack_at = Some(now + timeout * 4 / 5);
        self.entries.push_back(Relay {
            ours,
            theirs,
            asker,
            target,
            nack_at,
            ends: now + timeout * 2,
        });
        true
    }

    /// An ack came from `from`: whom to pass it on to, and under which number.
    pub(crate) fn answered(
        &mut self,
        from: A,
        number: RequestId,
    ) -> Option<((A, IdHash), RequestId)> {
        let at =
            self.entries.iter().position(|relay| relay.ours == number && relay.target == from)?;
        let relay = self.entries.remove(at)?;
        Some((relay.asker, relay.theirs))
    }

    /// A nack that is due.
    pub(crate) fn due(&mut self, now: Instant) -> Option<((A, IdHash), RequestId)> {
        while self.entries.front().is_some_and(|relay| relay.ends <= now) {
            self.entries.pop_front();
        }
        let relay =
            self.entries.iter_mut().find(|relay| relay.nack_at.is_some_and(|at| at <= now))?;
        relay.nack_at = None;
        Some((relay.asker, relay.theirs))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let nack = self.entries.iter().filter_map(|relay| relay.nack_at).min();
        let end = self.entries.front().map(|relay| relay.ends);
        nack.into_iter().chain(end).min()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// Member `n` asks under the number n for a ping of 100 + n, which gets the number 50 + n.
    fn add(relays: &mut Relays<u32>, now: Instant, n: u32) -> bool {
        relays.add(now, (RequestId(50 + n), RequestId(n)), ((n, IdHash(n)), 100 + n), TIMEOUT)
    }

    #[test]
    fn an_ack_is_passed_on_once_to_whom_asked() {
        let mut relays = Relays::new();
        assert!(add(&mut relays, at(0), 1) && add(&mut relays, at(0), 2));
        assert_eq!(relays.answered(102, RequestId(51)), None, "from another than was pinged");
        assert_eq!(relays.answered(101, RequestId(52)), None, "under another number");
        assert_eq!(relays.answered(101, RequestId(51)), Some(((1, IdHash(1)), RequestId(1))));
        assert_eq!((relays.answered(101, RequestId(51)), relays.len()), (None, 1));
    }

    #[test]
    fn a_nack_is_due_at_four_fifths_of_the_timeout_and_the_end_after_two() {
        let mut relays = Relays::new();
        add(&mut relays, at(0), 1);
        add(&mut relays, at(100), 2);
        assert_eq!(relays.deadline(), Some(at(800)));
        assert_eq!(relays.due(at(799)), None);
        assert_eq!(relays.due(at(800)), Some(((1, IdHash(1)), RequestId(1))));
        assert_eq!((relays.due(at(800)), relays.deadline()), (None, Some(at(900))));
        assert_eq!(relays.due(at(900)), Some(((2, IdHash(2)), RequestId(2))));
        assert_eq!((relays.deadline(), relays.len()), (Some(at(2_000)), 2));
        assert!(
            relays.answered(101, RequestId(51)).is_some(),
            "late, but in time for a probe of two timeouts"
        );
        relays.due(at(2_099));
        assert_eq!(relays.len(), 1);
        relays.due(at(2_100));
        assert_eq!((relays.len(), relays.deadline()), (0, None));
    }

    #[test]
    fn those_above_the_limit_are_shed() {
        let mut relays = Relays::new();
        assert!((1..=128).all(|n| add(&mut relays, at(0), n)));
        assert!(!add(&mut relays, at(0), 129));
        assert_eq!(relays.len(), 128);
    }
}
