//! Conversion between the time of the core and the clock of the host. The origin of the core's time
//! is long before the start of the process.
//!
//! Peers report ages, and an entry may be older than this process. Its time must still lie after
//! the origin: otherwise old entries would look young, and dead members would be remembered for too
//! long. The lead exists in the integers of the core only; the clock of the host need not be able
//! to go back so far.

use std::time::{Duration, Instant};

use telemetry_gossip_core as core;

use crate::clocks::Clocks;

/// The time between the origin of the core's time and the start of the process: the longest
/// [`core::Config::tombstone_ttl`] that can be set.
const LEAD: Duration = Duration::from_secs(366 * 24 * 3_600);

/// The clock of the host. It is tokio's, which tests can pause: all times of the driver are of one
/// clock, or ages would be wrong in such a test.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Converts between the time of the core and the clock of the host.
///
/// The clock of the host stands still while the machine is suspended, and the time of the core does
/// not: who sleeps for a day must forget what the others forget meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// How long the machine had been suspended by then.
    suspended: Duration,
}

impl Clock {
    pub(crate) fn starting(started: Instant) -> Self {
        Self { started, suspended: Clocks::read().suspended() }
    }

    /// To the microsecond. Saturates at the origin of the core's time.
    pub(crate) fn to_core(self, at: Instant) -> core::Instant {
        self.to_core_after(at, self.slept())
    }

    /// To the microsecond. If the clock of the host has no such time, it becomes the start.
    pub(crate) fn to_host(self, at: core::Instant) -> Instant {
        self.to_host_after(at, self.slept())
    }

    /// How long the machine was suspended since the start, in whole seconds: two clocks are never
    /// read at quite the same time.
    fn slept(self) -> Duration {
        let slept = Clocks::read().suspended().saturating_sub(self.suspended);
        Duration::from_secs(slept.as_secs())
    }

    fn to_core_after(self, at: Instant, slept: Duration) -> core::Instant {
        let start = core::Instant::ORIGIN + LEAD + slept;
        match at.checked_duration_since(self.started) {
            Some(after) => start + after,
            None => start - self.started.saturating_duration_since(at),
        }
    }

    fn to_host_after(self, at: core::Instant, slept: Duration) -> Instant {
        let start = core::Instant::ORIGIN + LEAD + slept;
        let moment = if at >= start {
            self.started.checked_add(at.since(start))
        } else {
            self.started.checked_sub(start.since(at))
        };
        moment.unwrap_or(self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_before_and_after_the_start_convert_both_ways() {
        let started = Instant::now();
        let clock = Clock::starting(started);
        for micros in [0, 1, 999_999, 24 * 3_600 * 1_000_000, LEAD.as_micros() as u64] {
            let span = Duration::from_micros(micros);
            let after = clock.to_core(started + span);
            assert_eq!(after.since(clock.to_core(started)), span);
            assert_eq!(clock.to_host(after), started + span);
            let Some(earlier) = started.checked_sub(span) else { continue };
            let before = clock.to_core(earlier);
            assert_eq!(clock.to_core(started).since(before), span);
            assert_eq!(clock.to_host(before), earlier);
        }
    }

    #[test]
    fn the_oldest_tombstone_that_a_config_allows_lies_after_the_origin() {
        let longest = core::Config::default().tombstone_ttl(LEAD);
        assert_eq!(longest.validate(), Ok(()));
        let longer = longest.tombstone_ttl(LEAD + Duration::from_secs(1));
        assert!(longer.validate().is_err());
        let now = Clock::starting(Instant::now()).to_core(Instant::now());
        assert!(now - LEAD >= core::Instant::ORIGIN && now.since(now - LEAD) == LEAD);
    }

    #[test]
    fn the_time_of_the_core_counts_a_suspension() {
        let started = Instant::now();
        let clock = Clock::starting(started);
        let (minute, day) = (Duration::from_secs(60), Duration::from_secs(24 * 3_600));
        let before = clock.to_core_after(started + minute, Duration::ZERO);
        let after = clock.to_core_after(started + minute, day);
        assert_eq!(after.since(before), day);
        // A deadline comes due as much earlier by the clock that stood still.
        let due = before + day + minute;
        assert_eq!(clock.to_host_after(due, day), started + minute * 2);
        assert_eq!(clock.to_host_after(due, Duration::ZERO), started + day + minute * 2);
    }
}
