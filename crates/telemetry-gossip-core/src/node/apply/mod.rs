//! Claims, telemetry and id conflicts: what a peer says becomes what this node holds.
//!
//! - this file: a claim about another member
//! - `own`: a claim about this node, and its refutation
//! - `id_conflict`: another process with this node's id
//! - `telemetry`: entries of a member's telemetry

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
pub(super) use id_conflict::IdConflict;

/// What a claim was to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Applied {
    /// It changed the table, or was about this node.
    Changed,
    /// The table held it, or it was refused.
    Nothing,
    /// The table holds something higher about this member.
    Stale(Slot),
}

impl<A: Address> Node<A> {
    /// Takes in one claim, whoever made it. One that is no `rumor` to the others is passed on to
    /// none of them.
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
            // The member that is dead for longest makes room.
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
                self.queue_rumor(slot, rumor);
                Applied::Changed
            }
            (Merged::Replaced { was, moved, renewed }, Some(slot)) => {
                if renewed {
                    // What waits to be passed on is of the earlier instance.
                    self.dissemination.trees.forget(slot);
                    self.detector.add_evidence(slot, Evidence::Restarted, &mut self.cx);
                }
                if moved {
                    let id = self.cx.table.id(slot);
                    self.cx.emit(Event::Moved { id, address: claim.address });
                    self.detector.add_evidence(slot, Evidence::Moved, &mut self.cx);
                }
                self.detector.set_status(slot, claim, Some(was), &mut self.cx);
                self.queue_rumor(slot, rumor);
                Applied::Changed
            }
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

    /// Whether the claim is about a member that is not known here, dead, and better not entered:
    /// the dead may not crowd out the living, and what the others are about to forget is not
    /// remembered anew.
    fn is_unwanted_death(&mut self, claim: &Claim<'_, A>) -> bool {
        /// Of the table, so much is left to the living.
        const DEAD_UP_TO: (u64, u64) = (7, 8);
        if claim.status.is_live() || self.cx.table.find(claim.id).is_some() {
            return false;
        }
        let config = &self.cx.config;
        let (most, of) = DEAD_UP_TO;
        let crowded = self.cx.table.len() as u64 * of >= u64::from(config.max_members) * most;
        let old = Duration::from_secs(claim.age_secs.into()) >= config.tombstone_ttl;
        self.cx.stats.claims_table_full += u64::from(crowded);
        crowded || old
    }

    fn queue_rumor(&mut self, slot: Slot, rumor: bool) {
        if rumor {
            self.cx.rumors.push(slot);
        }
    }
}
