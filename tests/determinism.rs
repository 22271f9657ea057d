//! One seed, one trace hash: in debug and release builds, on every platform. The hashes are pinned.
//!
//! A change of the protocol changes them, and then they are taken anew: run the test and copy what it prints. A
//! difference between two builds of one source is a defect: something that is no function of the seed was met.

use telemetry_gossip_sim::{Checking, Options, Scenario, run, run_with};

/// Scenario, seed, hash over every input and output of every node.
const PINNED: [(&str, u64, u64); 12] = [
    ("quiet", 1, 0x6952_bc81_94ed_340b),
    ("join", 1, 0xa4f0_9677_7dd5_bcda),
    ("crash", 1, 0xd642_1896_c51e_60a1),
    ("restart", 1, 0xd287_66bd_0e3b_36cc),
    ("leave", 1, 0x4a57_b8b0_01de_e4b8),
    ("pause", 1, 0x352d_b142_376d_cd49),
    ("loss", 1, 0x138b_1c8e_67b0_feea),
    ("split", 1, 0xc1e6_492e_c7d3_d435),
    ("partition", 1, 0x0de3_50d3_2819_05b1),
    ("churn", 1, 0x12d5_afec_e025_e824),
    ("block", 1, 0xf27f_e56b_4c84_6989),
    ("mixed", 1, 0x0ff4_bb88_0d67_2ed7),
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
