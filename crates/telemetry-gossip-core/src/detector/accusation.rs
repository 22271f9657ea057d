//! From a failed probe to an accusation: the checks that come before it.
//!
//! ```text
//!   probe failed ---> (recheck) ---> pending accusation --- roll call: in touch ---> accusation
//!                         |                  |
//!                      answered              +-- roll call: cut off, or in doubt ---> dropped
//! ```
//!
//! A deadline alone cannot tell "the member is dead" from "this node is cut off". So a failed probe
//! waits as a *pending accusation* until a roll call has shown that this node is in touch with at
//! least half of the members. A node that is cut off accuses no member.

use super::{Detector, Probe};
use crate::address::Address;
use crate::config::Mode;
use crate::cx::Cx;
use crate::evidence::Evidence;
use crate::id::Generation;
use crate::membership::claim::Claim;
use crate::membership::{Merged, Slot};
use crate::status::Status;
use crate::time::Instant;

/// The largest number of accusations that wait for one roll call. A roll call takes less time than
/// this number of probe intervals.
pub(crate) const MAX_PENDING_ACCUSATIONS: usize = 8;

impl<A: Address> Detector<A> {
    /// Handles a failed probe: rechecks a member that has refuted before, and accuses any other
    /// once a roll call has succeeded.
    pub(super) fn accuse_later(&mut self, probe: Probe<A>, cx: &mut Cx<A>) {
        // A member that has never answered is not accused, but removed in time.
        if cx.config.mode == Mode::ProbeOnly || !cx.is_proved(probe.target) {
            return;
        }
        if self.roll_calls.is_isolated() {
            self.add_evidence(probe.target, Evidence::NotAccused, cx);
            return;
        }
        let probe = if cx.config.detector.flap_damping {
            self.recheck_first(probe, cx)
        } else {
            Some(probe)
        };
        if let Some(probe) = probe {
            self.accuse_after_roll_call(probe, cx);
        }
    }

    /// Accuses the target as soon as a roll call has shown that this node is in touch.
    pub(super) fn accuse_after_roll_call(&mut self, probe: Probe<A>, cx: &mut Cx<A>) {
        if self.roll_calls.is_isolated() {
            self.add_evidence(probe.target, Evidence::NotAccused, cx);
            return;
        }
        if !cx.config.detector.roll_calls {
            self.accuse_if_unchanged(&probe, cx);
        } else if self.pending_accusations.len() < MAX_PENDING_ACCUSATIONS {
            self.pending_accusations.push(probe);
            if !self.roll_calls.is_calling() {
                self.begin_roll_call(cx);
            }
        }
    }

    /// Begins another roll call if the one that pending accusations waited for was given up.
    pub(super) fn resume_accusations(&mut self, cx: &mut Cx<A>) {
        if !self.pending_accusations.is_empty() && !self.roll_calls.is_calling() {
            self.begin_roll_call(cx);
        }
    }

    /// Now, if pending accusations need a roll call to begin.
    pub(super) fn accusation_deadline(&self, cx: &Cx<A>) -> Option<Instant> {
        let waits = !self.pending_accusations.is_empty() && !self.roll_calls.is_calling();
        waits.then_some(cx.now)
    }

    /// Accuses the targets of all pending accusations: a roll call succeeded.
    pub(crate) fn make_pending_accusations(&mut self, cx: &mut Cx<A>) {
        for pending in core::mem::take(&mut self.pending_accusations) {
            self.accuse_if_unchanged(&pending, cx);
        }
    }

    /// Drops all pending accusations: this node may have been cut off itself, so the silence of the
    /// targets proves nothing.
    pub(super) fn drop_pending_accusations(&mut self, cx: &mut Cx<A>) {
        for pending in core::mem::take(&mut self.pending_accusations) {
            self.add_evidence(pending.target, Evidence::NotAccused, cx);
        }
    }

    /// Accuses the target unless it has refuted, moved or restarted since the probe began: its
    /// silence is evidence only about the record that was probed.
    fn accuse_if_unchanged(&mut self, probe: &Probe<A>, cx: &mut Cx<A>) {
        let row = cx.table.row(probe.target);
        let refuted = row.status == Status::Alive && row.generation > probe.generation;
        let moved = row.instance != probe.instance || row.address() != Some(probe.address);
        if !refuted && !moved {
            self.accuse(probe.target, cx);
        }
    }

    /// Suspects a member that this node could not reach, one generation above the one held, or
    /// joins the accusers of the suspicion that is held already.
    pub(super) fn accuse(&mut self, slot: Slot, cx: &mut Cx<A>) {
        let held = cx.table.claim(slot);
        let generation = match held.status {
            Status::Alive => held.generation.next(),
            Status::Suspected => held.generation,
            Status::Dead | Status::Left => return,
        };
        self.pronounce(slot, Status::Suspected, generation, cx);
    }

    /// Remembers that this node itself accuses a member, so that it can say so when asked.
    fn own_finding(&mut self, slot: Slot, status: Status, generation: Generation, cx: &Cx<A>) {
        if status == Status::Suspected {
            self.hearsay.add_own(slot, generation, cx.now);
        }
    }

    /// Merges this node's own verdict about a member into the table. The verdict names this node as
    /// the accuser; for a death, only the history uses that.
    pub(super) fn pronounce(
        &mut self,
        slot: Slot,
        status: Status,
        generation: Generation,
        cx: &mut Cx<A>,
    ) {
        let id = cx.table.id(slot);
        // Only a table lent by the host can hold members that the cluster config does not name.
        if !cx.admission.admits(id.as_str()) {
            cx.stats.claims_not_in_config += 1;
            return;
        }
        let held = cx.table.claim(slot);
        let claim = Claim {
            id: id.as_str(),
            address: held.address,
            instance: held.instance,
            generation,
            status,
            accusers: core::iter::once(cx.this.id_hash).collect(),
            age_secs: 0,
        };
        match cx.table.merge_at(cx.now, &claim).0 {
            Merged::Replaced { was, .. } => {
                self.set_status(slot, &claim, Some(was), cx);
                self.own_finding(slot, status, generation, cx);
                cx.rumors.push_grounded(slot);
            }
            Merged::Same => {
                self.own_finding(slot, status, generation, cx);
                self.confirm(slot, &claim.accusers, cx);
            }
            Merged::Implausible => cx.stats.claims_implausible += 1,
            // The row exists and was read just now, so the verdict is neither new nor too late.
            Merged::Stale | Merged::Inserted | Merged::Full => {}
        }
    }
}
