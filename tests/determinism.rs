//! One seed, one trace hash: in debug and release builds, on every platform. The hashes are pinned.
//!
//! A change of the protocol changes them, and then they are taken anew: run the test and copy what it prints. A
//! difference between two builds of one source is a defect: something that is no function of the seed was met.

use telemetry_gossip_sim::{Checking, Options, Scenario, run, run_with};

/// Scenario, seed, hash over every input and output of every node.
const PINNED: [(&str, u64, u64); 12] = [
    ("quiet", 1, 0xd3d8_2462_29b0_881a),
    ("join", 1, 0xe0d4_e18c_2e51_2bac),
    ("crash", 1, 0x8df7_8ebd_7980_3731),
    ("restart", 1, 0x20ce_1cc5_083e_2c6b),
    ("leave", 1, 0x8184_96d1_7b1a_e3bd),
    ("pause", 1, 0x8b36_9ccb_0dd4_b2be),
    ("loss", 1, 0xca72_c681_306d_a5f8),
    ("split", 1, 0x43ac_d8d7_16d8_db71),
    ("partition", 1, 0xde48_76c4_5df6_fc3f),
    ("churn", 1, 0x7a7c_0615_b684_3717),
    ("block", 1, 0xc5ec_1dbd_af4a_c61b),
    ("mixed", 1, 0x7434_9fc4_457a_5d2f),
];

#[test]
fn the_trace_hashes_are_the_pinned_ones() {
    let now: Vec<(&str, u64, u64)> =
        PINNED.iter().map(|&(name, seed, _)| (name, seed, hash(name, seed))).collect();
    let lines: String =
        now.iter().map(|(name, seed, hash)| format!("    (\"{name}\", {seed}, {hash:#018x}),\n")).collect();
    assert!(now == PINNED, "the traces are now\n{lines}");
}

fn hash(name: &str, seed: u64) -> u64 {
    let scenario = Scenario::named(name).expect("it is built in");
    run(&scenario, seed).expect("it is valid").trace_hash
}

#[test]
fn every_scenario_is_pinned() {
    assert!(Scenario::names().all(|name| PINNED.iter().any(|&(pinned, ..)| pinned == name)));
}

#[test]
fn two_runs_of_one_seed_are_equal_in_everything_they_report() {
    let scenario = Scenario::named("mixed").expect("it is built in");
    for seed in 0..5 {
        let report = run(&scenario, seed).expect("it is valid");
        assert_eq!(run(&scenario, seed).expect("it is valid"), report, "seed {seed}");
    }
}

#[test]
fn what_is_checked_changes_nothing() {
    let scenario = Scenario::named("churn").expect("it is built in");
    let hash =
        |checking| run_with(&scenario, 3, Options { checking }, |_| {}).expect("it is valid").trace_hash;
    assert_eq!(hash(Checking::Every), hash(Checking::Off));
}
