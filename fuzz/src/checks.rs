//! Checks with the committed seeds and with plans written by hand. They show that the inputs of
//! each target get past the first refusals, as the number of states that its seeds reach has a
//! minimum.
//!
//! They are tests, and the target `checks` carries them out as well, so that CI has them without a
//! build of its own.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use arbitrary::{Arbitrary as _, Unstructured};

use telemetry_gossip_core::{Input, InputError, WireError, work};
use telemetry_gossip_registry::Edition;

use crate::meaning::Golden;
use crate::node::History;
use crate::plan::{Op, Plan};
use crate::seal::Traffic;
use crate::situation::Situation;
use crate::{bytes, canonical, cost, datagram, document, replay, situation, wire};

/// A check and its name.
type Check = (&'static str, fn());

macro_rules! checks {
    ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
}

/// All checks. The compiler warns of one that is missing.
const ALL: [Check; 18] = checks![
    every_situation_replays,
    the_situations_have_every_kind_of_frame,
    the_kinds_are_those_that_a_node_knows,
    the_seeds_of_bytes_cover_each_kind_of_frame_and_each_error,
    the_seeds_of_bytes_are_read_by_both_readers_and_answered_in_the_shortest_form,
    the_seeds_of_node_cover_each_input_and_each_command_error,
    the_seeds_of_seal_cover_each_refusal,
    the_seeds_of_datagram_are_accepted,
    the_seeds_of_cost_are_accepted_and_costly,
    each_cost_above_its_bound_is_caught,
    the_seeds_of_replay_are_replayed,
    the_seeds_of_document_reach_each_error,
    clusters_become_live_after_the_seeds_of_cluster,
    a_cluster_becomes_live_after_any_partition,
    a_cluster_becomes_live_after_all_nodes_restart_at_other_addresses,
    a_cluster_survives_a_pause_of_all_nodes,
    a_cluster_becomes_live_after_a_leave_during_a_partition,
    a_known_accusation_is_refuted_again,
];

/// Carries out all checks.
///
/// # Panics
/// If one fails, after a line with its name.
pub fn run() {
    for (name, check) in ALL {
        let start = Instant::now();
        println!("{name}");
        check();
        println!("    {} ms", start.elapsed().as_millis());
    }
}

/// Returns the committed seeds of a target: file name and contents.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let files = std::fs::read_dir(&folder).expect("the folder of the seeds exists");
    let paths = files.map(|file| file.expect("the folder can be read").path());
    let mut seeds: Vec<_> = paths
        .map(|path| (path.display().to_string(), std::fs::read(&path).expect("a seed can be read")))
        .collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    seeds
}

#[cfg_attr(test, test)]
fn every_situation_replays() {
    for situation in situation::situations() {
        let watched = situation.node();
        assert_eq!(watched.node.check_invariants(), Ok(()), "{}", situation.name);
    }
}

#[cfg_attr(test, test)]
fn the_situations_have_every_kind_of_frame() {
    let traffic = situation::situations().iter().flat_map(|situation| &situation.traffic);
    let kinds: BTreeSet<u8> =
        traffic.flat_map(|(_, datagram)| wire::frames(datagram).map(|(kind, _)| kind)).collect();
    assert_eq!(kinds, wire::KINDS.into());
}

#[cfg_attr(test, test)]
fn the_kinds_are_those_that_a_node_knows() {
    let mut node = Situation::node(&situation::situations()[0]).node;
    let mut is_known = |kind: u8| {
        let mut datagram = wire::header(node.config().label, 7, [0; 2]);
        datagram.extend([kind, 0]);
        let before = node.stats().frames_unknown;
        let bytes = datagram.into();
        let _ = node.handle(node.now(), Input::Datagram { from: situation::ADDRESSES[4], bytes });
        node.stats().frames_unknown == before
    };
    let known: Vec<u8> = (0..=u8::MAX).filter(|&kind| is_known(kind)).collect();
    assert_eq!(known, wire::KINDS);
}

/// Returns the name of an error in the golden file.
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

/// Returns the name of the variant of an enum.
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

#[cfg_attr(test, test)]
fn the_seeds_of_bytes_cover_each_kind_of_frame_and_each_error() {
    let (mut accepted, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for (name, seed) in seeds("bytes") {
        match bytes::run(&seed).unwrap_or_else(|| panic!("{name} is empty")) {
            Ok(()) => accepted.extend(wire::frames(&seed[1..]).map(|(kind, _)| kind)),
            Err(error) => drop(refused.insert(named(&error))),
        }
    }
    let missing: Vec<u8> =
        wire::KINDS.into_iter().filter(|kind| !accepted.contains(kind)).collect();
    assert!(missing.is_empty(), "no datagram with frames {missing:?} was accepted");
    // No input is long enough for this error.
    let reasons = Golden::load()
        .refused
        .into_iter()
        .map(|case| case.error)
        .filter(|error| error != "too long");
    assert_eq!(refused, reasons.collect());
}

#[cfg_attr(test, test)]
fn the_seeds_of_bytes_are_read_by_both_readers_and_answered_in_the_shortest_form() {
    let outcomes: Vec<_> = seeds("bytes").iter().map(|(_, seed)| canonical::run(seed)).collect();
    let count = |is: fn(&canonical::Outcome) -> bool| {
        outcomes.iter().filter(|&outcome| is(outcome)).count()
    };
    let (read, shortened, sent) = (
        count(|outcome| outcome.read),
        count(|outcome| outcome.shortened),
        count(|outcome| outcome.sent > 0),
    );
    assert!(
        read >= 150 && shortened >= 1 && sent >= 50,
        "{read} read, {shortened} shortened, {sent} answered"
    );
}

#[cfg_attr(test, test)]
fn the_seeds_of_node_cover_each_input_and_each_command_error() {
    let (mut accepted, mut refused, mut doubled) = (BTreeSet::new(), BTreeSet::new(), 0);
    for (name, seed) in seeds("node") {
        let history = History::arbitrary_take_rest(Unstructured::new(&seed));
        let outcome = history.unwrap_or_else(|error| panic!("{name}: {error}")).run();
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
        "only frames {frames:?} were accepted"
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
        "peers",
        "probe",
        "publish",
        "restored",
        "seeds",
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
    assert!(doubled > 100, "twins received {doubled} inputs");
}

#[cfg_attr(test, test)]
fn the_seeds_of_seal_cover_each_refusal() {
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
    assert_eq!(variants(&all.unread), set(&["NotAuthentic", "NotSealed", "UnknownKey"]));
    assert_eq!(variants(&all.kept), set(&["Full", "Held", "Primary", "Unknown"]));
    assert_eq!(variants(&all.no_keys), set(&["Digit", "Length"]));
}

#[cfg_attr(test, test)]
fn the_seeds_of_datagram_are_accepted() {
    for (name, seed) in seeds("datagram") {
        let outcome = datagram::run(&seed);
        assert!(outcome.accepted > 0 && outcome.refused == 0, "{name}: {outcome:?}");
    }
}

#[cfg_attr(test, test)]
fn the_seeds_of_cost_are_accepted_and_costly() {
    let mut most = cost::Cost::default();
    for (name, seed) in seeds("cost") {
        let cost = cost::run(&seed).unwrap_or_else(|| panic!("{name} was refused"));
        most.rows = most.rows.max(cost.rows);
        most.steps = most.steps.max(cost.steps);
        most.sent = most.sent.max(cost.sent);
        most.growth = most.growth.max(cost.growth);
        most.to_stranger = most.to_stranger.max(cost.to_stranger);
    }
    println!("{most:?}");
    assert!(most.rows > 200 && most.steps > 100_000 && most.sent > 9_000, "{most:?}");
    assert!(most.growth > 10_000 && most.to_stranger > 1_000, "{most:?}");
}

#[cfg_attr(test, test)]
fn each_cost_above_its_bound_is_caught() {
    type Raise = fn(&mut cost::Cost);
    let within = cost::Cost { received: 1_400, members: 250, mtu: 1_400, ..Default::default() };
    assert_eq!(within.check(), Ok(()));
    let faults: [(&str, Raise); 5] = [
        ("rows visited", |cost| cost.rows = work::max_rows(1_400, 0) + 1),
        ("steps for telemetry", |cost| cost.steps = work::MAX_STEPS + 1),
        ("bytes sent", |cost| cost.sent = work::max_sent(1_400, 1_400) + 1),
        ("bytes sent to a stranger", |cost| cost.to_stranger = 3 * 1_400 + 1),
        ("bytes of growth", |cost| cost.growth = work::max_growth(1_400, 250) + 1),
    ];
    for (what, raise) in faults {
        let mut cost = within;
        raise(&mut cost);
        let found = cost.check().expect_err(what);
        assert!(found.contains(&format!("{what} of at most")), "{found}");
    }
}

#[cfg_attr(test, test)]
fn the_seeds_of_replay_are_replayed() {
    for (name, seed) in seeds("replay") {
        let outcome = replay::run(&seed);
        assert!(outcome.opened == 2 && outcome.inputs > 0, "{name}: {outcome:?}");
        assert!(name.contains("state-") || outcome.same >= 2, "{name}: {outcome:?}");
    }
}

#[cfg_attr(test, test)]
fn the_seeds_of_document_reach_each_error() {
    let mut found = BTreeSet::new();
    for (name, seed) in seeds("document") {
        document::run(&seed);
        if let (Some(0), Err(error)) = (seed.first(), Edition::parse(seed.get(1..).unwrap_or(&[])))
        {
            found.insert(variant(&error));
        } else {
            assert!(!name.contains("refused-") || seed.first() == Some(&2), "{name} is a document");
        }
    }
    // A document that is too long, or has too many nodes, is no seed.
    let expected = [
        "AboveVersion",
        "Address",
        "Both",
        "Id",
        "NotText",
        "Syntax",
        "Text",
        "TooManyAddresses",
        "TooManyLabels",
        "Version",
    ];
    assert_eq!(found, set(&expected));
}

#[cfg_attr(test, test)]
fn clusters_become_live_after_the_seeds_of_cluster() {
    for (name, seed) in seeds("cluster") {
        let plan = Plan::arbitrary_take_rest(Unstructured::new(&seed));
        plan.unwrap_or_else(|error| panic!("{name}: {error}")).run();
    }
}

fn plan(nodes: u8, ops: impl IntoIterator<Item = Op>) -> Plan {
    let ops = ops.into_iter().collect();
    Plan { nodes: nodes - 2, joined: true, suspicion: None, isolation_limit: false, ops }
}

#[cfg_attr(test, test)]
fn a_cluster_becomes_live_after_any_partition() {
    for nodes in 2..=5 {
        for side in 1..(1 << nodes) - 1 {
            plan(nodes, [Op::Partition(side), Op::Run(6_000)]).run();
        }
    }
}

#[cfg_attr(test, test)]
fn a_cluster_becomes_live_after_all_nodes_restart_at_other_addresses() {
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

#[cfg_attr(test, test)]
fn a_cluster_survives_a_pause_of_all_nodes() {
    for nodes in 2..=5 {
        let pauses = (0..nodes).map(Op::Pause);
        plan(nodes, pauses.chain([Op::Run(9_000)])).run();
    }
}

#[cfg_attr(test, test)]
fn a_cluster_becomes_live_after_a_leave_during_a_partition() {
    for nodes in 3..=5 {
        plan(nodes, [Op::Partition(1), Op::Leave(0), Op::Run(2_000)]).run();
    }
}

/// Found by fuzzing: a one-way link loses the refutation of one node until it is declared dead.
/// Meanwhile a node on the other side refutes an accusation of others. After that each of the two
/// already knows the accusation against it, and must refute it nevertheless.
#[cfg_attr(test, test)]
fn a_known_accusation_is_refuted_again() {
    for moment in 0..20 {
        let one_way = Op::Link { from: 3, to: 0, lose: 255, repeat: 0, delay: 0 };
        let ops = vec![Op::Partition(0b10110), one_way, Op::Run(28_000 + 13 * moment)];
        Plan { suspicion: Some(255), isolation_limit: true, ..plan(5, ops) }.run();
    }
}
