//! Time in the core: integer microseconds since an origin that the host picks.
//!
//! The core never reads a clock. The host passes `now` with every input. The node clamps a `now`
//! that runs backwards to the latest one that it has seen, so time never decreases inside the core.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: microseconds since the host's origin (process start, simulation start, ...).
///
/// ```
/// use core::time::Duration;
/// use telemetry_gossip_core::Instant;
///
/// let start = Instant::from_micros(1_000);
/// let later = start + Duration::from_millis(5);
/// assert_eq!(later.as_micros(), 6_000);
/// assert_eq!(later.since(start), Duration::from_millis(5));
/// assert_eq!(start.since(later), Duration::ZERO);
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Instant(u64);

impl Instant {
    /// The origin itself.
    pub const ORIGIN: Self = Self(0);

    /// Returns the instant `micros` microseconds after the origin.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the instant `millis` milliseconds after the origin, or the latest possible instant
    /// if that is later.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Returns the microseconds since the origin.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns the time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl core::ops::Sub<Duration> for Instant {
    type Output = Self;

    /// Returns the instant `span` earlier, or the origin if that is earlier still.
    fn sub(self, span: Duration) -> Self {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(micros))
    }
}

impl core::ops::Add<Duration> for Instant {
    type Output = Self;

    /// Returns the instant `span` later, or the latest possible one, some 584,000 years after the
    /// origin.
    fn add(self, span: Duration) -> Self {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

/// Tells plausible times in a restored state from those that no running node comes to.
///
/// Times only add up as long as they are far from the end of the scale: there, a deadline would
/// stay due however often it is put off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeRules {
    /// The time of the restored node.
    pub(crate) now: Instant,
}

impl TimeRules {
    /// The latest time of a node: 146,000 years after the origin.
    const LATEST: Instant = Instant(1 << 62);

    /// The longest time to a deadline, 1,100 years: no sum of settings comes near to it.
    const LONGEST_WAIT: Duration = Duration::from_micros(1 << 55);

    /// Whether the node's time is far enough from the end of the scale.
    pub(crate) fn is_time(self) -> bool {
        self.now <= Self::LATEST
    }

    /// Whether `at` can be the time of something that has happened.
    pub(crate) fn is_past(self, at: Instant) -> bool {
        at <= self.now
    }

    /// Whether each of these times, as far as there are any, can have passed.
    pub(crate) fn are_past(self, times: &[Option<Instant>]) -> bool {
        times.iter().flatten().all(|&at| self.is_past(at))
    }

    /// Whether a span is short enough for sums and small multiples of it.
    pub(crate) fn is_span(self, span: Duration) -> bool {
        span <= Self::LONGEST_WAIT
    }

    /// Whether each of these times, as far as there are any, can be the time at which something is
    /// due. It may have passed.
    pub(crate) fn are_deadlines(self, times: &[Option<Instant>]) -> bool {
        times.iter().flatten().all(|at| at.since(self.now) <= Self::LONGEST_WAIT)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
