//! What a run has shown: numbers first (serde), words second ([`Display`](std::fmt::Display)).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Node, Stats};
use thiserror::Error;

use crate::checker::Violation;
use crate::cluster::Cluster;
use crate::network::Traffic;
use crate::process::Condition;
use crate::scenario::{LAST, Marks, Scenario, Step};
use crate::simulation::EventCounts;
use crate::units::{hex, in_seconds, maybe_in_seconds};
use crate::watch::{News, Spread};

/// The outcome of one run. Equal for two runs of one scenario and seed, on every machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Processes there ever were.
    pub nodes: usize,
    /// Those that took part at the end.
    pub taking_part: usize,
    /// Virtual time of the run.
    #[serde(rename = "duration_s", with = "in_seconds")]
    pub duration: Duration,
    /// When all views were first complete, to 20 ms.
    #[serde(rename = "joined_after_s", with = "maybe_in_seconds")]
    pub joined_after: Option<Duration>,
    /// Whether all views were complete and Alive at the end.
    pub views_complete: bool,
    /// How news spread, one line a kind.
    pub news: Vec<NewsSummary>,
    /// Nodes declared Dead though they ran within reach.
    pub false_deads: u64,
    /// Those of them that were once the calm had begun.
    pub false_deads_in_calm: u64,
    /// Events of all nodes.
    pub events: EventCounts,
    /// What became of the datagrams.
    pub traffic: Traffic,
    /// What all nodes have counted, in all their lives.
    pub stats: Stats,
    /// How many steps of each kind found something to do, by the names that they have in scenario
    /// files.
    pub operations: BTreeMap<String, u64>,
    /// Datagrams sent a node and second, in thousandths.
    pub datagrams_per_node_second_milli: u64,
    /// Payload bytes sent a node and second.
    pub bytes_per_node_second: u64,
    /// The same of the node that sent the most.
    pub most_bytes_per_second: u64,
    /// Payload bytes sent a node and second in the last 10 s.
    pub last_bytes_per_node_second: u64,
    /// Heap bytes of a node at the end, on average.
    pub heap_bytes_per_node: u64,
    /// How many times a rule of the protocol broke.
    pub violations_found: u64,
    /// The first of them.
    pub violations: Vec<Violation>,
    /// Expectations that failed.
    pub failures: Vec<Unmet>,
    /// One number over all inputs and outputs of all nodes.
    #[serde(with = "hex")]
    pub trace_hash: u64,
    /// The command that repeats the run.
    pub replay: String,
}

/// What a scenario can expect of a run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Error,
)]
#[serde(rename_all = "kebab-case")]
pub enum Expectation {
    /// See [`Expectations::idle_steps`](crate::Expectations::idle_steps).
    #[error("every step finds something to do")]
    Steps,
    /// Part of [`Expectations::views_complete`](crate::Expectations::views_complete): views of
    /// nobody are not complete.
    #[error("at the end somebody takes part")]
    Presence,
    /// See [`Expectations::views_complete`](crate::Expectations::views_complete).
    #[error("at the end all views are complete and Alive")]
    Views,
    /// See [`Expectations::no_false_dead`](crate::Expectations::no_false_dead).
    #[error("no running node within reach is declared Dead")]
    NoFalseDead,
    /// Part of [`Expectations::known_within`](crate::Expectations::known_within): what nobody has
    /// to learn says nothing.
    #[error("somebody has to learn of all news")]
    Audience,
    /// See [`Expectations::known_within`](crate::Expectations::known_within).
    #[error("news is known to all in time")]
    News,
    /// See [`Expectations::telemetry_within`](crate::Expectations::telemetry_within).
    #[error("telemetry is known to all in time")]
    Telemetry,
    /// See [`Expectations::quiet_below`](crate::Expectations::quiet_below).
    #[error("at the end the nodes are quiet")]
    Quiet,
}

/// An expectation that a run did not meet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{what}")]
pub struct Unmet {
    /// Which.
    pub expectation: Expectation,
    /// What was seen instead.
    pub what: String,
}

/// How one kind of news spread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewsSummary {
    /// Which kind.
    pub news: News,
    /// How many pieces.
    pub count: usize,
    /// How many of them everybody learned.
    pub known_to_all: usize,
    /// Until somebody suspected (crashes only).
    pub suspected: Option<Quantiles>,
    /// Until somebody knew.
    pub first: Option<Quantiles>,
    /// Until everybody knew, of those that everybody learned.
    pub everyone: Option<Quantiles>,
}

/// A distribution of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The mean.
    #[serde(rename = "mean_s", with = "in_seconds")]
    pub mean: Duration,
    /// The median.
    #[serde(rename = "median_s", with = "in_seconds")]
    pub median: Duration,
    /// 99 of 100 were below.
    #[serde(rename = "p99_s", with = "in_seconds")]
    pub p99: Duration,
    /// The longest.
    #[serde(rename = "max_s", with = "in_seconds")]
    pub max: Duration,
}

impl Quantiles {
    /// Of these times; `None` if there are none.
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
    /// `done` are the steps that found something to do, `idle` those that did not.
    pub(crate) fn of(
        scenario: &Scenario,
        cluster: &Cluster,
        marks: Marks,
        done: &[&Step],
        idle: &[&Step],
    ) -> Self {
        let simulation = cluster.simulation();
        let spreads = simulation.spreads();
        let running: Vec<&Node<u32>> = (0..cluster.len())
            .filter(|&index| simulation.condition(index) == Some(Condition::Running))
            .filter_map(|index| simulation.node(index))
            .collect();
        let (nodes, traffic) = (cluster.len(), simulation.traffic());
        let node_millis = (nodes as u64 * millis(scenario.duration)).max(1);
        let most = (0..nodes).map(|index| cluster.usage(index).sent_bytes).max().unwrap_or(0);
        let last = traffic.sent_bytes - marks.sent_bytes.unwrap_or(0);
        let last =
            last * 1_000 / (running.len() as u64 * millis(LAST.min(scenario.duration))).max(1);
        let heap: usize = running.iter().map(|node| node.heap_bytes()).sum();
        let mut report = Self {
            scenario: scenario.name.clone(),
            seed: simulation.seed(),
            nodes,
            taking_part: cluster.taking_part().count(),
            duration: scenario.duration,
            joined_after: marks.joined_after,
            views_complete: cluster.views_complete_and_alive(),
            news: summarize(&spreads),
            false_deads: simulation.false_deads(),
            false_deads_in_calm: simulation.false_deads() - marks.false_deads.unwrap_or(0),
            events: simulation.counts(),
            traffic,
            stats: simulation.stats(),
            operations: BTreeMap::new(),
            datagrams_per_node_second_milli: traffic.sent * 1_000_000 / node_millis,
            bytes_per_node_second: traffic.sent_bytes * 1_000 / node_millis,
            most_bytes_per_second: most * 1_000 / millis(scenario.duration).max(1),
            last_bytes_per_node_second: last,
            heap_bytes_per_node: (heap / running.len().max(1)) as u64,
            violations_found: simulation.violations_found(),
            violations: simulation.violations().to_vec(),
            failures: Vec::new(),
            trace_hash: simulation.trace_hash(),
            replay: scenario.replay_command(simulation.seed()),
        };
        for step in done {
            *report.operations.entry(step.operation.name()).or_default() += 1;
        }
        report.judge(scenario, &spreads, idle);
        report
    }

    /// A run passes for what was seen in it: what nobody was there to do, or to see, is a failure.
    fn judge(&mut self, scenario: &Scenario, spreads: &[Spread], idle: &[&Step]) {
        let expect = &scenario.expect;
        if !expect.idle_steps {
            for step in idle {
                self.unmet(Expectation::Steps, format!("a step found nothing to do: {step}"));
            }
        }
        if expect.views_complete && self.taking_part == 0 {
            self.unmet(Expectation::Presence, "at the end nobody takes part".to_owned());
        } else if expect.views_complete && !self.views_complete {
            self.unmet(
                Expectation::Views,
                "at the end not all views are complete and Alive".to_owned(),
            );
        }
        if expect.no_false_dead && self.false_deads_in_calm > 0 {
            let count = self.false_deads_in_calm;
            self.unmet(
                Expectation::NoFalseDead,
                format!("{count} running nodes within reach were declared Dead"),
            );
        }
        if let Some(most) =
            expect.quiet_below.filter(|&most| self.last_bytes_per_node_second > most)
        {
            let bytes = self.last_bytes_per_node_second;
            self.unmet(
                Expectation::Quiet,
                format!("at the end nodes send {bytes} B/s, not {most} at most"),
            );
        }
        for spread in spreads.iter().filter(|spread| spread.at >= expect.calm_from) {
            let telemetry = spread.news == News::Telemetry;
            let Some(limit) =
                (if telemetry { expect.telemetry_within } else { expect.known_within })
            else {
                continue;
            };
            // What is published shortly before the end has no time to be known.
            if telemetry && spread.at + limit > self.duration {
                continue;
            }
            if spread.first.is_none() && spread.everyone.is_some() && !telemetry {
                let what = format!(
                    "nobody had to learn of the {} of n{} at {:.3?}",
                    spread.news, spread.node, spread.at
                );
                self.unmet(Expectation::Audience, what);
            } else if spread.everyone.is_none_or(|time| time > limit) {
                let took = spread
                    .everyone
                    .map_or_else(|| "never".to_owned(), |time| format!("after {time:.3?}"));
                let what = format!(
                    "the {} of n{} at {:.3?} was known to all {took}, not within {limit:?}",
                    spread.news, spread.node, spread.at
                );
                let expectation =
                    if telemetry { Expectation::Telemetry } else { Expectation::News };
                self.unmet(expectation, what);
            }
        }
    }

    fn unmet(&mut self, expectation: Expectation, what: String) {
        self.failures.push(Unmet { expectation, what });
    }

    /// Whether no rule broke and every expectation was met.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.violations_found == 0 && self.failures.is_empty()
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn summarize(spreads: &[Spread]) -> Vec<NewsSummary> {
    [News::Crash, News::Leave, News::Return, News::Telemetry]
        .into_iter()
        .filter_map(|news| {
            let of_kind: Vec<&Spread> =
                spreads.iter().filter(|spread| spread.news == news).collect();
            (!of_kind.is_empty()).then(|| NewsSummary {
                news,
                count: of_kind.len(),
                known_to_all: of_kind.iter().filter(|spread| spread.everyone.is_some()).count(),
                suspected: Quantiles::of(of_kind.iter().filter_map(|spread| spread.suspected)),
                first: Quantiles::of(of_kind.iter().filter_map(|spread| spread.first)),
                everyone: Quantiles::of(of_kind.iter().filter_map(|spread| spread.everyone)),
            })
        })
        .collect()
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
            write!(f, "  {:9} {} of {} known to all", news.news, news.known_to_all, news.count)?;
            let rows = [
                ("suspected", news.suspected),
                ("first known", news.first),
                ("to all", news.everyone),
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
            "  traffic   {} B and {}.{:03} datagrams a node and second (most: {} B), {} B of heap a node",
            self.bytes_per_node_second,
            milli / 1_000,
            milli % 1_000,
            self.most_bytes_per_second,
            self.heap_bytes_per_node
        )?;
        let Traffic { sent, delivered, lost, cut, nobody, duplicated, replayed, .. } = self.traffic;
        writeln!(
            f,
            "            {sent} sent, {delivered} taken in, {lost} lost, {cut} cut off, {nobody} to nobody, \
             {duplicated} duplicated, {replayed} replayed"
        )?;
        let counts = self.events;
        writeln!(
            f,
            "  events    {} joined, {} suspected, {} refuted, {} dead, {} left, {} alive again, {} isolated",
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
