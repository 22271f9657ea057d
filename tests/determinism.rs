//! One seed, one trace hash: in debug and release builds, on every platform. The hashes are pinned.
//!
//! A change of the protocol changes them, and then they are taken anew: run the test and copy what it prints. A
//! difference between two builds of one source is a defect: something that is no function of the seed was met.

use telemetry_gossip_sim::{Checking, Options, Scenario, run, run_with};

/// Scenario, seed, hash over every input and output of every node.
const PINNED: [(&str, u64, u64); 12] = [
    ("quiet", 1, 0x7e65_2c54_19cb_12b3),
    ("join", 1, 0x447a_df73_2d23_6578),
    ("crash", 1, 0xdaf7_4182_977f_9e33),
    ("restart", 1, 0xcbe6_30bb_a457_e7d5),
    ("leave", 1, 0x415d_7be1_486a_49a7),
    ("pause", 1, 0xb6a4_c3b7_18f5_2c3b),
    ("loss", 1, 0x5ac9_c2ea_d289_ff41),
    ("split", 1, 0x9c6b_6c04_fc2b_6768),
    ("partition", 1, 0x1811_2a59_a677_64b6),
    ("churn", 1, 0x62a3_95d5_9806_9754),
    ("block", 1, 0x1bae_3b80_ccf2_0317),
    ("mixed", 1, 0x9f21_d190_5441_623b),
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
