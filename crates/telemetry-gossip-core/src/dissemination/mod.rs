//! How changes spread: rumors of claims to random members, telemetry along trees over the live
//! members.
//!
//! | file | decides |
//! |---|---|
//! | `rumor` | when and to how many members rumors are told |
//! | `tree`, `branch` | along which edges telemetry goes, and what is sent again |
//! | `gaps` | which updates wait for what is missing before them |
//! | `flight` | when telemetry is sent, and what a datagram of it holds |
//! | `budget` | when telemetry has to wait |
//!
//! The queue of rumors itself is a part of [`membership`](crate::membership): every part that
//! changes a row queues it.

mod branch;
pub(crate) mod budget;
mod flight;
mod gaps;
mod rumor;
pub(crate) mod tree;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::config::Config;
use crate::cx::{Cx, Part, sooner};
use crate::membership::Slot;
use crate::time::Instant;
use crate::violation::Violation;
pub(crate) use branch::Furthest;
pub(crate) use budget::Budget;
pub(crate) use flight::acknowledge;
pub(crate) use tree::Trees;

/// Counts up with each change of the serialised shape of [`Dissemination`].
pub(crate) const SHAPE: u32 = 0;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Dissemination {
    /// When rumors were last told.
    pub(crate) gossiped_at: Option<Instant>,
    pub(crate) trees: Trees,
    /// When a newcomer's telemetry is told for the first time: the others must know it by then.
    pub(crate) first_publish_at: Option<Instant>,
    pub(crate) budget: Budget,
}

impl Dissemination {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            gossiped_at: None,
            trees: Trees::default(),
            first_publish_at: None,
            budget: Budget::new(config.byte_budget, now),
        }
    }
}

impl<A: Address> Part<A> for Dissemination {
    fn deadline(&self, cx: &Cx<A>) -> Option<Instant> {
        sooner(sooner(self.gossip_deadline(cx), self.flight_deadline(cx)), self.first_publish_at)
    }

    /// The rumors aside, which the context holds.
    fn is_idle(&self) -> bool {
        self.trees.is_idle() && self.first_publish_at.is_none()
    }

    fn on_timeout(&mut self, cx: &mut Cx<A>) {
        self.gossip(cx);
        self.publish_first(cx);
        self.send_flights(cx);
    }

    fn forget(&mut self, slot: Slot, _: &mut Cx<A>) {
        self.trees.forget(slot);
    }

    fn heap_bytes(&self) -> usize {
        self.trees.heap_bytes()
    }

    fn check(&self, _: &Cx<A>) -> Result<(), Violation> {
        self.trees.check().map_err(|detail| Violation::new("sums", detail))
    }
}
