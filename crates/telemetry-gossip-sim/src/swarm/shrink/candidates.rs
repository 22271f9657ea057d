//! Candidates for shrinking: scenarios that are a little smaller than a given one, with fewer
//! steps, fewer faults, fewer nodes, or less time.
//!
//! The parts of a scenario are handled as the tree of values in a scenario file. New settings,
//! kinds of faults and operations are therefore reduced without changes here.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::process::{Memory, Place, Rejoin};
use crate::scenario::{Expectations, Group, Load, Operation, Scenario, Start, Step};

/// All reductions, in the order in which they are tried: those that remove most come first.
pub(super) const REDUCTIONS: [fn(&Scenario) -> Vec<Scenario>; 5] =
    [fewer_steps, fewer_faults, fewer_nodes, smaller_steps, less_time];

/// Removes steps: halves of them, then quarters, down to single steps.
fn fewer_steps(scenario: &Scenario) -> Vec<Scenario> {
    let len = scenario.steps.len();
    let sizes = std::iter::successors(Some(len), |size| (*size > 1).then(|| size.div_ceil(2)));
    let chunks = sizes.flat_map(|size| {
        (0..len).step_by(size.max(1)).map(move |begin| begin..(begin + size).min(len))
    });
    chunks
        .filter(|chunk| !chunk.is_empty())
        .map(|chunk| {
            let mut steps = scenario.steps.clone();
            steps.drain(chunk);
            Scenario { steps, ..scenario.clone() }
        })
        .collect()
}

/// Resets the settings, the load, the drift, and each kind of fault of the network to its default.
fn fewer_faults(scenario: &Scenario) -> Vec<Scenario> {
    let plain = |load: Load| Load { bytes: load.bytes.min(8), keys: 1, ..load };
    let mut out = vec![
        Scenario { telemetry: None, ..scenario.clone() },
        Scenario { telemetry: scenario.telemetry.map(plain), ..scenario.clone() },
        Scenario { sealed: false, ..scenario.clone() },
        Scenario { clock_drift_ppm: 0, ..scenario.clone() },
        Scenario { start: Start::Known, ..scenario.clone() },
    ];
    out.extend(
        nearer_to_default(&scenario.config).map(|config| Scenario { config, ..scenario.clone() }),
    );
    for place in 0..scenario.other_configs.len() {
        let mut fewer = scenario.clone();
        fewer.other_configs.remove(place);
        out.push(fewer);
        out.extend(nearer_to_default(&scenario.other_configs[place]).map(|config| {
            let mut nearer = scenario.clone();
            nearer.other_configs[place] = config;
            nearer
        }));
    }
    out.extend(
        nearer_to_default(&scenario.network)
            .map(|network| Scenario { network, ..scenario.clone() }),
    );
    for (place, step) in scenario.steps.iter().enumerate() {
        if let Operation::Network(network) = &step.operation {
            out.extend(nearer_to_default(network).map(|network| {
                let operation = Operation::Network(network);
                with_step(scenario, place, Step { at: step.at, operation })
            }));
        }
    }
    out
}

/// The default of a value, and then the value with each field reset that differs from the default.
fn nearer_to_default<T: Default + Serialize + DeserializeOwned>(
    value: &T,
) -> impl Iterator<Item = T> + use<T> {
    let [now, default] =
        [value, &T::default()].map(|value| Table::try_from(value).unwrap_or_default());
    let single = now.keys().filter(|key| now.get(*key) != default.get(*key)).map(|key| {
        let mut table = now.clone();
        match default.get(key) {
            Some(value) => table.insert(key.clone(), value.clone()),
            None => table.remove(key),
        };
        table
    });
    let tables: Vec<Table> = std::iter::once(default.clone()).chain(single).collect();
    tables.into_iter().filter_map(|table| table.try_into().ok())
}

/// Reduces the nodes to a half, to three quarters, or by one. Groups either keep their share of the
/// nodes, or keep those of their nodes that are left.
fn fewer_nodes(scenario: &Scenario) -> Vec<Scenario> {
    let nodes = scenario.nodes;
    let mut sizes = vec![nodes / 2, nodes * 3 / 4, nodes.saturating_sub(1)];
    sizes.retain(|&size| 0 < size && size < nodes);
    sizes.dedup();
    let fewer = |size: usize| {
        let scaled = |group: &Group| vec![group.scaled(nodes, size)];
        let steps = scenario.steps.iter().map(|step| each_group(step, &scaled));
        let steps = steps.map(|mut steps| steps.pop()).collect::<Option<Vec<Step>>>();
        let same = Scenario { nodes: size, ..scenario.clone() };
        steps.map(|steps| Scenario { steps, ..same.clone() }).into_iter().chain([same])
    };
    sizes.into_iter().flat_map(fewer).collect()
}

/// Makes groups smaller and numbers lower, and resets choices to their defaults.
fn smaller_steps(scenario: &Scenario) -> Vec<Scenario> {
    let mut out = Vec::new();
    for (place, step) in scenario.steps.iter().enumerate() {
        let mut operations = Vec::new();
        if let Operation::Restart { nodes, memory, place: at, rejoin } = &step.operation {
            let (memory, at, rejoin) = (*memory, *at, *rejoin);
            let restart = |memory, place, rejoin| {
                let nodes = nodes.clone();
                Operation::Restart { nodes, memory, place, rejoin }
            };
            operations.push(restart(Memory::default(), at, rejoin));
            operations.push(restart(memory, Place::default(), rejoin));
            operations.push(restart(memory, at, Rejoin::default()));
        }
        let steps = operations.into_iter().map(|operation| Step { at: step.at, operation });
        out.extend(
            steps.chain(leaves(step, &Group::smaller)).map(|step| with_step(scenario, place, step)),
        );
    }
    out
}

/// Moves steps to earlier times or to whole seconds, and shortens the run.
fn less_time(scenario: &Scenario) -> Vec<Scenario> {
    let mut out = Vec::new();
    let second = |time: Duration| Duration::from_secs(time.as_secs());
    let last = scenario.steps.iter().map(|step| step.at).max().unwrap_or_default();
    let left = scenario.duration.saturating_sub(last);
    for rest in [left / 8, left / 2, left * 7 / 8] {
        let duration = second(last + rest).max(Duration::from_secs(1));
        out.push(Scenario { duration, ..scenario.clone() });
    }
    // Shift each step with all later ones by a part of the time since the step before. The calm
    // phase at the end keeps its length.
    let mut times: Vec<Duration> = scenario.steps.iter().map(|step| step.at).collect();
    times.sort_unstable();
    times.dedup();
    let mut before = Duration::ZERO;
    for time in times {
        let gap = time - before;
        for gap in [gap, millis(gap / 2), millis(gap / 8)] {
            let earlier = |at: Duration| if at >= time { at - gap } else { at };
            let steps =
                scenario.steps.iter().map(|step| Step { at: earlier(step.at), ..step.clone() });
            let expect =
                Expectations { calm_from: earlier(scenario.expect.calm_from), ..scenario.expect };
            let duration = scenario.duration - gap;
            out.push(Scenario { steps: steps.collect(), expect, duration, ..scenario.clone() });
        }
        before = time;
    }
    let steps = scenario.steps.iter().map(|step| Step { at: second(step.at), ..step.clone() });
    out.push(Scenario { steps: steps.collect(), ..scenario.clone() });
    for (place, step) in scenario.steps.iter().enumerate() {
        out.push(with_step(scenario, place, Step { at: second(step.at), ..step.clone() }));
    }
    out
}

/// Removes all expectations that are not needed for the failure, since a smaller scenario need not
/// meet them.
pub(super) fn with_fewest_expectations(
    scenario: &Scenario,
    mut fails: impl FnMut(&Scenario) -> bool,
) -> Scenario {
    /// Keys that modify the other expectations.
    const TERMS: [&str; 2] = ["calm-from", "idle-steps"];
    let expect = Table::try_from(scenario.expect).unwrap_or_default();
    let with = |single: Option<&String>| {
        let kept = |key: &String| TERMS.contains(&key.as_str()) || Some(key) == single;
        let table: Table = expect.clone().into_iter().filter(|(key, _)| kept(key)).collect();
        table.try_into().map_or(scenario.expect, |expect: Expectations| expect)
    };
    let fewer = std::iter::once(None).chain(expect.keys().map(Some)).map(with);
    let fewer = fewer.flat_map(|expect| [Expectations { idle_steps: true, ..expect }, expect]);
    let mut candidates = fewer.map(|expect| Scenario { expect, ..scenario.clone() });
    candidates.find(|candidate| fails(candidate)).unwrap_or_else(|| scenario.clone())
}

/// Rounds a span down to whole milliseconds.
fn millis(span: Duration) -> Duration {
    Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// The scenario with one step replaced.
fn with_step(scenario: &Scenario, place: usize, step: Step) -> Scenario {
    let mut out = scenario.clone();
    out.steps[place] = step;
    out
}

/// The step with all of its groups mapped at once; empty if the result is not a step.
fn each_group(step: &Step, map: &dyn Fn(&Group) -> Vec<Group>) -> Vec<Step> {
    let Ok(mut tree) = Value::try_from(step) else { return Vec::new() };
    replace_groups(&mut tree, map);
    tree.try_into().into_iter().collect()
}

fn replace_groups(tree: &mut Value, map: &dyn Fn(&Group) -> Vec<Group>) {
    match tree {
        Value::String(text) => {
            if let Some(group) = text.parse().ok().and_then(|group| map(&group).pop()) {
                *text = group.to_string();
            }
        }
        Value::Table(table) => table.iter_mut().for_each(|(_, tree)| replace_groups(tree, map)),
        _ => {}
    }
}

/// All steps that differ in one leaf: a group is replaced by a smaller one, or a number by a lower
/// one.
fn leaves(step: &Step, smaller: &dyn Fn(&Group) -> Vec<Group>) -> Vec<Step> {
    let Ok(tree) = Value::try_from(step) else { return Vec::new() };
    one_leaf(&tree, smaller).into_iter().filter_map(|tree| tree.try_into().ok()).collect()
}

fn one_leaf(tree: &Value, smaller: &dyn Fn(&Group) -> Vec<Group>) -> Vec<Value> {
    match tree {
        Value::String(text) => {
            let groups = text.parse().map(|group| smaller(&group)).unwrap_or_default();
            groups.into_iter().map(|group| Value::String(group.to_string())).collect()
        }
        Value::Integer(number) if *number > 1 => {
            let mut lower = vec![1, number / 2, number - 1];
            lower.dedup();
            lower.into_iter().filter(|lower| lower < number).map(Value::Integer).collect()
        }
        Value::Table(table) => table
            .iter()
            .flat_map(|(key, leaf)| {
                one_leaf(leaf, smaller).into_iter().map(|leaf| {
                    let mut table = table.clone();
                    table.insert(key.clone(), leaf);
                    Value::Table(table)
                })
            })
            .collect(),
        _ => Vec::new(),
    }
}
