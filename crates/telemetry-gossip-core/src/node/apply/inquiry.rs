//! How far above this node's generation most members hold it.
//!
//! ```text
//!   a claim about this node far beyond Generation::MAX_START
//!      +---> five members are asked what they hold, once per second
//!               +---> this node climbs above what most of them hold
//! ```
//!
//! One peer that names a high generation may lie, and a node that followed it would use up its
//! generations. A process that has restarted without its generation, however, must come above what
//! the others hold of its earlier life, and at once.

use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::held::HeldUnderId;
use super::id_conflict::MAX_VOTERS;
use crate::address::Address;
use crate::cx::Activity;
use crate::event::Event;
use crate::id::{Generation, RequestId};
use crate::node::Node;
use crate::outbox::{Body, Intent};
use crate::status::Status;
use crate::time::{Instant, TimeRules};

/// The pause between inquiries, so that lies cost little.
const PAUSE: Duration = Duration::from_secs(1);

/// A member that is asked, and the generation that it holds once it has answered: 0 if it holds
/// this process.
type Asked<A> = (A, RequestId, Option<Generation>);

/// What members answer about the generation at which they hold this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Inquiry<A> {
    /// When members are asked, if they are to be: in the next tick, so that no datagram has more
    /// replies for it.
    begins: Option<Instant>,
    asked: ArrayVec<Asked<A>, MAX_VOTERS>,
    /// When the answers are counted.
    ends: Instant,
    /// The earliest time of the next inquiry.
    not_before: Instant,
}

impl<A: Copy + PartialEq> Inquiry<A> {
    pub(super) fn new(now: Instant) -> Self {
        Self { begins: None, asked: ArrayVec::new(), ends: now, not_before: now }
    }

    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { begins, asked: _, ends, not_before } = self;
        times.are_deadlines(&[*begins, Some(*ends), Some(*not_before)])
    }

    /// When members are asked, or their answers counted; `None` if no inquiry is under way.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.begins.or_else(|| (!self.asked.is_empty()).then_some(self.ends))
    }

    /// The address of the member that was asked under this request id.
    pub(super) fn address_asked(&self, request_id: RequestId) -> Option<A> {
        self.asked.iter().find(|it| it.1 == request_id).map(|it| it.0)
    }

    /// Takes the answer of a member, in whose datagram it said that it holds `held`.
    pub(super) fn on_answer(&mut self, request_id: RequestId, held: Option<&HeldUnderId<A>>) {
        if let Some(asked) = self.asked.iter_mut().find(|it| it.1 == request_id) {
            asked.2 = Some(held.map_or(Generation(0), |held| held.generation));
        }
    }

    /// Ends the inquiry. Returns the highest generation that more than half of those that have
    /// answered hold, or a higher one.
    fn end(&mut self) -> Option<Generation> {
        let mut held: ArrayVec<_, MAX_VOTERS> =
            self.asked.drain(..).filter_map(|(_, _, held)| held).collect();
        held.sort_unstable();
        held.get(held.len().checked_sub(1)? / 2).copied()
    }
}

impl<A: Address> Node<A> {
    /// Has members asked at which generation they hold this node, unless they were just now.
    pub(super) fn inquire(&mut self) {
        let (now, inquiry) = (self.cx.now, &mut self.id_conflict.inquiry);
        if inquiry.deadline().is_none() && now >= inquiry.not_before {
            (inquiry.begins, inquiry.not_before) = (Some(now), now + PAUSE);
        }
    }

    /// Asks up to five members, chosen like the voters of a contest.
    fn begin_inquiry(&mut self) {
        let limit = self.cx.mtu();
        let mut asked = ArrayVec::new();
        for (address, request_id) in self.choose_voters() {
            let intent = Intent::new(address, None, limit);
            self.cx.ask(intent.with_body(Body::Vote(request_id)));
            asked.push((address, request_id, None));
        }
        let inquiry = &mut self.id_conflict.inquiry;
        (inquiry.asked, inquiry.ends) = (asked, self.cx.now + self.cx.config.probe_timeout);
    }

    /// Begins or ends an inquiry that is due: counts the answers, and climbs above what most
    /// members hold.
    pub(super) fn advance_inquiry(&mut self) {
        let (now, inquiry) = (self.cx.now, &mut self.id_conflict.inquiry);
        if inquiry.deadline().is_none_or(|at| at > now) {
            return;
        }
        if inquiry.begins.take().is_some() {
            self.begin_inquiry();
            return;
        }
        let own = self.cx.table.row(self.cx.this.slot).generation;
        let above = |&held: &Generation| held >= own && held > Generation(0);
        let Some(held) = inquiry.end().filter(above) else { return };
        // A node that leaves meanwhile does not come back.
        if self.cx.activity != Activity::Active {
            return;
        }
        let generation = held.next().min(Generation::MAX);
        self.set_own_status(generation, Status::Alive);
        self.cx.rumors.push_grounded(self.cx.this.slot);
        self.cx.stats.refutations += 1;
        self.cx.emit(Event::Refuted { generation });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minority_of_those_asked_drives_no_node_up() {
        let end = |held: &[Option<u64>]| {
            let mut inquiry = Inquiry::<u32>::new(Instant::ORIGIN);
            let answers = held.iter().zip(0..);
            inquiry.asked = answers.map(|(at, n)| (n, RequestId(n), at.map(Generation))).collect();
            inquiry.end()
        };
        assert_eq!((end(&[]), end(&[None, None])), (None, None));
        assert_eq!(end(&[Some(900), Some(900), Some(4), Some(5), Some(6)]), Some(Generation(6)));
        assert_eq!(end(&[Some(7), Some(7), Some(7), Some(900), Some(0)]), Some(Generation(7)));
        assert_eq!(end(&[Some(900), Some(4), None, None, None]), Some(Generation(4)));
        assert_eq!(end(&[None, Some(9)]), Some(Generation(9)));
    }
}
