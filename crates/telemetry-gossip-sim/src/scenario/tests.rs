//! Scenarios as files, and the built-in ones run.

use super::*;
use crate::run;

#[test]
fn every_built_in_scenario_bears_its_name_and_survives_being_written() {
    for name in Scenario::names() {
        let scenario = Scenario::named(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(scenario.name, name);
        assert!(!scenario.about.is_empty(), "{name} does not say what it shows");
        let text = scenario.to_toml();
        assert_eq!(Scenario::from_toml(&text).unwrap(), scenario, "{text}");
    }
}

#[test]
fn every_built_in_scenario_passes() {
    for name in Scenario::names() {
        for seed in 1..=3 {
            let report = run(&Scenario::named(name).unwrap(), seed).unwrap();
            assert!(report.passed(), "{report}");
        }
    }
}

#[test]
fn two_runs_of_one_seed_do_the_same_and_another_seed_something_else() {
    let scenario = Scenario::named("mixed").unwrap();
    let report = run(&scenario, 5).unwrap();
    assert_eq!(run(&scenario, 5).unwrap(), report);
    assert_ne!(run(&scenario, 6).unwrap().trace_hash, report.trace_hash);
}

#[test]
fn how_much_is_checked_does_not_change_what_happens() {
    let scenario = Scenario::named("mixed").unwrap();
    let hash = |checking| run_with(&scenario, 5, Options { checking }, |_| {}).unwrap().trace_hash;
    use crate::Checking;
    assert_eq!(hash(Checking::Every), hash(Checking::Off));
}

#[test]
fn an_expectation_that_fails_is_named_with_the_command_that_replays_it() {
    let scenario = Scenario::from_toml(
        r#"
        name = "hopeless"
        nodes = 4
        duration = "10s"
        steps = [{ at = "5s", crash = "2" }]
        expect = { known-within = "1ms" }
        "#,
    )
    .unwrap();
    let report = run(&scenario, 7).unwrap();
    assert!(!report.passed());
    let text = report.to_string();
    assert!(text.contains("tgossip sim hopeless --seed 7 --nodes 4 --duration 10s --loss 0%"), "{text}");
}

#[test]
fn progress_goes_from_nothing_to_the_end() {
    let scenario = Scenario::named("quiet").unwrap().with_nodes(3).with_duration(Duration::from_secs(2));
    let mut seen = Vec::new();
    run_with(&scenario, 1, Options::default(), |progress| seen.push(progress.at)).unwrap();
    assert!(seen.is_sorted() && seen[0].is_zero() && seen.last() == Some(&scenario.duration));
}

#[test]
fn what_is_wrong_with_a_scenario_is_said() {
    let refused = |text: &str| Scenario::from_toml(text).unwrap_err().to_string();
    let head = "name = \"x\"\nduration = \"10s\"\n";
    assert!(refused(&format!("{head}nodes = 0")).contains("at least 1 node"));
    assert!(
        refused(&format!("{head}nodes = 2\nsteps = [{{ at = \"11s\", crash = \"1\" }}]"))
            .contains("after the end")
    );
    assert!(
        refused(&format!("{head}nodes = 2\nsteps = [{{ at = \"1s\", crash = \"x\" }}]"))
            .contains("names no nodes")
    );
    assert!(refused(&format!("{head}nodes = 2\nconfig = {{ mtu = 3 }}")).contains("mtu"));
    assert!(refused(&format!("{head}nodes = 2\nnetwork = {{ loss = \"5\" }}")).contains("is no share"));
    assert!(Scenario::named("nope").unwrap_err().to_string().contains("quiet, join"));
}

#[test]
fn random_scenarios_are_of_all_kinds_and_survive_being_written() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let scenario = Scenario::swarm(seed);
        assert_eq!(scenario.validate(), Ok(()));
        assert_eq!(Scenario::from_toml(&scenario.to_toml()).unwrap(), scenario);
        for step in &scenario.steps {
            let name = format!("{:?}", step.operation);
            kinds.insert(name.split([' ', '(']).next().unwrap_or_default().to_owned());
        }
    }
    assert_eq!(kinds.len(), 12, "{kinds:?}");
    assert_eq!(Scenario::for_seed("swarm", 7).unwrap(), Scenario::swarm(7));
}
