//! One seed, one trace hash: in debug and release builds, on every platform. The hashes are pinned.
//!
//! A change of the protocol changes them, and then they are taken anew: run the test and copy what it prints. A
//! difference between two builds of one source is a defect: something that is no function of the seed was met.

use telemetry_gossip_sim::{Checking, Options, Scenario, run, run_with};

/// Scenario, seed, hash over every input and output of every node.
const PINNED: [(&str, u64, u64); 12] = [
    ("quiet", 1, 0x59fe_ff2a_6fd2_fb6d),
    ("join", 1, 0x0643_fcef_f5d9_5ba3),
    ("crash", 1, 0x5e2f_b1d6_18b0_dabd),
    ("restart", 1, 0xb43a_4442_4b3c_06e5),
    ("leave", 1, 0xd2ee_000e_cb0b_8683),
    ("pause", 1, 0x0f82_abef_75fe_a816),
    ("loss", 1, 0xa4d1_499a_f216_cdd9),
    ("split", 1, 0x2f39_6cee_f02b_aaa9),
    ("partition", 1, 0xb869_cfb6_8f08_ffb6),
    ("churn", 1, 0xffee_86f9_fe52_ef00),
    ("block", 1, 0x0871_ca43_750f_f941),
    ("mixed", 1, 0x65e1_b911_5d82_7708),
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
