//! A bound of a member's round-trip time, from what was measured.

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest of a member's recent round trips: it rises at once and falls slowly. In units of 64
/// microseconds, so that it fits 2 bytes up to 4 s; 0 before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RttBound(u16);

impl RttBound {
    const UNIT: u64 = 64;

    pub(crate) fn add_sample(&mut self, took: Duration) {
        let units =
            u16::try_from(took.as_micros().div_ceil(Self::UNIT.into())).unwrap_or(u16::MAX).max(1);
        self.0 = units.max(self.0 - self.0 / 8);
    }

    /// The time itself, if there was a round trip.
    pub(crate) fn longest(self) -> Option<Duration> {
        (self.0 > 0).then(|| Duration::from_micros(u64::from(self.0) * Self::UNIT))
    }

    /// How long to wait for an answer before others are asked: between a quarter and the whole of
    /// `timeout`.
    pub(crate) fn timeout(self, timeout: Duration) -> Duration {
        self.longest().map_or(timeout, |longest| (longest * 4).clamp(timeout / 4, timeout))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(300);

    #[test]
    fn a_round_trip_rises_at_once_and_falls_slowly() {
        let mut round_trip = RttBound::default();
        assert_eq!((round_trip.longest(), round_trip.timeout(TIMEOUT)), (None, TIMEOUT));
        let micros = Duration::from_micros;
        let longest: Vec<_> = [0, 6_400, 100, 100, 12_801, 10_000_000]
            .into_iter()
            .filter_map(|took| {
                round_trip.add_sample(micros(took));
                round_trip.longest()
            })
            .collect();
        assert_eq!(longest, [64, 6_400, 5_632, 4_928, 12_864, 4_194_240].map(micros));
    }

    #[test]
    fn the_timeout_is_four_round_trips_within_bounds() {
        for (took, expected) in [(1, 75), (20, 80), (50, 200), (75, 300), (900, 300)] {
            let mut round_trip = RttBound::default();
            // Whole units of the clock.
            round_trip.add_sample(Duration::from_micros(took * 1_000 / 64 * 64));
            let timeout = round_trip.timeout(TIMEOUT);
            assert_eq!(
                timeout.as_millis().next_multiple_of(5),
                expected,
                "after {took} ms: {timeout:?}"
            );
        }
    }
}
