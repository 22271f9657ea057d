//! The pings of a probe to its target. Each has a number of its own, so that an answer says how
//! long it took, whichever ping was lost.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::id::RequestId;
use crate::time::{Instant, TimeRules};

/// The most pings of a probe: one per stage.
const MAX_PINGS: usize = 3;

/// The pings in order. Only the first number is random: the target alone gets the others, and it
/// knows the first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pings {
    /// The number of the first; each later one has the next number.
    number: RequestId,
    /// When each was sent.
    sent: ArrayVec<Instant, MAX_PINGS>,
}

impl Pings {
    /// The first ping.
    pub(crate) fn first(number: RequestId, now: Instant) -> Self {
        Self { number, sent: core::iter::once(now).collect() }
    }

    /// Adds the ping of a later stage, and returns its number.
    pub(super) fn add(&mut self, now: Instant) -> RequestId {
        let place = u32::try_from(self.sent.len()).unwrap_or(0);
        // There is room for each stage.
        let _ = self.sent.try_push(now);
        RequestId(self.number.0.wrapping_add(place))
    }

    /// The number of the first ping.
    pub(super) const fn number(&self) -> RequestId {
        self.number
    }

    /// When the ping with this number was sent; `None` if it is none of these.
    pub(super) fn sent_at(&self, request_id: RequestId) -> Option<Instant> {
        let place = usize::try_from(request_id.0.wrapping_sub(self.number.0)).ok()?;
        self.sent.get(place).copied()
    }

    pub(super) fn is_past(&self, times: TimeRules) -> bool {
        let Self { number: _, sent } = self;
        sent.iter().all(|&at| times.is_past(at))
    }
}
