//! Members that say that this node does not belong. One may lie, or have an older list; several are
//! a reason not to be ready.

use std::time::Duration;

use telemetry_gossip_core::{Instant, NodeId};

/// How long members that say so count together.
const COUNT_FOR: Duration = Duration::from_secs(120);

/// How many members have to say so, where there are enough.
const ENOUGH: usize = 3;

/// The members that say that this node does not belong, and when each said so last. Those without a
/// name here, as for a node that has just started, are one.
#[derive(Debug, Default)]
pub(super) struct Doubts(Vec<(Option<NodeId>, Instant)>);

impl Doubts {
    pub(super) fn add(&mut self, now: Instant, by: Option<NodeId>) {
        self.0.retain(|(id, at)| *id != by && now.since(*at) < COUNT_FOR);
        if self.0.len() < ENOUGH {
            self.0.push((by, now));
        }
    }

    /// Whether enough of the other live members say so: three, or half of fewer.
    pub(super) fn are_enough(&mut self, now: Instant, live: usize) -> bool {
        self.0.retain(|(_, at)| now.since(*at) < COUNT_FOR);
        self.0.len() >= ENOUGH.min(live.div_ceil(2)).max(1)
    }
}
