//! The outcome of a run as a value: numbers for programs (serde), text for people
//! ([`Display`](std::fmt::Display)).
//!
//! A report is data. `scenario` measures a run and judges it; nothing here knows what a scenario or
//! a cluster is.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::Stats;
use thiserror::Error;

use crate::checker::Violation;
use crate::network::Traffic;
use crate::simulation::EventCounts;
use crate::units::{hex, in_seconds, maybe_in_seconds};
use crate::watch::News;

/// The outcome of one run.
///
/// Two runs of one scenario with one seed give equal reports, on every machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Processes that were ever started.
    pub nodes: usize,
    /// Processes that took part at the end.
    pub taking_part: usize,
    /// Virtual time of the run.
    #[serde(rename = "duration_s", with = "in_seconds")]
    pub duration: Duration,
    /// When all views were first complete, with a resolution of 20 ms.
    #[serde(rename = "joined_after_s", with = "maybe_in_seconds")]
    pub joined_after: Option<Duration>,
    /// Whether all views were complete and Alive at the end.
    pub views_complete: bool,
    /// How news spread, one summary per kind.
    pub news: Vec<NewsSummary>,
    /// How many times a node was declared Dead although it ran and could be reached.
    pub false_deads: u64,
    /// Those false declarations that fell into the calm phase; see
    /// [`Expectations::calm_from`](crate::Expectations::calm_from).
    pub false_deads_in_calm: u64,
    /// Counts of the events of all nodes.
    pub events: EventCounts,
    /// What happened to the datagrams.
    pub traffic: Traffic,
    /// The sum of the counters of all instances of all nodes.
    pub stats: Stats,
    /// How many steps of each kind had an effect, by the names of operations in scenario files.
    pub operations: BTreeMap<String, u64>,
    /// Datagrams sent per node per second, in thousandths.
    pub datagrams_per_node_second_milli: u64,
    /// Payload bytes sent per node per second.
    pub bytes_per_node_second: u64,
    /// Payload bytes per second of the node that sent the most.
    pub most_bytes_per_second: u64,
    /// Payload bytes sent per node per second in the last 10 s.
    pub last_bytes_per_node_second: u64,
    /// Heap bytes per running node at the end.
    pub heap_bytes_per_node: u64,
    /// How many times a rule of the protocol was broken.
    pub violations_found: u64,
    /// The first of these violations.
    pub violations: Vec<Violation>,
    /// Expectations that were not met.
    pub failures: Vec<Unmet>,
    /// A hash over all inputs and outputs of all nodes, in order.
    #[serde(with = "hex")]
    pub trace_hash: u64,
    /// The command that repeats the run.
    pub replay: String,
}

/// Something that a scenario can expect of a run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Error,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Expectation {
    /// See [`Expectations::idle_steps`](crate::Expectations::idle_steps).
    #[error("every step has an effect")]
    Steps,
    /// Part of [`Expectations::views_complete`](crate::Expectations::views_complete): without a
    /// single view, complete views prove nothing.
    #[error("at the end at least one node takes part")]
    Presence,
    /// See [`Expectations::views_complete`](crate::Expectations::views_complete).
    #[error("at the end all views are complete and Alive")]
    Views,
    /// See [`Expectations::no_false_dead`](crate::Expectations::no_false_dead).
    #[error("no running node within reach is declared Dead")]
    NoFalseDead,
    /// Part of [`Expectations::known_within`](crate::Expectations::known_within): news without an
    /// audience proves nothing.
    #[error("all news has an audience")]
    Audience,
    /// See [`Expectations::known_within`](crate::Expectations::known_within).
    #[error("all nodes learn the news in time")]
    News,
    /// See [`Expectations::telemetry_within`](crate::Expectations::telemetry_within).
    #[error("all nodes receive telemetry in time")]
    Telemetry,
    /// See [`Expectations::alive_within`](crate::Expectations::alive_within).
    #[error("in time after the last lie, all nodes hold each other Alive")]
    Alive,
    /// Part of [`Expectations::alive_within`](crate::Expectations::alive_within).
    #[error("no lie ends a process")]
    Ended,
    /// See [`Expectations::quiet_below`](crate::Expectations::quiet_below).
    #[error("at the end the nodes are quiet")]
    Quiet,
}

/// An expectation that a run did not meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{what}")]
#[non_exhaustive]
pub struct Unmet {
    /// The expectation.
    pub expectation: Expectation,
    /// What happened instead.
    pub what: String,
}

/// How one kind of news spread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NewsSummary {
    /// The kind.
    pub news: News,
    /// How many pieces of news of this kind there were.
    pub count: usize,
    /// How many of them reached every node.
    pub known_to_all: usize,
    /// Time until the first node suspected the crashed one (crashes only).
    pub suspected: Option<Quantiles>,
    /// Time until the first node knew.
    pub first: Option<Quantiles>,
    /// Time until every node knew, over the pieces that reached every node.
    pub everyone: Option<Quantiles>,
}

/// A distribution of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Quantiles {
    /// The mean.
    #[serde(rename = "mean_s", with = "in_seconds")]
    pub mean: Duration,
    /// The median.
    #[serde(rename = "median_s", with = "in_seconds")]
    pub median: Duration,
    /// The 99th percentile.
    #[serde(rename = "p99_s", with = "in_seconds")]
    pub p99: Duration,
    /// The longest.
    #[serde(rename = "max_s", with = "in_seconds")]
    pub max: Duration,
}

impl Quantiles {
    /// Computes the distribution of `times`; `None` if there are none.
    #[must_use]
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        let (&max, len) = (times.last()?, times.len());
        let at = |percent: usize| times[(len * percent).div_ceil(100).clamp(1, len) - 1];
        let mean = times.iter().sum::<Duration>() / u32::try_from(len).unwrap_or(u32::MAX);
        Some(Self { mean, median: at(50), p99: at(99), max })
    }
}

impl Report {
    /// Whether no rule was broken and every expectation was met.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.violations_found == 0 && self.failures.is_empty()
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Crash => "crash",
            Self::Leave => "leave",
            Self::Return => "return",
            Self::Telemetry => "telemetry",
        })
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [mean, median, p99, max] =
            [self.mean, self.median, self.p99, self.max].map(|time| time.as_secs_f64());
        write!(f, "mean {mean:.3}s, median {median:.3}s, p99 {p99:.3}s, max {max:.3}s")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.passed() { "PASS" } else { "FAIL" };
        writeln!(
            f,
            "{verdict}: {} with seed {}: {} nodes, {} at the end, {:?} of virtual time",
            self.scenario, self.seed, self.nodes, self.taking_part, self.duration
        )?;
        for failure in &self.failures {
            writeln!(f, "  FAILED    {failure}")?;
        }
        for violation in &self.violations {
            writeln!(f, "  VIOLATION {violation}")?;
        }
        if self.violations_found > self.violations.len() as u64 {
            writeln!(f, "  ... {} violations in all", self.violations_found)?;
        }
        match self.joined_after {
            Some(time) => {
                writeln!(f, "  views     first complete after {:.2}s", time.as_secs_f64())?
            }
            None => writeln!(f, "  views     never complete")?,
        }
        let complete = if self.views_complete { "complete and alive" } else { "not all complete" };
        writeln!(f, "            {complete} at the end; false deaths: {}", self.false_deads)?;
        for news in &self.news {
            write!(f, "  {:9} {} of {} reached all", news.news, news.known_to_all, news.count)?;
            let rows = [
                ("suspected", news.suspected),
                ("first known", news.first),
                ("reached all", news.everyone),
            ];
            for (label, times) in rows {
                if let Some(times) = times {
                    write!(f, "\n            {label:11} {times}")?;
                }
            }
            writeln!(f)?;
        }
        let milli = self.datagrams_per_node_second_milli;
        writeln!(
            f,
            "  traffic   {} B and {}.{:03} datagrams per node per second (most: {} B), \
             {} B of heap per node",
            self.bytes_per_node_second,
            milli / 1_000,
            milli % 1_000,
            self.most_bytes_per_second,
            self.heap_bytes_per_node
        )?;
        let Traffic { sent, delivered, lost, cut, no_listener, duplicated, replayed, .. } =
            self.traffic;
        writeln!(
            f,
            "            {sent} sent, {delivered} received, {lost} lost, {cut} cut off, \
             {no_listener} without a listener, {duplicated} duplicated, {replayed} replayed"
        )?;
        let counts = self.events;
        writeln!(
            f,
            "  events    {} joined, {} suspected, {} refuted, {} dead, {} left, {} alive again, \
             {} isolated",
            counts.joined,
            counts.suspected,
            counts.refuted,
            counts.dead,
            counts.left,
            counts.alive,
            counts.isolated
        )?;
        writeln!(f, "  trace     {:016x}", self.trace_hash)?;
        write!(f, "  replay    {}", self.replay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_members_of_the_sample() {
        let times = (1..=200).map(Duration::from_millis);
        let quantiles = Quantiles::of(times).unwrap();
        let millis = [quantiles.median, quantiles.p99, quantiles.max].map(|time| time.as_millis());
        assert_eq!(millis, [100, 198, 200]);
        assert_eq!(quantiles.mean, Duration::from_micros(100_500));
        assert_eq!(Quantiles::of([]), None);
    }
}
