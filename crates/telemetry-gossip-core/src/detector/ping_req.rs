//! Pings on behalf of other nodes (the ping-req of SWIM): this node as a helper.
//!
//! At most [`MAX_PING_REQS`] requests are under way at a time; further requests are shed. An entry
//! lives for two probe timeouts. If its target has not answered after four fifths of the first, the
//! asker gets a nack, which tells it that the helper is running and the target is silent.
//!
//! A helper draws no conclusion about the target.

use alloc::collections::VecDeque;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Detector;
use crate::address::Address;
use crate::bounded::list;
use crate::cx::Cx;
use crate::id::{IdHash, RequestId};
use crate::outbox::{Diff, Intent, Signal};
use crate::time::Instant;
use crate::violation::{Unsound, check_rules};
use crate::wire::{PING_LEN, PING_REQ_LEN};

/// The largest number of ping-reqs under way.
pub(crate) const MAX_PING_REQS: usize = 128;

/// The places that are kept while no request is under way. In calm there are fewer at a time.
const MAX_KEPT: usize = 8;

/// A ping-req under way.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct PingReq<A> {
    /// The request id of our ping to the target.
    ours: RequestId,
    /// The request id of the asker's request.
    theirs: RequestId,
    asker: (A, IdHash),
    target: A,
    /// When the asker gets a nack; `None` once it was sent.
    nack_at: Option<Instant>,
    ends: Instant,
}

/// The ping-reqs under way.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "A: Serialize", deserialize = "A: Deserialize<'de>"))]
pub(crate) struct PingReqs<A> {
    /// In the order of their ends, since all last equally long.
    #[serde(deserialize_with = "list::<_, _, _, MAX_PING_REQS>")]
    entries: VecDeque<PingReq<A>>,
}

impl<A: Copy + PartialEq> PingReqs<A> {
    pub(crate) const fn new() -> Self {
        Self { entries: VecDeque::new() }
    }

    /// Adds a request; false if too many are under way.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        (ours, theirs): (RequestId, RequestId),
        (asker, target): ((A, IdHash), A),
        timeout: Duration,
    ) -> bool {
        if self.entries.len() >= MAX_PING_REQS {
            return false;
        }
        let nack_at = Some(now + timeout * 4 / 5);
        self.entries.push_back(PingReq {
            ours,
            theirs,
            asker,
            target,
            nack_at,
            ends: now + timeout * 2,
        });
        true
    }

    /// The address that was pinged under this request id on behalf of another node.
    pub(crate) fn address_asked(&self, request_id: RequestId) -> Option<A> {
        let mut entries = self.entries.iter();
        entries.find(|ping_req| ping_req.ours == request_id).map(|ping_req| ping_req.target)
    }

    /// Removes the request whose target answered. Returns the asker and the request id to answer it
    /// with.
    pub(crate) fn answered(&mut self, request_id: RequestId) -> Option<((A, IdHash), RequestId)> {
        let at = self.entries.iter().position(|ping_req| ping_req.ours == request_id)?;
        let ping_req = self.entries.remove(at)?;
        Some((ping_req.asker, ping_req.theirs))
    }

    /// Takes a nack that is due, as the asker and the request id; drops the requests that ended.
    pub(crate) fn due(&mut self, now: Instant) -> Option<((A, IdHash), RequestId)> {
        while self.entries.front().is_some_and(|ping_req| ping_req.ends <= now) {
            self.entries.pop_front();
        }
        // After a flood the memory is given back.
        if self.entries.is_empty() && self.entries.capacity() > MAX_KEPT {
            self.entries = VecDeque::new();
        }
        let ping_req = self
            .entries
            .iter_mut()
            .find(|ping_req| ping_req.nack_at.is_some_and(|at| at <= now))?;
        ping_req.nack_at = None;
        Some((ping_req.asker, ping_req.theirs))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let nack = self.entries.iter().filter_map(|ping_req| ping_req.nack_at).min();
        let end = self.entries.front().map(|ping_req| ping_req.ends);
        nack.into_iter().chain(end).min()
    }

    /// Checks the ping-reqs of a restored node. Their number is an invariant.
    pub(super) fn check_restored(&self, now: Instant, timeout: Duration) -> Result<(), Unsound> {
        let Self { entries } = self;
        let latest = now + timeout * 2;
        let is_sound = |ping_req: &PingReq<A>| {
            let PingReq { ours: _, theirs: _, asker: _, target: _, nack_at, ends } = ping_req;
            nack_at.is_none_or(|at| at <= *ends) && *ends <= latest
        };
        check_rules(
            "ping-reqs",
            &[
                (
                    entries.iter().all(is_sound),
                    "a ping-req ends after its nack, within two probe timeouts",
                ),
                (
                    entries.iter().is_sorted_by_key(|ping_req| ping_req.ends),
                    "the ping-reqs are in the order of their ends",
                ),
            ],
        )
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl<A: Address> Detector<A> {
    /// Pings `target` on behalf of `asker`, whose datagram had `len` bytes.
    pub(crate) fn on_ping_req(
        &mut self,
        asker: (A, IdHash),
        theirs: RequestId,
        (target, id_hash): (A, IdHash),
        len: usize,
        cx: &mut Cx<A>,
    ) {
        if !cx.believes(&target) {
            cx.stats.addresses_refused += 1;
            return;
        }
        let ours = cx.request_id();
        let timeout = cx.config.probe_timeout;
        if !self.ping_reqs.add(cx.now, (ours, theirs), (asker, target), timeout) {
            cx.stats.ping_reqs_shed += 1;
            return;
        }
        cx.stats.ping_reqs += 1;
        let member =
            cx.table.with_id_hash(id_hash).find(|&slot| cx.table.address(slot) == Some(target));
        // The asker may have made the address up. An address that has not proved itself gets no
        // more bytes than the request had.
        let verified = member.is_some_and(|slot| cx.table.row(slot).answered.directly());
        let limit = if verified { cx.mtu() } else { len.min(PING_LEN) };
        cx.ask(Intent::new(target, member, limit).with_signal(Signal::Ping(ours, id_hash)));
    }

    pub(super) fn send_nacks(&mut self, cx: &mut Cx<A>) {
        while let Some((asker, request_id)) = self.ping_reqs.due(cx.now) {
            if cx.config.detector.nacks {
                answer_asker(asker, Signal::Nack(request_id), cx);
            }
        }
    }
}

/// Sends the outcome of a ping-req to the member that asked for it.
pub(super) fn answer_asker<A: Address>(
    (to, id_hash): (A, IdHash),
    signal: Signal<A>,
    cx: &mut Cx<A>,
) {
    let limit = cx.limit_to(cx.member_at(id_hash, to), PING_REQ_LEN);
    cx.reply(Intent::new(to, None, limit).with_signal(signal), Diff::default());
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// Member `n` asks with request id n for a ping of 100 + n, which gets request id 50 + n.
    fn add(ping_reqs: &mut PingReqs<u32>, now: Instant, n: u32) -> bool {
        ping_reqs.add(now, (RequestId(50 + n), RequestId(n)), ((n, IdHash(n)), 100 + n), TIMEOUT)
    }

    #[test]
    fn an_ack_is_passed_on_once_and_to_its_asker() {
        let mut ping_reqs = PingReqs::new();
        assert!(add(&mut ping_reqs, at(0), 1) && add(&mut ping_reqs, at(0), 2));
        assert_eq!(ping_reqs.address_asked(RequestId(51)), Some(101));
        assert_eq!(ping_reqs.answered(RequestId(50)), None, "with another request id");
        assert_eq!(ping_reqs.answered(RequestId(51)), Some(((1, IdHash(1)), RequestId(1))));
        assert_eq!((ping_reqs.answered(RequestId(51)), ping_reqs.len()), (None, 1));
    }

    #[test]
    fn a_nack_is_due_at_four_fifths_of_the_timeout_and_a_ping_req_ends_after_two() {
        let mut ping_reqs = PingReqs::new();
        add(&mut ping_reqs, at(0), 1);
        add(&mut ping_reqs, at(100), 2);
        assert_eq!(ping_reqs.deadline(), Some(at(800)));
        assert_eq!(ping_reqs.due(at(799)), None);
        assert_eq!(ping_reqs.due(at(800)), Some(((1, IdHash(1)), RequestId(1))));
        assert_eq!((ping_reqs.due(at(800)), ping_reqs.deadline()), (None, Some(at(900))));
        assert_eq!(ping_reqs.due(at(900)), Some(((2, IdHash(2)), RequestId(2))));
        assert_eq!((ping_reqs.deadline(), ping_reqs.len()), (Some(at(2_000)), 2));
        assert!(
            ping_reqs.answered(RequestId(51)).is_some(),
            "late, but in time for the asker's probe of two timeouts"
        );
        ping_reqs.due(at(2_099));
        assert_eq!(ping_reqs.len(), 1);
        ping_reqs.due(at(2_100));
        assert_eq!((ping_reqs.len(), ping_reqs.deadline()), (0, None));
    }

    #[test]
    fn ping_reqs_above_the_limit_are_shed() {
        let mut ping_reqs = PingReqs::new();
        assert!((1..=128).all(|n| add(&mut ping_reqs, at(0), n)));
        assert!(!add(&mut ping_reqs, at(0), 129));
        assert_eq!(ping_reqs.len(), 128);
    }
}
