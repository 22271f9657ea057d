//! Contacts dead members now and then, so that a healed partition merges by itself.
//!
//! A contact is only a status ping. What a returning member says is handled like any other claim.

use super::Detector;
use crate::address::Address;
use crate::config::Mode;
use crate::cx::Cx;
use crate::status::Status;
use crate::time::Instant;

impl<A: Address> Detector<A> {
    /// When the next dead member is contacted; `None` while none is remembered.
    pub(super) fn reconnect_deadline(&self, cx: &Cx<A>) -> Option<Instant> {
        let reconnects = cx.config.mode == Mode::Autonomous && !cx.tombstones.is_empty();
        reconnects.then_some(self.reconnect_at)
    }

    /// Pings a random dead member and tells it that it is held dead; if it is running, it refutes.
    pub(super) fn reconnect(&mut self, cx: &mut Cx<A>) {
        if self.reconnect_deadline(cx).is_none_or(|at| at > cx.now) {
            return;
        }
        let pause = cx.config.reconnect_interval;
        self.reconnect_at = cx.now + pause / 2 + cx.jitter(pause);
        let table = &cx.table;
        let dead = |slot| table.status(slot) == Status::Dead && table.address(slot).is_some();
        if let Some(slot) = table.random(&mut cx.rng, dead) {
            cx.status_ping(slot);
        }
    }
}
