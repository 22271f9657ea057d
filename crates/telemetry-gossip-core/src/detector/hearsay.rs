//! Hearsay: what others say about members, and what of it this node takes for granted.
//!
//! ```text
//!   "X is Suspected, by B" ---> ask B ---+--- B says that it accused X ---> grounded
//!                                        +--- B does not ---> tell X, which refutes
//!                                        +--- B is silent --> the suspicion takes its course
//! ```
//!
//! Any process can say that some node suspects a member. The accused refutes it, and a suspicion
//! may stand for as long as that takes; but a lie must have no further effect. So whatever makes
//! this node act on an accusation for longer (rumors to others, flaps of the accused, doubt about
//! its own health) waits until the accuser itself has confirmed it, under a request id that only
//! the accuser's address receives. An accusation is *grounded* if it is this node's own or
//! confirmed.
//!
//! A question is a list of wants as in a sync session, for one row. The accuser's answer brings its
//! claim about the accused, and beside it the accusation, even if that is refuted by now.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::Detector;
use crate::address::Address;
use crate::config::Mode;
use crate::cx::Cx;
use crate::id::{Generation, IdHash, RequestId};
use crate::membership::Slot;
use crate::membership::claim::{Accusers, MAX_ACCUSERS};
use crate::outbox::{Body, Intent};
use crate::status::Status;
use crate::time::Instant;
use crate::violation::{Unsound, check_rules};
use crate::wire::MIN_ACCUSATION_BYTES;

/// The largest number of open questions. A further one takes the place of one chosen by lot, so
/// that no sender of lies decides which are dropped.
const MAX_QUESTIONS: usize = 64;

/// How long an accusation is remembered: by its accuser, so that it can confirm it, and by a node
/// that has asked, which counts an accuser's word about a member once in this time.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// How long an ungrounded change of a member is not passed on again. Members are accused by mistake
/// on a lossy network, and a node that misses the refutation would declare them dead; but with lies
/// about all of 250 members, no more than 25 changes per second may need room in the datagrams.
const PASSED_ON_FOR: Duration = Duration::from_secs(10);

/// The largest number of confirmed accusations that are remembered; more are not counted.
const MAX_CONFIRMED: usize = 1_024;

/// A question to an accuser.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Question<A> {
    request_id: RequestId,
    /// The address that was asked.
    address: A,
    /// The member that was asked: the accuser, or the accused if no accuser is known.
    asked: Slot,
    pub(crate) accused: Slot,
    at: Instant,
}

/// What this node has heard and asked about accusations.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hearsay<A> {
    questions: Vec<Question<A>>,
    /// When accusations were confirmed, by accuser and accused.
    confirmed: BTreeMap<(Slot, Slot), Instant>,
    /// This node's own accusations.
    own: BTreeMap<Slot, (Generation, Instant)>,
    /// The suspected or dead members whose accusation is grounded.
    grounded: BTreeSet<Slot>,
    /// When an ungrounded change of a member was last passed on.
    passed_on: BTreeMap<Slot, Instant>,
}

impl<A: Copy + PartialEq> Hearsay<A> {
    pub(crate) const fn new() -> Self {
        Self {
            questions: Vec::new(),
            confirmed: BTreeMap::new(),
            own: BTreeMap::new(),
            grounded: BTreeSet::new(),
            passed_on: BTreeMap::new(),
        }
    }

    /// Whether the accusation of a suspected or dead member is grounded.
    pub(crate) fn is_grounded(&self, slot: Slot) -> bool {
        self.grounded.contains(&slot)
    }

    /// Records that this node accuses a member.
    pub(crate) fn add_own(&mut self, slot: Slot, generation: Generation, now: Instant) {
        self.own.retain(|_, &mut (_, at)| now.since(at) < REMEMBERED_FOR);
        self.own.insert(slot, (generation, now));
        self.grounded.insert(slot);
    }

    /// Returns the generation at which this node accused a member a short time ago, if it did.
    pub(crate) fn own_accusation(&self, slot: Slot, now: Instant) -> Option<Generation> {
        let &(generation, at) = self.own.get(&slot)?;
        (now.since(at) < REMEMBERED_FOR).then_some(generation)
    }

    /// Ends the accusation of a member; true if it was grounded.
    pub(crate) fn end(&mut self, slot: Slot) -> bool {
        self.grounded.remove(&slot)
    }

    /// Whether an ungrounded change of a member may be passed on. Each member has one in
    /// [`PASSED_ON_FOR`].
    pub(crate) fn may_pass_on(&mut self, slot: Slot, now: Instant) -> bool {
        let recent = |at: &Instant| now.since(*at) < PASSED_ON_FOR;
        if self.passed_on.get(&slot).is_some_and(recent) {
            return false;
        }
        self.passed_on.insert(slot, now);
        true
    }

    /// Whether `asked` may be asked about `accused`: it is not being asked, and has not confirmed
    /// the accusation a short time ago.
    fn may_ask(&self, asked: Slot, accused: Slot, now: Instant, again: Duration) -> bool {
        let is_open = |question: &Question<A>| {
            (question.asked, question.accused) == (asked, accused) && now.since(question.at) < again
        };
        let confirmed = self.confirmed.get(&(asked, accused));
        !self.questions.iter().any(is_open)
            && confirmed.is_none_or(|&at| now.since(at) >= REMEMBERED_FOR)
    }

    /// Whether a question about `accused` to the member at `from` is open, and to which.
    pub(crate) fn asked_at(&self, from: A, accused: Slot) -> Option<Slot> {
        let question = self.questions.iter().find(|question| {
            question.address == from && question.accused == accused && question.asked != accused
        })?;
        Some(question.asked)
    }

    /// Whether the member at `to` is asked about `accused` now.
    pub(crate) fn asks_now(&self, to: A, accused: Slot, now: Instant) -> bool {
        let mut questions = self.questions.iter();
        questions.any(|it| (it.at, it.address, it.accused) == (now, to, accused))
    }

    /// The address that was asked under this request id.
    pub(crate) fn address_asked(&self, request_id: RequestId) -> Option<A> {
        let mut questions = self.questions.iter();
        questions.find(|question| question.request_id == request_id).map(|it| it.address)
    }

    /// Takes the question that this answer is for.
    fn answered(&mut self, request_id: RequestId) -> Option<Question<A>> {
        let at = self.questions.iter().position(|question| {
            question.request_id == request_id && question.asked != question.accused
        })?;
        Some(self.questions.swap_remove(at))
    }

    /// Records that an accuser has confirmed its accusation; false if that does not count.
    fn confirm(&mut self, accuser: Slot, accused: Slot, now: Instant) -> bool {
        let recent = |at: Instant| now.since(at) < REMEMBERED_FOR;
        if self.confirmed.len() >= MAX_CONFIRMED {
            self.confirmed.retain(|_, at| recent(*at));
        }
        let full = self.confirmed.len() >= MAX_CONFIRMED;
        if full || self.confirmed.get(&(accuser, accused)).is_some_and(|&at| recent(at)) {
            return false;
        }
        self.confirmed.insert((accuser, accused), now);
        true
    }

    /// Forgets a member.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.questions.retain(|question| question.asked != slot && question.accused != slot);
        self.confirmed.retain(|&(accuser, accused), _| accuser != slot && accused != slot);
        self.own.remove(&slot);
        self.grounded.remove(&slot);
        self.passed_on.remove(&slot);
    }

    /// The questions and confirmations, and the members about which something is remembered.
    pub(crate) fn lens(&self) -> [usize; 5] {
        [
            self.questions.len(),
            self.confirmed.len(),
            self.own.len(),
            self.grounded.len(),
            self.passed_on.len(),
        ]
    }

    pub(crate) const fn bounds(members: usize) -> [usize; 5] {
        [MAX_QUESTIONS, MAX_CONFIRMED, members, members, members]
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.confirmed.len() * size_of::<((Slot, Slot), Instant)>()
            + self.own.len() * size_of::<(Slot, (Generation, Instant))>()
            + self.grounded.len() * size_of::<Slot>()
            + self.passed_on.len() * size_of::<(Slot, Instant)>()
    }
}

impl<A: Address> Hearsay<A> {
    /// Checks what a restored node has heard.
    pub(super) fn check_restored(&self, cx: &Cx<A>) -> Result<(), Unsound> {
        let Self { questions, confirmed, own, grounded, passed_on } = self;
        let times = cx.time_rules();
        let at = questions.iter().map(|question| question.at);
        let own_at = own.values().map(|&(_, at)| at);
        let mut all = at.chain(confirmed.values().copied()).chain(own_at);
        let past = all.all(|at| times.is_past(at));
        let passed_on = passed_on.values().all(|&at| times.is_past(at));
        let generations = own.values().all(|&(generation, _)| generation <= Generation::MAX);
        check_rules(
            "hearsay",
            &[
                (past && passed_on, "what was heard, asked and passed on is of the past"),
                (generations, "this node has accused at possible generations"),
                (!grounded.contains(&cx.this.slot), "this node accuses others"),
            ],
        )
    }
}

impl<A: Address> Detector<A> {
    /// Looks into an accusation of `accused` that this node has heard: asks one of its accusers, or
    /// the accused itself if none of them is a member. True if it has asked.
    pub(crate) fn look_into(&mut self, accused: Slot, accusers: &Accusers, cx: &mut Cx<A>) -> bool {
        let again = cx.config.probe_interval;
        let me = cx.this.slot;
        let (table, hearsay, now) = (&cx.table, &self.hearsay, cx.now);
        let members = accusers.iter().flat_map(|&accuser| table.with_id_hash(accuser));
        let mut known = false;
        let mut askable = ArrayVec::<Slot, MAX_ACCUSERS>::new();
        for slot in members.filter(|&slot| slot != accused && slot != me && table.can_probe(slot)) {
            known = true;
            if hearsay.may_ask(slot, accused, now, again) {
                // Of more members than that, which share an id hash, the first are enough.
                let _ = askable.try_push(slot);
            }
        }
        if !askable.is_empty() {
            let asked = askable[cx.rng.below(askable.len())];
            let request_id = cx.request_id();
            self.add_question(asked, accused, request_id, cx);
            if let Some(to) = cx.table.address(asked) {
                let limit = cx.limit_to(Some(asked), MIN_ACCUSATION_BYTES);
                let body = Body::Question(request_id, cx.table.id_hash(accused));
                cx.ask(Intent::new(to, Some(asked), limit).with_body(body));
            }
            return true;
        }
        let grounded = self.hearsay.is_grounded(accused);
        if known || accused == me || grounded || !hearsay.may_ask(accused, accused, now, again) {
            return false;
        }
        // An accusation by no member: the accused has to know of it.
        let request_id = cx.request_id();
        self.add_question(accused, accused, request_id, cx);
        cx.status_ping_within(accused, cx.limit_to(Some(accused), MIN_ACCUSATION_BYTES));
        true
    }

    fn add_question(&mut self, asked: Slot, accused: Slot, request_id: RequestId, cx: &mut Cx<A>) {
        let Some(address) = cx.table.address(asked) else { return };
        let (now, again) = (cx.now, cx.config.probe_interval);
        let questions = &mut self.hearsay.questions;
        questions.retain(|question| now.since(question.at) < again);
        if questions.len() >= MAX_QUESTIONS {
            questions.swap_remove(cx.rng.below(questions.len()));
        }
        questions.push(Question { request_id, address, asked, accused, at: now });
    }

    /// Handles the answer to a question, in whose datagram the accuser has confirmed that it
    /// accused `confirmed`, if any.
    pub(crate) fn on_testimony(
        &mut self,
        request_id: RequestId,
        confirmed: Option<Slot>,
        cx: &mut Cx<A>,
    ) {
        let Some(Question { asked, accused, .. }) = self.hearsay.answered(request_id) else {
            return;
        };
        let me = cx.this.slot;
        if confirmed != Some(accused) {
            if accused != me
                && cx.table.status(accused) == Status::Suspected
                && !self.hearsay.is_grounded(accused)
            {
                // The accuser knows nothing of it, so the accused may not have been told.
                cx.status_ping_within(accused, cx.limit_to(Some(accused), MIN_ACCUSATION_BYTES));
            }
            return;
        }
        if !self.hearsay.confirm(asked, accused, cx.now) {
            return;
        }
        if accused == me {
            // Having to refute an accusation counts against the local health (Lifeguard).
            self.local_health.worse(1);
            cx.rumors.push_grounded(me);
            return;
        }
        match cx.table.status(accused) {
            Status::Suspected => {
                self.hearsay.grounded.insert(accused);
                let accuser: Accusers = core::iter::once(cx.table.id_hash(asked)).collect();
                self.confirm(accused, &accuser, cx);
            }
            Status::Dead => {
                self.hearsay.grounded.insert(accused);
            }
            // It has refuted meanwhile.
            Status::Alive => self.flap_damping.add_flap(accused, cx.now),
            Status::Left => return,
        }
        cx.rumors.push_grounded(accused);
    }

    /// Whether an accusation that this node has heard from `from` enters the table. A member that
    /// is dead here, or suspected on good grounds, would get a new time to refute by every lie, so
    /// a further accusation of it has to be confirmed first: only the answer to a question counts.
    pub(crate) fn admits_accusation(&self, accused: Slot, from: A, cx: &Cx<A>) -> bool {
        if cx.config.mode != Mode::Autonomous {
            return true;
        }
        match cx.table.status(accused) {
            Status::Alive | Status::Left => true,
            Status::Suspected if !self.hearsay.is_grounded(accused) => true,
            Status::Suspected | Status::Dead => self.hearsay.asked_at(from, accused).is_some(),
        }
    }

    /// Takes the word of another node that a member is dead, at a generation below the one that is
    /// held: if the suspicion is grounded, lies alone have raised it.
    pub(crate) fn hear_outdated_death(&mut self, slot: Slot, cx: &Cx<A>) {
        if cx.table.status(slot) == Status::Suspected && self.hearsay.is_grounded(slot) {
            let timing = self.timing(cx);
            self.suspicions.hasten(slot, cx.now, &timing);
        }
    }

    /// Passes the change of a member on to the others, if they are to learn of it from this node.
    /// `new` says that the member has restarted or moved.
    ///
    /// An accusation is passed on once it is grounded, and so is what follows from it. Any other
    /// change of a member is passed on once in a while: the member may have to refute lies all the
    /// time, and anti-entropy spreads the last word.
    pub(crate) fn pass_on(&mut self, slot: Slot, new: bool, cx: &mut Cx<A>) {
        if cx.config.mode != Mode::Autonomous {
            // Such a node speaks only when its host wants it to, and its table may be lent.
            cx.rumors.push(slot);
            return;
        }
        match cx.table.status(slot) {
            Status::Suspected => {}
            Status::Dead if self.hearsay.is_grounded(slot) => cx.rumors.push_grounded(slot),
            Status::Alive | Status::Dead | Status::Left => {
                let waits = cx.rumors.is_grounded(slot);
                if new || (!waits && self.hearsay.may_pass_on(slot, cx.now)) {
                    cx.rumors.push(slot);
                }
            }
        }
    }

    /// Makes this node's refutation a rumor, once in a while. Those who accuse it get it directly,
    /// and a confirmed accusation makes it a rumor at any time.
    pub(crate) fn spread_refutation(&mut self, cx: &mut Cx<A>) {
        if cx.config.mode != Mode::Autonomous || self.hearsay.may_pass_on(cx.this.slot, cx.now) {
            cx.rumors.push_grounded(cx.this.slot);
        }
    }

    /// This node's own accusation of a member, from which it can tell that it has made it, as the
    /// accuser in `id_hash` and the generation.
    pub(crate) fn testimony(&self, slot: Slot, cx: &Cx<A>) -> Option<(IdHash, Generation)> {
        let generation = self.hearsay.own_accusation(slot, cx.now)?;
        let stated = self.suspicions.get(slot);
        let stated = stated.is_some_and(|row| row.accusers.contains(&cx.this.id_hash));
        (!stated).then_some((cx.this.id_hash, generation))
    }
}
