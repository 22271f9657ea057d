//! Which answers the detector awaits, without taking them: a sealed datagram that brings one is no
//! recording.

use super::Detector;
use super::probe::Answer;
use crate::address::Address;
use crate::cx::Cx;
use crate::id::{Instance, RequestId};

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
