//! The quiescence of a scenario: which disturbances are left at its end, and how long it is calm
//! before.
//!
//! Liveness can be expected only of a cluster that gets the chance: without the step that heals the
//! network, or with half of the time, any scenario would fail. Shrinking must not remove these.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::network::Network;
use crate::process::Rejoin;
use crate::scenario::{Group, Operation, Scenario};

/// A kind of disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Disturbance {
    Barrier,
    Network,
    Pause,
    Block,
    Slow,
    LateTicks,
    /// An address that leads nowhere.
    Address,
    Crash,
    /// Restarted nodes that know no other node, and that perhaps no other node knows.
    Apart,
    Config,
    Departure,
    Lie,
    /// Members that answered and are silent now, or that left unheard: nodes may consider
    /// themselves isolated, until their hosts accept the loss.
    Loss,
}

/// The effect of a step on the quiescence.
enum Effect {
    /// Begins a disturbance of these nodes; the text is empty if it is not about nodes.
    Begins(Disturbance, String),
    /// Ends a disturbance of these nodes; `None` for all nodes.
    Ends(Disturbance, Option<String>),
    /// Disturbs nodes only for a moment.
    Passes,
}

/// The quiescence at the end of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quiescence {
    /// Disturbances that no step ends, with the nodes that they are about.
    left: BTreeMap<Disturbance, Vec<String>>,
    /// The time from the last step that ends a disturbance to the end of the run.
    healed: Duration,
    /// The time from the last step to the end of the run.
    rest: Duration,
    /// The time from the last step before the calm phase to the beginning of that phase.
    settling: Duration,
    /// The length of the calm phase; zero if the scenario has none.
    calm: Duration,
    /// The time from the last step before all nodes have to hold each other Alive to that time; the
    /// longest there is if they need not.
    recovery: Duration,
}

impl Quiescence {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let mut steps: Vec<_> = scenario.steps.iter().collect();
        steps.sort_by_key(|step| step.at);
        let (mut left, mut healed) = (BTreeMap::<Disturbance, Vec<String>>::new(), Duration::ZERO);
        if scenario.network != Network::default() {
            left.insert(Disturbance::Network, vec![String::new()]);
        }
        for step in &steps {
            // In addition to ending a crash.
            if let Operation::Restart { rejoin, .. } = &step.operation
                && *rejoin != Rejoin::Running
            {
                left.entry(Disturbance::Apart).or_default().push(String::new());
            }
            let loses = match &step.operation {
                Operation::Lie(lie) => lie.answering() > 0,
                Operation::Leave(_) => true,
                _ => false,
            };
            if loses {
                left.entry(Disturbance::Loss).or_default().push(String::new());
            }
            match effect(&step.operation) {
                Effect::Begins(kind, nodes) => left.entry(kind).or_default().push(nodes),
                Effect::Ends(kind, nodes) => {
                    healed = step.at;
                    let nodes_left = left.entry(kind).or_default();
                    match nodes {
                        None => nodes_left.clear(),
                        Some(nodes) => {
                            let place =
                                nodes_left.iter().position(|nodes_left| *nodes_left == nodes);
                            place.map(|place| nodes_left.remove(place));
                        }
                    }
                }
                Effect::Passes => {}
            }
        }
        let begins = scenario.expect.calm_from;
        let last = steps.last().map_or(Duration::ZERO, |step| step.at);
        let since_last_step = |time: Duration| {
            let before = steps.iter().map(|step| step.at).filter(|at| *at < time).max();
            time.saturating_sub(before.unwrap_or_default())
        };
        let until_end = |since| scenario.duration.saturating_sub(since);
        let calm = if begins.is_zero() { Duration::ZERO } else { until_end(begins) };
        Self {
            left,
            healed: until_end(healed),
            rest: until_end(last),
            settling: since_last_step(begins),
            calm,
            recovery: scenario.alive_by().map_or(Duration::MAX, since_last_step),
        }
    }

    /// Whether a cluster has at least as good a chance to become live as with `other`: no kind of
    /// disturbance is more frequent, and no time is shorter.
    pub(super) fn is_at_least(&self, other: &Self) -> bool {
        let count = |of: &Self, kind| of.left.get(kind).map_or(0, Vec::len);
        let none_more = self.left.keys().all(|kind| count(self, kind) <= count(other, kind));
        let times = |of: &Self| [of.healed, of.rest, of.settling, of.calm, of.recovery];
        none_more && times(self).iter().zip(times(other)).all(|(time, least)| *time >= least)
    }
}

/// The effect of an operation. The match has no wildcard, so that a new operation must be
/// classified.
fn effect(operation: &Operation) -> Effect {
    use Effect::Passes;
    let begins = |kind, nodes: &Group| Effect::Begins(kind, nodes.to_string());
    let ends = |kind, nodes: &Group| {
        let nodes = nodes.to_string();
        let all = matches!(nodes.as_str(), "all" | "down" | "paused" | "blocked");
        Effect::Ends(kind, (!all).then_some(nodes))
    };
    match operation {
        Operation::Crash(nodes) => begins(Disturbance::Crash, nodes),
        Operation::Restart { nodes, .. } => ends(Disturbance::Crash, nodes),
        Operation::Reunite {} => Effect::Ends(Disturbance::Apart, None),
        Operation::Pause(nodes) => begins(Disturbance::Pause, nodes),
        Operation::Resume(nodes) => ends(Disturbance::Pause, nodes),
        Operation::Block(nodes) => begins(Disturbance::Block, nodes),
        Operation::Unblock(nodes) => ends(Disturbance::Block, nodes),
        Operation::LoseAddress(nodes) => begins(Disturbance::Address, nodes),
        Operation::RegainAddress(nodes) => ends(Disturbance::Address, nodes),
        Operation::Slow { nodes, by } if by.is_zero() => ends(Disturbance::Slow, nodes),
        Operation::Slow { nodes, .. } => begins(Disturbance::Slow, nodes),
        Operation::LateTicks { nodes, by } if by.is_zero() => ends(Disturbance::LateTicks, nodes),
        Operation::LateTicks { nodes, .. } => begins(Disturbance::LateTicks, nodes),
        Operation::Partition { .. }
        | Operation::Cut { .. }
        | Operation::Lose { .. }
        | Operation::Ring(_) => Effect::Begins(Disturbance::Barrier, String::new()),
        Operation::Heal {} => Effect::Ends(Disturbance::Barrier, None),
        Operation::Network(network) if *network == Network::default() => {
            Effect::Ends(Disturbance::Network, None)
        }
        Operation::Network(_) => Effect::Begins(Disturbance::Network, String::new()),
        // A node without the latest config, or that joins after it, is not admitted.
        Operation::Configure(nodes) if nodes.to_string() == "all" => {
            Effect::Ends(Disturbance::Config, None)
        }
        Operation::Configure(nodes) => begins(Disturbance::Config, nodes),
        // Perhaps all nodes have left, and then a new one must join.
        Operation::Leave(nodes) => begins(Disturbance::Departure, nodes),
        Operation::Join(_) | Operation::JoinLong(_) => Effect::Ends(Disturbance::Departure, None),
        Operation::Lie(_) => Effect::Begins(Disturbance::Lie, String::new()),
        Operation::StopLying {} => Effect::Ends(Disturbance::Lie, None),
        Operation::AcceptLoss(_) => Effect::Ends(Disturbance::Loss, None),
        Operation::Jump { .. }
        | Operation::Save(_)
        | Operation::Replace(_)
        | Operation::Storm { .. }
        | Operation::SendElsewhere(_)
        | Operation::Twin(_)
        | Operation::Ghosts { .. }
        | Operation::Publish { .. } => Passes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_ends_a_disturbance_must_not_be_missing_or_late() {
        let scenario = |steps: &str, duration: u64| {
            let text =
                format!("name = \"x\"\nnodes = 9\nduration = \"{duration}s\"\nsteps = [{steps}]");
            Scenario::from_toml(&text).unwrap()
        };
        let (crash, both) = ("{ at = \"1s\", crash = \"1\" }", "{ at = \"2s\", crash = \"2\" }");
        let (back, heal) =
            ("{ at = \"20s\", restart = { nodes = \"down\" } }", "{ at = \"20s\", heal = {} }");
        let alone = "{ at = \"20s\", restart = { nodes = \"down\", rejoin = \"alone\" } }";
        let split = "{ at = \"3s\", partition = { left = \"0..3\", right = \"3..9\" } }";
        let whole =
            Quiescence::of(&scenario(&format!("{crash}, {both}, {split}, {back}, {heal}"), 60));
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
            let other = Quiescence::of(&scenario(&steps, duration));
            assert_eq!(other.is_at_least(&whole), calm, "{steps} for {duration} s: {other:?}");
        }
    }

    #[test]
    fn the_calm_phase_keeps_its_distance_to_disturbances_and_its_length() {
        let calm = |at: u64, from: u64, duration: u64| {
            let text = format!(
                "name = \"x\"\nnodes = 9\nduration = \"{duration}s\"\n\
                 expect = {{ calm-from = \"{from}s\" }}\n\
                 steps = [{{ at = \"{at}s\", ring = 1 }}, {{ at = \"{at}s\", heal = {{}} }}, \
                 {{ at = \"{from}s\", crash = \"1\" }}]"
            );
            Quiescence::of(&Scenario::from_toml(&text).unwrap())
        };
        let whole = calm(20, 30, 50);
        for ((at, from, duration), as_calm) in
            [((5, 15, 35), true), ((5, 14, 34), false), ((5, 15, 34), false), ((20, 31, 51), true)]
        {
            assert_eq!(
                calm(at, from, duration).is_at_least(&whole),
                as_calm,
                "{at}, {from}, {duration}"
            );
        }
    }

    #[test]
    fn nodes_keep_their_time_to_recover_from_lies() {
        let lies = |end: u64, reunited: u64, accepted: bool| {
            let accept = if accepted { "{ at = \"25s\", accept-loss = \"running\" }" } else { "" };
            let lie = "kind = \"newcomers\", about = \"1\", to = \"all\", every = \"1s\"";
            let text = format!(
                "name = \"x\"\nnodes = 9\nduration = \"90s\"\n\
                 expect = {{ alive-within = \"30s\" }}\n\
                 steps = [{{ at = \"1s\", lie = {{ {lie} }} }}, \
                 {{ at = \"{end}s\", stop-lying = {{}} }}, \
                 {{ at = \"{reunited}s\", reunite = {{}} }}, {accept}]"
            );
            Quiescence::of(&Scenario::from_toml(&text).unwrap())
        };
        let whole = lies(20, 26, true);
        assert!(lies(22, 24, true).is_at_least(&whole));
        assert!(!lies(0, 29, true).is_at_least(&whole), "the nodes are reunited too late");
        assert!(!lies(20, 26, false).is_at_least(&whole), "the loss is accepted by no host");
    }
}
