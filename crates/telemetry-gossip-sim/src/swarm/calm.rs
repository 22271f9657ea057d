//! What a scenario leaves behind at its end, and how long it is calm before.
//!
//! That a cluster becomes live again is only to be expected if it is given the chance: without the step that heals the network,
//! or with half of the time, every scenario fails. Who looks for the least that fails must not take these away.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::network::Network;
use crate::process::Rejoin;
use crate::scenario::{Group, Operation, Scenario};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Barrier,
    Network,
    Pause,
    Block,
    Slow,
    Crash,
    /// Nodes that have forgotten all others, and perhaps are forgotten.
    Apart,
    Config,
    Departure,
}

/// What a step does to the calm.
enum Effect {
    /// To these nodes; empty if it is not about nodes.
    Begins(Trouble, String),
    /// To these nodes; `None` for all.
    Ends(Trouble, Option<String>),
    /// It passes by itself.
    Passes,
}

/// How calm a scenario ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Calm {
    /// Troubles that no step ends, and whom they are about.
    left: BTreeMap<Trouble, Vec<String>>,
    /// From the last step that ends some to the end of the run.
    healed: Duration,
    /// From the last step of all to the end.
    rest: Duration,
    /// From the last step before the calm is said to begin until then.
    settling: Duration,
    /// From then on to the end, if that is said.
    calm: Duration,
}

impl Calm {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let mut steps: Vec<_> = scenario.steps.iter().collect();
        steps.sort_by_key(|step| step.at);
        let (mut left, mut healed) = (BTreeMap::<Trouble, Vec<String>>::new(), Duration::ZERO);
        if scenario.network != Network::default() {
            left.insert(Trouble::Network, vec![String::new()]);
        }
        for step in &steps {
            // Beside that it ends a crash.
            if let Operation::Restart { rejoin, .. } = &step.operation
                && *rejoin != Rejoin::Running
            {
                left.entry(Trouble::Apart).or_default().push(String::new());
            }
            match effect(&step.operation) {
                Effect::Begins(trouble, nodes) => left.entry(trouble).or_default().push(nodes),
                Effect::Ends(trouble, nodes) => {
                    healed = step.at;
                    let troubled = left.entry(trouble).or_default();
                    match nodes {
                        None => troubled.clear(),
                        Some(nodes) => {
                            let place = troubled.iter().position(|troubled| *troubled == nodes);
                            place.map(|place| troubled.remove(place));
                        }
                    }
                }
                Effect::Passes => {}
            }
        }
        let begins = scenario.expect.calm_from;
        let last = steps.last().map_or(Duration::ZERO, |step| step.at);
        let before = steps.iter().map(|step| step.at).filter(|at| *at < begins).max().unwrap_or_default();
        let until_end = |since| scenario.duration.saturating_sub(since);
        let calm = if begins.is_zero() { Duration::ZERO } else { until_end(begins) };
        let settling = begins.saturating_sub(before);
        Self { left, healed: until_end(healed), rest: until_end(last), settling, calm }
    }

    /// Whether who becomes live in `other` has at least as good a chance here.
    pub(super) fn is_as_calm_as(&self, other: &Self) -> bool {
        let troubles = |calm: &Self, trouble| calm.left.get(trouble).map_or(0, Vec::len);
        let none_more = self.left.keys().all(|trouble| troubles(self, trouble) <= troubles(other, trouble));
        let times = |calm: &Self| [calm.healed, calm.rest, calm.settling, calm.calm];
        none_more && times(self).iter().zip(times(other)).all(|(time, least)| *time >= least)
    }
}

/// Every operation by name: a new one has to say what it does.
fn effect(operation: &Operation) -> Effect {
    use Effect::Passes;
    let begins = |trouble, nodes: &Group| Effect::Begins(trouble, nodes.to_string());
    let ends = |trouble, nodes: &Group| {
        let nodes = nodes.to_string();
        let all = matches!(nodes.as_str(), "all" | "down" | "paused" | "blocked");
        Effect::Ends(trouble, (!all).then_some(nodes))
    };
    match operation {
        Operation::Crash(nodes) => begins(Trouble::Crash, nodes),
        Operation::Restart { nodes, .. } => ends(Trouble::Crash, nodes),
        Operation::Reunite {} => Effect::Ends(Trouble::Apart, None),
        Operation::Pause(nodes) => begins(Trouble::Pause, nodes),
        Operation::Resume(nodes) => ends(Trouble::Pause, nodes),
        Operation::Block(nodes) => begins(Trouble::Block, nodes),
        Operation::Unblock(nodes) => ends(Trouble::Block, nodes),
        Operation::Slow { nodes, by } if by.is_zero() => ends(Trouble::Slow, nodes),
        Operation::Slow { nodes, .. } => begins(Trouble::Slow, nodes),
        Operation::Partition { .. } | Operation::Cut { .. } | Operation::Lose { .. } | Operation::Ring(_) => {
            Effect::Begins(Trouble::Barrier, String::new())
        }
        Operation::Heal {} => Effect::Ends(Trouble::Barrier, None),
        Operation::Network(network) if *network == Network::default() => Effect::Ends(Trouble::Network, None),
        Operation::Network(_) => Effect::Begins(Trouble::Network, String::new()),
        // Who is not told of the latest config, or joins after it, is not let in.
        Operation::Configure(nodes) if nodes.to_string() == "all" => Effect::Ends(Trouble::Config, None),
        Operation::Configure(nodes) => begins(Trouble::Config, nodes),
        // Perhaps all have left, and then somebody has to come.
        Operation::Leave(nodes) => begins(Trouble::Departure, nodes),
        Operation::Join(_) => Effect::Ends(Trouble::Departure, None),
        Operation::Jump { .. }
        | Operation::Twin(_)
        | Operation::Ghosts { .. }
        | Operation::AcceptLoss(_)
        | Operation::Publish { .. } => Passes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_have_healed_must_not_be_missing_or_late() {
        let scenario = |steps: &str, duration: u64| {
            let text = format!("name = \"x\"\nnodes = 9\nduration = \"{duration}s\"\nsteps = [{steps}]");
            Scenario::from_toml(&text).unwrap()
        };
        let (crash, both) = ("{ at = \"1s\", crash = \"1\" }", "{ at = \"2s\", crash = \"2\" }");
        let (back, heal) =
            ("{ at = \"20s\", restart = { nodes = \"down\" } }", "{ at = \"20s\", heal = {} }");
        let alone = "{ at = \"20s\", restart = { nodes = \"down\", rejoin = \"alone\" } }";
        let split = "{ at = \"3s\", partition = { left = \"0..3\", right = \"3..9\" } }";
        let whole = Calm::of(&scenario(&format!("{crash}, {both}, {split}, {back}, {heal}"), 60));
        for (steps, duration, calm) in [
            (format!("{crash}, {split}, {back}, {heal}"), 60, true),
            (format!("{crash}, {back}"), 60, true),
            (String::new(), 40, true),
            (format!("{crash}, {split}, {back}, {heal}"), 59, false),
            (format!("{crash}, {split}, {back}"), 60, false),
            (crash.to_owned(), 60, false),
            (format!("{crash}, {}", "{ at = \"9s\", restart = { nodes = \"1\" } }"), 49, true),
            (format!("{crash}, {alone}"), 60, false),
            (format!("{crash}, {alone}, {}", "{ at = \"20s\", reunite = {} }"), 60, true),
        ] {
            let other = Calm::of(&scenario(&steps, duration));
            assert_eq!(other.is_as_calm_as(&whole), calm, "{steps} for {duration} s: {other:?}");
        }
    }

    #[test]
    fn the_calm_begins_as_long_after_the_last_trouble_and_lasts_as_long() {
        let calm = |at: u64, from: u64, duration: u64| {
            let text = format!(
                "name = \"x\"\nnodes = 9\nduration = \"{duration}s\"\nexpect = {{ calm-from = \"{from}s\" }}\n\
                 steps = [{{ at = \"{at}s\", ring = 1 }}, {{ at = \"{at}s\", heal = {{}} }}, {{ at = \"{from}s\", crash = \"1\" }}]"
            );
            Calm::of(&Scenario::from_toml(&text).unwrap())
        };
        let whole = calm(20, 30, 50);
        for ((at, from, duration), as_calm) in
            [((5, 15, 35), true), ((5, 14, 34), false), ((5, 15, 34), false), ((20, 31, 51), true)]
        {
            assert_eq!(calm(at, from, duration).is_as_calm_as(&whole), as_calm, "{at}, {from}, {duration}");
        }
    }
}
