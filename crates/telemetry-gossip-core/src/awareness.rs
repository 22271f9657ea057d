//! Local health: how much the node doubts itself (the LHM of Lifeguard, Dadgar, Phillips and Currey 2018).
//!
//! Its own failed probes, missing nacks and refutations raise the score, answered probes lower it. The probe interval
//! and timeouts are stretched by the score, both alike, so that a starved node accuses less.

use core::time::Duration;

/// The highest score.
pub(crate) const MAX: u8 = 8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Awareness(u8);

impl Awareness {
    pub(crate) const fn score(self) -> u8 {
        self.0
    }

    pub(crate) fn worse(&mut self, by: usize) {
        let by = u8::try_from(by).unwrap_or(MAX);
        self.0 = self.0.saturating_add(by).min(MAX);
    }

    pub(crate) fn better(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }

    /// `span` stretched by one more than the score.
    pub(crate) fn stretch(self, span: Duration) -> Duration {
        span * (u32::from(self.0) + 1)
    }
}
