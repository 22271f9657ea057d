//! Pinned trace hashes: a seed gives the same hash in debug and release builds and on every
//! platform.
//!
//! A change of the protocol changes the hashes. In this case, run the test and copy the new hashes
//! that it prints. If two builds of the same source differ, something in a run is not a function of
//! the seed, which is a defect.

use telemetry_gossip_sim::{Checking, Options, Scenario, run, run_with};

/// Scenario, seed, and the hash over all inputs and outputs of all nodes.
const PINNED: [(&str, u64, u64); 12] = [
    ("quiet", 1, 0x228e_b96f_21d3_f103),
    ("join", 1, 0x2fd3_9369_4b5d_9477),
    ("crash", 1, 0x5c7e_0d7c_ed14_969e),
    ("restart", 1, 0x4b9a_1f1f_0673_3129),
    ("leave", 1, 0xfd9a_802b_6e4a_4204),
    ("pause", 1, 0xb3d6_724b_5630_e917),
    ("loss", 1, 0xe6b6_e1c9_9495_1b6d),
    ("split", 1, 0xae8c_7adb_4ab3_e231),
    ("partition", 1, 0x8b6d_8933_d25b_e3e4),
    ("churn", 1, 0x5507_5081_c8e1_39a4),
    ("block", 1, 0x5a0d_ff11_2fa1_fb7f),
    ("mixed", 1, 0x99d2_b03b_e9b2_8bd7),
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
