//! False positives and detection while some members are slow: the experiments of the paper on
//! Lifeguard.
//!
//! After a quiet time some members are blocked, all at once ([`block`](crate::Cluster::block)):
//! their timers run, but their datagrams wait in both directions. These members are *anomalous*
//! from the first block to the end of the run, also while they are not blocked. There are two kinds
//! of runs:
//!
//! - *interval*: the members are blocked and unblocked in turn for two minutes. Every failure event
//!   about another member is a false positive.
//! - *threshold*: the members are blocked once, for so long that they count as failed. The time
//!   from then to the first failure event at a healthy member is the detection time, the time to
//!   the last one the dissemination time.

mod grid;
mod variant;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::measure::{Alarms, Detection};
use super::statistics::{Latencies, Proportion};
use super::{Goal, Runs, on_all_cores, table};
pub use grid::LifeguardPlan;
use grid::{Outcome, Run, perform};
pub use variant::{Published, Variant};

/// The outcome of the experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lifeguard {
    /// The plan of the experiment.
    pub plan: LifeguardPlan,
    /// The results, one row per variant.
    pub rows: Vec<LifeguardRow>,
}

/// The results of one variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LifeguardRow {
    /// The variant.
    pub variant: Variant,
    /// False positives in the interval runs.
    pub alarms: Alarms,
    /// The share of interval runs without a false positive at a healthy member.
    pub clean: Proportion,
    /// False positives by the number of anomalous members.
    pub by_anomalous: Vec<(usize, Alarms)>,
    /// Detection and dissemination times in the threshold runs, one per anomalous member.
    pub detections: Vec<Detection>,
    /// Datagrams sent in the interval runs.
    pub sent: u64,
    /// Payload bytes sent in the interval runs.
    pub sent_bytes: u64,
}

/// Runs the experiment; `progress` is called after each run.
#[must_use]
pub fn lifeguard(plan: &LifeguardPlan, progress: impl FnMut(Runs)) -> Lifeguard {
    let runs = plan.runs();
    let outcomes = on_all_cores(&runs, |run| perform(plan, run), progress);
    let of = |variant| {
        let own = runs.iter().zip(&outcomes).filter(move |(run, _)| run.variant == variant);
        LifeguardRow::of(variant, plan, own)
    };
    Lifeguard { plan: plan.clone(), rows: plan.variants.iter().copied().map(of).collect() }
}

impl LifeguardRow {
    fn of<'a>(
        variant: Variant,
        plan: &LifeguardPlan,
        outcomes: impl Iterator<Item = (&'a Run, &'a Outcome)>,
    ) -> Self {
        let by_anomalous = plan.anomalous.iter().map(|&count| (count, Alarms::default())).collect();
        let mut row = Self {
            variant,
            alarms: Alarms::default(),
            clean: Proportion::default(),
            by_anomalous,
            detections: Vec::new(),
            sent: 0,
            sent_bytes: 0,
        };
        for (run, outcome) in outcomes {
            row.detections.extend(&outcome.detections);
            if run.free.is_none() {
                continue;
            }
            row.clean.of += 1;
            row.clean.hits += u64::from(outcome.alarms.at_healthy == 0);
            row.sent += outcome.sent;
            row.sent_bytes += outcome.sent_bytes;
            let own = row.by_anomalous.iter_mut().filter(|(count, _)| *count == run.anomalous);
            own.map(|(_, alarms)| alarms)
                .chain([&mut row.alarms])
                .for_each(|sum| *sum += outcome.alarms);
        }
        row
    }

    /// The detection times, ascending.
    #[must_use]
    pub fn first_detections(&self) -> Vec<Duration> {
        sorted(self.detections.iter().filter_map(|detection| detection.first))
    }

    /// The dissemination times, ascending.
    #[must_use]
    pub fn disseminations(&self) -> Vec<Duration> {
        sorted(self.detections.iter().filter_map(|detection| detection.everyone))
    }
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times
}

impl Lifeguard {
    /// The row of a variant.
    #[must_use]
    pub fn row(&self, variant: Variant) -> Option<&LifeguardRow> {
        self.rows.iter().find(|row| row.variant == variant)
    }

    /// The false positives of a variant as percentages of those of SWIM, if SWIM was run: all of
    /// them, and those at healthy members.
    fn shares(&self, row: &LifeguardRow) -> Option<(f64, f64)> {
        let swim = self.row(Variant::Swim)?.alarms;
        let share = |ours: u64, swim: u64| {
            if swim == 0 { f64::NAN } else { ours as f64 * 100.0 / swim as f64 }
        };
        Some((
            share(row.alarms.everywhere, swim.everywhere),
            share(row.alarms.at_healthy, swim.at_healthy),
        ))
    }

    /// The bounds on the published results of Lifeguard, and on the better ones of our default.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for row in &self.rows {
            let (shares, name) = (self.shares(row), row.variant);
            let mut goal = |figure: &str, bounds, measured| {
                goals.push(Goal::new(format!("{name}: {figure}"), bounds, measured));
            };
            match name {
                Variant::Lifeguard => {
                    if let Some((all, at_healthy)) = shares {
                        goal("FP, % of SWIM's", 0.0..=2.0, all);
                        goal("FP-, % of SWIM's", 0.0..=2.0, at_healthy);
                    }
                }
                Variant::Default => {
                    if let Some((all, _)) = shares {
                        goal("FP, % of SWIM's", 0.0..=0.5, all);
                    }
                    goal("runs without FP-, %", 99.9..=100.0, row.clean.rate() * 100.0);
                    let median = Latencies::of(&row.first_detections())
                        .map(|first| first.median.as_secs_f64());
                    goal("first detection, median in s", 0.0..=6.2, median.unwrap_or(f64::NAN));
                }
                _ => {}
            }
        }
        goals
    }
}

/// Median, 99th and 99.9th percentile: "12.44 / 16.96 / 19.40".
fn quantiles(times: &[Duration]) -> String {
    Latencies::of(times).map_or_else(String::new, |times| {
        [times.median, times.p99, times.p999].map(table::seconds).join(" / ")
    })
}

impl fmt::Display for Lifeguard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.plan)?;
        let titles = [
            "",
            "FP",
            "% of SWIM's",
            "published",
            "FP-",
            "% of SWIM's",
            "published",
            "own declarations",
            "own declarations at healthy",
            "runs without FP-",
            "datagrams",
            "MB",
        ];
        table::head(f, &titles)?;
        for row in &self.rows {
            let shares = self.shares(row);
            let published = row.variant.published();
            let percent =
                |share: Option<f64>| share.map_or_else(String::new, |share| format!("{share:.2}"));
            let cells = [
                row.variant.to_string(),
                table::count(row.alarms.everywhere),
                percent(shares.map(|(all, _)| all)),
                published
                    .map_or_else(String::new, |published| format!("{}", published.false_positives)),
                table::count(row.alarms.at_healthy),
                percent(shares.map(|(_, at_healthy)| at_healthy)),
                published.map_or_else(String::new, |published| format!("{}", published.at_healthy)),
                table::count(row.alarms.found),
                table::count(row.alarms.found_at_healthy),
                format!("{} of {}", row.clean.hits, row.clean.of),
                table::count(row.sent),
                table::count(row.sent_bytes / 1_000_000),
            ];
            table::line(f, &cells)?;
        }
        writeln!(f, "\nSeconds from the failure of a member, median / 99 % / 99.9 %:\n")?;
        let titles = [
            "",
            "first detection",
            "published",
            "known to all healthy",
            "published",
            "failures",
            "detected",
            "known to all healthy",
        ];
        table::head(f, &titles)?;
        for row in &self.rows {
            let (first, everyone) = (row.first_detections(), row.disseminations());
            let published = row.variant.published();
            let theirs = |times: fn(Published) -> [f64; 3]| {
                published.map_or_else(String::new, |published| {
                    times(published).map(|seconds| format!("{seconds:.2}")).join(" / ")
                })
            };
            let cells = [
                row.variant.to_string(),
                quantiles(&first),
                theirs(|published| published.first_s),
                quantiles(&everyone),
                theirs(|published| published.everyone_s),
                row.detections.len().to_string(),
                first.len().to_string(),
                everyone.len().to_string(),
            ];
            table::line(f, &cells)?;
        }
        writeln!(f)?;
        table::goals(f, &self.goals())
    }
}

#[cfg(test)]
mod tests;
