//! The arcs of the branches: where on the circle of the members each begins and ends, as members
//! come, go, and prove their addresses.

use alloc::vec::Vec;

use super::Trees;
use super::circle::Circle;
use crate::address::Address;
use crate::dissemination::branch::Furthest;
use crate::time::Instant;

impl Trees {
    /// Chooses the arc of a branch, and as its partner the first member of the arc that is not
    /// passed over and has a verified address.
    pub(super) fn choose<A: Address>(
        &mut self,
        index: usize,
        circle: &Circle<'_, A>,
        now: Instant,
    ) {
        let table = circle.table;
        let Some(branch) = self.branches.get_mut(index) else { return };
        if branch.passed_until <= now {
            branch.review();
        } else {
            let at = branch.passed_until;
            self.review_at = Some(self.review_at.map_or(at, |other| other.min(at)));
        }
        let (begin, end) = (1_usize << index, (2_usize << index).min(circle.others() + 1));
        let at = |places: usize| circle.at(places);
        let mine = table.id_hash(circle.me);
        let distance =
            at(begin).map_or(Furthest::ALL, |slot| Furthest::between(mine, table.id_hash(slot)));
        if distance != branch.distance {
            branch.forgive();
        }
        branch.distance = distance;
        branch.end = at(end).map_or(mine, |slot| table.id_hash(slot));
        let mut candidates = (begin + branch.passed_over..end).filter_map(at);
        // An address that has not answered may be that of a victim, so no telemetry is sent there.
        let is_partner = |slot| table.address(slot).is_some() && table.is_verified(slot);
        let partner = candidates.find(|&slot| is_partner(slot));
        if partner != branch.partner {
            // The earlier partner may not have received the flight: the new one gets it, too.
            // Members that get an update twice do not pass it on again.
            branch.requeue(&mut self.marks, index);
            (branch.partner, branch.tries, branch.not_before) = (partner, 0, now);
            branch.longest_acked = 0;
        }
        self.update_busy(index);
    }

    /// Extends the arc of each branch up to the partner of the next one. The members between, which
    /// begin that next arc, are those that this node cannot send telemetry to yet: mostly they have
    /// just joined, and the partner before them reaches them.
    pub(super) fn cover_unverified<A: Address>(&mut self, circle: &Circle<'_, A>) {
        for index in 1..self.branches.len() {
            let next = &self.branches[index];
            let begin = circle.at(1 << index);
            // Silent members are skipped on purpose.
            let end = next.partner.filter(|_| next.passed_over == 0).or(begin);
            if let Some(end) = end {
                self.branches[index - 1].end = circle.table.id_hash(end);
            }
        }
    }

    /// Queues the updates of a branch, whose arc reached up to `end`, on the later ones that reach
    /// members of that arc now: the roster has grown, and so each branch begins sooner.
    pub(super) fn hand_on(&mut self, index: usize, end: Furthest) {
        let Some(branch) = self.branches.get(index) else { return };
        let updates = branch.queue.iter().chain(&branch.rest).chain(&branch.flight);
        let later = self.branches.iter().enumerate().skip(index + 1);
        let last = later.rev().find(|(_, other)| other.distance < end).map(|(at, _)| at);
        let Some(last) = last else { return };
        for update in updates.copied().collect::<Vec<_>>() {
            for other in index + 1..=last {
                if self.put(other, update, 0, false)
                    && let Some(branch) = self.branches.get_mut(other)
                {
                    let waiting = branch.queue.iter_mut().chain(&mut branch.rest);
                    for same in waiting.filter(|same| same.owner == update.owner) {
                        same.since = same.since.min(update.since);
                    }
                }
            }
        }
    }

    /// Drops the updates of a branch on which all members have been passed over. Who of them takes
    /// telemetry finds by its fingerprint that something is missing.
    pub(super) fn drop_unwanted(&mut self, index: usize) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        if branch.partner.is_none() && branch.passes > 0 {
            let dropped = core::mem::take(&mut branch.queue);
            dropped.iter().for_each(|update| self.unmark(update.owner, index));
            self.update_busy(index);
        }
    }
}
