//! Updates that arrived with a gap before them, to be passed on once the gap is filled.
//!
//! ```text
//!   update with a gap ---> remembered, missing entries requested ---> filled: passed on
//!                             ^                              |
//!                             +---- no answer for a pause ---+
//! ```
//!
//! The updates themselves are not kept: when the missing entries arrive, later ones come along.

use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::branch::Furthest;
use crate::membership::Slot;
use crate::time::{Instant, TimeRules};

/// The largest number of gaps that are remembered.
const MAX_GAPS: usize = 16;

/// The gaps of all owners, at most one per owner.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Gaps(ArrayVec<Gap, MAX_GAPS>);

/// A gap in the telemetry of one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Gap {
    owner: Slot,
    /// How far the update is to be passed on.
    furthest: Furthest,
    /// When the missing entries were last requested.
    asked: Option<Instant>,
}

impl Gaps {
    /// Remembers that an update of `owner` could not be taken in, and is to be passed on later, up
    /// to `furthest`.
    ///
    /// Returns whether to request the missing entries now. A request may get lost, so it is
    /// repeated after `pause`; without `room` for it in the reply, it waits for the next update.
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
            // Anti-entropy finds the entries of a gap that is not remembered.
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

    /// Removes the gap of an owner, if there is one, and returns how far to pass its update on.
    pub(crate) fn fill(&mut self, owner: Slot) -> Option<Furthest> {
        let at = self.0.iter().position(|gap| gap.owner == owner)?;
        Some(self.0.swap_remove(at).furthest)
    }

    /// Whether no owner has two gaps, and all that was requested was requested in the past.
    pub(super) fn is_sound(&self, times: TimeRules) -> bool {
        let Self(gaps) = self;
        gaps.iter().enumerate().all(|(at, gap)| {
            let Gap { owner, furthest: _, asked } = gap;
            times.are_past(&[*asked]) && gaps.iter().skip(at + 1).all(|other| other.owner != *owner)
        })
    }

    /// Forgets the gap of an owner.
    pub(crate) fn forget(&mut self, owner: Slot) {
        self.0.retain(|gap| gap.owner != owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::IdHash;

    #[test]
    fn an_update_after_a_gap_is_passed_on_as_far_as_any_that_had_to_wait_says() {
        let (mut gaps, pause) = (Gaps::default(), Duration::from_secs(1));
        let to = |end| Furthest::between(IdHash(0), IdHash(end));
        let mut add =
            |end, millis| gaps.add(Slot(1), to(end), Instant::from_millis(millis), pause, true);
        assert!(add(10, 0));
        assert!(!add(30, 999), "it has been requested");
        assert!(add(20, 1_000), "the request may have been lost");
        assert_eq!((gaps.fill(Slot(1)), gaps.fill(Slot(1))), (Some(to(30)), None));
    }
}
