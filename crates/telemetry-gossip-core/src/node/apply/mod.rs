//! Applies what peers send: merges claims and telemetry into the table, and refutes claims about
//! this node.
//!
//! - this file: a claim about another member
//! - `own`: a claim about this node, and its refutation
//! - `id_conflict`: another process with this node's id
//! - `telemetry`: entries of a member's telemetry
//!
//! Which of two claims wins is decided by the table, and what follows from a status by the
//! detector. This module connects them with the other parts.

mod id_conflict;
mod own;
mod telemetry;

use core::time::Duration;

use super::Node;
use crate::address::Address;
use crate::event::{Event, RemovalReason};
use crate::evidence::Evidence;
use crate::id::full_id_hash;
use crate::membership::claim::Claim;
use crate::membership::{Merged, Slot};
pub(super) use id_conflict::{HeldUnderId, IdConflict, SHAPE};

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

impl<A: Address> Node<A> {
    /// Applies one claim of any peer. Unless it is a `rumor` to the other members, a change by it
    /// is not passed on.
    pub(super) fn apply_claim(&mut self, claim: &Claim<'_, A>, rumor: bool) -> Applied {
        if claim.id == self.cx.this.id.as_str() {
            self.apply_claim_about_self(claim);
            return Applied::Changed;
        }
        if !self.cx.admission.admits(full_id_hash(claim.id.as_bytes())) {
            self.cx.stats.claims_not_in_config += 1;
            return Applied::Nothing;
        }
        if self.is_unwanted_death(claim) {
            return Applied::Nothing;
        }
        let mut merged = self.cx.table.merge_at(self.cx.now, claim);
        if merged.0 == Merged::Full
            && let Some(oldest) = self.cx.tombstones.first()
        {
            // Remove the member that has been dead for longest to make room.
            self.remove(oldest, RemovalReason::Expired);
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
                if rumor {
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

    /// Whether the claim is about a dead member that is unknown here and must not be entered.
    ///
    /// Dead members must not crowd out live ones, and a death that the others are about to forget
    /// must not be remembered anew.
    fn is_unwanted_death(&mut self, claim: &Claim<'_, A>) -> bool {
        /// Unknown dead members are entered only while less than this share of the table is in use,
        /// as (parts, of).
        const FILL_LIMIT_FOR_DEAD: (u64, u64) = (7, 8);
        if claim.status.is_live() || self.cx.table.find(claim.id).is_some() {
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
