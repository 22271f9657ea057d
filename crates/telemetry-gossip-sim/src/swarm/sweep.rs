//! A band of seeds, run on all cores.

use std::num::{NonZeroU64, NonZeroUsize};
use std::ops::{ControlFlow, Range};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::attempt::{Attempt, Finding, Run, simulate};
use super::coverage::Coverage;
use crate::parallel;
use crate::scenario::Scenario;
use crate::units::in_seconds;

/// Which seeds to run, and when to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// The band.
    pub seeds: Range<u64>,
    /// How many runs go on at once; `None` for one a core. Changes nothing but the time it takes.
    pub threads: Option<NonZeroUsize>,
    /// Seeds that this number divides are run twice, and the runs compared event by event; `None`
    /// for none of them.
    pub twice_every: Option<NonZeroU64>,
    /// After so many failing seeds no more are run.
    pub max_failures: NonZeroUsize,
    /// After so much time by the wall no more seeds are begun. Those that were run are the first of
    /// the band.
    pub limit: Option<Duration>,
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

/// What a sweep has shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// The first seed.
    pub first: u64,
    /// How many were run, this and those after it.
    pub runs: u64,
    /// How many were asked for.
    pub of: u64,
    /// How many of them were run twice.
    pub twice: u64,
    /// Virtual time of all runs together, second runs included.
    #[serde(rename = "simulated_s", with = "in_seconds")]
    pub simulated: Duration,
    /// Time by the wall: no two sweeps agree on it.
    #[serde(rename = "elapsed_s", with = "in_seconds")]
    pub elapsed: Duration,
    /// How it ended.
    pub end: End,
    /// The seeds with which something is wrong, in order.
    pub failures: Vec<Failed>,
    /// What happened in the runs.
    pub coverage: Coverage,
}

/// How a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// All seeds were run.
    Complete,
    /// So many failed that it stopped.
    Failures,
    /// Its time was up.
    Limit,
    /// Whoever watched had it stop.
    Stopped,
}

/// A seed with which something is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which.
    pub seed: u64,
    /// What, one finding a kind.
    pub findings: Vec<Finding>,
    /// The command that repeats the run.
    pub replay: String,
}

impl Sweep {
    /// Runs the scenario of each seed with that seed. `watch` sees what is known after each, and
    /// may stop the sweep.
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
    /// Whether no seed failed and, if there were enough of them, everything happened that has to.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures.is_empty() && self.coverage.missing().next().is_none()
    }

    /// How many seeds were run in a minute of the wall.
    #[must_use]
    pub fn seeds_per_minute(&self) -> u64 {
        let minutes = self.elapsed.as_millis().max(1);
        u64::try_from(u128::from(self.runs) * 60_000 / minutes).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
