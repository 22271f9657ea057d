//! Which answers the detector awaits, and what it makes of one. To ask takes none of them: a sealed
//! datagram that brings one is no recording.

use super::Detector;
use super::probe::Answer;
use crate::address::Address;
use crate::cx::Cx;
use crate::id::{Instance, RequestId};
use crate::membership::Slot;

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
    /// Whether an ack from `from` under this request id is awaited.
    pub(crate) fn awaits(&self, from: A, request_id: RequestId, cx: &Cx<A>) -> bool {
        let probe = self.probe.as_ref();
        probe.is_some_and(|it| it.judge(from, request_id, Instance(0)) != Answer::Unrelated)
            || self.flap_damping.awaits(from, request_id)
            || self.unproved.awaits(request_id)
            || self.ping_reqs.awaits(from, request_id)
            || self.roll_calls.awaits(request_id, |slot| cx.table.address(slot) == Some(from))
    }

    /// Whether a nack from `from` under this request id is awaited.
    pub(crate) fn awaits_nack(&self, from: A, request_id: RequestId) -> bool {
        let mut probes = self.probe.iter().filter(|probe| probe.request_id == request_id);
        probes.any(|probe| probe.helpers.iter().any(|helper| helper.address == from))
    }
}
