//! Contacts dead members now and then, so that a healed partition merges by itself.
//!
//! A contact is only a status ping. What a returning member says is handled like any other claim.
//!
//! A member that has never answered may be made up, and so may its address. Of all nodes only the
//! one that follows it in the common roster contacts it: soon after it has learned of the member,
//! and then once per hour. So a lie about a dead member brings a victim no more than three bare
//! pings per hour, however many nodes believe it.

use core::time::Duration;

use super::Detector;
use crate::address::Address;
use crate::config::Mode;
use crate::cx::Cx;
use crate::membership::Slot;
use crate::status::Status;
use crate::time::Instant;

/// How often a dead member that has never answered is contacted, in seconds.
const UNPROVED_INTERVAL_SECS: u64 = 3_600;

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
        let (table, now, me) = (&cx.table, cx.now, cx.this.slot);
        // Two contacts are at most one and a half pauses apart, so that this time has one or more
        // of them, and at most three.
        let window = pause * 3 / 2;
        let is_due = |slot: Slot| {
            let known_for = now.since(table.row(slot).observed());
            let age = known_for.saturating_sub(Duration::from_secs(
                known_for.as_secs() / UNPROVED_INTERVAL_SECS * UNPROVED_INTERVAL_SECS,
            ));
            age < window && table.next_live(slot) == Some(me)
        };
        let dead = |slot| {
            table.status(slot) == Status::Dead
                && table.address(slot).is_some()
                && (table.is_proved(slot) || is_due(slot))
        };
        if let Some(slot) = table.random(&mut cx.rng, dead) {
            cx.status_ping(slot);
        }
    }
}
