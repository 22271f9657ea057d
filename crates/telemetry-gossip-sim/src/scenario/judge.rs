//! Measures a run that has ended, and judges it by what its scenario expects.
//!
//! A run passes for what happened in it. A step without an effect, or news without an audience, is
//! therefore a failure like any other.

use std::collections::BTreeMap;
use std::time::Duration;

use telemetry_gossip_core::{Node, Status};

use super::{Operation, Scenario, Step};
use crate::cluster::Cluster;
use crate::process::Condition;
use crate::report::{Expectation, NewsSummary, Quantiles, Report, Unmet};
use crate::watch::{News, Spread};

/// The span at the end of a run in which its traffic shows whether the cluster is quiet.
const LAST: Duration = Duration::from_secs(10);

/// Values that have to be read at certain times of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    /// When all views were first complete.
    pub(super) joined_after: Option<Duration>,
    /// False declarations of Dead before the calm phase.
    false_deads: Option<u64>,
    /// Bytes sent before the last span.
    sent_bytes: Option<u64>,
    /// Nodes that were not held Alive when it was time after the last lie.
    not_alive: Option<Vec<String>>,
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
        if scenario.alive_by().is_some_and(|by| now >= by) && self.not_alive.is_none() {
            self.not_alive = Some(not_alive(cluster));
        }
    }
}

/// The pairs of nodes that take part of which one does not hold the other Alive.
fn not_alive(cluster: &Cluster) -> Vec<String> {
    let members: Vec<usize> = cluster.taking_part().collect();
    let mut pairs = Vec::new();
    for &observer in &members {
        for &of in members.iter().filter(|&&of| of != observer) {
            let held = cluster.held(observer, of);
            let status = held.as_ref().map(|held| held.status());
            if status != Some(Status::Alive) {
                let held = held.map_or_else(
                    || "no such member".to_owned(),
                    |held| format!("{} at {}", held.status(), held.generation().0),
                );
                let own = cluster.node(of).me().generation().0;
                let isolated = [observer, of]
                    .iter()
                    .filter(|&&node| cluster.health(node).isolated_since.is_some())
                    .map(|node| format!(", n{node} is isolated"))
                    .collect::<String>();
                pairs.push(format!(
                    "n{observer} holds of n{of}: {held}, and n{of} itself is at {own}{isolated}"
                ));
            }
        }
    }
    pairs
}

/// The live members in the tables of nodes that take part, which are none of them.
fn not_members(cluster: &Cluster) -> Vec<String> {
    let ids: Vec<_> =
        cluster.taking_part().filter_map(|index| cluster.simulation().id(index)).collect();
    let mut wrong = Vec::new();
    for observer in cluster.taking_part() {
        for held in cluster.view(observer) {
            if matches!(held.status, Status::Alive | Status::Suspected) && !ids.contains(&held.id) {
                let (id, status, generation) = (held.id, held.status, held.generation.0);
                let isolated = cluster.health(observer).isolated_since.map_or("", |_| "isolated ");
                wrong.push(format!("{isolated}n{observer} holds {id} {status} at {generation}"));
            }
        }
    }
    wrong
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
        if let Operation::Lie(lie) = &step.operation {
            *report.operations.entry(format!("lie-{}", lie.kind)).or_default() += 1;
        }
    }
    let wrong_views = if report.views_complete {
        Vec::new()
    } else {
        not_alive(cluster).into_iter().chain(not_members(cluster)).collect()
    };
    let mut judge = Judge { scenario, report: &report, wrong_views, unmet: Vec::new() };
    if scenario.expect.alive_within.is_some() {
        judge.judge_lies(marks.not_alive.unwrap_or_default(), simulation.ids_without_member());
    }
    report.failures = judge.judge(&spreads, idle);
    report
}

/// Collects the expectations that a run did not meet.
struct Judge<'a> {
    scenario: &'a Scenario,
    report: &'a Report,
    /// What is wrong with the views at the end.
    wrong_views: Vec<String>,
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

    /// Judges what lies have left behind.
    fn judge_lies(&mut self, not_alive: Vec<String>, ended: Vec<String>) {
        if let [first, ..] = not_alive.as_slice() {
            let count = not_alive.len();
            let what = format!("in time after the last lie, {first} ({count} such pairs)");
            self.unmet(Expectation::Alive, what);
        }
        if !ended.is_empty() {
            let ended = ended.join(", ");
            let what = format!("at the end {ended} runs, and no process of this id is a member");
            self.unmet(Expectation::Ended, what);
        }
    }

    /// Judges the run as a whole: views at the end, false declarations of Dead, traffic at the end.
    fn judge_whole(&mut self) {
        let (expect, report) = (&self.scenario.expect, self.report);
        if expect.views_complete && report.taking_part == 0 {
            self.unmet(Expectation::Presence, "at the end no node takes part".to_owned());
        } else if expect.views_complete && !report.views_complete {
            let wrong = self.wrong_views.first().map_or("", String::as_str);
            let what = format!("at the end not all views are complete and Alive: {wrong}");
            self.unmet(Expectation::Views, what);
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
