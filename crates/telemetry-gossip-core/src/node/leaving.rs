//! Leaving: the node announces its leave, waits until the rumor is sent and what it published
//! before has arrived, and falls silent.
//!
//! ```text
//!   Active --- leave ---> Leaving --- the rumor is sent, the grace is over, or alone ---> Inactive
//!      |                                                                                     ^
//!      +--- another process has the id ---> Waiting --- leave -------------------------------+
//! ```

use alloc::vec::Vec;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::Node;
use crate::address::Address;
use crate::bounded::list;
use crate::cx::{Activity, sooner};
use crate::event::Event;
use crate::id::RequestId;
use crate::outbox::{Body, Intent, Signal};
use crate::status::Status;
use crate::time::Instant;

/// The version of the serialised shape of [`Farewell`]; increase it with each change of the shape.
pub(super) const SHAPE: u32 = 1;

/// The largest number of members to which a leaving node announces its leave directly.
const MAX_FAREWELLS: usize = 32;

/// The pings with which a leaving node tells members that it leaves. Who answers one has heard it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Farewell {
    #[serde(deserialize_with = "list::<_, _, _, MAX_FAREWELLS>")]
    asked: ArrayVec<RequestId, MAX_FAREWELLS>,
    heard_by: u32,
    /// When the members are told once more, as long as none has answered.
    again_at: Option<Instant>,
}

impl Farewell {
    /// Handles an ack; false if it answers no farewell.
    pub(super) fn on_ack(&mut self, request_id: RequestId) -> bool {
        let asked = self.asked.iter().position(|&asked| asked == request_id);
        if let Some(at) = asked {
            self.asked.swap_remove(at);
            self.heard_by += 1;
        }
        asked.is_some()
    }
}

impl<A: Address> Node<A> {
    /// Begins to leave. The status Left takes one generation above our own, which no suspicion
    /// under way can beat.
    pub(super) fn leave(&mut self) {
        let generation = self.cx.table.row(self.cx.this.slot).generation.next();
        let config = &self.cx.config;
        let limit = u32::from(self.cx.send_limit()).div_ceil(config.gossip_fanout.into());
        let grace = config.gossip_interval * (limit + 5);
        self.dissemination.publish_held_back(&mut self.cx);
        self.set_own_status(generation, Status::Left);
        self.cx.rumors.push_grounded(self.cx.this.slot);
        self.cx.activity = Activity::Leaving(self.cx.now + grace);
        self.abandon_commands();
        self.anti_entropy.join = None;
        self.farewell = Farewell::default();
        self.say_farewell();
        self.finish_leaving();
    }

    /// Reports the probes and exchanges that the host awaits as not made.
    fn abandon_commands(&mut self) {
        self.detector.abandon(&mut self.cx);
        self.anti_entropy.abandon(&mut self.cx);
    }

    /// Announces the leave to up to [`MAX_FAREWELLS`] members directly, which are all members of a
    /// small cluster. Where many nodes leave at once, their rumors may reach only each other.
    fn say_farewell(&mut self) {
        let cx = &mut self.cx;
        self.farewell.asked.clear();
        self.farewell.again_at = Some(cx.now + cx.config.gossip_interval);
        // Begin at a random rank, so that nodes that leave together choose different members.
        let (start, members) = (cx.rng.below(cx.table.len()), cx.table.len());
        let round = (start..start + members).filter_map(|rank| cx.table.at_rank(rank));
        let receivers: Vec<_> = round
            .filter(|&slot| cx.table.can_probe(slot) && cx.may_tell(slot))
            .take(MAX_FAREWELLS)
            .collect();
        for slot in receivers {
            if let Some(to) = cx.table.address(slot) {
                let request_id = cx.request_id();
                _ = self.farewell.asked.try_push(request_id);
                let ping = Signal::Ping(request_id, cx.table.id_hash(slot));
                let intent = Intent::new(to, Some(slot), cx.mtu()).with_signal(ping);
                cx.ask(intent.with_body(Body::Introduction));
            }
        }
    }

    /// When the leave is complete, or is looked at again.
    pub(super) fn leave_deadline(&self) -> Option<Instant> {
        match self.cx.activity {
            Activity::Leaving(until) if self.is_unheard() => {
                sooner(Some(until), self.farewell.again_at)
            }
            Activity::Leaving(until) if self.has_more_to_say() => Some(until),
            // The rumor is sent: leave the host some time to send the last datagrams.
            Activity::Leaving(until) => {
                let gossiped = self.dissemination.gossiped_at;
                let done = gossiped.map(|at| until.min(at + self.cx.config.gossip_interval));
                done.or(Some(until))
            }
            Activity::Active | Activity::Inactive | Activity::Waiting(_) => None,
        }
    }

    /// Completes the leave if the rumor is sent, the grace is over, or there is no other member.
    pub(super) fn finish_leaving(&mut self) {
        let cx = &self.cx;
        let Activity::Leaving(until) = cx.activity else { return };
        let heard_by = self.farewell.heard_by;
        let done = !self.has_more_to_say() && !self.is_unheard();
        if done || until <= cx.now || cx.others() == 0 {
            let others = self.cx.others();
            self.retire();
            self.cx.emit(Event::LeaveCompleted { heard_by, others });
        } else if self.is_unheard() && self.farewell.again_at.is_some_and(|at| at <= cx.now) {
            // All datagrams to the few members of a small cluster may have been lost.
            self.say_farewell();
        }
    }

    /// Whether the leave, or what this node published before, still has to be sent.
    fn has_more_to_say(&self) -> bool {
        let me = self.cx.this.slot;
        self.cx.rumors.contains(me) || self.dissemination.trees.carries(me)
    }

    /// Whether none of the members that were told of the leave has answered.
    fn is_unheard(&self) -> bool {
        self.farewell.heard_by == 0 && !self.farewell.asked.is_empty()
    }

    /// Makes the node inert: it sends nothing more and ignores datagrams.
    pub(super) fn retire(&mut self) {
        self.cx.activity = Activity::Inactive;
        self.fall_silent();
    }

    /// Drops what waits to be sent, and reports what the host awaits as not made.
    pub(super) fn fall_silent(&mut self) {
        self.abandon_commands();
        self.cx.outbox.clear();
        self.anti_entropy.join = None;
        self.newcomers.clear();
    }
}
