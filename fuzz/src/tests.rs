//! The committed seeds and some plans made by hand, on the stable toolchain and without instrumentation.

use std::collections::BTreeSet;
use std::path::Path;

use arbitrary::{Arbitrary as _, Unstructured};

use crate::datagram;
use crate::plan::{Op, Plan};
use crate::replay;
use crate::wire;

/// The committed seeds of a target: file name and contents.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let files = std::fs::read_dir(&folder).expect("the seeds are there");
    let paths = files.map(|file| file.expect("the folder can be read").path());
    let mut seeds: Vec<_> = paths
        .map(|path| (path.display().to_string(), std::fs::read(&path).expect("a seed can be read")))
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    seeds
}

#[test]
fn every_situation_replays() {
    for situation in datagram::situations() {
        let watched = situation.node();
        assert_eq!(watched.node.check_invariants(), Ok(()), "{}", situation.name);
    }
}

#[test]
fn the_situations_speak_every_kind_of_frame() {
    let traffic = datagram::situations().iter().flat_map(|situation| &situation.traffic);
    let kinds: BTreeSet<u8> =
        traffic.flat_map(|(_, datagram)| wire::frames(datagram).map(|(kind, _)| kind)).collect();
    assert_eq!(kinds, (1..=16).collect());
}

#[test]
fn the_seeds_of_datagrams_get_past_the_first_checks() {
    for (name, seed) in seeds("datagram") {
        let outcome = datagram::run(&seed);
        assert!(outcome.accepted > 0 && outcome.refused == 0, "{name}: {outcome:?}");
    }
}

#[test]
fn the_seeds_of_records_are_replayed() {
    for (name, seed) in seeds("replay") {
        let outcome = replay::run(&seed);
        assert!(outcome.opened == 2 && outcome.inputs > 0, "{name}: {outcome:?}");
        assert!(name.contains("state-") || outcome.same >= 2, "{name}: {outcome:?}");
    }
}

#[test]
fn the_seeds_of_clusters_become_live() {
    for (name, seed) in seeds("cluster") {
        let plan = Plan::arbitrary_take_rest(Unstructured::new(&seed));
        plan.unwrap_or_else(|error| panic!("{name}: {error}")).run();
    }
}

fn plan(nodes: u8, ops: impl IntoIterator<Item = Op>) -> Plan {
    let ops = ops.into_iter().collect();
    Plan { nodes: nodes - 2, joined: true, suspicion: None, isolation_limit: false, ops }
}

#[test]
fn a_healed_partition_becomes_live() {
    for nodes in 2..=5 {
        for side in 1..(1 << nodes) - 1 {
            plan(nodes, [Op::Partition(side), Op::Run(6_000)]).run();
        }
    }
}

#[test]
fn nodes_back_from_a_crash_at_another_address_become_live() {
    for nodes in 2..=5 {
        let crashes = (0..nodes).map(Op::Crash);
        let restarts = (0..nodes).map(|node| Op::Restart { node, moved: node % 2 == 0 });
        plan(nodes, crashes.clone().chain([Op::Run(1_000)]).chain(restarts.clone())).run();
        plan(nodes, crashes.zip(restarts).flat_map(|(crash, restart)| [crash, Op::Run(500), restart])).run();
    }
}

#[test]
fn a_pause_of_everybody_is_survived() {
    for nodes in 2..=5 {
        let pauses = (0..nodes).map(Op::Pause);
        plan(nodes, pauses.chain([Op::Run(9_000)])).run();
    }
}

#[test]
fn whoever_leaves_during_a_partition_is_not_missed() {
    for nodes in 3..=5 {
        plan(nodes, [Op::Partition(1), Op::Leave(0), Op::Run(2_000)]).run();
    }
}

/// Found by fuzzing: one side's refutation is lost to a one-way link until it is held dead, the other side refutes an
/// accusation of others meanwhile, and after that neither accusation is news to whom it accuses.
#[test]
fn an_accusation_refuted_before_is_answered_again() {
    for moment in 0..20 {
        let one_way = Op::Link { from: 3, to: 0, lose: 255, repeat: 0, delay: 0 };
        let ops = vec![Op::Partition(0b10110), one_way, Op::Run(28_000 + 13 * moment)];
        Plan { suspicion: Some(255), isolation_limit: true, ..plan(5, ops) }.run();
    }
}
