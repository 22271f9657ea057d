//! Acknowledgements that come when their flight is over. Nothing else tells how far away a partner
//! is whose answers take longer than a flight may.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::dissemination::branch::{Branch, InFlight};
use crate::id::RequestId;
use crate::membership::Slot;
use crate::time::{Instant, TimeRules};

/// The number of datagrams that are remembered: those of some flights.
const MAX_LATE: usize = 8;

/// The datagrams that were given up last.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::dissemination) struct Late(ArrayVec<GivenUp, MAX_LATE>);

/// A datagram of a flight that was given up before it was acknowledged.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct GivenUp {
    request_id: RequestId,
    partner: Slot,
    len: u16,
    sent_at: Instant,
}

impl Late {
    /// Remembers the datagrams of a flight that have not arrived.
    pub(super) fn given_up(&mut self, branch: &Branch) {
        let Some(partner) = branch.partner else { return };
        for datagram in branch.in_flight.iter().filter(|datagram| !datagram.arrived) {
            if self.0.is_full() {
                self.0.remove(0);
            }
            let InFlight { request_id, len, sent_at, .. } = *datagram;
            self.0.push(GivenUp { request_id, partner, len, sent_at });
        }
    }

    /// Handles the acknowledgement of a datagram that was given up. Returns the partner, when that
    /// was sent, and the bytes of its updates; `None` if no such datagram is remembered.
    #[cold]
    pub(in crate::dissemination) fn arrived(
        &mut self,
        request_id: RequestId,
    ) -> Option<(Slot, Instant, u16)> {
        let at = self.0.iter().position(|late| late.request_id == request_id)?;
        let GivenUp { partner, sent_at, len, .. } = self.0.remove(at);
        Some((partner, sent_at, len))
    }

    pub(super) fn forget(&mut self, partner: Slot) {
        self.0.retain(|late| late.partner != partner);
    }

    /// Whether what a restored node remembers is possible.
    pub(super) fn is_sound(&self, me: Slot, times: TimeRules) -> bool {
        self.0.iter().all(|late| late.partner != me && times.is_past(late.sent_at))
    }
}
