//! An upper bound of a member's round-trip time, from the measured ones.
//!
//! It decides when a prober asks others. Nothing is measured here.

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest of a member's recent round trips: a longer one raises it at once, shorter ones lower
/// it by an eighth each. It counts units of 64 microseconds, so that 4 s fit 2 bytes. 0 stands for
/// none so far, and 1 for none but a late answer; round trips begin at 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RttBound(u16);

impl RttBound {
    /// Microseconds per unit.
    const UNIT_MICROS: u64 = 64;

    /// Takes in a measured round trip.
    pub(crate) fn add_sample(&mut self, took: Duration) {
        let units = u16::try_from(took.as_micros().div_ceil(Self::UNIT_MICROS.into()))
            .unwrap_or(u16::MAX)
            .max(2);
        self.0 = units.max(self.0 - self.0 / 8);
    }

    /// Takes in the time until an answer to a ping of a probe. If it is longer than the timeout, it
    /// counts only for a member that is not known to be near: one that is was paused. No probe
    /// waits for longer than one and a half timeouts, so that no such time counts.
    pub(crate) fn add_probe_sample(&mut self, took: Duration, timeout: Duration) {
        let is_late = took > timeout;
        if !(is_late && (self.is_near(timeout) || took > Self::most_patience(timeout))) {
            self.add_sample(took);
        }
    }

    /// Returns this bound, or the other one if there is none.
    pub(crate) fn or(self, other: Self) -> Self {
        if self.longest().is_some() { self } else { other }
    }

    /// Whether a member is too far away for a probe, by an answer to one that took this long: it is
    /// later than any probe waits, and the member is known to be distant, or it is the second one.
    /// The first may be that of a member that was paused.
    pub(crate) fn is_beyond_patience(&mut self, took: Duration, timeout: Duration) -> bool {
        if self.is_near(timeout) || took <= Self::most_patience(timeout) {
            return false;
        }
        let again = self.0 != 0;
        self.0 = self.0.max(1);
        again
    }

    fn is_near(self, timeout: Duration) -> bool {
        self.longest().is_some_and(|longest| longest < timeout * 3 / 4)
    }

    /// The longest time for which a probe waits before it asks others.
    fn most_patience(timeout: Duration) -> Duration {
        timeout * 3 / 2
    }

    /// Returns the bound, if a round trip was measured.
    pub(crate) fn longest(self) -> Option<Duration> {
        (self.0 > 1).then(|| Duration::from_micros(u64::from(self.0) * Self::UNIT_MICROS))
    }

    /// Returns how long a probe waits for an answer before it asks others: as
    /// [`timeout`](Self::timeout) says, or an eighth longer than the bound, up to one and a half
    /// timeouts. Beyond, the helpers are asked each time, so that a crash is found in time.
    ///
    /// If none is known of the member, it may be as distant as those probed before are, whose bound
    /// is `usual`: to a node at a distant site most members are.
    pub(crate) fn patience(self, usual: Self, timeout: Duration) -> Duration {
        let distant = self.or(usual).longest().map(|longest| longest * 9 / 8);
        distant.filter(|&distant| distant > timeout).map_or_else(
            || self.timeout(timeout),
            |distant| distant.min(Self::most_patience(timeout)),
        )
    }

    /// Returns the longest time to wait for an answer that does not decide who is alive: `timeout`,
    /// or two round trips of a distant member, up to four timeouts. What a member that answers even
    /// later is sent is lost, like what a silent one is sent.
    pub(crate) fn longest_wait(self, timeout: Duration) -> Duration {
        let distant = self.longest().map_or(timeout, |longest| (longest * 2).min(timeout * 4));
        timeout.max(distant)
    }

    /// Returns how long to wait for an answer before others are asked: four times the bound, at
    /// least a quarter of `timeout` and at most all of it.
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
    fn a_longer_round_trip_raises_the_bound_at_once_and_shorter_ones_lower_it_slowly() {
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
        assert_eq!(longest, [128, 6_400, 5_632, 4_928, 12_864, 4_194_240].map(micros));
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

    #[test]
    fn late_answers_count_for_distant_members_alone() {
        let millis = Duration::from_millis;
        let (usual, mut distant) = (RttBound::default(), RttBound::default());
        distant.add_probe_sample(millis(310), TIMEOUT);
        assert!(distant.patience(usual, TIMEOUT) > millis(340));
        assert!(distant.longest_wait(TIMEOUT) > millis(600));
        distant.add_probe_sample(millis(460), TIMEOUT);
        assert!(distant.longest() < Some(millis(320)), "no probe waits for so long");

        let mut near = RttBound::default();
        near.add_probe_sample(millis(5), TIMEOUT);
        near.add_probe_sample(millis(310), TIMEOUT);
        assert!(near.longest() < Some(millis(6)), "it was paused");
        assert_eq!(near.longest_wait(TIMEOUT), TIMEOUT);
    }

    #[test]
    fn a_member_of_unknown_distance_may_be_as_distant_as_the_others() {
        let millis = Duration::from_millis;
        let (unknown, mut usual) = (RttBound::default(), RttBound::default());
        assert_eq!(unknown.patience(usual, TIMEOUT), TIMEOUT);
        usual.add_sample(millis(320));
        assert_eq!(unknown.patience(usual, TIMEOUT), millis(360));
        usual.add_sample(millis(2_000));
        assert_eq!(unknown.patience(usual, TIMEOUT), millis(450));
        let (mut known, mut near) = (RttBound::default(), RttBound::default());
        known.add_sample(millis(20));
        near.add_sample(millis(20));
        assert!(known.patience(usual, TIMEOUT) < TIMEOUT, "what is known of it counts");
        assert_eq!(unknown.patience(near, TIMEOUT), TIMEOUT, "it may be farther away than others");
    }
}
