//! When rumors are sent, and to how many members.
//!
//! Only the occasion is decided here: the rumors themselves are written into the datagram when it
//! is encoded, and into every other datagram that has room.

use arrayvec::ArrayVec;

use super::Dissemination;
use crate::address::Address;
use crate::config::Mode;
use crate::cx::{Activity, Cx};
use crate::membership::Slot;
use crate::outbox::{Body, Intent};
use crate::time::Instant;

impl Dissemination {
    /// When rumors are sent next: a gossip interval after the last time, or now if there was none;
    /// `None` if there are no rumors or no other members.
    pub(crate) fn gossip_deadline<A: Address>(&self, cx: &Cx<A>) -> Option<Instant> {
        let speaks =
            cx.config.mode == Mode::Autonomous || matches!(cx.activity, Activity::Leaving(_));
        if !speaks || cx.rumors.is_idle() || cx.others() == 0 {
            return None;
        }
        Some(self.gossiped_at.map_or(cx.now, |at| at + cx.config.gossip_interval))
    }

    /// Sends rumors to a few random members, if that is due.
    pub(super) fn gossip<A: Address>(&mut self, cx: &mut Cx<A>) {
        if self.gossip_deadline(cx).is_none_or(|deadline| deadline > cx.now) {
            return;
        }
        self.gossiped_at = Some(cx.now);
        let fanout = usize::from(cx.config.gossip_fanout);
        let mut chosen = ArrayVec::<Slot, 16>::new();
        let all = !cx.asks_for_proof();
        for _ in 0..fanout.min(chosen.capacity()) {
            let table = &cx.table;
            let eligible = |slot| {
                table.can_probe(slot) && (all || table.is_verified(slot)) && !chosen.contains(&slot)
            };
            let Some(slot) = table.random(&mut cx.rng, eligible) else { break };
            chosen.push(slot);
        }
        for slot in chosen {
            if let Some(to) = cx.table.address(slot) {
                cx.gossip(Intent::new(to, Some(slot), cx.mtu()).with_body(Body::Rumors));
            }
        }
    }
}
