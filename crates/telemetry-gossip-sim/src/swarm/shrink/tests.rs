//! Runs that fail, some for a planted reason, and what is left of them.

use std::time::Duration;

use super::super::attempt::Ran;
use super::*;
use crate::checker::{Rule, Violation};
use crate::network::Network;
use crate::process::{Memory, Place, Rejoin};
use crate::report::{Expectation, Report, Unmet};
use crate::scenario::{Operation, Overrides, Start, run};
use crate::units::Share;

const VIEWS: Fault = Fault::Unmet(Expectation::Views);
const NEWS: Fault = Fault::Unmet(Expectation::News);

fn sound() -> Report {
    run(&Scenario::named("quiet").unwrap().with_nodes(2).with_duration(Duration::from_secs(1)), 1).unwrap()
}

/// A run in which S3 is broken, and the views differ where that matters, if the scenario meets a condition.
fn planted(breaks: impl Fn(&Scenario, u64) -> bool + Sync) -> impl Fn(&Scenario, u64, bool) -> Ran + Sync {
    let sound = sound();
    move |scenario, seed, _| {
        let mut report = sound.clone();
        if breaks(scenario, seed) {
            let detail = "planted".to_owned();
            report.violations.push(Violation { rule: Rule::S3, at: Duration::ZERO, node: 0, detail });
            if scenario.expect.views_complete {
                report.failures.push(Unmet { expectation: Expectation::Views, what: "planted".to_owned() });
            }
        }
        Ok((report, Vec::new()))
    }
}

fn shrunk(run: Run<'_>, scenario: &Scenario, seed: u64, fault: Fault) -> Option<Shrunk> {
    shrink_by(run, scenario, seed, fault, |_| ControlFlow::Continue(()))
}

/// The first random scenario like this, and its seed.
fn swarm_with(wanted: impl Fn(&Scenario) -> bool) -> (Scenario, u64) {
    let mut all = (0..).map(|seed| (Scenario::swarm(seed), seed));
    all.find(|(scenario, _)| wanted(scenario)).unwrap()
}

fn partitions(scenario: &Scenario) -> usize {
    scenario.steps.iter().filter(|step| matches!(step.operation, Operation::Partition { .. })).count()
}

#[test]
fn what_is_left_is_what_breaks_the_rule_and_nothing_else() {
    let breaks = |scenario: &Scenario, _| {
        partitions(scenario) > 0 && scenario.nodes >= 4 && scenario.network.duplicate > Share::NONE
    };
    let full = |scenario: &Scenario| {
        breaks(scenario, 0)
            && scenario.steps.len() > 12
            && scenario.telemetry.is_some()
            && scenario.nodes > 12
    };
    let (scenario, seed) = swarm_with(full);
    let found = shrunk(&planted(breaks), &scenario, seed, Fault::Rule(Rule::S3)).unwrap();
    let Shrunk { scenario: left, runs, least, .. } = &found;
    assert!(*least && *runs < 300, "{runs} runs");
    assert_eq!(
        (left.steps.len(), left.nodes, left.duration),
        (1, 4, Duration::from_secs(1)),
        "{}",
        left.to_toml()
    );
    let Operation::Partition { left: one, right: other } = &left.steps[0].operation else {
        panic!("{}", left.to_toml())
    };
    assert_eq!(left.steps[0].at, Duration::ZERO);
    assert!(one.to_string().parse::<usize>().is_ok() && other.to_string().parse::<usize>().is_ok());
    let network = Network { duplicate: scenario.network.duplicate, ..Network::default() };
    assert_eq!((left.network, left.config, left.start), (network, Overrides::default(), Start::Known));
    assert_eq!((left.telemetry, left.clock_drift_ppm, left.expect.is_empty()), (None, 0, true));
}

#[test]
fn one_run_shrinks_to_one_result_and_its_file_fails_alike() {
    for seed in 0..6 {
        let mut scenario = Scenario::swarm(seed);
        scenario.expect.known_within = Some(Duration::from_millis(1));
        let Some(found) = shrunk(&simulate, &scenario, seed, NEWS) else { continue };
        assert_eq!(shrunk(&simulate, &scenario, seed, NEWS).as_ref(), Some(&found));
        let text = found.scenario.to_toml();
        assert!(found.least && found.scenario.steps.len() <= 2 && found.scenario.nodes <= 5, "{text}");
        let read = Scenario::from_toml(&text).unwrap();
        assert_eq!((&read, &read.seeds), (&found.scenario, &vec![found.seed]));
        assert!(Attempt::new(&simulate, &read, found.seed, false).shows(NEWS), "{text}");
    }
}

#[test]
fn what_ends_a_trouble_stays_as_long_as_the_trouble() {
    // A partition that never heals would make any views differ.
    let (scenario, seed) = swarm_with(|scenario| partitions(scenario) > 1 && scenario.steps.len() > 12);
    let run = planted(|scenario, _| partitions(scenario) > 0);
    let found = shrunk(&run, &scenario, seed, VIEWS).unwrap().scenario;
    let names: Vec<String> = found.steps.iter().map(|step| step.operation.name()).collect();
    assert_eq!(names, ["partition", "heal"]);
    let calm = Calm::of(&scenario);
    assert!(Calm::of(&found).is_as_calm_as(&calm) && !found.expect.is_empty(), "{}", found.to_toml());
}

#[test]
fn the_plainest_restart_joins_through_running_nodes_where_it_was_and_remembers_nothing() {
    let restarts = |scenario: &Scenario, plain: bool| {
        let plain = |operation: &Operation| {
            let Operation::Restart { memory, place, rejoin, .. } = operation else { return false };
            let now = (*memory, *place, *rejoin);
            (now == (Memory::Lost, Place::Same, Rejoin::Running)) == plain
        };
        scenario.steps.iter().any(|step| plain(&step.operation))
    };
    let (scenario, seed) = swarm_with(|scenario| restarts(scenario, false));
    let run = planted(move |scenario, _| restarts(scenario, true) || restarts(scenario, false));
    let found = shrunk(&run, &scenario, seed, Fault::Rule(Rule::S3)).unwrap().scenario;
    assert!(found.steps.len() == 1 && restarts(&found, true), "{}", found.to_toml());
}

#[test]
fn another_seed_will_do_if_the_same_one_no_longer_fails() {
    let (scenario, seed) = swarm_with(|scenario| scenario.steps.len() > 5);
    let all = scenario.steps.len();
    let run = planted(|left, at| left.steps.len() == all || at == seed + 2);
    let found = shrunk(&run, &scenario, seed, Fault::Rule(Rule::S3)).unwrap();
    assert_eq!((found.scenario.steps.len(), found.seed), (0, seed + 2));
}

#[test]
fn it_ends_when_it_is_told_to_or_has_run_often_enough() {
    let (scenario, seed) = swarm_with(|scenario| scenario.steps.len() > 5);
    let run = planted(|_, _| true);
    let stop = |watched: Shrinking| {
        if watched.runs == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let found = shrink_by(&run, &scenario, seed, Fault::Rule(Rule::S3), stop).unwrap();
    assert_eq!((found.runs, found.least), (3, false));
    // Steps that can be left out only one by one, from the last on.
    let steps = (1..=400).map(|second| format!("{{ at = \"{second}s\", join = 1 }},")).collect::<String>();
    let long = format!("name = \"long\"\nnodes = 2\nduration = \"500s\"\nsteps = [{steps}]");
    let long = Scenario::from_toml(&long).unwrap();
    let run = planted(|left, _| left.steps == long.steps[..left.steps.len()]);
    let found = shrunk(&run, &long, 1, Fault::Rule(Rule::S3)).unwrap();
    assert!(found.runs <= MOST_RUNS);
}

#[test]
fn what_does_not_fail_is_not_shrunk() {
    let quiet = Scenario::named("quiet").unwrap().with_nodes(3);
    assert_eq!(shrunk(&simulate, &quiet, 1, VIEWS), None);
}
