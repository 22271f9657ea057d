//! One seed, one trace hash: in debug and release builds, on every platform. The hashes are pinned.
//!
//! A change of the protocol changes them, and then they are taken anew: run the test and copy what it prints. A
//! difference between two builds of one source is a defect: something that is no function of the seed was met.

use telemetry_gossip_sim::{Checking, Options, Scenario, run, run_with};

/// Scenario, seed, hash over every input and output of every node.
const PINNED: [(&str, u64, u64); 12] = [
    ("quiet", 1, 0x9a05_20f4_aef1_2bc8),
    ("join", 1, 0x4abf_7083_3dce_ab03),
    ("crash", 1, 0x2b33_7ce6_6d33_a4a6),
    ("restart", 1, 0x311a_0146_e78a_a020),
    ("leave", 1, 0x2a4b_4bfd_a924_fb74),
    ("pause", 1, 0xf7a4_6d36_8a6a_f298),
    ("loss", 1, 0xbab7_0bb9_427c_7128),
    ("split", 1, 0xa21b_3c79_be44_7544),
    ("partition", 1, 0xd710_062f_d5db_452f),
    ("churn", 1, 0x4298_a5e2_9a0c_4489),
    ("block", 1, 0x0000_0000_0000_0000),
    ("mixed", 1, 0x3ab4_35de_cf29_7e3b),
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
