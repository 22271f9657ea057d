//! The members that are farther away than a probe can wait.
//!
//! A probe waits for a distant member for up to one and a half timeouts, see
//! [`RttBound::patience`](crate::membership::rtt::RttBound::patience). One that always answers even
//! later is suspected time and again, and may be held dead for a while: only a longer probe timeout
//! helps, at all nodes. So the host is told, once in a while.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Detector;
use super::elsewhere::TOLD_FOR;
use super::pings::Pings;
use super::probe::Probe;
use crate::address::Address;
use crate::cx::Cx;
use crate::event::Event;
use crate::id::RequestId;
use crate::membership::Slot;
use crate::time::{Instant, TimeRules};

/// What this node knows of answers that come too late.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Distant<A> {
    /// The last probe that ended without an answer of its target itself: that may be on its way.
    unanswered: Option<Unanswered<A>>,
    told_at: Option<Instant>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Unanswered<A> {
    pings: Pings,
    target: Slot,
    address: A,
}

impl<A: Copy + PartialEq> Distant<A> {
    pub(super) const fn new() -> Self {
        Self { unanswered: None, told_at: None }
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        self.unanswered.take_if(|unanswered| unanswered.target == slot);
    }

    /// Takes in a probe that ended without an answer of its target itself.
    pub(super) fn was_unanswered(&mut self, probe: &Probe<A>) {
        let Probe { pings, target, address, .. } = probe;
        let (pings, target, address) = (pings.clone(), *target, *address);
        self.unanswered = Some(Unanswered { pings, target, address });
    }

    pub(super) fn is_sound(&self, me: Slot, times: TimeRules) -> bool {
        let Self { unanswered, told_at } = self;
        times.are_past(&[*told_at])
            && unanswered.as_ref().is_none_or(|it| it.target != me && it.pings.is_past(times))
    }
}

impl<A: Address> Detector<A> {
    /// Looks whether an ack is the answer to the probe that is over. It counts for nothing else.
    #[cold]
    pub(super) fn answered_too_late(&mut self, request_id: RequestId, cx: &mut Cx<A>) {
        let Some(late) = &self.distant.unanswered else { return };
        let Some(sent_at) = late.pings.sent_at(request_id) else { return };
        let (target, is_there) = (late.target, cx.table.row(late.target).is_at(&late.address));
        self.distant.unanswered = None;
        if is_there {
            self.answered_within(target, cx.now.since(sent_at), cx);
        }
    }

    /// Takes in an answer of a member to a ping of a probe. If the member is too far away for
    /// probes, the host is told.
    pub(super) fn answered_within(&mut self, slot: Slot, round_trip: Duration, cx: &mut Cx<A>) {
        let timeout = cx.config.probe_timeout;
        let is_beyond = cx.table.is_beyond_patience(slot, round_trip, timeout);
        let told = self.distant.told_at.is_some_and(|at| cx.now.since(at) < TOLD_FOR);
        if is_beyond
            && !told
            && let Some(address) = cx.table.address(slot)
        {
            self.distant.told_at = Some(cx.now);
            cx.emit(Event::Distant { id: cx.table.id(slot), address, round_trip });
        }
    }
}
