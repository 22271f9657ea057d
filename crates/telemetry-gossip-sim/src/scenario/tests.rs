//! Scenarios as files, and runs of the built-in ones.

use telemetry_gossip_core::{DetectorFeatures, SuspicionTimeout};

use super::*;
use crate::liar::LieKind;
use crate::run;

#[test]
fn every_built_in_scenario_has_its_name_and_survives_being_written_and_read() {
    for name in Scenario::names() {
        let scenario = Scenario::named(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(scenario.name, name);
        assert!(!scenario.about.is_empty(), "{name} has no description");
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
fn equal_seeds_give_equal_runs_and_different_seeds_different_ones() {
    let scenario = Scenario::named("mixed").unwrap();
    let report = run(&scenario, 5).unwrap();
    assert_eq!(run(&scenario, 5).unwrap(), report);
    assert_ne!(run(&scenario, 6).unwrap().trace_hash, report.trace_hash);
}

#[test]
fn checking_does_not_influence_a_run() {
    let scenario = Scenario::named("mixed").unwrap();
    let hash = |checking| {
        run_with(&scenario, 5, Options::default().checking(checking), |_| {}).unwrap().trace_hash
    };
    use crate::Checking;
    assert_eq!(hash(Checking::Every), hash(Checking::Off));
}

#[test]
fn a_failing_report_contains_the_command_that_replays_the_run() {
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
    assert!(
        text.contains("tgossip sim hopeless --seed 7 --nodes 4 --duration 10s --loss 0%"),
        "{text}"
    );
}

#[test]
fn a_step_without_effect_fails_the_run_unless_idle_steps_are_allowed() {
    let steps = [
        "crash = \"7\"",
        "restart = { nodes = \"all\" }",
        "pause = \"random 10%\"",
        "resume = \"all\"",
        "leave = \"down\"",
        "join = 0",
        "publish = { nodes = \"7\", key = \"k\", value = \"v\" }",
        "partition = { left = \"first 0%\", right = \"all\" }",
        "cut = { from = \"1\", to = \"1\" }",
        "lose = { from = \"1\", to = \"9\", loss = \"50%\" }",
        "ring = 1",
        "reunite = {}",
    ];
    for step in steps {
        let scenario = |allowed: bool| {
            Scenario::from_toml(&format!(
                "name = \"x\"\nnodes = 3\nduration = \"5s\"\nsteps = [{{ at = \"1s\", {step} }}]\n\
                 expect = {{ idle-steps = {allowed} }}"
            ))
            .unwrap()
        };
        let report = run(&scenario(false), 1).unwrap();
        assert!(
            !report.passed() && report.failures[0].what.contains("had no effect"),
            "{step}: {report}"
        );
        let word = step.split(' ').next().unwrap();
        assert!(report.failures[0].what.contains(word), "{report}");
        assert!(run(&scenario(true), 1).unwrap().passed(), "{step}");
    }
}

#[test]
fn news_without_an_audience_fails_the_run() {
    let scenario = Scenario::from_toml(
        r#"
        name = "alone"
        nodes = 1
        duration = "10s"
        steps = [{ at = "5s", crash = "0" }]
        expect = { views-complete = true, known-within = "5s" }
        "#,
    )
    .unwrap();
    let failures = run(&scenario, 1).unwrap().failures;
    assert_eq!(failures.len(), 2, "{failures:?}");
    assert!(
        failures[0].what.contains("no node takes part")
            && failures[1].what.contains("no node had to learn"),
        "{failures:?}"
    );
}

#[test]
fn a_step_between_two_microseconds_is_performed() {
    let scenario = Scenario::from_toml(
        "name = \"x\"\nnodes = 3\nduration = \"2s 1ns\"\n\
         steps = [{ at = \"1s 1500ns\", crash = \"1\" }]",
    )
    .unwrap();
    let report = run(&scenario, 1).unwrap();
    assert_eq!(report.operations.get("crash"), Some(&1), "{report}");
}

#[test]
fn a_restarted_node_joins_through_running_nodes_by_default() {
    let file = |restart: &str| {
        let text = format!(
            "name = \"x\"\nnodes = 3\nduration = \"5s\"\n\
             steps = [{{ at = \"1s\", restart = {{ {restart} }} }}]"
        );
        Scenario::from_toml(&text).map(|scenario| scenario.steps[0].operation.clone())
    };
    for (text, expected) in [
        ("", Rejoin::Running),
        (", rejoin = \"running\"", Rejoin::Running),
        (", rejoin = \"alone\"", Rejoin::Alone),
        (", rejoin = \"old-seeds\"", Rejoin::OldSeeds),
        (", rejoin = \"file\"", Rejoin::File),
    ] {
        let operation = file(&format!("nodes = \"1\"{text}")).unwrap();
        assert!(
            matches!(operation, Operation::Restart { rejoin, .. } if rejoin == expected),
            "{text}"
        );
    }
    assert!(file("nodes = \"1\", rejoin = \"seeds\"").is_err());
}

#[test]
fn progress_goes_from_zero_to_the_duration() {
    let scenario =
        Scenario::named("quiet").unwrap().with_nodes(3).with_duration(Duration::from_secs(2));
    let mut seen = Vec::new();
    run_with(&scenario, 1, Options::default(), |progress| seen.push(progress.at)).unwrap();
    assert!(seen.is_sorted() && seen[0].is_zero() && seen.last() == Some(&scenario.duration));
}

#[test]
fn an_invalid_scenario_is_refused_with_the_reason() {
    let refused = |text: &str| Scenario::from_toml(text).unwrap_err().to_string();
    let head = "name = \"x\"\nduration = \"10s\"\n";
    assert!(refused(&format!("{head}nodes = 0")).contains("at least 1 node"));
    let crowd = refused(&format!("{head}nodes = 4000\nsteps = [{{ at = \"1s\", join = 1000 }}]"));
    assert!(
        crowd.contains("5000 nodes hold 5000 rows each") && crowd.contains("at most 3276"),
        "{crowd}"
    );
    let load = "telemetry = { every = \"1ms\", bytes = 1 }";
    let chatty = refused(&format!("name = \"x\"\nduration = \"30days\"\nnodes = 2\n{load}"));
    assert!(chatty.contains("the publications of 30days"), "{chatty}");
    for duration in ["0s", "900ms", "31days", "10000years"] {
        let said = refused(&format!("name = \"x\"\nduration = \"{duration}\"\nnodes = 2"));
        assert!(said.contains("a run takes 1s to 30days"), "{said}");
    }
    let late = refused(&format!("{head}nodes = 2\nsteps = [{{ at = \"11s\", crash = \"1\" }}]"));
    assert!(late.contains("ends at 10s") && late.contains("needs at least 11s"), "{late}");
    let hasty =
        "nodes = 2\nsteps = [{ at = \"9s\", crash = \"1\" }]\nexpect = { known-within = \"3s\" }";
    let hasty = refused(&format!("{head}{hasty}"));
    assert!(hasty.contains("may take 3s to spread: it needs at least 12s"), "{hasty}");
    assert!(
        refused(&format!("{head}nodes = 2\nsteps = [{{ at = \"1s\", crash = \"x\" }}]"))
            .contains("names no nodes")
    );
    assert!(refused(&format!("{head}nodes = 2\nconfig = {{ mtu = 3 }}")).contains("mtu"));
    assert!(
        refused(&format!("{head}nodes = 2\nnetwork = {{ loss = \"5\" }}"))
            .contains("is not a share")
    );
    assert!(Scenario::named("nope").unwrap_err().to_string().contains("quiet, join"));
}

#[test]
fn random_scenarios_use_all_operations_and_survive_being_written_and_read() {
    let mut kinds = std::collections::BTreeSet::new();
    let mut rejoins = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let scenario = Scenario::swarm(seed);
        assert_eq!(scenario.validate(), Ok(()));
        assert_eq!(Scenario::from_toml(&scenario.to_toml()).unwrap(), scenario);
        for step in &scenario.steps {
            let name = format!("{:?}", step.operation);
            kinds.insert(name.split([' ', '(']).next().unwrap_or_default().to_owned());
            if let Operation::Restart { rejoin, .. } = &step.operation {
                rejoins.insert((format!("{rejoin:?}"), scenario.nodes.min(5)));
            }
        }
    }
    assert_eq!(kinds.len(), 31, "{kinds:?}");
    // All four ways to rejoin occur in clusters of 1, 2, 3, 4 and more nodes.
    assert_eq!(rejoins.len(), 4 * 5, "{rejoins:?}");
    assert_eq!(Scenario::for_seed("swarm", 7).unwrap(), Scenario::swarm(7));
}

#[test]
fn settings_can_be_overridden_in_a_file() {
    let read = |config: &str| {
        Scenario::from_toml(&format!(
            "name = \"x\"\nnodes = 2\nduration = \"10s\"\n[config]\n{config}"
        ))
    };
    let scenario = read(
        "suspicion-multiplier-percent = 500\nsuspicion-max-multiplier = 6\n\
         detector = { retries = false, roll-calls = false }\n\
         join-timeout = \"9s\"\nmax-telemetry = 100",
    )
    .unwrap();
    let config = scenario.config.config();
    assert_eq!(
        config.suspicion,
        SuspicionTimeout::Scaled { multiplier_percent: 500, max_multiplier: 6 }
    );
    assert_eq!(config.detector, DetectorFeatures::default().retries(false).roll_calls(false));
    assert_eq!((config.join_timeout, config.max_telemetry), (Duration::from_secs(9), 100));
    assert_eq!(Scenario::from_toml(&scenario.to_toml()).unwrap(), scenario);
    let both = read("suspicion = \"2s\"\nsuspicion-max-multiplier = 6").unwrap_err();
    assert_eq!(both, ScenarioError::Suspicion);
    assert!(
        read("detector = { retry = false }").unwrap_err().to_string().contains("unknown field")
    );
}

/// Runs a scenario with `what` added, which is calm after 30 s, and returns its failures.
fn failures_in_calm(what: &str) -> Vec<String> {
    let text = format!(
        r#"
        name = "calm"
        nodes = 8
        start = "known"
        duration = "60s"
        {what}
        [expect]
        views-complete = true
        no-false-dead = true
        calm-from = "30s"
        known-within = "10s"
        telemetry-within = "10s"
        quiet-below = 200
        "#
    );
    let report = run(&Scenario::from_toml(&text).unwrap(), 1).unwrap();
    assert_eq!(report.violations_found, 0, "{report}");
    report.failures.into_iter().map(|unmet| unmet.what).collect()
}

#[test]
fn a_lie_in_a_file_says_who_lies_about_whom_and_how_often() {
    let read = |lie: &str| {
        Scenario::from_toml(&format!(
            "name = \"x\"\nnodes = 3\nduration = \"5s\"\n\
             steps = [{{ at = \"1s\", lie = {{ {lie} }} }}, {{ at = \"2s\", stop-lying = {{}} }}]"
        ))
    };
    let least = "kind = \"ladder\", about = \"1\", to = \"all\", every = \"300ms\"";
    let scenario = read(least).unwrap();
    let (about, to) = ("1".parse().unwrap(), "all".parse().unwrap());
    let lie = Lie::new(LieKind::Ladder, about, to, Duration::from_millis(300));
    assert_eq!(scenario.steps[0].operation, Operation::Lie(lie));
    assert_eq!(scenario.steps[1].operation, Operation::StopLying {});
    let all = format!("{least}, count = 5, member = true, key = true");
    let scenario = read(&all).unwrap();
    assert_eq!(Scenario::from_toml(&scenario.to_toml()).unwrap(), scenario);
    assert!(read(&least.replace("ladder", "rope")).is_err());
}

/// Runs liars, of which the last may go on, with ten seeds, and returns the failures of all runs.
fn failures_after_lies(what: &str) -> Vec<String> {
    let text = format!(
        r#"
        name = "lies"
        nodes = 6
        start = "known"
        duration = "150s"
        {what}
        [expect]
        views-complete = true
        alive-within = "60s"
        "#
    );
    let scenario = Scenario::from_toml(&text).unwrap();
    let runs = (1..=10).flat_map(|seed| {
        let report = run(&scenario, seed).unwrap();
        assert_eq!(report.violations_found, 0, "{report}");
        report.failures.into_iter().map(|unmet| unmet.what)
    });
    runs.collect()
}

#[test]
fn what_lies_leave_behind_is_caught() {
    let rival =
        r#"{ at = "1s", lie = { kind = "rival", about = "2", to = "all", every = "200ms" } }"#;
    let away = r#"{ at = "5s", crash = "2" }, { at = "25s", restart = { nodes = "2" } }"#;
    let stop = r#"{ at = "40s", stop-lying = {} }"#;
    assert_eq!(failures_after_lies(&format!("steps = [{rival}, {away}, {stop}]")), [""; 0]);
    let caught = |what: &str, word: &str| {
        let failures = failures_after_lies(what);
        assert!(failures.iter().any(|failure| failure.contains(word)), "{what}: {failures:?}");
    };
    // A node that does not get its id back: it yields to a second process, and waits for it when
    // that has just crashed.
    let twin = r#"{ at = "10s", twin = "2" }, { at = "149s", crash = "6" }"#;
    caught(&format!("steps = [{rival}, {away}, {stop}, {twin}]"), "at the end n2 runs");
    // A member that the others do not hold Alive, for whatever reason.
    let cut = r#"{ at = "39s", cut = { from = "3", to = "all" } }"#;
    caught(&format!("steps = [{rival}, {cut}, {stop}]"), "in time after the last lie, n");
}

#[test]
fn missing_liveness_in_the_calm_phase_is_caught() {
    let crash = r#"steps = [{ at = "31s", crash = "3" }]"#;
    assert_eq!(failures_in_calm(crash), [""; 0]);
    let caught = |what: &str, word: &str| {
        let failures = failures_in_calm(what);
        assert!(failures.iter().any(|failure| failure.contains(word)), "{what}: {failures:?}");
    };
    // L1: a detector that is slower than expected.
    caught(&format!("{crash}\nconfig = {{ suspicion = \"40s\" }}"), "the crash of n3");
    // L2: news that does not spread.
    let cut = r#"{ at = "29s", cut = { from = "2", to = "all" } }"#;
    let publish = r#"{ at = "31s", publish = { nodes = "2", key = "k", value = "v" } }"#;
    caught(&format!("steps = [{cut}, {publish}]"), "the telemetry of n2");
    // L3, L7: a suspicion that leaves no time to refute, on a network that needs it.
    let hasty = "network = { loss = \"25%\" }\n\
                 config = { suspicion = \"400ms\", indirect-probes = 0, \
                 detector = { retries = false, roll-calls = false, status-pings = false, \
                 flap-damping = false } }";
    caught(hasty, "were declared Dead");
    // L4: a partition that does not heal. L5: nodes that do not find the others after a restart.
    caught(
        r#"steps = [{ at = "10s", partition = { left = "0..3", right = "3..8" } }]"#,
        "not all views",
    );
    // L6: a cluster that is never quiet.
    caught(
        "config = { probe-interval = \"100ms\", probe-timeout = \"30ms\", \
         gossip-interval = \"50ms\" }",
        "at the end nodes send",
    );
}
