//! How nodes find that they hold different records of members that are gone.
//!
//! A member that left on one side of a partition and was found dead on the other is Left on one
//! side and Dead on the other. Such records are no part of the fingerprints, since nodes forget
//! them at slightly different times, and the member itself is not there to correct them. So now and
//! then an ack carries the sum over them; a prober with another sum opens a session that compares
//! these records, too.
//!
//! ```text
//!   prober                        member
//!     | ping ----------------------->|
//!     |<- ack, sum of the gone ------|   once in ten probe intervals, while there are any
//!     | sums of parts of the table ->|   if the sums differ: a session as any other
//! ```
//!
//! A node that holds no such record adds no sum to its acks, so that the check costs no bytes in a
//! cluster that has lost no member.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::AntiEntropy;
use super::fruitless::{Fruitless, Tables};
use super::session::Purpose;
use crate::address::Address;
use crate::config::Mode;
use crate::cx::Cx;
use crate::membership::{Fingerprints, Slot};
use crate::time::{Instant, TimeRules};

/// How many probe intervals pass between two looks at the sum: long enough for a death to reach all
/// nodes, and for all to forget a member whose time has come.
const LOOK_INTERVALS: u32 = 10;

/// After how many changes in a row the sum counts although it goes on changing. Where members come
/// and go all the time, it would never stand still.
const MAX_CHANGES: u8 = 3;

/// What this node remembers of the sum over the members that are gone.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Gone {
    /// The sum at the last look.
    sum: u32,
    /// How often in a row it had changed since the look before.
    changes: u8,
    /// The time of the next look.
    next: Instant,
    pub(super) fruitless: Fruitless,
}

impl Gone {
    /// Whether the restored state is such as this node could have reached.
    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { sum: _, changes, next, fruitless } = self;
        *changes <= MAX_CHANGES && times.are_deadlines(&[Some(*next)]) && fruitless.is_sound(times)
    }

    /// Whether `sum` is that of the last look, or has been changing for long.
    const fn is_settled(&self, sum: u32) -> bool {
        sum == self.sum || self.changes >= MAX_CHANGES
    }

    fn look(&mut self, sum: u32, now: Instant, pause: Duration) {
        let changed = sum != self.sum;
        self.changes = if changed { MAX_CHANGES.min(self.changes.saturating_add(1)) } else { 0 };
        (self.sum, self.next) = (sum, now + pause);
    }
}

impl<A: Address> AntiEntropy<A> {
    /// Returns the sum over the members that are gone if it is time to say it.
    #[inline]
    pub(crate) fn gone_sum_to_tell(&mut self, cx: &Cx<A>) -> Option<u32> {
        if cx.now < self.gone.next { None } else { self.look_at_gone(cx) }
    }

    #[cold]
    fn look_at_gone(&mut self, cx: &Cx<A>) -> Option<u32> {
        let sum = cx.table.gone_sum();
        let settled = self.gone.is_settled(sum);
        self.gone.look(sum, cx.now, cx.config.probe_interval * LOOK_INTERVALS);
        (settled && cx.table.gone() > 0).then_some(sum)
    }

    /// Compares what a member that answered a ping says of the members that are gone, and opens a
    /// session if its records differ.
    pub(crate) fn compare_gone(&mut self, peer: Slot, theirs: u32, cx: &mut Cx<A>) {
        let ours = cx.table.gone_sum();
        let tables = Tables { theirs, ours };
        if ours == theirs {
            self.gone.fruitless.is_fruitful();
            return;
        }
        if !self.gone.is_settled(ours)
            || cx.config.mode != Mode::Autonomous
            || self.session.is_some()
            || !cx.table.is_live(peer)
            || self.gone.fruitless.holds_back(tables, cx.now)
        {
            return;
        }
        self.open_session_for(Purpose::Gone(tables), peer, Fingerprints::default(), true, 0, cx);
    }
}
