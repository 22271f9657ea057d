//! Local health: a score of how much the node doubts itself (the LHM of Lifeguard; Dadgar, Phillips
//! and Currey 2018).
//!
//! The node's own failed probes, missing nacks and refutations raise the score; answered probes
//! lower it. The score stretches the probe interval and the timeouts alike, so that a starved node
//! accuses less. This module only counts; the stages of the detector decide what counts.

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// The highest score.
pub(crate) const MAX_SCORE: u8 = 8;

/// The score of the node, 0 to [`MAX_SCORE`]; 0 is healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalHealth {
    score: u8,
    /// The highest score that this node can reach; 0 if local health is switched off.
    most: u8,
}

impl LocalHealth {
    /// A healthy node; the score stays 0 unless `on`.
    pub(crate) const fn new(on: bool) -> Self {
        Self { score: 0, most: if on { MAX_SCORE } else { 0 } }
    }

    pub(crate) const fn score(self) -> u8 {
        self.score
    }

    /// Whether the score is within its bounds, for local health that is switched `on` or not.
    pub(crate) const fn is_sound(self, on: bool) -> bool {
        self.score <= self.most && self.most == Self::new(on).most
    }

    /// Raises the score by `by`.
    pub(crate) fn worse(&mut self, by: usize) {
        let by = u8::try_from(by).unwrap_or(MAX_SCORE);
        self.score = self.score.saturating_add(by).min(self.most);
    }

    /// Lowers the score by one.
    pub(crate) fn better(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// Sets the score to 0: the failures were not this node's fault.
    pub(crate) fn clear(&mut self) {
        self.score = 0;
    }

    /// Multiplies `span` by the score plus one.
    pub(crate) fn stretch(self, span: Duration) -> Duration {
        span * (u32::from(self.score) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_stretches_times_and_stays_between_0_and_8() {
        let second = Duration::from_secs(1);
        let mut local_health = LocalHealth::new(true);
        assert_eq!((local_health.score(), local_health.stretch(second)), (0, second));
        local_health.better();
        local_health.worse(3);
        assert_eq!((local_health.score(), local_health.stretch(second)), (3, second * 4));
        local_health.better();
        assert_eq!(local_health.score(), 2);
        local_health.worse(usize::MAX);
        assert_eq!((local_health.score(), local_health.stretch(second)), (8, second * 9));
        local_health.clear();
        assert_eq!(local_health.score(), 0);
    }

    #[test]
    fn the_score_stays_0_when_switched_off() {
        let mut local_health = LocalHealth::new(false);
        local_health.worse(5);
        assert_eq!(local_health.score(), 0);
    }

    #[test]
    fn a_score_above_its_bounds_is_not_sound() {
        for (score, most, on, sound) in [
            (8, 8, true, true),
            (0, 0, false, true),
            (0, 8, false, false),
            (1, 0, false, false),
            (9, 9, true, false),
            (8, 9, true, false),
        ] {
            assert_eq!(LocalHealth { score, most }.is_sound(on), sound, "{score} of {most}");
        }
    }
}
