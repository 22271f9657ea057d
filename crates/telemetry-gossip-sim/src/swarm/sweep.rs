//! Runs a range of seeds on all cores.

use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Finding, Run, simulate};
use super::coverage::Coverage;
use crate::parallel;
use crate::scenario::Scenario;
use crate::setters::setters;
use crate::units::in_seconds;

/// A range of seeds to run, and the conditions to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sweep {
    /// The range of seeds.
    pub seeds: Range<u64>,
    /// The number of threads; `None` for one per core. It influences only the time of the sweep.
    pub threads: Option<NonZeroUsize>,
    /// Seeds that are multiples of this number are run twice, and the two runs are compared event
    /// by event; `None` to run none of them twice.
    pub twice_every: Option<NonZeroU64>,
    /// The number of failing seeds after which the sweep stops.
    pub max_failures: NonZeroUsize,
    /// The real time after which no further seeds are started. The seeds that were run are always
    /// the first ones of the range.
    pub limit: Option<Duration>,
}

setters! {
    Sweep {
        seeds: Range<u64>,
        threads: Option<NonZeroUsize>,
        twice_every: Option<NonZeroU64>,
        max_failures: NonZeroUsize,
        limit: Option<Duration>,
    }
}

impl Default for Sweep {
    /// 1,000 seeds on all cores, each 16th run twice, up to the first failure.
    fn default() -> Self {
        Self {
            seeds: 0..1_000,
            threads: None,
            twice_every: NonZeroU64::new(16),
            max_failures: NonZeroUsize::MIN,
            limit: None,
        }
    }
}

/// The outcome of a sweep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Swept {
    /// The first seed.
    pub first: u64,
    /// The number of seeds that were run, from the first one on.
    pub runs: u64,
    /// The number of seeds in the range.
    pub of: u64,
    /// The number of seeds that were run twice.
    pub twice: u64,
    /// The virtual time of all runs together, including second runs.
    #[serde(rename = "simulated_s", with = "in_seconds")]
    pub simulated: Duration,
    /// The real time of the sweep, which differs between equal sweeps.
    #[serde(rename = "elapsed_s", with = "in_seconds")]
    pub elapsed: Duration,
    /// Why the sweep ended.
    pub end: End,
    /// The failing seeds, in order.
    pub failures: Vec<Failed>,
    /// The counters of all runs.
    pub coverage: Coverage,
}

/// The reason why a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum End {
    /// All seeds were run.
    Complete,
    /// [`Sweep::max_failures`] seeds failed.
    Failures,
    /// The time [`Sweep::limit`] was reached.
    Limit,
    /// The callback stopped the sweep.
    Stopped,
}

/// A failing seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// The findings, one per kind of fault.
    pub findings: Vec<Finding>,
    /// The command that repeats the run.
    pub replay: String,
}

impl Sweep {
    /// Runs for each seed its scenario with that seed. `watch` is called after each run with the
    /// outcome so far, and may stop the sweep.
    pub fn run(
        &self,
        scenario: impl Fn(u64) -> Scenario + Sync,
        watch: impl FnMut(&Swept) -> ControlFlow<()>,
    ) -> Swept {
        self.run_by(&simulate, scenario, watch)
    }

    fn run_by(
        &self,
        run: Run<'_>,
        scenario: impl Fn(u64) -> Scenario + Sync,
        mut watch: impl FnMut(&Swept) -> ControlFlow<()>,
    ) -> Swept {
        let started = Instant::now();
        let mut swept = Swept {
            first: self.seeds.start,
            runs: 0,
            of: self.seeds.end.saturating_sub(self.seeds.start),
            twice: 0,
            simulated: Duration::ZERO,
            elapsed: Duration::ZERO,
            end: End::Complete,
            failures: Vec::new(),
            coverage: Coverage::default(),
        };
        let one = |place: u64| {
            let seed = self.seeds.start + place;
            let scenario = scenario(seed);
            let twice = self.twice_every.is_some_and(|every| seed.is_multiple_of(every.get()));
            let attempt = Attempt::new(run, &scenario, seed, twice);
            let failed = (!attempt.findings.is_empty()).then(|| Failed {
                seed,
                findings: attempt.findings,
                replay: scenario.replay_command(seed),
            });
            (attempt.report, failed, twice, scenario.duration)
        };
        let threads = self.threads.unwrap_or_else(parallel::all_cores);
        parallel::in_order(swept.of, threads, one, |(report, failed, twice, duration)| {
            swept.runs += 1;
            swept.twice += u64::from(twice);
            if let Some(report) = report {
                swept.coverage.add(&report);
                swept.simulated += duration * (1 + u32::from(twice));
            }
            swept.failures.extend(failed);
            swept.elapsed = started.elapsed();
            let stopped = watch(&swept).is_break();
            swept.end = if swept.failures.len() >= self.max_failures.get() {
                End::Failures
            } else if swept.runs == swept.of {
                End::Complete
            } else if stopped {
                End::Stopped
            } else if self.limit.is_some_and(|limit| swept.elapsed >= limit) {
                End::Limit
            } else {
                return ControlFlow::Continue(());
            };
            ControlFlow::Break(())
        });
        swept.elapsed = started.elapsed();
        swept
    }
}

impl Swept {
    /// Whether no seed failed and, given enough seeds, no required counter is zero.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.coverage.missing().next().is_none()
    }

    /// The number of seeds that were run per minute of real time.
    #[must_use]
    pub fn seeds_per_minute(&self) -> u64 {
        let minutes = self.elapsed.as_millis().max(1);
        u64::try_from(u128::from(self.runs) * 60_000 / minutes).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
