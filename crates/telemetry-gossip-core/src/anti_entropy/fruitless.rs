//! Tables that a session could not make alike: the pause until the next one doubles.
//!
//! Where nodes hold different cluster configs for hours, or a table has no room for all members, two
//! tables differ however often they are compared. What is remembered is a pair of fingerprints, so
//! that any change at either end makes the next comparison worth its bytes again.
//!
//! Nothing here knows what differs, or opens a session.

use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::bounded::list;
use crate::id::mix;
use crate::membership::Fingerprints;
use crate::time::{Instant, TimeRules};

/// The most pairs that are remembered. Two configs make one pair, three make three.
const MAX_PAIRS: usize = 16;

/// The longest pause, in pauses after the first session: a minute where nodes probe every second.
const MAX_DOUBLINGS: u32 = 64;

/// The contents of two tables that were compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tables(u64);

impl Tables {
    /// Two tables by what they hold of the live members, telemetry aside: that changes all the time.
    pub(super) fn live(theirs: Fingerprints, ours: Fingerprints) -> Self {
        Self(mix(u64::from(theirs.claims) << 32 | u64::from(ours.claims)))
    }

    /// Two tables by what they hold of the members that are gone.
    pub(super) fn gone(theirs: u32, ours: u32) -> Self {
        Self(mix(!(u64::from(theirs) << 32 | u64::from(ours))))
    }
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
}

impl Fruitless {
    /// Whether two tables were compared in vain so lately that another session would be a waste.
    pub(super) fn holds_back(&self, tables: Tables, now: Instant) -> bool {
        self.pairs.iter().any(|pair| pair.tables == tables && now < pair.until)
    }

    /// Records that a session has left two tables different. `first` is the pause after the first
    /// such session. Returns whether the pause has just become the longest one.
    pub(super) fn record(&mut self, tables: Tables, first: Duration, now: Instant) -> bool {
        let most = first.saturating_mul(MAX_DOUBLINGS);
        // Tables that were alike meanwhile begin anew.
        self.pairs.retain(|pair| now < pair.until + most);
        let known = self.pairs.iter().position(|pair| pair.tables == tables);
        let last = known.map(|at| self.pairs.swap_remove(at).pause);
        let pause = last.map_or(first, |last| last.saturating_mul(2)).min(most);
        if self.pairs.is_full() {
            let soonest = (0..self.pairs.len()).min_by_key(|&at| self.pairs[at].until);
            soonest.map(|at| self.pairs.swap_remove(at));
        }
        self.pairs.push(Pair { tables, pause, until: now + pause });
        pause == most && last.is_some_and(|last| last < most)
    }

    /// Whether the restored pauses are such as settings lead to.
    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        self.pairs.iter().all(|&Pair { tables: _, pause, until }| {
            times.is_span(pause) && times.are_deadlines(&[Some(until)])
        })
    }
}
