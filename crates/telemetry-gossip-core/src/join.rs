//! Finding the cluster: asking seeds for all they know, page by page, or for a piece of it where
//! many join at once.
//!
//! ```text
//!   idle --- seeds ---> asking some seeds, again and again --- one answers ---> paging --- last page ---> idle
//!                            ^                                                    |
//!                            +-------------- it falls silent ---------------------+
//! ```

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::id::{IdHash, RequestId};
use crate::time::Instant;

/// How many pages a seed gives a second to newcomers that want the whole table. Where more join at
/// once, each further one gets a piece from a random place, and compares tables with those it then
/// knows: the table comes from all of them.
const PAGES: u32 = 16;

/// The bytes of such a piece.
pub(crate) const PIECE: usize = 600;

/// What a seed has given of late.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pages {
    since: Instant,
    given: u32,
}

impl Pages {
    /// Whether one more page is given.
    pub(crate) fn give(&mut self, now: Instant) -> bool {
        if now.since(self.since).as_secs() >= 1 {
            (self.since, self.given) = (now, 0);
        }
        self.given = self.given.saturating_add(1);
        self.given <= PAGES
    }
}

/// How many seeds are asked at once.
pub(crate) const FANOUT: usize = 3;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Joining<A> {
    seeds: Vec<A>,
    number: RequestId,
    /// The seed that answered, and where its next page begins.
    paging: Option<(A, IdHash)>,
    retry_at: Instant,
    fails_at: Instant,
}

/// What a page means to the join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<A> {
    /// Ask this seed for the next page.
    Ask(A, RequestId, IdHash),
    /// That was the last.
    Complete(A),
    /// The page is not one that was asked for.
    Unrelated,
}

impl<A: Copy + PartialEq> Joining<A> {
    pub(crate) fn new(seeds: Vec<A>, number: RequestId, now: Instant, fails_at: Instant) -> Self {
        Self { seeds, number, paging: None, retry_at: now, fails_at }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.retry_at.min(self.fails_at)
    }

    /// Whether this is one of those that are asked.
    pub(crate) fn is_seed(&self, address: A) -> bool {
        self.seeds.contains(&address)
    }

    /// The seeds to choose from, if it is time to ask.
    pub(crate) fn due(&mut self, now: Instant, retry_at: Instant) -> Option<(&[A], RequestId)> {
        if self.retry_at > now {
            return None;
        }
        self.retry_at = retry_at;
        self.paging = None;
        Some((&self.seeds, self.number))
    }

    /// Whether the join has failed by now; it is then given until `fails_at`.
    pub(crate) fn failed(&mut self, now: Instant, fails_at: Instant) -> bool {
        let failed = self.fails_at <= now;
        if failed {
            self.fails_at = fails_at;
        }
        failed
    }

    pub(crate) fn page(
        &mut self,
        from: A,
        number: RequestId,
        next: Option<IdHash>,
        retry_at: Instant,
    ) -> Step<A> {
        if number != self.number || !self.is_seed(from) {
            return Step::Unrelated;
        }
        if let Some((seed, cursor)) = self.paging
            && (seed != from || next.is_some_and(|next| next <= cursor))
        {
            return Step::Unrelated;
        }
        match next {
            None => Step::Complete(from),
            Some(next) => {
                self.paging = Some((from, next));
                self.retry_at = retry_at;
                Step::Ask(from, number, next)
            }
        }
    }
}
