//! The clock of a node: virtual time with an origin and a rate of its own.

use std::time::Duration;

use telemetry_gossip_core::Instant;

use crate::rng::micros;

const MILLION: u128 = 1_000_000;

/// The clock of a node. Like two machines, two nodes have different origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The reading when the node started, in microseconds.
    shown: u64,
    /// Virtual time at which the node started, in microseconds.
    started: u64,
    /// Microseconds that the clock counts per second of virtual time; at least 1.
    rate: u64,
}

impl Clock {
    pub(crate) fn new(shown: u64, started: Duration, rate_ppm: i32) -> Self {
        let rate = 1_000_000_i64.saturating_add(rate_ppm.into()).max(1);
        Self { shown, started: micros(started), rate: rate.unsigned_abs() }
    }

    /// Sets the clock ahead or back by `by`.
    pub(crate) fn jump(&mut self, by: Duration, back: bool) {
        let by = micros(by);
        self.shown =
            if back { self.shown.saturating_sub(by) } else { self.shown.saturating_add(by) };
    }

    /// The reading of the clock at a virtual time.
    #[must_use]
    pub fn read(&self, at: Duration) -> Instant {
        let passed = u128::from(micros(at).saturating_sub(self.started));
        let counted = passed * u128::from(self.rate) / MILLION;
        Instant::from_micros(self.shown.saturating_add(u64::try_from(counted).unwrap_or(u64::MAX)))
    }

    /// The earliest virtual time at which the clock reads `shown` or more.
    #[must_use]
    pub fn when(&self, shown: Instant) -> Duration {
        let to_count = u128::from(shown.as_micros().saturating_sub(self.shown));
        let passed = (to_count * MILLION).div_ceil(u128::from(self.rate));
        Duration::from_micros(
            self.started.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_reaches_a_reading_exactly_at_the_time_that_it_predicts() {
        for rate in [-200_000, -37, 0, 1, 999, 500_000] {
            let clock = Clock::new(5_000, Duration::from_micros(77), rate);
            for deadline in [5_000, 5_001, 6_789, 1_000_003, 3_600_000_000] {
                let deadline = Instant::from_micros(deadline);
                let at = clock.when(deadline);
                assert!(clock.read(at) >= deadline, "rate {rate}: {deadline} is shown at {at:?}");
                if let Some(before) =
                    at.checked_sub(Duration::from_micros(1)).filter(|at| at.as_micros() >= 77)
                {
                    assert!(
                        clock.read(before) < deadline,
                        "rate {rate}: {deadline} is shown before {at:?}"
                    );
                }
            }
        }
    }
}
