//! A node that leaves: it says so, waits until that is told, and falls silent.

use alloc::vec::Vec;

use super::Node;
use crate::address::Address;
use crate::cx::Activity;
use crate::event::Event;
use crate::outbox::{Body, Intent};
use crate::status::Status;
use crate::time::Instant;

/// The number of members to which a leaving node says so itself.
const FAREWELLS: usize = 32;

impl<A: Address> Node<A> {
    /// Left is said one generation above the own, which no suspicion under way can beat.
    pub(super) fn leave(&mut self) {
        let generation = self.cx.table.row(self.cx.this.slot).generation.next();
        let config = &self.cx.config;
        let limit = u32::from(self.cx.send_limit()).div_ceil(config.gossip_fanout.into());
        let grace = config.gossip_interval * (limit + 5);
        self.set_own_status(generation, Status::Left);
        self.cx.activity = Activity::Leaving(self.cx.now + grace);
        self.abandon_commands();
        self.anti_entropy.join = None;
        self.say_farewell();
        self.finish_leaving();
    }

    /// The host is told that the probes and exchanges that it awaits will not come.
    fn abandon_commands(&mut self) {
        self.detector.abandon(&mut self.cx);
        self.anti_entropy.abandon(&mut self.cx);
    }

    /// In a small cluster each member hears of the leave from the node itself: where many leave at
    /// once, rumors may find only others that leave.
    fn say_farewell(&mut self) {
        let cx = &mut self.cx;
        // From a random place on: those that leave together do not all tell the same members.
        let (start, members) = (cx.rng.below(cx.table.len()), cx.table.len());
        let round = (start..start + members).filter_map(|rank| cx.table.at_rank(rank));
        let told: Vec<_> = round.filter(|&slot| cx.table.can_probe(slot)).take(FAREWELLS).collect();
        for slot in told {
            if let Some(to) = cx.table.address(slot) {
                cx.ask(Intent::new(to, Some(slot), cx.mtu()).with_body(Body::Introduction));
            }
        }
    }

    pub(super) fn leave_deadline(&self) -> Option<Instant> {
        match self.cx.activity {
            Activity::Leaving(until) if self.cx.rumors.contains(self.cx.this.slot) => Some(until),
            // All is told: some time for the last datagrams to be sent.
            Activity::Leaving(until) => {
                let told = self.dissemination.gossiped_at;
                let sent = told.map(|at| until.min(at + self.cx.config.gossip_interval));
                sent.or(Some(until))
            }
            Activity::Active | Activity::Inactive => None,
        }
    }

    pub(super) fn finish_leaving(&mut self) {
        let cx = &self.cx;
        let Activity::Leaving(until) = cx.activity else { return };
        let told = !cx.rumors.contains(cx.this.slot);
        if told || until <= cx.now || cx.others() == 0 {
            self.retire();
            self.cx.emit(Event::LeaveCompleted);
        }
    }

    /// From now on the node is inert.
    pub(super) fn retire(&mut self) {
        self.cx.activity = Activity::Inactive;
        self.abandon_commands();
        self.cx.outbox.clear();
        self.anti_entropy.join = None;
    }
}
