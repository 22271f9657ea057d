//! Updates that came with a gap before them: they are passed on once the gap is filled.

use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::branch::Furthest;
use crate::membership::Slot;
use crate::time::Instant;

/// The most updates with a gap before them that are kept in mind.
const GAPS: usize = 16;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Gaps(ArrayVec<Gap, GAPS>);

/// An update that came with a gap before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    owner: Slot,
    furthest: Furthest,
    /// When what is missing was asked for last.
    asked: Option<Instant>,
}

impl Gaps {
    /// An update could not be taken in: it is passed on later, up to `furthest`. True if what is
    /// missing is to be asked for now: the question may get lost, and is asked again after `pause`.
    /// False if the datagram has no `room` for the question.
    pub(crate) fn add(
        &mut self,
        owner: Slot,
        furthest: Furthest,
        now: Instant,
        pause: Duration,
        room: bool,
    ) -> bool {
        let gaps = &mut self.0;
        let at = gaps.iter().position(|gap| gap.owner == owner).unwrap_or(gaps.len());
        if at == gaps.len() && gaps.try_push(Gap { owner, furthest, asked: None }).is_err() {
            // Anti-entropy finds what is not kept in mind.
            return false;
        }
        let gap = &mut gaps[at];
        gap.furthest = gap.furthest.max(furthest);
        let ask = room && gap.asked.is_none_or(|asked| now.since(asked) >= pause);
        if ask {
            gap.asked = Some(now);
        }
        ask
    }

    /// What came fills the gap of this owner, if there was one: so far it is passed on.
    pub(crate) fn fill(&mut self, owner: Slot) -> Option<Furthest> {
        let at = self.0.iter().position(|gap| gap.owner == owner)?;
        Some(self.0.swap_remove(at).furthest)
    }

    pub(crate) fn forget(&mut self, owner: Slot) {
        self.0.retain(|gap| gap.owner != owner);
    }
}
