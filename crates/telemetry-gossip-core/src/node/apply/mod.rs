//! Applies what peers send: merges claims and telemetry into the table, and refutes claims about
//! this node.
//!
//! - this file: a claim about another member
//! - `newcomer`: a claim that waits until its member has answered
//! - `own`: a claim about this node, and its refutation
//! - `id_conflict`: another process with this node's id
//! - `telemetry`: entries of a member's telemetry
//! - `own_telemetry`: what peers hold of this node's own telemetry
//!
//! Which of two claims wins is decided by the table, and what follows from a status by the
//! detector. This module connects them with the other parts.

mod held;
mod id_conflict;
mod inquiry;
mod newcomer;
mod own;
mod own_telemetry;
mod telemetry;

use core::time::Duration;

use super::Node;
use crate::address::Address;
use crate::dropped::DropReason;
use crate::event::{Event, RemovalReason};
use crate::evidence::Evidence;
use crate::id::Generation;
use crate::membership::claim::Claim;
use crate::membership::{Merged, Slot};
use crate::status::Status;
use crate::wire::MIN_ACCUSATION_BYTES;
pub(super) use held::HeldUnderId;
pub(super) use id_conflict::{IdConflict, SHAPE};
pub(super) use own_telemetry::MAX_OWN_VERSION;

/// How the claims of a datagram were heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<A> {
    /// Whether a change by them is passed on to the other members.
    pub(super) rumor: bool,
    /// The address that the datagram came from, which may be forged.
    pub(super) from: A,
    /// Whether they answer a question of this node.
    pub(super) asked: Asked,
    /// The address of a process that has repeated a number of this node in this datagram. What it
    /// says about itself is its own word.
    pub(super) word_from: Option<A>,
    /// How many more members may be asked about the claims. Each question is paid for by the bytes
    /// received, so that a liar cannot make this node send much to a victim.
    pub(super) questions_left: usize,
}

/// Whether this node has asked for claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    No,
    /// In a session that this node has opened.
    InSession,
    /// For the pages of its own join.
    ToJoin,
}

/// The effect of a claim on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// The claim changed the table, or was about this node.
    Changed,
    /// The table held the claim already, or the claim was refused.
    Nothing,
    /// The table holds a claim about this member that beats it.
    Stale(Slot),
}

/// How long a member that has answered must have been dead before a partner's word about a later
/// process replaces its address. Until then it is contacted several times, and can refute its
/// death.
const GONE_FOR: Duration = Duration::from_secs(60);

/// Whether a claim that beats `held` may be believed of any peer.
///
/// Up to [`Generation::MAX_START`] the member refutes any claim at once, so a leap is limited only
/// for the sake of those that miss the refutation. Beyond, the member itself climbs by small steps,
/// and a liar must not climb past it in the tables of others. There an Alive counts only as the
/// member's own word, and the only further claim is an accusation of that word.
fn is_within_reach<A>(claim: &Claim<'_, A>, held: &Claim<'_, A>) -> bool {
    if claim.generation <= Generation::MAX_START {
        return claim.generation.is_near(held.generation);
    }
    let accuses_word = held.status == Status::Alive && claim.generation == held.generation.next();
    claim.status != Status::Alive && (accuses_word || claim.generation == held.generation)
}

impl<A: Address> Node<A> {
    /// Applies one claim of any peer.
    pub(super) fn apply_claim(&mut self, claim: &Claim<'_, A>, heard: &mut Heard<A>) -> Applied {
        if claim.id == self.cx.this.id.as_str() {
            self.apply_claim_about_self(claim);
            return Applied::Changed;
        }
        if !self.cx.admission.admits(claim.id) {
            self.cx.stats.claims_not_in_config += 1;
            return Applied::Nothing;
        }
        let known = self.cx.table.find(claim.id);
        if known.is_none() && self.is_unwanted_death(claim) {
            return Applied::Nothing;
        }
        if !self.cx.asks_for_proof() {
            return self.merge_without_proof(claim, known, heard.rumor);
        }
        let Some(slot) = known else {
            return self.apply_claim_about_stranger(claim, heard);
        };
        let held = self.cx.table.claim(slot);
        if claim.precedence().beats(&held.precedence()) {
            if claim.instance != held.instance || claim.address != held.address {
                return self.apply_claim_about_other_process(claim, heard);
            }
            // Once, a dead member is believed to be back at a word; if it then dies without having
            // answered, it has to answer first.
            let revives = claim.status.is_live() && !held.status.is_live();
            if revives && !self.cx.is_proved_alive(slot) {
                return self.await_answer(claim, heard);
            }
            let is_word = claim.address.is_some() && claim.address == heard.word_from;
            if is_word {
                let (word, held) = (claim.generation, held.generation);
                let generation = self.newcomers.raise(word, held, self.cx.now);
                return self.merge(&Claim { generation, ..claim.clone() }, heard.rumor);
            }
            if !is_within_reach(claim, &held) {
                self.cx.stats.claims_implausible += 1;
                self.anti_entropy.ask_member(slot, &mut self.cx);
                return Applied::Nothing;
            }
            return self.merge_and_tell(claim, slot, heard);
        }
        // Another process may run under the id of the one held, which may be gone. It is asked, and
        // learns what is held, so that it climbs above it. Who speaks for itself gets a reply.
        let is_other = claim.status.is_live() && claim.instance != held.instance;
        if is_other && claim.address != Some(heard.from) {
            self.await_answer(claim, heard);
        }
        self.merge(claim, heard.rumor)
    }

    /// Merges a claim that beats the one held. A member that is gone by the word of a partner is
    /// told so at once: unlike a rumor, that word reaches no other node, and may be a lie.
    fn merge_and_tell(
        &mut self,
        claim: &Claim<'_, A>,
        slot: Slot,
        heard: &mut Heard<A>,
    ) -> Applied {
        let was_live = self.cx.table.is_live(slot);
        let applied = self.merge(claim, heard.rumor);
        let is_gone = applied == Applied::Changed && was_live && !claim.status.is_live();
        if is_gone
            && heard.asked == Asked::InSession
            && heard.questions_left > 0
            && self.cx.is_proved(slot)
        {
            heard.questions_left -= 1;
            self.cx.status_ping_within(slot, self.cx.limit_to(Some(slot), MIN_ACCUSATION_BYTES));
        }
        applied
    }

    /// Merges a claim for a host that names each exchange itself. No member can be asked, so no
    /// claim may be so high that its member would not answer it.
    fn merge_without_proof(
        &mut self,
        claim: &Claim<'_, A>,
        known: Option<Slot>,
        rumor: bool,
    ) -> Applied {
        let held = known.map_or(Generation(0), |slot| self.cx.table.row(slot).generation);
        if claim.generation > Generation::MAX_START && !claim.generation.is_near(held) {
            self.cx.stats.claims_implausible += 1;
            return Applied::Nothing;
        }
        self.merge(claim, rumor)
    }

    /// Applies a claim about a member that is not in the table. Only the pages of this node's own
    /// join bring members that have not answered yet: they have to, within a minute.
    fn apply_claim_about_stranger(
        &mut self,
        claim: &Claim<'_, A>,
        heard: &mut Heard<A>,
    ) -> Applied {
        if !claim.status.is_live() {
            // A death is of use only in a comparison of tables: no other node can know that the
            // member existed.
            if heard.asked == Asked::No || claim.generation >= Generation::MAX_START {
                self.cx.stats.claims_unasked += 1;
                return Applied::Nothing;
            }
            return self.merge(claim, heard.rumor);
        }
        // Two processes cannot be at one address, and each member from a page is asked four times.
        let is_crowded = |address| self.detector.unproved.asks_at(&address, &self.cx);
        let is_word = claim.address.is_some() && claim.address == heard.word_from;
        if heard.asked != Asked::ToJoin
            || is_word
            || claim.generation > Generation::MAX_START
            || claim.address.is_some_and(is_crowded)
        {
            return self.await_answer(claim, heard);
        }
        let applied = self.merge(claim, heard.rumor);
        if applied == Applied::Changed
            && let Some(slot) = self.cx.table.find(claim.id)
        {
            self.detector.unproved.add(slot, &mut self.cx);
        }
        applied
    }

    /// Applies a claim that beats the one held and names another instance or address: the member
    /// has restarted or moved, or another process uses its id, or a peer lies.
    fn apply_claim_about_other_process(
        &mut self,
        claim: &Claim<'_, A>,
        heard: &mut Heard<A>,
    ) -> Applied {
        if claim.status.is_live() {
            return self.await_answer(claim, heard);
        }
        // A process that is gone cannot answer, so a partner's word is taken of it. But it may be
        // made up, so it is no news of the process that is held: that one is probed as ever, and
        // the word counts once it is gone, too. A lie may have killed it just now, and would then
        // take its address, at which it could refute that.
        let takes = |slot| {
            let (held, row) = (self.cx.table.claim(slot), self.cx.table.row(slot));
            let is_gone = self.cx.now.since(row.observed()) >= GONE_FOR || !row.answered.is_proof();
            !held.status.is_live() && is_gone && is_within_reach(claim, &held)
        };
        if heard.asked == Asked::No || !self.cx.table.find(claim.id).is_some_and(takes) {
            self.cx.stats.claims_unasked += 1;
            return Applied::Nothing;
        }
        self.merge(claim, heard.rumor)
    }

    /// Merges a claim into the table, and does what follows from the change. If it is a `rumor`, it
    /// is passed on.
    fn merge(&mut self, claim: &Claim<'_, A>, rumor: bool) -> Applied {
        let mut merged = self.cx.table.merge_at(self.cx.now, claim);
        if merged.0 == Merged::Full && self.make_room() {
            merged = self.cx.table.merge_at(self.cx.now, claim);
        }
        match merged {
            (Merged::Inserted, Some(slot)) => {
                self.detector.schedule.add_member(slot, &mut self.cx);
                if claim.status.is_live() {
                    let (id, generation) = (self.cx.table.id(slot), claim.generation);
                    self.cx.emit(Event::Joined { id, address: claim.address, generation });
                }
                self.detector.set_status(slot, claim, None, &mut self.cx);
                if rumor {
                    self.cx.rumors.push(slot);
                }
                Applied::Changed
            }
            (Merged::Replaced { was, moved, renewed }, Some(slot)) => {
                if renewed {
                    // The updates that wait to be passed on are of the earlier instance.
                    self.dissemination.trees.forget(slot);
                    self.detector.add_evidence(slot, Evidence::Restarted, &mut self.cx);
                }
                if moved {
                    let id = self.cx.table.id(slot);
                    self.cx.emit(Event::Moved { id, address: claim.address });
                    self.detector.add_evidence(slot, Evidence::Moved, &mut self.cx);
                }
                self.detector.set_status(slot, claim, Some(was), &mut self.cx);
                self.newcomers.settle(claim.id, claim.generation);
                // A member that is gone corrects no record of itself, and a session carries the
                // higher record to one node only. So the change becomes a rumor.
                let of_gone = !was.is_live() && !claim.status.is_live();
                if (rumor || of_gone) && self.cx.is_told(slot) {
                    self.detector.pass_on(slot, renewed || moved, &mut self.cx);
                }
                Applied::Changed
            }
            // A known suspicion may name accusers that are new here.
            (Merged::Same, Some(slot)) => {
                self.detector.confirm(slot, &claim.accusers, &mut self.cx);
                Applied::Nothing
            }
            (Merged::Stale, Some(slot)) => Applied::Stale(slot),
            (Merged::Full, _) => {
                self.cx.stats.claims_table_full += 1;
                self.cx.dropped(DropReason::TableFull, claim.address);
                Applied::Nothing
            }
            (Merged::Implausible, _) => {
                self.cx.stats.claims_implausible += 1;
                Applied::Nothing
            }
            (Merged::Inserted | Merged::Replaced { .. } | Merged::Same | Merged::Stale, None) => {
                Applied::Nothing
            }
        }
    }

    /// Removes a member from a full table to make room for one that has answered: the one that has
    /// been dead for longest, or one that has never answered. False if all members are live and
    /// have answered, or have died so lately that it may be a lie.
    fn make_room(&mut self) -> bool {
        /// How long the row of a member stays after it was declared dead or left. Anyone can say
        /// so; a member that runs has refuted it by then, or was heard.
        const TIME_TO_REFUTE: Duration = Duration::from_secs(10);
        /// How many of the oldest tombstones are looked at. A liar chooses how old they seem.
        const LOOKED_AT: usize = 16;
        let (cx, now) = (&self.cx, self.cx.now);
        let settled = |&slot: &Slot| now.since(cx.table.row(slot).observed()) >= TIME_TO_REFUTE;
        let oldest = cx.tombstones.oldest().take(LOOKED_AT).find(settled);
        let (slot, reason) = match oldest {
            Some(slot) => (slot, RemovalReason::Expired),
            None => match self.detector.unproved.last(cx) {
                Some(slot) => (slot, RemovalReason::NeverAnswered),
                None => return false,
            },
        };
        self.remove(slot, reason);
        true
    }

    /// Whether the claim is about a dead member that is unknown here and must not be entered.
    ///
    /// Dead members must not crowd out live ones, and a death that the others are about to forget
    /// must not be remembered anew.
    fn is_unwanted_death(&mut self, claim: &Claim<'_, A>) -> bool {
        /// Unknown dead members are entered only while less than this share of the table is in use,
        /// as (parts, of).
        const FILL_LIMIT_FOR_DEAD: (u64, u64) = (7, 8);
        if claim.status.is_live() {
            return false;
        }
        let config = &self.cx.config;
        let (most, of) = FILL_LIMIT_FOR_DEAD;
        let crowded = self.cx.table.len() as u64 * of >= u64::from(config.max_members) * most;
        let old = Duration::from_secs(claim.age_secs.into()) >= config.tombstone_ttl;
        self.cx.stats.claims_table_full += u64::from(crowded);
        crowded || old
    }
}
