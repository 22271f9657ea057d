//! One seed, one trace hash: in debug and release builds, on every platform. The hashes are pinned.
//!
//! A change of the protocol changes them, and then they are taken anew: run the test and copy what it prints. A
//! difference between two builds of one source is a defect: something that is no function of the seed was met.

use telemetry_gossip_sim::{Checking, Options, Scenario, run, run_with};

/// Scenario, seed, hash over every input and output of every node.
const PINNED: [(&str, u64, u64); 11] = [
    ("quiet", 1, 0xd960_bbcb_d6c6_f437),
    ("join", 1, 0xdd5f_0ab6_98c8_6736),
    ("crash", 1, 0x492c_0e69_d506_e895),
    ("restart", 1, 0xf73d_e783_09ce_eb46),
    ("leave", 1, 0x73de_3fe8_60a3_c9ad),
    ("pause", 1, 0x24a0_a3f0_ae75_5258),
    ("loss", 1, 0x5cb3_c1b6_62b5_4149),
    ("split", 1, 0xa21b_3c79_be44_7544),
    ("partition", 1, 0xcf74_2435_da8c_e262),
    ("churn", 1, 0x8a73_8fe2_e8f1_fcbf),
    ("mixed", 1, 0xfda4_59bf_0df5_84f0),
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
