//! How changes spread: claims as rumors to random members, telemetry along trees over the live
//! members.
//!
//! | file | decides |
//! |---|---|
//! | `rumor` | when rumors are sent, and to how many members |
//! | `tree`, `branch` | along which edges telemetry travels, and which updates are sent again |
//! | `gaps` | which updates wait for missing ones before them |
//! | `strangers` | which updates wait until their owner is known |
//! | `flight` | when telemetry is sent, and which updates a datagram holds |
//! | `budget` | when telemetry has to wait |
//! | `long_lost` | whether long datagrams are lost on a path, and short ones are not |
//!
//! The queue of rumors is a part of [`membership`](crate::membership), since every part of the node
//! that changes a row queues it. Differences that spreading leaves behind are repaired by
//! anti-entropy, of which this folder knows nothing.

mod branch;
pub(crate) mod budget;
mod flight;
mod gaps;
mod long_lost;
mod rumor;
mod strangers;
pub(crate) mod tree;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::config::Config;
use crate::cx::{Cx, Part, sooner};
use crate::membership::Slot;
use crate::time::Instant;
use crate::violation::{Unsound, Violation, check_rules};
pub(crate) use branch::Furthest;
pub(crate) use budget::Budget;
pub(crate) use flight::acknowledge;
use long_lost::LongLost;
use strangers::Strangers;
pub(crate) use tree::Trees;

/// The version of the serialised shape of [`Dissemination`]; increase it with each change of the
/// shape.
pub(crate) const SHAPE: u32 = 4;

/// The state of dissemination.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Dissemination {
    /// When rumors were last sent.
    pub(crate) gossiped_at: Option<Instant>,
    pub(crate) trees: Trees,
    /// When a newcomer sends its own telemetry for the first time. The other members must know the
    /// newcomer by then, or they would not take its telemetry in.
    pub(crate) first_publish_at: Option<Instant>,
    pub(crate) budget: Budget,
    /// When this node's own telemetry was last sent.
    pub(crate) own_sent_at: Instant,
    /// When this node last published all of its telemetry again, above a version that it did not
    /// publish.
    pub(crate) rebased_at: Option<Instant>,
    /// When this node last took a new instance for the same reason.
    pub(crate) renewed_at: Option<Instant>,
    /// When this node last told an owner what it holds of its telemetry.
    pub(crate) echoed_at: Option<Instant>,
    /// Owners of updates that this node does not know.
    pub(crate) strangers: Strangers,
    pub(crate) long_lost: LongLost,
}

impl Dissemination {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            gossiped_at: None,
            trees: Trees::default(),
            first_publish_at: None,
            budget: Budget::new(config.byte_budget, now),
            own_sent_at: now,
            rebased_at: None,
            renewed_at: None,
            echoed_at: None,
            strangers: Strangers::default(),
            long_lost: LongLost::default(),
        }
    }
}

impl<A: Address> Part<A> for Dissemination {
    fn deadline(&self, cx: &Cx<A>) -> Option<Instant> {
        sooner(sooner(self.gossip_deadline(cx), self.flight_deadline(cx)), self.first_publish_at)
    }

    /// Whether no telemetry waits or is under way. The rumors are part of the context, and the node
    /// asks for them there.
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
        self.long_lost.forget(slot);
    }

    fn heap_bytes(&self) -> usize {
        self.trees.heap_bytes() + self.strangers.heap_bytes()
    }

    fn check(&self, _: &Cx<A>) -> Result<(), Violation> {
        self.trees.check().map_err(|detail| Violation::new("sums", detail))
    }

    fn check_restored(&self, cx: &Cx<A>) -> Result<(), Unsound> {
        let Self {
            gossiped_at,
            trees,
            first_publish_at,
            budget,
            own_sent_at,
            rebased_at,
            renewed_at,
            echoed_at,
            strangers,
            long_lost,
        } = self;
        let times = cx.time_rules();
        trees.check_restored(cx.table.rows(), cx.this.slot, times)?;
        check_rules(
            "dissemination",
            &[
                (times.are_past(&[*gossiped_at]), "rumors were last sent in the past"),
                (
                    times.are_past(&[Some(*own_sent_at), *rebased_at, *renewed_at, *echoed_at]),
                    "the telemetry of this node was last sent in the past",
                ),
                (strangers.is_sound(times), "each stranger was met once, in the past"),
                (times.are_deadlines(&[*first_publish_at]), "the first telemetry is not ages away"),
                (
                    budget.is_sound(cx.config.byte_budget, times),
                    "the byte budget is that of the settings",
                ),
                (long_lost.is_sound(times), "long datagrams were lost in the past"),
            ],
        )
    }
}
