//! The invariants of the trees, which hold after every input, and the rules of a restored state.

use alloc::vec::Vec;
use core::time::Duration;

use super::{BY_ANTI_ENTROPY, MAX_BRANCHES, Trees};
use crate::dissemination::branch::{Branch, MAX_DATAGRAMS_PER_FLIGHT, MAX_TRIES, Update};
use crate::id::RequestId;
use crate::membership::Slot;
use crate::time::TimeRules;
use crate::violation::{Unsound, check_rules};

impl Trees {
    /// Checks that marks, queues, flights and bounds agree.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.branches.len() > MAX_BRANCHES || self.busy >> self.branches.len() != 0 {
            return Err("there are more branches, or busy bits, than there may be");
        }
        let known = BY_ANTI_ENTROPY | ((1 << self.branches.len()) - 1);
        if self.marks.iter().any(|mark| mark & !known != 0) {
            return Err("an owner is marked as queued on a branch that does not exist");
        }
        for (index, branch) in self.branches.iter().enumerate() {
            let marked = self.marks.iter().filter(|&&mark| mark & (1 << index) != 0).count();
            let mark = |update: &Update| self.marks.get(update.owner.index()).copied().unwrap_or(0);
            let mut waiting = branch.queue.iter().chain(&branch.rest);
            if marked != branch.queue.len() + branch.rest.len()
                || !waiting.all(|update| mark(update) & (1 << index) != 0)
            {
                return Err("the marks of a branch differ from its queue");
            }
            if !owners_differ(branch) {
                return Err("two updates of one owner wait on a branch");
            }
            let in_flight: usize =
                branch.in_flight.iter().map(|datagram| usize::from(datagram.updates)).sum();
            if in_flight != branch.flight.len() {
                return Err("the datagrams of a flight do not carry exactly its updates");
            }
            // Otherwise nothing would ever choose a partner for its updates again.
            let reviewed = self.roster.is_none()
                || branch.passed_over == 0
                || self.review_at.is_some_and(|at| at <= branch.passed_until);
            if !reviewed {
                return Err("no review is due once members are no longer passed over");
            }
            if branch.unsent + branch.in_flight.len() > MAX_DATAGRAMS_PER_FLIGHT
                || branch.tries > MAX_TRIES
                || branch.passed_over > 1 << MAX_BRANCHES
            {
                return Err(
                    "a branch has more datagrams, tries or members passed over than allowed",
                );
            }
            let idle = branch.is_idle() && branch.in_flight.is_empty();
            if idle == (self.busy & (1 << index) != 0) {
                return Err("a busy bit differs from whether its branch is busy");
            }
        }
        Ok(())
    }

    /// How long acknowledgements take, as the longest recent one; `None` before the first.
    pub(crate) fn usual_round_trip(&self) -> Option<Duration> {
        self.usual.longest()
    }

    /// The partner to which a datagram of this request id is under way.
    pub(crate) fn partner_asked(&self, request_id: RequestId) -> Option<Slot> {
        let mut branches = self.branches.iter();
        let branch = branches.find(|branch| {
            branch.in_flight.iter().any(|datagram| datagram.request_id == request_id)
        })?;
        branch.partner
    }

    /// Whether an update of `owner` waits or is under way.
    pub(crate) fn carries(&self, owner: Slot) -> bool {
        self.branches.iter().any(|branch| branch.carries(owner))
    }

    /// Checks what a restored state could get wrong beside the invariants.
    pub(crate) fn check_restored(
        &self,
        rows: usize,
        me: Slot,
        times: TimeRules,
    ) -> Result<(), Unsound> {
        let Self {
            branches,
            marks,
            busy: _,
            roster: _,
            review_at,
            usual: _,
            late,
            gaps,
            own_waits: _,
        } = self;
        check_rules(
            "trees",
            &[
                (marks.len() <= rows, "no more owners are marked than there are rows"),
                (
                    branches.iter().all(|branch| branch.is_sound(me, times)),
                    "a branch has another member as its partner, and times and sums within bounds",
                ),
                (
                    late.is_sound(me, times),
                    "what was given up was sent to another member, in the past",
                ),
                (times.are_deadlines(&[*review_at]), "the next review is not ages away"),
                (gaps.is_sound(times), "each owner has one gap, requested in the past"),
            ],
        )
    }
}

/// Whether at most one update per owner waits on a branch.
fn owners_differ(branch: &Branch) -> bool {
    let waiting = branch.queue.iter().chain(&branch.rest);
    let mut owners: Vec<Slot> = waiting.map(|update| update.owner).collect();
    owners.sort_unstable();
    owners.windows(2).all(|pair| pair.first() != pair.last())
}
