//! Measures a run that has ended, and judges it by what its scenario expects.
//!
//! A run passes for what happened in it. A step without an effect, or news without an audience, is
//! therefore a failure like any other.

use std::collections::BTreeMap;
use std::time::Duration;

use telemetry_gossip_core::Node;

use super::{Scenario, Step};
use crate::cluster::Cluster;
use crate::process::Condition;
use crate::report::{Expectation, NewsSummary, Quantiles, Report, Unmet};
use crate::watch::{News, Spread};

/// The span at the end of a run in which its traffic shows whether the cluster is quiet.
const LAST: Duration = Duration::from_secs(10);

/// Values that have to be read at certain times of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// When all views were first complete.
    pub(super) joined_after: Option<Duration>,
    /// False declarations of Dead before the calm phase.
    false_deads: Option<u64>,
    /// Bytes sent before the last span.
    sent_bytes: Option<u64>,
}

impl Marks {
    /// Reads those values whose time has come.
    pub(super) fn read(&mut self, scenario: &Scenario, cluster: &Cluster) {
        let (now, simulation) = (cluster.now(), cluster.simulation());
        if now >= scenario.expect.calm_from {
            self.false_deads.get_or_insert(simulation.false_deads());
        }
        if now + LAST >= scenario.duration {
            self.sent_bytes.get_or_insert(simulation.traffic().sent_bytes);
        }
    }
}

/// Makes the report of a run. `done` are the steps that had an effect, `idle` those that had none.
pub(super) fn report(
    scenario: &Scenario,
    cluster: &Cluster,
    marks: Marks,
    done: &[&Step],
    idle: &[&Step],
) -> Report {
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
    let last = last * 1_000 / (running.len() as u64 * millis(LAST.min(scenario.duration))).max(1);
    let heap: usize = running.iter().map(|node| node.heap_bytes()).sum();
    let mut report = Report {
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
    report.failures = Judge { scenario, report: &report, unmet: Vec::new() }.judge(&spreads, idle);
    report
}

/// Collects the expectations that a run did not meet.
struct Judge<'a> {
    scenario: &'a Scenario,
    report: &'a Report,
    unmet: Vec<Unmet>,
}

impl Judge<'_> {
    fn judge(mut self, spreads: &[Spread], idle: &[&Step]) -> Vec<Unmet> {
        let expect = &self.scenario.expect;
        if !expect.idle_steps {
            for step in idle {
                self.unmet(Expectation::Steps, format!("a step had no effect: {step}"));
            }
        }
        self.judge_whole();
        for spread in spreads.iter().filter(|spread| spread.at >= expect.calm_from) {
            self.judge_spread(spread);
        }
        self.unmet
    }

    /// Judges the run as a whole: views at the end, false declarations of Dead, traffic at the end.
    fn judge_whole(&mut self) {
        let (expect, report) = (&self.scenario.expect, self.report);
        if expect.views_complete && report.taking_part == 0 {
            self.unmet(Expectation::Presence, "at the end no node takes part".to_owned());
        } else if expect.views_complete && !report.views_complete {
            self.unmet(
                Expectation::Views,
                "at the end not all views are complete and Alive".to_owned(),
            );
        }
        if expect.no_false_dead && report.false_deads_in_calm > 0 {
            let count = report.false_deads_in_calm;
            self.unmet(
                Expectation::NoFalseDead,
                format!("{count} running nodes within reach were declared Dead"),
            );
        }
        if let Some(most) =
            expect.quiet_below.filter(|&most| report.last_bytes_per_node_second > most)
        {
            let bytes = report.last_bytes_per_node_second;
            self.unmet(
                Expectation::Quiet,
                format!("at the end nodes send {bytes} B/s, not {most} at most"),
            );
        }
    }

    fn judge_spread(&mut self, spread: &Spread) {
        let expect = &self.scenario.expect;
        let telemetry = spread.news == News::Telemetry;
        let Some(limit) = (if telemetry { expect.telemetry_within } else { expect.known_within })
        else {
            return;
        };
        // A publication shortly before the end has no time to reach all nodes. Membership news
        // needs no such exception: a scenario whose last step is too late does not validate.
        if telemetry && spread.at + limit > self.report.duration {
            return;
        }
        if spread.first.is_none() && spread.everyone.is_some() && !telemetry {
            let what = format!(
                "no node had to learn of the {} of n{} at {:.3?}",
                spread.news, spread.node, spread.at
            );
            self.unmet(Expectation::Audience, what);
        } else if spread.everyone.is_none_or(|time| time > limit) {
            let took = spread
                .everyone
                .map_or_else(|| "never".to_owned(), |time| format!("after {time:.3?}"));
            let what = format!(
                "the {} of n{} at {:.3?} reached all nodes {took}, not within {limit:?}",
                spread.news, spread.node, spread.at
            );
            let expectation = if telemetry { Expectation::Telemetry } else { Expectation::News };
            self.unmet(expectation, what);
        }
    }

    fn unmet(&mut self, expectation: Expectation, what: String) {
        self.unmet.push(Unmet { expectation, what });
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Groups spreads by kind of news; kinds that did not occur are left out.
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
