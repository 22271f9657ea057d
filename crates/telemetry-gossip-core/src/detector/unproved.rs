//! The members that this node knows only from the pages of its own join: they have to answer.
//!
//! ```text
//!   a page names a member ---> asked at once, after 5, 15 and 35 s --- answered ---> proved
//!                                          |
//!                                          +--- silent for 55 s ---> removed
//! ```
//!
//! A seed can make up members. Until a member has answered, no other node is told of it, and it is
//! sent nothing but these pings. A page that names many members at one address has one of them
//! asked in this way. A member that is removed although it runs comes back with the next
//! comparison of tables, once it answers.

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Detector;
use crate::address::Address;
use crate::cx::Cx;
use crate::membership::Slot;
use crate::outbox::{Intent, Signal};
use crate::time::{Instant, TimeRules};
use crate::wire::PING_LEN;

/// How long to wait after each question.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(20),
    Duration::from_secs(20),
];

/// How long after a page a roll call counts the members that have not answered yet. Later, those
/// that run have answered and the others are gone.
const YOUNG: Duration = Duration::from_secs(60);

/// The first questions are spread over this time per member, so that a large table is not asked all
/// at once: 500 per second.
const SPREAD_PER_MEMBER: Duration = Duration::from_millis(2);

/// A member that has to answer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Entry {
    slot: Slot,
    /// When it is asked next, or removed.
    due: Instant,
    /// How often it was asked.
    asked: u8,
}

/// The members that have to answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Unproved {
    entries: Vec<Entry>,
    /// No entry is due before; exact after each look.
    next: Option<Instant>,
    /// When the latest page came.
    latest: Option<Instant>,
}

impl Unproved {
    /// Adds a member that a page of this node's join has brought.
    pub(crate) fn add<A: Address>(&mut self, slot: Slot, cx: &mut Cx<A>) {
        let members = u32::try_from(cx.table.len()).unwrap_or(u32::MAX);
        let due = cx.now + cx.jitter(SPREAD_PER_MEMBER * members);
        self.entries.push(Entry { slot, due, asked: 0 });
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
        self.latest = Some(cx.now);
    }

    /// Whether a page of this node's join came so lately that its members have had no time to
    /// answer.
    pub(crate) fn is_young(&self, now: Instant) -> bool {
        self.latest.is_some_and(|latest| now < latest + YOUNG)
    }

    /// Whether this member still has to answer.
    pub(super) fn asks<A: Address>(&self, slot: Slot, cx: &Cx<A>) -> bool {
        !cx.is_proved(slot) && self.entries.iter().any(|entry| entry.slot == slot)
    }

    /// Whether one of the members that came last is said to be at this address.
    pub(crate) fn asks_at<A: Address>(&self, address: &A, cx: &Cx<A>) -> bool {
        /// How many members are looked at: more than a page of the default size names.
        const LAST: usize = 128;
        let is_there = |entry: &Entry| cx.table.row(entry.slot).is_at(address);
        self.entries.iter().rev().take(LAST).any(is_there)
    }

    /// The live member that came last, of those that have not answered yet. An entry may be of a
    /// member that has, or has died: it stays until its next question is due.
    pub(crate) fn last<A: Address>(&self, cx: &Cx<A>) -> Option<Slot> {
        let mut slots = self.entries.iter().rev().map(|entry| entry.slot);
        slots.find(|&slot| cx.table.is_live(slot) && !cx.is_proved(slot))
    }

    /// A member that was asked often enough and has not answered.
    pub(crate) fn silent<A: Address>(&self, cx: &Cx<A>) -> Option<Slot> {
        let over = |entry: &&Entry| {
            usize::from(entry.asked) >= PAUSES.len()
                && entry.due <= cx.now
                && !cx.table.row(entry.slot).answered.is_proof()
        };
        self.next.filter(|&next| next <= cx.now)?;
        self.entries.iter().find(over).map(|entry| entry.slot)
    }

    /// Whether the restored members are others than `me`, and when they are due is known.
    pub(super) fn is_sound(&self, me: Slot, times: TimeRules) -> bool {
        let Self { entries, next, latest } = self;
        let first = entries.iter().map(|entry| entry.due).min();
        first.is_some() == next.is_some()
            && first >= *next
            && times.are_deadlines(&[*next, entries.iter().map(|entry| entry.due).max()])
            && times.are_past(&[*latest])
            && entries.iter().all(|entry| entry.slot != me)
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        self.entries.retain(|entry| entry.slot != slot);
        if self.entries.is_empty() {
            self.next = None;
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}

impl<A: Address> Detector<A> {
    /// Asks the members that are due, and lets go of those that have answered.
    pub(super) fn ask_unproved(&mut self, cx: &mut Cx<A>) {
        if self.unproved.next.is_none_or(|next| next > cx.now) {
            return;
        }
        let entries = &mut self.unproved.entries;
        entries.retain_mut(|entry| {
            if cx.table.row(entry.slot).answered.is_proof() || !cx.table.is_live(entry.slot) {
                return false;
            }
            if entry.due > cx.now {
                return true;
            }
            let Some(&pause) = PAUSES.get(usize::from(entry.asked)) else {
                // The node removes it.
                return true;
            };
            entry.due = cx.now + pause;
            entry.asked += 1;
            if let Some(to) = cx.table.address(entry.slot)
                && let Some(number) = cx.proof.challenge(to, cx.now)
            {
                let signal = Signal::Ping(number, cx.table.id_hash(entry.slot));
                cx.ask(Intent::new(to, None, PING_LEN).with_signal(signal));
            }
            true
        });
        self.unproved.next = entries.iter().map(|entry| entry.due).min();
        if entries.is_empty() {
            entries.shrink_to_fit();
        }
    }
}
