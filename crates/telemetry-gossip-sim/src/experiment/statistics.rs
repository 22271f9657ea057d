//! Statistics of many measurements: quantiles of times, and rates with confidence intervals.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::in_seconds;

/// The mean and the quantiles that the authors of Lifeguard publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Latencies {
    /// The number of measurements.
    pub count: usize,
    /// The mean.
    #[serde(rename = "mean_s", with = "in_seconds")]
    pub mean: Duration,
    /// The median.
    #[serde(rename = "median_s", with = "in_seconds")]
    pub median: Duration,
    /// The 99th percentile.
    #[serde(rename = "p99_s", with = "in_seconds")]
    pub p99: Duration,
    /// The 99.9th percentile.
    #[serde(rename = "p999_s", with = "in_seconds")]
    pub p999: Duration,
}

impl Latencies {
    /// Computes the statistics of `times`; `None` if there are none.
    #[must_use]
    pub fn of(times: &[Duration]) -> Option<Self> {
        let mut times = times.to_vec();
        times.sort_unstable();
        let count = times.len();
        let at = |mille: usize| times[(count * mille).div_ceil(1_000).clamp(1, count) - 1];
        let mean = times.iter().sum::<Duration>().checked_div(u32::try_from(count).ok()?)?;
        Some(Self { count, mean, median: at(500), p99: at(990), p999: at(999) })
    }
}

/// A number of hits among a number of trials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Proportion {
    /// The number of hits.
    pub hits: u64,
    /// The number of trials.
    pub of: u64,
}

impl Proportion {
    /// The rate of hits.
    #[must_use]
    pub fn rate(self) -> f64 {
        self.hits as f64 / self.of.max(1) as f64
    }

    /// The 99.9 % confidence interval of the true rate (Wilson 1927). It is valid for few hits,
    /// too.
    #[must_use]
    pub fn interval(self) -> (f64, f64) {
        const Z: f64 = 3.2905;
        let (n, p) = (self.of.max(1) as f64, self.rate());
        let (centre, scale) = (p + Z * Z / (2.0 * n), 1.0 + Z * Z / n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        (((centre - half) / scale).max(0.0), (centre + half) / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_members_of_the_sample() {
        let times: Vec<Duration> = (1..=2_000).rev().map(Duration::from_millis).collect();
        let latencies = Latencies::of(&times).unwrap();
        let millis = [latencies.median, latencies.p99, latencies.p999].map(|time| time.as_millis());
        assert_eq!((latencies.count, millis), (2_000, [1_000, 1_980, 1_998]));
        assert_eq!(latencies.mean, Duration::from_micros(1_000_500));
        assert_eq!(Latencies::of(&[]), None);
    }

    #[test]
    fn the_confidence_interval_is_right_for_many_hits_and_for_none() {
        let (low, high) = Proportion { hits: 500, of: 1_000 }.interval();
        // Half of 1,000: 3.29 standard deviations of 0.0158 are 0.052.
        assert!((low - 0.448).abs() < 0.001 && (high - 0.552).abs() < 0.001, "{low} {high}");
        let (low, high) = Proportion { hits: 0, of: 1_000 }.interval();
        assert!(low == 0.0 && (0.010..0.011).contains(&high), "{low} {high}");
    }
}
