//! The members that this node knows only from the pages of its own join: they have to answer.
//!
//! ```text
//!   a page names a member ---> asked at once, after a probe timeout and 1 s later, and through
//!                              one helper after 15 s --- answered ---> proved
//!                                     |
//!                                     +--- silent for 55 s ---> removed
//! ```
//!
//! A seed can make up members. Until a member has answered, no other node is told of it, and it is
//! sent nothing but these pings. A page that names many members at one address has one of them
//! asked in this way. A member that is removed although it runs comes back with the next
//! comparison of tables, once it answers.
//!
//! A member that this node reaches only through helpers is proved by the answers of two. After one,
//! which may be a lie, further helpers are asked before it is removed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Detector;
use crate::address::Address;
use crate::cx::Cx;
use crate::id::{IdHash, Instance, RequestId};
use crate::membership::Slot;
use crate::outbox::{Intent, Signal};
use crate::time::{Instant, TimeRules};
use crate::wire::PING_LEN;

/// How long to wait after each question, which is a probe timeout at least. Most members that run
/// answer the first three; the last pause gives those that were cut off time to come back.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(14), Duration::from_secs(40)];

/// The number of questions that this node asks itself, before it asks through helpers.
const ASKED_DIRECTLY: u8 = 3;

/// The most questions to a member of which a single helper says that it answers.
const MAX_ASKED: u8 = 8;

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
    /// The number of the latest question through a helper, until it is answered.
    through: Option<RequestId>,
}

impl Entry {
    /// Whether the member was asked often enough. `answered` says whether a helper vouches for it.
    fn is_over(&self, answered: bool) -> bool {
        usize::from(self.asked) >= if answered { MAX_ASKED.into() } else { PAUSES.len() }
    }
}

/// A helper that asks a member.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Through {
    slot: Slot,
    helper: IdHash,
}

/// The members that have to answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Unproved {
    entries: Vec<Entry>,
    /// The entries' questions through helpers. A map, since each ack that comes is looked up here.
    through: BTreeMap<RequestId, Through>,
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
        self.entries.push(Entry { slot, due, asked: 0, through: None });
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

    /// Whether this member was asked at most once so far, within the last seconds.
    pub(crate) fn may_still_answer<A: Address>(&self, slot: Slot, cx: &Cx<A>) -> bool {
        let asked = self.entries.iter().find(|entry| entry.slot == slot).map(|entry| entry.asked);
        cx.table.is_live(slot) && asked.is_some_and(|asked| asked <= 1)
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

    /// The helper that was given this number.
    pub(super) fn helper_asked(&self, request_id: RequestId) -> Option<IdHash> {
        self.through.get(&request_id).map(|through| through.helper)
    }

    /// A member that was asked often enough and has not answered.
    pub(crate) fn silent<A: Address>(&self, cx: &Cx<A>) -> Option<Slot> {
        let over = |entry: &&Entry| {
            let answered = cx.table.row(entry.slot).answered;
            entry.is_over(answered.through_one()) && entry.due <= cx.now && !answered.is_proof()
        };
        self.next.filter(|&next| next <= cx.now)?;
        self.entries.iter().find(over).map(|entry| entry.slot)
    }

    /// Whether the restored members are others than `me`, and when they are due is known.
    pub(super) fn is_sound(&self, me: Slot, times: TimeRules) -> bool {
        let Self { entries, through, next, latest } = self;
        let first = entries.iter().map(|entry| entry.due).min();
        let is_under_way = |entry: &&Entry| {
            let through = entry.through.and_then(|number| through.get(&number));
            through.is_some_and(|through| through.slot == entry.slot)
        };
        first.is_some() == next.is_some()
            && first >= *next
            && times.are_deadlines(&[*next, entries.iter().map(|entry| entry.due).max()])
            && times.are_past(&[*latest])
            && entries.iter().all(|entry| entry.slot != me)
            && entries.iter().filter(is_under_way).count() == through.len()
    }

    pub(super) fn forget(&mut self, slot: Slot) {
        let Self { entries, through, .. } = self;
        entries.retain(|entry| {
            let stays = entry.slot != slot;
            if let Some(number) = entry.through.filter(|_| !stays) {
                through.remove(&number);
            }
            stays
        });
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
            + self.through.len() * size_of::<(RequestId, Through)>()
    }
}

impl<A: Address> Detector<A> {
    /// Asks the members that are due, and lets go of those that have answered.
    pub(super) fn ask_unproved(&mut self, cx: &mut Cx<A>) {
        if self.unproved.next.is_none_or(|next| next > cx.now) {
            return;
        }
        let Unproved { entries, through, next, .. } = &mut self.unproved;
        entries.retain_mut(|entry| {
            let answered = cx.table.row(entry.slot).answered;
            if answered.is_proof() || !cx.table.is_live(entry.slot) {
                entry.through.map(|number| through.remove(&number));
                return false;
            }
            if entry.due > cx.now {
                return true;
            }
            if entry.is_over(answered.through_one()) {
                // The node removes it.
                return true;
            }
            let [.., longest] = PAUSES;
            let pause = *PAUSES.get(usize::from(entry.asked)).unwrap_or(&longest);
            entry.due = cx.now + pause.max(cx.config.probe_timeout);
            entry.asked += 1;
            entry.through.take().map(|number| through.remove(&number));
            if let Some((number, asked)) = ask(entry, cx) {
                entry.through = Some(number);
                through.insert(number, asked);
            }
            true
        });
        *next = entries.iter().map(|entry| entry.due).min();
        if entries.is_empty() {
            entries.shrink_to_fit();
        }
    }

    /// Handles an ack of a helper that was asked to ping a member; false if it is none.
    pub(super) fn on_ack_of_unproved(
        &mut self,
        request_id: RequestId,
        instance: Instance,
        cx: &mut Cx<A>,
    ) -> bool {
        let asked = self.unproved.through.remove(&request_id);
        let Some(Through { slot, helper }) = asked else { return false };
        let same = cx.table.row(slot).instance.is_same_process(instance);
        if same && cx.table.with_id_hash(helper).any(|helper| cx.is_proved(helper)) {
            cx.table.heard_through(slot, cx.now, helper);
        }
        true
    }
}

/// Asks a member that is due: by a bare ping of this node, or of a helper, which is returned with
/// the number of the question.
fn ask<A: Address>(entry: &Entry, cx: &mut Cx<A>) -> Option<(RequestId, Through)> {
    let slot = entry.slot;
    let (to, id_hash) = (cx.table.address(slot)?, cx.table.id_hash(slot));
    if entry.asked > ASKED_DIRECTLY {
        let (table, me) = (&cx.table, cx.this.address);
        let helps = |helper| helper != slot && table.is_helper(helper, true, &to, &me);
        if let Some(helper) = table.random(&mut cx.rng, helps) {
            let number = cx.request_id();
            cx.ask_through(helper, number, id_hash, to);
            return Some((number, Through { slot, helper: cx.table.id_hash(helper) }));
        }
    }
    let number = cx.proof.challenge(to, cx.now)?;
    cx.ask(Intent::new(to, None, PING_LEN).with_signal(Signal::Ping(number, id_hash)));
    None
}
