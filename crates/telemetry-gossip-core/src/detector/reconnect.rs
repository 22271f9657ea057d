//! Contacts members that are dead or have left now and then, so that a healed partition merges by
//! itself, and a member that only a liar calls gone learns of it.
//!
//! A contact is only a status ping. What a returning member says is handled like any other claim.
//!
//! The dead are contacted one after the other, each node beginning at its own place in the roster,
//! so that none of them has to wait for luck. Where the dead outnumber the live, contacts are more
//! frequent: members that a liar lets die do not keep the others from their turns.
//!
//! A member that has never answered may be made up, and so may its address. Of all nodes only the
//! one that follows it in the common roster contacts it: soon after it has learned of the member,
//! and then once per hour. So a lie about a dead member brings a victim no more than three bare
//! pings per hour, however many nodes believe it.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Detector;
use crate::address::Address;
use crate::config::Mode;
use crate::cx::Cx;
use crate::membership::{Place, Slot};
use crate::time::Instant;

/// How often a dead member that has never answered is contacted, in seconds.
const UNPROVED_INTERVAL_SECS: u64 = 3_600;

/// The contacts are at most this many times as frequent as the interval says.
const MAX_SPEED_UP: u32 = 8;

/// Counts of members are capped here before their ratio is taken, so that no product overflows.
const MAX_LIVE: u32 = 1 << 20;

/// The order and the times of the contacts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Reconnects {
    /// When a dead member is contacted next.
    pub(crate) next_at: Instant,
    /// The place in the roster from which the next one is looked for.
    from: Place,
}

impl Reconnects {
    pub(super) fn new(next_at: Instant) -> Self {
        Self { next_at, from: Place::default() }
    }

    /// Begins with the first dead member after this node, at a random time.
    pub(super) fn start<A: Address>(&mut self, cx: &mut Cx<A>) {
        self.next_at = cx.now + cx.jitter(cx.config.reconnect_interval);
        self.from = Place { id_hash: cx.this.id_hash, nth: 0 };
    }
}

impl<A: Address> Detector<A> {
    /// When the next dead member is contacted; `None` while none is remembered.
    pub(super) fn reconnect_deadline(&self, cx: &Cx<A>) -> Option<Instant> {
        let reconnects = cx.config.mode == Mode::Autonomous && !cx.tombstones.is_empty();
        reconnects.then_some(self.reconnects.next_at)
    }

    /// Pings the next dead member and tells it that it is held dead; if it is running, it refutes.
    pub(super) fn reconnect(&mut self, cx: &mut Cx<A>) {
        if self.reconnect_deadline(cx).is_none_or(|at| at > cx.now) {
            return;
        }
        let interval = cx.config.reconnect_interval;
        let (table, now, me) = (&cx.table, cx.now, cx.this.slot);
        // Two contacts are at most one and a half intervals apart, so that this time has one or
        // more of them, and at most three: where contacts are more frequent, each of them is of
        // another member.
        let window = interval * 3 / 2;
        let is_due = |slot: Slot| {
            let known_for = now.since(table.row(slot).observed());
            let age = known_for.saturating_sub(Duration::from_secs(
                known_for.as_secs() / UNPROVED_INTERVAL_SECS * UNPROVED_INTERVAL_SECS,
            ));
            age < window && table.next_live(slot) == Some(me)
        };
        let gone = |slot| !table.is_live(slot) && table.address(slot).is_some();
        let (mut proved, mut next) = (0, None);
        for slot in table.around_from(self.reconnects.from).filter(|&slot| gone(slot)) {
            proved += u32::from(table.is_proved(slot));
            if next.is_none() && (table.is_proved(slot) || is_due(slot)) {
                next = Some(slot);
            }
        }
        if let Some(slot) = next {
            self.reconnects.from = table.place_after(slot);
        }
        let pause = interval * table.live().clamp(1, MAX_LIVE) / proved.clamp(1, MAX_LIVE);
        let pause = pause.clamp(interval / MAX_SPEED_UP, interval);
        self.reconnects.next_at = now + pause / 2 + cx.jitter(pause);
        if let Some(slot) = next {
            cx.status_ping(slot);
        }
    }
}
