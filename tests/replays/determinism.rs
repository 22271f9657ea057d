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
    ("crash", 1, 0x76d3a6594ce90a13),
    ("restart", 1, 0x411ffd7629b933fd),
    ("leave", 1, 0x129c15c5448f5538),
    ("pause", 1, 0x6b8fbe5476a7bf81),
    ("loss", 1, 0x717f3b89b338d4e7),
    ("split", 1, 0x1d1b6b6b9a2ddabd),
    ("partition", 1, 0xa5fd9f87c98712dd),
    ("churn", 1, 0x0a72f5261e01b3d7),
    ("block", 1, 0x0fbd4016b1f91197),
    ("mixed", 1, 0xbf5ba3efc7e8e119),
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
