//! Leaving: the node announces its leave, waits until the rumor is sent and what it published
//! before has arrived, and falls silent.
//!
//! ```text
//!   Active --- leave ---> Leaving --- the rumor is sent, the grace is over, or alone ---> Inactive
//!      |                                                                                     ^
//!      +--- another process has the id ---> Waiting --- leave -------------------------------+
//! ```

use alloc::vec::Vec;

use super::Node;
use crate::address::Address;
use crate::cx::Activity;
use crate::event::Event;
use crate::outbox::{Body, Intent};
use crate::status::Status;
use crate::time::Instant;

/// The largest number of members to which a leaving node announces its leave directly.
const MAX_FAREWELLS: usize = 32;

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
        // Begin at a random rank, so that nodes that leave together choose different members.
        let (start, members) = (cx.rng.below(cx.table.len()), cx.table.len());
        let round = (start..start + members).filter_map(|rank| cx.table.at_rank(rank));
        let receivers: Vec<_> = round
            .filter(|&slot| cx.table.can_probe(slot) && cx.may_tell(slot))
            .take(MAX_FAREWELLS)
            .collect();
        for slot in receivers {
            if let Some(to) = cx.table.address(slot) {
                cx.ask(Intent::new(to, Some(slot), cx.mtu()).with_body(Body::Introduction));
            }
        }
    }

    /// When the leave is complete, or is looked at again.
    pub(super) fn leave_deadline(&self) -> Option<Instant> {
        match self.cx.activity {
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
        let sent = !self.has_more_to_say();
        if sent || until <= cx.now || cx.others() == 0 {
            self.retire();
            self.cx.emit(Event::LeaveCompleted);
        }
    }

    /// Whether the leave, or what this node published before, still has to be sent.
    fn has_more_to_say(&self) -> bool {
        let me = self.cx.this.slot;
        self.cx.rumors.contains(me) || self.dissemination.trees.carries(me)
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
