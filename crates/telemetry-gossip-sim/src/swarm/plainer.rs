//! Scenarios that are a little plainer than a given one: with a step less, without a fault, with fewer nodes, in less time.
//!
//! Parts are taken as the tree of values that stands in a scenario file: a setting, a kind of fault or an operation that is added
//! is made plainer without a word here.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::process::{Memory, Place, Rejoin};
use crate::scenario::{Expectations, Group, Load, Operation, Scenario, Start, Step};

/// In the order in which they are tried: what takes most away comes first.
pub(super) const WAYS: [fn(&Scenario) -> Vec<Scenario>; 5] =
    [fewer_steps, fewer_faults, fewer_nodes, plainer_steps, less_time];

/// Steps are left out: halves, then quarters, down to single ones.
fn fewer_steps(scenario: &Scenario) -> Vec<Scenario> {
    let len = scenario.steps.len();
    let sizes = std::iter::successors(Some(len), |size| (*size > 1).then(|| size.div_ceil(2)));
    let chunks =
        sizes.flat_map(|size| (0..len).step_by(size.max(1)).map(move |begin| begin..(begin + size).min(len)));
    chunks
        .filter(|chunk| !chunk.is_empty())
        .map(|chunk| {
            let mut steps = scenario.steps.clone();
            steps.drain(chunk);
            Scenario { steps, ..scenario.clone() }
        })
        .collect()
}

/// The settings, the load, the drift and each kind of fault of the network are as they are by default.
fn fewer_faults(scenario: &Scenario) -> Vec<Scenario> {
    let plain = |load: Load| Load { bytes: load.bytes.min(8), keys: 1, ..load };
    let mut out = vec![
        Scenario { telemetry: None, ..scenario.clone() },
        Scenario { telemetry: scenario.telemetry.map(plain), ..scenario.clone() },
        Scenario { sealed: false, ..scenario.clone() },
        Scenario { clock_drift_ppm: 0, ..scenario.clone() },
        Scenario { start: Start::Known, ..scenario.clone() },
    ];
    out.extend(nearer_to_default(&scenario.config).map(|config| Scenario { config, ..scenario.clone() }));
    out.extend(nearer_to_default(&scenario.network).map(|network| Scenario { network, ..scenario.clone() }));
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

/// All of it as by default, then each field that is not.
fn nearer_to_default<T: Default + Serialize + DeserializeOwned>(
    value: &T,
) -> impl Iterator<Item = T> + use<T> {
    let [now, default] = [value, &T::default()].map(|value| Table::try_from(value).unwrap_or_default());
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

/// Half of the nodes, three quarters, one less; groups mean the same share of them, or whoever of theirs is left.
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

/// Groups are smaller, numbers lower, choices as by default.
fn plainer_steps(scenario: &Scenario) -> Vec<Scenario> {
    let mut out = Vec::new();
    for (place, step) in scenario.steps.iter().enumerate() {
        let mut plainer = Vec::new();
        if let Operation::Restart { nodes, memory, place: at, rejoin } = &step.operation {
            let (memory, at, rejoin) = (*memory, *at, *rejoin);
            let restart = |memory, place, rejoin| {
                let nodes = nodes.clone();
                Operation::Restart { nodes, memory, place, rejoin }
            };
            plainer.push(restart(Memory::default(), at, rejoin));
            plainer.push(restart(memory, Place::default(), rejoin));
            plainer.push(restart(memory, at, Rejoin::default()));
        }
        let steps = plainer.into_iter().map(|operation| Step { at: step.at, operation });
        out.extend(steps.chain(leaves(step, &Group::smaller)).map(|step| with_step(scenario, place, step)));
    }
    out
}

/// Steps come sooner, or at whole seconds, and the run ends sooner.
fn less_time(scenario: &Scenario) -> Vec<Scenario> {
    let mut out = Vec::new();
    let second = |time: Duration| Duration::from_secs(time.as_secs());
    let last = scenario.steps.iter().map(|step| step.at).max().unwrap_or_default();
    let left = scenario.duration.saturating_sub(last);
    for rest in [left / 8, left / 2, left * 7 / 8] {
        let duration = second(last + rest).max(Duration::from_secs(1));
        out.push(Scenario { duration, ..scenario.clone() });
    }
    // From each step on, all is earlier by half of the time since the one before; the calm at the end keeps its length.
    let mut times: Vec<Duration> = scenario.steps.iter().map(|step| step.at).collect();
    times.sort_unstable();
    times.dedup();
    let mut before = Duration::ZERO;
    for time in times {
        let gap = time - before;
        for gap in [gap, millis(gap / 2), millis(gap / 8)] {
            let earlier = |at: Duration| if at >= time { at - gap } else { at };
            let steps = scenario.steps.iter().map(|step| Step { at: earlier(step.at), ..step.clone() });
            let expect = Expectations { calm_from: earlier(scenario.expect.calm_from), ..scenario.expect };
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

/// The same with nothing expected but what fails: the rest need not hold in what is left of the scenario.
pub(super) fn expecting(scenario: &Scenario, mut fails: impl FnMut(&Scenario) -> bool) -> Scenario {
    /// What says how the others are meant.
    const TERMS: [&str; 2] = ["calm-from", "idle-steps"];
    let expect = Table::try_from(scenario.expect).unwrap_or_default();
    let with = |single: Option<&String>| {
        let kept = |key: &String| TERMS.contains(&key.as_str()) || Some(key) == single;
        let table: Table = expect.clone().into_iter().filter(|(key, _)| kept(key)).collect();
        table.try_into().map_or(scenario.expect, |expect: Expectations| expect)
    };
    let plainer = std::iter::once(None).chain(expect.keys().map(Some)).map(with);
    let plainer = plainer.flat_map(|expect| [Expectations { idle_steps: true, ..expect }, expect]);
    let plainer = plainer.map(|expect| Scenario { expect, ..scenario.clone() });
    plainer.into_iter().find(|plainer| fails(plainer)).unwrap_or_else(|| scenario.clone())
}

/// Down to whole milliseconds, as people write times.
fn millis(span: Duration) -> Duration {
    Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

fn with_step(scenario: &Scenario, place: usize, step: Step) -> Scenario {
    let mut out = scenario.clone();
    out.steps[place] = step;
    out
}

/// The step with each of its groups replaced by what it is mapped to, all at once; nothing if the result is no step.
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

/// The step with one of its leaves replaced, in every way: a group by a smaller one, a number by a lower one.
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
