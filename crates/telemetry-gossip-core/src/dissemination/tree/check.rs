//! The invariants of the trees, which hold after every input.

use super::{MAX_BRANCHES, MAX_TRIES, Trees};
use crate::dissemination::branch::{MAX_DATAGRAMS_PER_FLIGHT, Update};

impl Trees {
    /// Checks that marks, queues, flights and bounds agree.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.branches.len() > MAX_BRANCHES || self.busy >> self.branches.len() != 0 {
            return Err("there are more branches, or busy bits, than there may be");
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
            let in_flight: usize =
                branch.in_flight.iter().map(|datagram| usize::from(datagram.updates)).sum();
            if in_flight != branch.flight.len() {
                return Err("the datagrams of a flight do not carry exactly its updates");
            }
            if branch.unsent > MAX_DATAGRAMS_PER_FLIGHT
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
}
