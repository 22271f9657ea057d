//! Tables that a session could not make alike: how long they are not compared again.
//!
//! Where nodes hold different cluster configs for hours, or a table has no room for all members,
//! two tables differ however often they are compared. What is remembered is a pair of fingerprints,
//! so that any change at either end makes the next comparison worth its bytes again. Where each
//! table differs from nearly each other one, no pair comes again soon; there the node rests once
//! many more sessions were fruitless than tables were found alike.
//!
//! Nothing here knows what differs, or opens a session.

use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::bounded::list;
use crate::time::{Instant, TimeRules};

/// The most pairs that are remembered. Two configs make one pair, three make three.
const MAX_PAIRS: usize = 16;

/// How often the pause after the first session doubles: up to a minute where nodes probe every
/// second.
const MAX_DOUBLINGS: u8 = 6;

/// How many more sessions may be fruitless than tables are found alike until the node rests. While
/// many members come and go, each table differs from each other one for a while.
const MAX_EXCESS: u8 = 8;

/// The excess with which the node rests for as long as the longest pause.
const MOST_EXCESS: u8 = MAX_EXCESS + MAX_DOUBLINGS;

/// The fingerprints of two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tables {
    pub(crate) theirs: u32,
    pub(crate) ours: u32,
}

/// Two tables, and when they may be compared again.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Pair {
    tables: Tables,
    /// The pause after the latest comparison.
    pause: Duration,
    until: Instant,
}

/// The tables that were compared in vain.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Fruitless {
    #[serde(deserialize_with = "list::<_, _, _, MAX_PAIRS>")]
    pairs: ArrayVec<Pair, MAX_PAIRS>,
    /// The number of fruitless sessions, less that of the tables that were found alike.
    excess: u8,
    /// Until when no tables are compared.
    rests_until: Instant,
}

impl Fruitless {
    /// Whether another session about two tables would be a waste at this time.
    pub(super) fn holds_back(&self, tables: Tables, now: Instant) -> bool {
        let is_known = |pair: &Pair| pair.tables == tables && now < pair.until;
        now < self.rests_until || self.pairs.iter().any(is_known)
    }

    /// Records that a session has left two tables different. `first` is the pause after the first
    /// such session.
    pub(super) fn record(&mut self, tables: Tables, first: Duration, now: Instant) {
        let most = first.saturating_mul(1 << MAX_DOUBLINGS);
        let known = self.pairs.iter().position(|pair| pair.tables == tables);
        // A pair that was not seen for long begins anew.
        let last =
            known.map(|at| self.pairs.swap_remove(at)).filter(|pair| now < pair.until + most);
        let pause = last.map_or(first, |last| last.pause.saturating_mul(2)).min(most);
        if self.pairs.is_full()
            && let Some((at, _)) = self.pairs.iter().enumerate().min_by_key(|(_, pair)| pair.until)
        {
            self.pairs.swap_remove(at);
        }
        self.pairs.push(Pair { tables, pause, until: now + pause });
        self.excess = (self.excess + 1).min(MOST_EXCESS);
        if let Some(doublings) = self.excess.checked_sub(MAX_EXCESS) {
            self.rests_until = now + first.saturating_mul(1 << doublings);
        }
    }

    /// Records that this table was found to be like another one, or that a session has changed it.
    #[inline]
    pub(super) fn is_fruitful(&mut self) {
        self.excess = self.excess.saturating_sub(1);
    }

    /// Whether the restored pauses are such as settings lead to.
    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { pairs, excess, rests_until } = self;
        let pairs = pairs.iter().all(|&Pair { tables: _, pause, until }| {
            times.is_span(pause) && times.are_deadlines(&[Some(until)])
        });
        pairs && *excess <= MOST_EXCESS && times.are_deadlines(&[Some(*rests_until)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How often two tables are compared in `span` where a look is taken each 100 ms.
    fn sessions(tables: impl Fn(u32) -> Tables, span: Duration) -> u32 {
        let (mut fruitless, mut now, mut count) = (Fruitless::default(), Instant::ORIGIN, 0);
        while now < Instant::ORIGIN + span {
            let tables = tables(count);
            if !fruitless.holds_back(tables, now) {
                fruitless.record(tables, SECOND, now);
                count += 1;
            }
            now = now + Duration::from_millis(100);
        }
        count
    }

    #[test]
    fn two_tables_are_compared_ever_more_seldom() {
        let count = sessions(|_| Tables { theirs: 1, ours: 2 }, 3_600 * SECOND);
        assert!((7..=64).contains(&count), "{count} sessions in an hour");
    }

    #[test]
    fn two_tables_that_were_not_seen_for_long_are_compared_as_if_for_the_first_time() {
        let (mut fruitless, mut now) = (Fruitless::default(), Instant::ORIGIN);
        let tables = Tables { theirs: 1, ours: 2 };
        for pause in [1, 2, 4, 8, 16, 32, 64, 64].map(|secs| SECOND * secs) {
            fruitless.record(tables, SECOND, now);
            fruitless.is_fruitful();
            assert!(fruitless.holds_back(tables, now + pause - SECOND / 10), "{pause:?}");
            now = now + pause;
            assert!(!fruitless.holds_back(tables, now), "{pause:?}");
        }
        fruitless.record(tables, SECOND, now + 64 * SECOND);
        assert!(!fruitless.holds_back(tables, now + 65 * SECOND));
    }

    #[test]
    fn a_node_rests_where_all_tables_differ() {
        let count = sessions(|count| Tables { theirs: count, ours: count }, 3_600 * SECOND);
        assert!((8..=72).contains(&count), "{count} sessions in an hour");
    }

    #[test]
    fn a_change_at_either_end_makes_the_next_session_worth_it() {
        let (mut fruitless, now) = (Fruitless::default(), Instant::ORIGIN);
        let tables = Tables { theirs: 1, ours: 2 };
        fruitless.record(tables, SECOND, now);
        assert!(fruitless.holds_back(tables, now));
        assert!(!fruitless.holds_back(Tables { theirs: 3, ..tables }, now));
        assert!(!fruitless.holds_back(Tables { ours: 3, ..tables }, now));
        assert!(!fruitless.holds_back(tables, now + SECOND));
        for theirs in 4..4 + u32::from(MAX_EXCESS) {
            fruitless.is_fruitful();
            fruitless.record(Tables { theirs, ours: 2 }, SECOND, now);
        }
        assert!(!fruitless.holds_back(Tables { theirs: 3, ours: 2 }, now), "it does not rest");
    }
}
