//! One seed, one trace hash: in debug and release builds, on every platform. The hashes are pinned.
//!
//! A change of the protocol changes them, and then they are taken anew: run the test and copy what it prints. A
//! difference between two builds of one source is a defect: something that is no function of the seed was met.

use telemetry_gossip_sim::{Checking, Options, Scenario, run, run_with};

/// Scenario, seed, hash over every input and output of every node.
const PINNED: [(&str, u64, u64); 11] = [
    ("quiet", 1, 0x3001_bc72_95a1_3562),
    ("join", 1, 0xfc76_2ada_34ce_fdf4),
    ("crash", 1, 0xc0b5_4abe_05f2_9189),
    ("restart", 1, 0x9ffa_ac52_4a9b_b67e),
    ("leave", 1, 0x9d2e_130c_85f4_306d),
    ("pause", 1, 0xcb50_da32_fd84_86a7),
    ("loss", 1, 0x64cc_ab43_9b79_70cb),
    ("split", 1, 0xd731_370d_0b8a_7b6f),
    ("partition", 1, 0x0451_403c_edd1_17f4),
    ("churn", 1, 0x0d7d_8fad_d17e_c2e3),
    ("mixed", 1, 0x3c8f_3e58_518c_3228),
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
