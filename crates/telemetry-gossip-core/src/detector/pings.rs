//! The pings of a probe to its target. Each has a number of its own, so that an answer says how
//! long it took, whichever ping was lost.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::id::RequestId;
use crate::time::{Instant, TimeRules};

/// The most pings after the first: one per later stage of a probe.
const MAX_LATER: usize = 2;

/// The number of each ping, and when it was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pings {
    first: (RequestId, Instant),
    later: ArrayVec<(RequestId, Instant), MAX_LATER>,
}

impl Pings {
    /// The first ping.
    pub(crate) const fn first(request_id: RequestId, now: Instant) -> Self {
        Self { first: (request_id, now), later: ArrayVec::new_const() }
    }

    /// Adds the ping of a later stage.
    pub(super) fn add(&mut self, request_id: RequestId, now: Instant) {
        // There is room for each stage.
        let _ = self.later.try_push((request_id, now));
    }

    /// The number of the first ping.
    pub(super) const fn number(&self) -> RequestId {
        self.first.0
    }

    /// When the ping with this number was sent; `None` if it is none of these.
    pub(super) fn sent_at(&self, request_id: RequestId) -> Option<Instant> {
        let mut all = core::iter::once(&self.first).chain(&self.later);
        all.find(|ping| ping.0 == request_id).map(|ping| ping.1)
    }

    pub(super) fn is_past(&self, times: TimeRules) -> bool {
        let Self { first, later } = self;
        times.is_past(first.1) && later.iter().all(|&(_, at)| times.is_past(at))
    }
}
