//! The committed seeds and some plans made by hand, on the stable toolchain and without
//! instrumentation. They show that each target gets past the first checks: what its seeds reach is
//! counted, and has a minimum.

use std::collections::BTreeSet;
use std::path::Path;

use arbitrary::{Arbitrary as _, Unstructured};

use telemetry_gossip_core::{InputError, WireError};

use crate::meaning::Golden;
use crate::node::Life;
use crate::plan::{Op, Plan};
use crate::seal::Traffic;
use crate::{bytes, canonical, datagram, replay, wire};

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
    assert_eq!(kinds, wire::KINDS.collect());
}

/// A refusal as the golden file names it.
fn named(error: &WireError) -> String {
    match error {
        WireError::TooLong { .. } => "too long".into(),
        WireError::Truncated => "truncated".into(),
        WireError::Version(version) => format!("version {version}"),
        WireError::Label => "label".into(),
        WireError::Malformed(what) => format!("malformed {what}"),
        WireError::Rule { field, rule, .. } => format!("{field}: {rule}"),
        other => panic!("{other:?} has no name in the golden file"),
    }
}

/// The variant of a value and its fields' names, without what they hold.
fn variant(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

fn variants<T: std::fmt::Debug>(values: impl IntoIterator<Item = T>) -> BTreeSet<String> {
    values.into_iter().map(|value| variant(&value)).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn the_seeds_of_bytes_are_accepted_with_each_kind_of_frame_and_refused_for_each_reason() {
    let (mut accepted, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for (name, seed) in seeds("bytes") {
        match bytes::run(&seed).unwrap_or_else(|| panic!("{name} is empty")) {
            Ok(()) => accepted.extend(wire::frames(&seed[1..]).map(|(kind, _)| kind)),
            Err(error) => drop(refused.insert(named(&error))),
        }
    }
    let missing: Vec<u8> = wire::KINDS.filter(|kind| !accepted.contains(kind)).collect();
    assert!(missing.is_empty(), "no datagram with frames {missing:?} is accepted");
    // One that is too long is longer than any input.
    let reasons = Golden::load()
        .refused
        .into_iter()
        .map(|case| case.error)
        .filter(|error| error != "too long");
    assert_eq!(refused, reasons.collect());
}

#[test]
fn the_seeds_of_bytes_are_read_by_both_readers_and_said_in_the_shortest_form() {
    let outcomes: Vec<_> = seeds("bytes").iter().map(|(_, seed)| canonical::run(seed)).collect();
    let count = |is: fn(&canonical::Outcome) -> bool| {
        outcomes.iter().filter(|&outcome| is(outcome)).count()
    };
    let (read, shortened, said) = (
        count(|outcome| outcome.read),
        count(|outcome| outcome.shortened),
        count(|outcome| outcome.said > 0),
    );
    assert!(
        read >= 150 && shortened >= 1 && said >= 50,
        "{read} read, {shortened} shortened, {said} answered"
    );
}

#[test]
fn the_seeds_of_lives_have_each_input_accepted_and_each_command_refused() {
    let (mut accepted, mut refused, mut doubled) = (BTreeSet::new(), BTreeSet::new(), 0);
    for (name, seed) in seeds("node") {
        let life = Life::arbitrary_take_rest(Unstructured::new(&seed));
        let outcome = life.unwrap_or_else(|error| panic!("{name}: {error}")).run();
        accepted.extend(outcome.accepted);
        doubled += outcome.doubled;
        refused.extend(outcome.refused.iter().map(|error| match error {
            InputError::Command(error) => variant(error),
            _ => "Datagram".into(),
        }));
    }
    let frames: BTreeSet<u8> =
        accepted.iter().filter(|(what, _)| *what == "frame").map(|&(_, kind)| kind).collect();
    assert!(
        wire::KINDS.into_iter().all(|kind| frames.contains(&kind)),
        "accepted are frames {frames:?}"
    );
    let inputs: BTreeSet<&str> = accepted.into_iter().map(|(what, _)| what).collect();
    let all = [
        "accept loss",
        "cluster config",
        "datagram",
        "exchange",
        "frame",
        "introduce",
        "join",
        "leave",
        "probe",
        "publish",
        "tick",
        "unpublish",
    ];
    assert_eq!(inputs, all.into_iter().collect());
    let all = [
        "Datagram",
        "Generation",
        "Inactive",
        "Key",
        "MemberNotInClusterConfig",
        "NoSeeds",
        "NotInClusterConfig",
        "StaleClusterConfig",
        "TableFull",
        "TelemetryFull",
        "TooMany",
        "Value",
    ];
    assert_eq!(refused, set(&all));
    assert!(doubled > 100, "twins got {doubled} inputs");
}

#[test]
fn the_seeds_of_seals_are_opened_and_refused_for_each_reason() {
    let mut all = crate::seal::Outcome::default();
    for (name, seed) in seeds("seal") {
        let traffic = Traffic::arbitrary_take_rest(Unstructured::new(&seed));
        let outcome = traffic.unwrap_or_else(|error| panic!("{name}: {error}")).run();
        all.opened += outcome.opened;
        all.read += outcome.read;
        all.files += outcome.files;
        all.forgotten += outcome.forgotten;
        all.refused.extend(outcome.refused);
        all.unread.extend(outcome.unread);
        all.kept.extend(outcome.kept);
        all.no_keys.extend(outcome.no_keys);
    }
    assert!(all.opened > 20 && all.read > 5 && all.files > 2 && all.forgotten > 0, "{all:?}");
    let refusals =
        ["NotAuthentic", "NotSealed", "Own", "Replayed", "Stale", "TooShort", "UnknownKey"];
    assert_eq!(variants(&all.refused), set(&refusals));
    assert_eq!(variants(&all.unread), set(&["NoLetter", "NotAuthentic", "UnknownKey"]));
    assert_eq!(variants(&all.kept), set(&["Full", "Held", "Primary", "Unknown"]));
    assert_eq!(variants(&all.no_keys), set(&["Digit", "Length"]));
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
        plan(
            nodes,
            crashes.zip(restarts).flat_map(|(crash, restart)| [crash, Op::Run(500), restart]),
        )
        .run();
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

/// Found by fuzzing: one side's refutation is lost to a one-way link until it is held dead, the
/// other side refutes an accusation of others meanwhile, and after that neither accusation is news
/// to whom it accuses.
#[test]
fn an_accusation_refuted_before_is_answered_again() {
    for moment in 0..20 {
        let one_way = Op::Link { from: 3, to: 0, lose: 255, repeat: 0, delay: 0 };
        let ops = vec![Op::Partition(0b10110), one_way, Op::Run(28_000 + 13 * moment)];
        Plan { suspicion: Some(255), isolation_limit: true, ..plan(5, ops) }.run();
    }
}
