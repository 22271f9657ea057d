//! Pings on behalf of others: what this node was asked to find out, and for whom.
//!
//! At most [`LIMIT`] at a time; a request beyond is shed. An entry lives for two probe timeouts; if
//! its target has not answered at four fifths of the first, the asker gets a nack: the helper is
//! there, the target is silent.

use alloc::collections::VecDeque;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Detector;
use crate::address::Address;
use crate::cx::Cx;
use crate::id::{IdHash, RequestId};
use crate::outbox::{Diff, Intent, Signal};
use crate::time::Instant;
use crate::wire::PING_REQ_LEN;

/// The most relays under way.
pub(crate) const LIMIT: usize = 128;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct PingReq<A> {
    ours: RequestId,
    theirs: RequestId,
    asker: (A, IdHash),
    target: A,
    nack_at: Option<Instant>,
    ends: Instant,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PingReqs<A> {
    /// In order of their ends, as all last equally long.
    entries: VecDeque<PingReq<A>>,
}

impl<A: Copy + PartialEq> PingReqs<A> {
    pub(crate) const fn new() -> Self {
        Self { entries: VecDeque::new() }
    }

    /// Notes a request; false if there are too many.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        (ours, theirs): (RequestId, RequestId),
        (asker, target): ((A, IdHash), A),
        timeout: Duration,
    ) -> bool {
        if self.entries.len() >= LIMIT {
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

    /// An ack came from `from`: whom to pass it on to, and under which number.
    pub(crate) fn answered(
        &mut self,
        from: A,
        number: RequestId,
    ) -> Option<((A, IdHash), RequestId)> {
        let at =
            self.entries.iter().position(|relay| relay.ours == number && relay.target == from)?;
        let relay = self.entries.remove(at)?;
        Some((relay.asker, relay.theirs))
    }

    /// A nack that is due.
    pub(crate) fn due(&mut self, now: Instant) -> Option<((A, IdHash), RequestId)> {
        while self.entries.front().is_some_and(|relay| relay.ends <= now) {
            self.entries.pop_front();
        }
        let relay =
            self.entries.iter_mut().find(|relay| relay.nack_at.is_some_and(|at| at <= now))?;
        relay.nack_at = None;
        Some((relay.asker, relay.theirs))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let nack = self.entries.iter().filter_map(|relay| relay.nack_at).min();
        let end = self.entries.front().map(|relay| relay.ends);
        nack.into_iter().chain(end).min()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl<A: Address> Detector<A> {
    /// Pings `target` for `asker`, whose request had `len` bytes.
    pub(crate) fn on_ping_req(
        &mut self,
        asker: (A, IdHash),
        theirs: RequestId,
        (target, id_hash): (A, IdHash),
        len: usize,
        cx: &mut Cx<A>,
    ) {
        let ours = cx.request_id();
        let timeout = cx.config.probe_timeout;
        if !self.ping_reqs.add(cx.now, (ours, theirs), (asker, target), timeout) {
            cx.stats.ping_reqs_shed += 1;
            return;
        }
        cx.stats.ping_reqs += 1;
        let member =
            cx.table.with_id_hash(id_hash).find(|&slot| cx.table.address(slot) == Some(target));
        // An address that has not proved itself gets no more than the request had.
        let verified = member.is_some_and(|slot| cx.table.row(slot).verified);
        let limit = if verified { cx.mtu() } else { len };
        cx.ask(Intent::new(target, member, limit).with_signal(Signal::Ping(ours, id_hash)));
    }

    pub(super) fn send_nacks(&mut self, cx: &mut Cx<A>) {
        while let Some((asker, number)) = self.ping_reqs.due(cx.now) {
            if cx.config.detector.nacks {
                answer_asker(asker, Signal::Nack(number), cx);
            }
        }
    }
}

/// Tells the member that asked for a ping how it went.
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

    /// Member `n` asks under the number n for a ping of 100 + n, which gets the number 50 + n.
    fn add(ping_reqs: &mut PingReqs<u32>, now: Instant, n: u32) -> bool {
        ping_reqs.add(now, (RequestId(50 + n), RequestId(n)), ((n, IdHash(n)), 100 + n), TIMEOUT)
    }

    #[test]
    fn an_ack_is_passed_on_once_to_whom_asked() {
        let mut ping_reqs = PingReqs::new();
        assert!(add(&mut ping_reqs, at(0), 1) && add(&mut ping_reqs, at(0), 2));
        assert_eq!(ping_reqs.answered(102, RequestId(51)), None, "from another than was pinged");
        assert_eq!(ping_reqs.answered(101, RequestId(52)), None, "under another number");
        assert_eq!(ping_reqs.answered(101, RequestId(51)), Some(((1, IdHash(1)), RequestId(1))));
        assert_eq!((ping_reqs.answered(101, RequestId(51)), ping_reqs.len()), (None, 1));
    }

    #[test]
    fn a_nack_is_due_at_four_fifths_of_the_timeout_and_the_end_after_two() {
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
            ping_reqs.answered(101, RequestId(51)).is_some(),
            "late, but in time for a probe of two timeouts"
        );
        ping_reqs.due(at(2_099));
        assert_eq!(ping_reqs.len(), 1);
        ping_reqs.due(at(2_100));
        assert_eq!((ping_reqs.len(), ping_reqs.deadline()), (0, None));
    }

    #[test]
    fn those_above_the_limit_are_shed() {
        let mut ping_reqs = PingReqs::new();
        assert!((1..=128).all(|n| add(&mut ping_reqs, at(0), n)));
        assert!(!add(&mut ping_reqs, at(0), 129));
        assert_eq!(ping_reqs.len(), 128);
    }
}
