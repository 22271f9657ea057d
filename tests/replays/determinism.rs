//! Pinned trace hashes: a seed gives the same hash in debug and release builds and on every
//! platform.
//!
//! A change of the protocol changes the hashes. In this case, run the test and copy the new hashes
//! that it prints. If two builds of the same source differ, something in a run is not a function of
//! the seed, which is a defect.

use telemetry_gossip_sim::{Checking, Options, Scenario, run, run_with};

/// Scenario, seed, and the hash over all inputs and outputs of all nodes.
const PINNED: [(&str, u64, u64); 12] = [
    ("quiet", 1, 0x8beb8598522b87c1),
    ("join", 1, 0x43c8927471fb963a),
    ("crash", 1, 0x0039f426a6ef1ae9),
    ("restart", 1, 0x9e0d7d8986669de4),
    ("leave", 1, 0x580ae0fa48dfb33e),
    ("pause", 1, 0x0641c3807eca8d2e),
    ("loss", 1, 0x5f4ff6d74c296472),
    ("split", 1, 0xeb0bc10d2c6b658f),
    ("partition", 1, 0x9912cd24cf6aa7d0),
    ("churn", 1, 0x07a25ede743ed57a),
    ("block", 1, 0x344a1c22c7ad9f0d),
    ("mixed", 1, 0x12645bb03418bac3),
];

#[test]
fn trace_hashes_equal_the_pinned_ones() {
    let now: Vec<(&str, u64, u64)> =
        PINNED.iter().map(|&(name, seed, _)| (name, seed, hash(name, seed))).collect();
    let lines: String = now
        .iter()
        .map(|(name, seed, hash)| format!("    (\"{name}\", {seed}, {hash:#018x}),\n"))
        .collect();
    assert!(now == PINNED, "the new hashes are\n{lines}");
}

fn hash(name: &str, seed: u64) -> u64 {
    let scenario = Scenario::named(name).expect("it is built in");
    run(&scenario, seed).expect("it is valid").trace_hash
}

#[test]
fn every_built_in_scenario_is_pinned() {
    assert!(Scenario::names().all(|name| PINNED.iter().any(|&(pinned, ..)| pinned == name)));
}

#[test]
fn two_runs_of_one_seed_give_equal_reports() {
    let scenario = Scenario::named("mixed").expect("it is built in");
    for seed in 0..5 {
        let report = run(&scenario, seed).expect("it is valid");
        assert_eq!(run(&scenario, seed).expect("it is valid"), report, "seed {seed}");
    }
}

#[test]
fn checking_does_not_influence_a_run() {
    let scenario = Scenario::named("churn").expect("it is built in");
    let hash = |checking| {
        run_with(&scenario, 3, Options::default().checking(checking), |_| {})
            .expect("it is valid")
            .trace_hash
    };
    assert_eq!(hash(Checking::Every), hash(Checking::Off));
}
