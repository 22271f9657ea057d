//! Claims that wait until their member has answered: asking it, and taking the claim in.

use core::time::Duration;

use arrayvec::ArrayVec;

use super::{Applied, Asked, Heard};
use crate::address::Address;
use crate::event::{Event, RemovalReason};
use crate::id::{Generation, IdHash, Instance, NodeId, RequestId, full_id_hash, id_hash_of};
use crate::membership::Slot;
use crate::membership::claim::Claim;
use crate::membership::newcomers::{Answer, AskedHelper, Due, HELPERS, WaitingClaim};
use crate::node::Node;
use crate::node::reply::Reply;
use crate::outbox::{Body, Intent, Signal};
use crate::wire::{MIN_ACCUSATION_BYTES, PING_LEN};

impl<A: Address> Node<A> {
    /// Keeps a claim until its member has answered, and asks it. What a process says about itself,
    /// beside a number of this node, is such an answer already.
    pub(super) fn await_answer(&mut self, claim: &Claim<'_, A>, heard: &mut Heard<A>) -> Applied {
        let (now, timeout) = (self.cx.now, self.question_timeout());
        let Some(to) = claim.address else {
            self.cx.stats.claims_unasked += 1;
            return Applied::Nothing;
        };
        let is_word = heard.word_from == Some(to);
        let claim = &Claim { generation: self.believable(claim), ..claim.clone() };
        let (asked, until) = (self.cx.request_id(), now + timeout);
        let Some(mut waiting) = WaitingClaim::new(claim, to, heard.rumor, asked, until) else {
            return Applied::Nothing;
        };
        waiting.paged = heard.asked == Asked::ToJoin;
        if is_word {
            return self.take_newcomer(waiting);
        }
        if heard.questions_left == 0 {
            return Applied::Nothing;
        }
        // The bytes that name an address pay for what is sent there. A page of a join has paid for
        // more questions elsewhere, and who speaks for itself gets a reply. A newcomer asks for so
        // much that helpers, who ask for one claim at a time, would take too long.
        let mut price = 1;
        if heard.asked == Asked::ToJoin {
            waiting.only_directly();
        } else if to == heard.from {
            price = heard.questions_left.min(2);
            if price == 2 { waiting.directly_twice() } else { waiting.only_directly() }
        } else if self.anti_entropy.is_catching_up() {
            waiting.directly_twice();
        }
        if self.newcomers.put(waiting, now, &mut self.cx.rng) {
            heard.questions_left -= price;
            self.cx.stats.claims_waited += 1;
            self.ask_bare(to, id_hash_of(full_id_hash(claim.id.as_bytes())), asked);
        }
        Applied::Nothing
    }

    /// How long to wait for the answer of a member that is not known: some of the longest recent
    /// round trips to others.
    fn question_timeout(&self) -> Duration {
        let (timeout, measured) = (self.cx.config.probe_timeout, self.anti_entropy.round_trip);
        let longest = measured.longest().or_else(|| self.cx.table.round_trip_of_some());
        longest.map_or(timeout, |longest| (longest * 4).clamp(timeout / 4, timeout))
    }

    /// Returns the generation at which a process that was not known is taken in.
    ///
    /// An answer proves the process, and not its generation. Beyond [`Generation::MAX_START`] and
    /// what is near to the claim held, it is lowered, and the next word of the process beats it: a
    /// process that is new at the end of the range could never be accused, nor give way to the one
    /// whose id it took. A claim that was refused instead would leave the process unknown, or
    /// dead, for as long as its earlier life is remembered.
    fn believable(&self, claim: &Claim<'_, A>) -> Generation {
        let held = self.cx.table.find(claim.id).map(|slot| self.cx.table.row(slot).generation);
        let near = held.map_or(0, |held| held.0.saturating_add(Generation::MAX_LEAP));
        claim.generation.min(Generation::MAX_START.max(Generation(near)))
    }

    /// Sends a ping in which a peer that made the address up can choose nothing but the id hash.
    fn ask_bare(&mut self, to: A, target: IdHash, number: RequestId) {
        let signal = Signal::Ping(number, target);
        self.cx.ask(Intent::new(to, None, PING_LEN).with_signal(signal));
    }

    /// Handles an ack that may answer for a claim that waits; false if it does not. A process that
    /// is not the claimed one, and may not know this node, gets the claim of this node.
    pub(in crate::node) fn on_newcomer_ack(
        &mut self,
        number: RequestId,
        instance: Instance,
        reply: &mut Reply<A>,
    ) -> bool {
        let answer = self.newcomers.answered(number, instance);
        reply.correct_sender |= matches!(answer, Some(Answer::Other));
        match answer {
            Some(Answer::Claimed(waiting)) => {
                self.take_newcomer(waiting);
                true
            }
            Some(Answer::Held | Answer::Other) => true,
            None => false,
        }
    }

    /// Takes in the claim of a member that has answered. If another process has answered as this
    /// member before, that one is asked first: the known process stays. Its status does not count,
    /// since a lie may have killed it.
    fn take_newcomer(&mut self, waiting: WaitingClaim<A>) -> Applied {
        if let Some(slot) = self.cx.table.find(waiting.id.as_str()) {
            let row = self.cx.table.row(slot);
            let (proved, elsewhere) = (row.answered.is_proof(), !row.is_at(&waiting.address));
            if proved && elsewhere && waiting.paged && row.answered.is_early() {
                // The first to answer is not the one that the others know.
                self.remove(slot, RemovalReason::Displaced);
                return self.merge_newcomer(&waiting);
            }
            if proved && elsewhere {
                let (number, timeout) = (self.cx.request_id(), self.cx.config.probe_timeout);
                if self.newcomers.contest(waiting, number, self.cx.now, timeout) {
                    self.cx.ping(slot, number);
                }
                return Applied::Nothing;
            }
            // A member that a seed has just named is being asked.
            if elsewhere && self.detector.unproved.may_still_answer(slot, &self.cx) {
                return Applied::Nothing;
            }
        }
        self.merge_newcomer(&waiting)
    }

    fn merge_newcomer(&mut self, waiting: &WaitingClaim<A>) -> Applied {
        let claim = waiting.claim();
        // The cluster config may have changed while the claim waited.
        if !self.cx.admission.admits(claim.id) {
            self.cx.stats.claims_not_in_config += 1;
            return Applied::Nothing;
        }
        let is_unknown = self.cx.table.find(claim.id).is_none();
        let joins = self.anti_entropy.join.as_ref().is_some_and(|join| !join.again);
        let is_early = is_unknown && !waiting.paged && joins;
        // The claim may be about a process that the table holds by now.
        let applied = self.merge(&claim, false);
        if let Applied::Stale(slot) = applied {
            self.tell_what_is_held(waiting.address, slot);
        }
        self.watch_growth();
        if let Some(slot) = self.cx.table.find(claim.id)
            && self.cx.table.row(slot).instance == waiting.instance
            && self.cx.table.row(slot).is_at(&waiting.address)
        {
            if waiting.helpers.is_empty() {
                self.cx.table.heard(slot, self.cx.now, true);
            } else {
                self.cx.table.heard_through_two(slot, self.cx.now);
            }
            if is_early {
                self.cx.table.heard_early(slot);
            }
            if applied == Applied::Changed && waiting.rumor {
                self.detector.pass_on(slot, true, &mut self.cx);
            }
        }
        applied
    }

    /// Tells a process that runs what is held of its id, which beats its own claim. It refutes that
    /// by climbing above it.
    fn tell_what_is_held(&mut self, to: A, slot: Slot) {
        let limit = self.cx.limit_to(None, MIN_ACCUSATION_BYTES);
        self.cx.ask(Intent::new(to, Some(slot), limit).with_body(Body::Rival));
    }

    /// Tells the host if the cluster has doubled within minutes.
    fn watch_growth(&mut self) {
        let (live, now) = (self.cx.table.live(), self.cx.now);
        let joins = self.detector.unproved.is_young(now);
        if let Some(before) = self.newcomers.doubled(live, joins, now) {
            self.cx.emit(Event::TableDoubled { before, now: live });
        }
    }

    /// Settles the contested claims that are due, and forgets those of the silent.
    pub(in crate::node) fn advance_newcomers(&mut self) {
        self.newcomers.forget_silent(self.cx.now);
        let timeout = self.cx.config.probe_timeout;
        if self.newcomers.len() == 0 {
            return;
        }
        let again_for = self.question_timeout();
        while let Some(due) = self.newcomers.due(self.cx.now, timeout, again_for) {
            match due {
                Due::AskAgain(id, number) => {
                    if let Some(slot) = self.cx.table.find(id.as_str()) {
                        self.cx.ping(slot, number);
                    }
                }
                Due::Take(waiting) => {
                    self.merge_newcomer(&waiting);
                }
                Due::AskDirectly(id, address, number) => {
                    self.ask_bare(address, id.id_hash(), number);
                }
                Due::AskThrough(id, address) => self.ask_through_helpers(id, address),
            }
        }
    }

    /// Asks the member of a claim, which does not answer this node, through two helpers. Without
    /// this, a node with a bad link would never know a member that all others know.
    fn ask_through_helpers(&mut self, id: NodeId, address: A) {
        let target = id_hash_of(full_id_hash(id.as_str().as_bytes()));
        let me = self.cx.this.address;
        let mut helpers = ArrayVec::<AskedHelper, HELPERS>::new();
        while !helpers.is_full() {
            let (table, asked) = (&self.cx.table, &helpers);
            let helps = |slot| {
                table.is_helper(slot, true, &address, &me)
                    && asked.iter().all(|helper| helper.id_hash != table.id_hash(slot))
            };
            let Some(slot) = table.random(&mut self.cx.rng, helps) else { break };
            let (number, id_hash) = (self.cx.request_id(), self.cx.table.id_hash(slot));
            helpers.push(AskedHelper { number, id_hash, answered: false });
            self.cx.ask_through(slot, number, target, address);
        }
        let until = self.cx.now + self.cx.config.probe_timeout * 2;
        self.newcomers.ask_through((id, address), helpers, until);
    }

    /// Removes the members from the pages of a join that have never answered.
    pub(in crate::node) fn remove_unproved(&mut self) {
        while let Some(slot) = self.detector.unproved.silent(&self.cx) {
            self.remove(slot, RemovalReason::NeverAnswered);
        }
    }
}
