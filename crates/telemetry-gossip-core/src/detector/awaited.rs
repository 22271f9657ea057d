//! Which answers the detector awaits, and what it makes of one. To ask takes none of them: a sealed
//! datagram that brings one is no recording.

use super::{Detector, ping_req};
use crate::address::Address;
use crate::cx::Cx;
use crate::evidence::Evidence;
use crate::id::{Instance, RequestId};
use crate::membership::Slot;
use crate::outbox::Signal;

/// What the detector made of an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acked {
    /// The target answered its probe: compare its fingerprints with ours.
    Compare(Slot),
    /// Another process of the target's id answered. It is to learn what is held, and the
    /// fingerprints are to be compared.
    Rival(Slot),
    /// The ack answered another ping of the detector.
    Matched,
    /// The detector did not ask for the ack.
    Unmatched,
}

impl<A: Address> Detector<A> {
    /// The address to which the request id was sent, if an ack under it is awaited.
    pub(crate) fn address_asked(&self, request_id: RequestId, cx: &Cx<A>) -> Option<A> {
        let probed = self.probe.as_ref().and_then(|probe| probe.address_asked(request_id));
        let helper = || self.unproved.helper_asked(request_id);
        let called = || self.roll_calls.member_asked(request_id);
        probed
            .or_else(|| self.flap_damping.address_asked(request_id))
            .or_else(|| self.reach.address_asked(request_id))
            .or_else(|| helper().and_then(|helper| cx.proved_address(helper)))
            .or_else(|| self.ping_reqs.address_asked(request_id))
            .or_else(|| called().and_then(|slot| cx.table.address(slot)))
    }

    /// Handles an ack to the probe under way, or to another question of the detector.
    pub(crate) fn on_ack(
        &mut self,
        request_id: RequestId,
        instance: Instance,
        cx: &mut Cx<A>,
    ) -> Acked {
        if let Some(acked) = self.on_probe_ack(request_id, instance, cx) {
            return acked;
        }
        if let Some(slot) = self.flap_damping.answered(request_id) {
            cx.table.heard(slot, cx.now, true);
            self.add_evidence(slot, Evidence::RecheckAnswered, cx);
            return Acked::Matched;
        }
        if self.on_ack_of_unproved(request_id, instance, cx) {
            return Acked::Matched;
        }
        if let Some((asker, request_id)) = self.ping_reqs.answered(request_id) {
            ping_req::answer_asker(asker, Signal::Ack(request_id, instance), cx);
            return Acked::Matched;
        }
        if let Some(slot) = self.roll_calls.answered(request_id) {
            cx.table.heard(slot, cx.now, true);
            self.call_roll(cx);
            return Acked::Matched;
        }
        self.answered_too_late(request_id, cx);
        Acked::Unmatched
    }

    /// The address of the helper to which the request id was sent, if a nack under it is awaited.
    pub(crate) fn helper_asked(&self, request_id: RequestId) -> Option<A> {
        self.probe.as_ref()?.helper_asked(request_id)
    }
}
