//! Lies about telemetry: what a datagram may cost, how long a lie lasts, and how much of it is
//! held.

use super::*;
use crate::membership::telemetry_log::{MAX_ENTRIES, MAX_ENTRIES_READ, MAX_VERSION};
use crate::wire::{CompactedHead, TelemetryHead, Tree, WireEntry, kind};

/// An entry of a forged frame: its step, age, key and value.
type Lie<'a> = (u64, u64, &'a [u8], Option<&'a [u8]>);

/// Makes a lie about an instance of an owner.
type Forge<'a> = dyn Fn(&str, Instance) -> Vec<u8> + 'a;

fn id_hash(id: &str) -> IdHash {
    crate::id::id_hash_of(crate::id::full_id_hash(id.as_bytes()))
}

fn put(w: &mut Writer<'_>, owner: &str, instance: Instance, since: u64, entries: &[Lie<'_>]) {
    let open = w.open(kind::TELEMETRY).unwrap();
    assert!(w.item(&TelemetryHead { owner: id_hash(owner).0, instance: instance.0, since }));
    put_entries(w, entries);
    w.close(open);
}

fn put_entries(w: &mut Writer<'_>, entries: &[Lie<'_>]) {
    for &(step, age, key, value) in entries {
        assert!(w.item(&WireEntry { step, age, key, value }));
    }
}

/// A datagram of a stranger with telemetry of `owner`.
fn lie(owner: &str, instance: Instance, since: u64, entries: &[Lie<'_>]) -> Vec<u8> {
    datagram(99, |w| put(w, owner, instance, since, entries))
}

/// As [`lie`], in a frame that says that the log is to be read anew.
fn lie_anew(owner: &str, instance: Instance, compacted: u64, entries: &[Lie<'_>]) -> Vec<u8> {
    datagram(99, |w| {
        let open = w.open(kind::TELEMETRY_ANEW).unwrap();
        let head = TelemetryHead { owner: id_hash(owner).0, instance: instance.0, since: 0 };
        assert!(w.item(&CompactedHead { compacted, head }));
        put_entries(w, entries);
        w.close(open);
    })
}

fn publish(net: &mut Net, address: u32, key: &str, value: &[u8]) {
    net.input(address, Input::Publish { key: key.into(), value: value.into(), urgent: false });
}

/// The telemetry that `reader` holds of `owner`, in order of the keys.
fn held(net: &mut Net, reader: u32, owner: u32) -> Vec<(String, Vec<u8>)> {
    let member = net.node(reader).member(&name(owner)).unwrap();
    let mut held: Vec<_> =
        member.telemetry().map(|entry| (entry.key.into(), entry.value.to_vec())).collect();
    held.sort();
    held
}

fn fill(node: &mut Node<u32>, owner: &str, instance: Instance, entries: usize) {
    let mut at = node.member(owner).unwrap().telemetry_version();
    let end = at + entries as u64;
    while at < end {
        let keys: Vec<_> =
            (at..end.min(at + 100)).map(|at| alloc::format!("{at:06}").into_bytes()).collect();
        let lies: Vec<Lie<'_>> = keys.iter().map(|key| (1, 0, key.as_slice(), None)).collect();
        hear(node, 50, &lie(owner, instance, at, &lies));
        at += lies.len() as u64;
    }
}

/// The cost of handling a datagram and sending all that follows from it.
fn cost(node: &mut Node<u32>, from: u32, bytes: &[u8]) -> usize {
    let now = node.now();
    let (steps, ()) = crate::work::steps_of(|| {
        node.handle(now, Input::Datagram { from, bytes: bytes.into() }).unwrap();
        drain(node);
    });
    usize::try_from(steps).unwrap()
}

/// Entries of at least 15 bytes were merged one by one, each at the cost of the whole log.
#[test]
fn a_datagram_costs_a_bounded_number_of_steps_whatever_the_logs_are() {
    let mut node = node(1, &Config::default());
    let owners: Vec<_> = (2..82).map(|at| alive(at, 0)).collect();
    introduce(&mut node, owners.iter().cloned());
    drain(&mut node);
    for owner in &owners {
        fill(&mut node, owner.id, owner.instance, MAX_ENTRIES_READ);
        assert!(node.member(owner.id).unwrap().telemetry_held());
    }
    drain(&mut node);
    let version = node.member("n2").unwrap().telemetry_version();
    let (keys, instance): (Vec<_>, _) = (
        (0..100).map(|at| alloc::format!("{:06}", at * 13).into_bytes()).collect(),
        owners[0].instance,
    );
    // Keys that are held, and delete markers that say that they are old.
    let again: Vec<Lie<'_>> = keys.iter().map(|key| (1, 240_000, key.as_slice(), None)).collect();
    let one = cost(&mut node, 50, &lie("n2", instance, version, &again));
    assert!(
        (MAX_ENTRIES_READ / 2..8 * MAX_ENTRIES_READ).contains(&one),
        "{one} steps for one frame"
    );
    // Many frames for one owner, and a frame for each of many owners, also along the trees.
    let many = datagram(99, |w| {
        for (at, key) in (1..).zip(keys.iter().take(50)) {
            put(w, "n3", instance, version - 1 + at, &[(1, 240_000, key, None)]);
        }
    });
    let all = datagram(3, |w| {
        assert!(w.frame(kind::TREE, &Tree { number: 1, end: id_hash("n1").0 }));
        for owner in owners.iter().skip(2).take(50) {
            put(w, owner.id, instance, version, &[(1, 240_000, b"000007", None)]);
        }
    });
    for bytes in [many, all] {
        let steps = cost(&mut node, 3, &bytes);
        assert!((16_384..200_000).contains(&steps), "{steps} steps for {} bytes", bytes.len());
    }
}

#[test]
fn a_node_publishes_no_more_entries_than_others_hold() {
    let config = Config { max_telemetry: 65_536, ..Config::default() };
    let mut node = node(1, &config);
    let mut publish = |key: usize| {
        let input = Input::Publish {
            key: alloc::format!("{key}").into(),
            value: b"".as_slice().into(),
            urgent: false,
        };
        let result = node.handle(Instant::ORIGIN, input);
        while node.poll_event().is_some() {}
        result
    };
    for key in 0..MAX_ENTRIES {
        assert_eq!(publish(key), Ok(()));
    }
    let full = CommandError::TelemetryEntries { max: MAX_ENTRIES };
    assert_eq!(publish(MAX_ENTRIES), Err(full.into()));
    assert_eq!(publish(7), Ok(()), "an entry that is replaced takes no place");
}

/// Each of two readers hears another lie. What they hold is replaced without a word of the host.
fn assert_lies_end(lies: [&Forge<'_>; 2], owns: &[(&str, &[u8])]) {
    let mut net = Net::joined(6, &Config::default());
    for &(key, value) in owns {
        publish(&mut net, 2, key, value);
    }
    net.run_for(Duration::from_secs(3));
    let (instance, before) = (net.node(2).me().instance(), held(&mut net, 2, 2));
    for (reader, lie) in [1, 4].into_iter().zip(lies) {
        let bytes = lie("n2", instance);
        hear(net.node(reader), 99, &bytes);
    }
    net.run_for(Duration::from_secs(20));
    for reader in 1..=6 {
        let version = net.node(reader).member("n2").unwrap().telemetry_version();
        let owner = net.node(2).me().telemetry_version();
        assert_eq!(held(&mut net, reader, 2), before, "n{reader}, {version}, {owner}");
        assert_eq!(net.node(reader).health().alive, 6);
    }
    let versions: Vec<u64> =
        (1..=6).map(|reader| net.node(reader).member("n2").unwrap().telemetry_version()).collect();
    assert!(versions.iter().all(|&version| version == versions[0]), "{versions:?}");
    publish(&mut net, 2, "next", b"word");
    net.run_for(Duration::from_secs(1));
    for reader in 1..=6 {
        assert!(held(&mut net, reader, 2).contains(&("next".into(), b"word".to_vec())));
    }
}

#[test]
fn different_lies_at_different_readers_end() {
    let owns: &[(&str, &[u8])] = &[("load", b"1"), ("zone", b"eu")];
    for (one, other) in [
        (10, 11),
        (10, 12),
        (1_000, (1 << 32) + 5),
        (1 << 47, (1 << 47) - 1),
        (MAX_VERSION, 7),
        (MAX_VERSION, MAX_VERSION - 1),
        ((1 << 47) + 1, 1 << 46),
    ] {
        let lie_at = |version: u64, key: &'static [u8]| {
            move |owner: &str, instance| {
                lie(owner, instance, 0, &[(version, 0, key, Some(b"evil"))])
            }
        };
        assert_lies_end([&lie_at(one, b"load"), &lie_at(other, b"evil")], owns);
        assert_lies_end([&lie_at(one, b"load"), &lie_at(other, b"evil")], &[]);
    }
}

#[test]
fn a_log_that_is_said_to_begin_anew_at_a_made_up_version_ends() {
    let owns: &[(&str, &[u8])] = &[("load", b"1"), ("zone", b"eu")];
    for compacted in [3, 1_000, 1 << 47, MAX_VERSION] {
        let anew = move |owner: &str, instance| {
            lie_anew(owner, instance, compacted, &[(compacted.min(9), 0, b"evil", Some(b"evil"))])
        };
        let empty = move |owner: &str, instance| lie_anew(owner, instance, compacted, &[]);
        assert_lies_end([&anew, &empty], owns);
    }
}

#[test]
fn versions_above_2_to_47_make_the_owner_take_a_new_instance_at_most_once_in_10_s() {
    let mut node = node(1, &Config::default());
    let input = Input::Publish { key: "a".into(), value: b"1".as_slice().into(), urgent: false };
    node.handle(Instant::ORIGIN, input).unwrap();
    let mut instances = alloc::vec![node.me().instance()];
    for tenths in 0..300 {
        let now = Instant::from_millis(tenths * 100);
        let bytes = lie("n1", node.me().instance(), 0, &[(MAX_VERSION, 0, b"a", Some(b"evil"))]);
        let generation = node.me().generation();
        node.handle(now, Input::Datagram { from: 99, bytes: bytes.into() }).unwrap();
        let me = node.me();
        if instances.last() != Some(&me.instance()) {
            instances.push(me.instance());
            assert!(me.generation() > generation);
        }
        assert_eq!((me.telemetry_version(), me.value("a").unwrap().value), (1, b"1".as_slice()));
        while node.poll_event().is_some() {}
        drain(&mut node);
    }
    assert_eq!(instances.len(), 1 + 3, "in 30 s");
}

#[test]
fn lies_make_the_own_log_no_longer_and_its_snapshot_is_restored() {
    let config = Config { max_telemetry: 200, ..Config::default() };
    let mut node = node(1, &config);
    let publish = |node: &mut Node<u32>, key: &str, len: usize| {
        let (key, value) = (key.into(), alloc::vec![b'v'; len].into());
        node.handle(node.now(), Input::Publish { key, value, urgent: false }).unwrap();
    };
    for key in ["a", "b", "c", "d"] {
        publish(&mut node, key, 35);
    }
    for round in 0..200_u64 {
        let now = Instant::from_millis(round * 700);
        let held = node.me().telemetry_version();
        let keys: Vec<_> = (0..5).map(|at| alloc::vec![b'a' + at; 240]).collect();
        let lies: Vec<Lie<'_>> =
            keys.iter().map(|key| (1 + round, 0, key.as_slice(), None)).collect();
        let (instance, top) = (node.me().instance(), [1 << 47, MAX_VERSION]);
        let step = top.get(usize::try_from(round % 7).unwrap()).copied().unwrap_or(held + 1);
        let bytes = match round % 2 {
            0 => lie("n1", instance, held, &lies),
            _ => lie("n1", instance, 0, &[(step, 0, b"x", Some(&[b'x'; 500]))]),
        };
        node.handle(now, Input::Datagram { from: 99, bytes: bytes.into() }).unwrap();
        // What fits before fits after.
        publish(&mut node, "d", 35);
        while node.poll_event().is_some() {}
        drain(&mut node);
        assert_eq!(node.me().telemetry().count(), 4);
        assert!(node.me().telemetry_version() > 0 && node.me().telemetry_held());
        let restored = Node::<u32>::restore(&node.snapshot().unwrap()).unwrap();
        assert_eq!(restored.me().telemetry_version(), node.me().telemetry_version());
    }
}

/// A lie above what the owner publishes is found by the next value, however often the tables
/// change.
#[test]
fn the_next_word_of_an_owner_ends_a_lie_within_a_second() {
    let mut net = Net::joined(40, &Config::default());
    publish(&mut net, 2, "load", b"1");
    net.run_for(Duration::from_secs(5));
    let instance = net.node(2).me().instance();
    let bytes = lie("n2", instance, 0, &[(1 << 40, 0, b"load", Some(b"evil"))]);
    for reader in 3..=40 {
        hear(net.node(reader), 99, &bytes);
    }
    net.now = net.now + Duration::from_millis(500);
    publish(&mut net, 2, "load", b"2");
    net.run_for(Duration::from_millis(900));
    for reader in 1..=40 {
        assert_eq!(held(&mut net, reader, 2), [("load".into(), b"2".to_vec())], "n{reader}");
    }
}

#[test]
fn the_telemetry_of_one_owner_and_of_all_is_bounded_and_the_version_is_kept() {
    let config = Config { max_members: 64, max_telemetry_held: 1 << 20, ..Config::default() };
    let mut node = node(1, &config);
    let owners: Vec<_> = (2..62).map(|at| alive(at, 0)).collect();
    introduce(&mut node, owners.iter().cloned());
    drain(&mut node);
    // One owner beyond what it could have published, then all owners as much as that.
    for (entries, owners) in [(MAX_ENTRIES_READ + 1, &owners[..1]), (2_000, &owners[1..])] {
        for owner in owners {
            fill(&mut node, owner.id, owner.instance, entries);
            drain(&mut node);
            while node.poll_event().is_some() {}
            let version = node.member(owner.id).unwrap().telemetry_version();
            assert_eq!(version, entries as u64, "the version is known, held or not");
        }
    }
    let first = node.member(owners[0].id).unwrap();
    assert!(!first.telemetry_held() && first.telemetry().count() == 0);
    let withheld = node.members().filter(|member| !member.telemetry_held()).count();
    assert!((30..60).contains(&withheld), "{withheld} withheld");
    assert!(node.heap_bytes() < (3 << 20) / 2, "{} bytes", node.heap_bytes());
    let restored = Node::<u32>::restore(&node.snapshot().unwrap()).unwrap();
    assert_eq!(restored.members().filter(|member| !member.telemetry_held()).count(), withheld);
    // A short log is held all the same.
    let row = node.members().filter(|member| !member.telemetry_held()).last().unwrap();
    let (id, instance) = (String::from(row.id()), row.instance());
    let anew = lie_anew(&id, instance, 1 << 20, &[(1 << 20, 0, b"load", Some(b"1"))]);
    hear(&mut node, 50, &anew);
    assert_eq!(node.member(&id).unwrap().value("load").unwrap().value, b"1");
}

#[test]
fn readers_without_room_agree_with_the_others_and_ask_for_nothing() {
    let config = Config { max_telemetry: 40_000, ..Config::default() };
    let mut net = Net::joined(4, &config);
    // Half of this is divided by 16,384 members, and the other half is less than what is published.
    let poor = Config { max_telemetry_held: 20_000, ..config };
    net.nodes[3] = super::node(4, &poor);
    net.input(4, Input::Join { seeds: alloc::vec![1].into() });
    net.run_for(Duration::from_secs(5));
    for key in 0..60 {
        publish(&mut net, 1, &alloc::format!("key{key}"), &[key; 500]);
    }
    net.run_for(Duration::from_secs(20));
    let version = net.node(1).me().telemetry_version();
    for reader in 2..=4 {
        let member = net.node(reader).member("n1").unwrap();
        assert_eq!((member.telemetry_version(), member.telemetry_held()), (version, reader != 4));
    }
    let prints: Vec<_> = net.nodes.iter().map(|node| node.membership().fingerprint()).collect();
    assert!(prints.iter().all(|&print| print == prints[0]), "{prints:?}");
    let syncs = |net: &Net| net.nodes.iter().map(|node| node.stats().syncs).sum::<u64>();
    let before = syncs(&net);
    net.run_for(Duration::from_secs(60));
    assert_eq!(syncs(&net), before);
    // Another member has little, which is held.
    publish(&mut net, 2, "load", b"0.5");
    net.run_for(Duration::from_secs(5));
    assert_eq!(held(&mut net, 4, 2), [("load".into(), b"0.5".to_vec())]);
}

#[test]
fn the_telemetry_of_the_dead_is_taken_in_by_those_who_ask_and_from_nobody_else() {
    let mut net = Net::joined(4, &Config::default());
    publish(&mut net, 4, "load", b"last");
    net.run_for(Duration::from_secs(3));
    let instance = net.node(4).me().instance();
    for other in 1..=3 {
        net.cut.extend([(4, other), (other, 4)]);
    }
    net.run_for(Duration::from_secs(20));
    assert_eq!(net.status(1, 4), Some(Status::Dead));
    let bytes = lie("n4", instance, 1, &[(1, 0, b"evil", Some(b"evil"))]);
    hear(net.node(1), 99, &bytes);
    hear(net.node(1), 2, &bytes);
    assert_eq!(held(&mut net, 1, 4), [("load".into(), b"last".to_vec())]);
    // A newcomer gets the last words of the dead.
    net.nodes[2] = Node::new(Config::default(), Identity::new(id(5), 3), [9; 32], net.now).unwrap();
    net.input(3, Input::Join { seeds: alloc::vec![1].into() });
    net.run_for(Duration::from_secs(10));
    assert_eq!(held(&mut net, 3, 4), [("load".into(), b"last".to_vec())]);
}

/// A relay that waited for its own budget delayed what others publish by 7 s.
#[test]
fn a_node_with_a_small_budget_passes_on_before_it_publishes() {
    let mut net = Net::joined(16, &Config::default());
    let poor = Config { byte_budget: Some(1_000), ..Config::default() };
    for address in 2..=16 {
        net.nodes[address as usize - 1] = super::node(address, &poor);
        net.input(address, Input::Join { seeds: alloc::vec![1].into() });
    }
    net.run_for(Duration::from_secs(20));
    for round in 0..60_u8 {
        for address in 2..=16 {
            publish(&mut net, address, "own", &[round; 500]);
        }
        net.run_for(Duration::from_millis(100));
        publish(&mut net, 1, "load", &[round]);
        net.run_for(Duration::from_millis(400));
        for reader in 2..=16 {
            assert_eq!(
                held(&mut net, reader, 1),
                [("load".into(), alloc::vec![round])],
                "n{reader}"
            );
        }
    }
    // What the poor publish thins out, and arrives in the end.
    let merged: u64 = net.nodes.iter().map(|node| node.stats().telemetry_merged).sum();
    assert!(merged > 100, "{merged}");
    net.run_for(Duration::from_secs(60));
    for owner in 2..=16 {
        assert_eq!(held(&mut net, 1, owner), [("own".into(), alloc::vec![59; 500])]);
    }
}

/// Where values changed all the time, such a relay hid them from the members behind it for up to
/// 41 s.
#[test]
fn a_relay_that_drops_telemetry_delays_it_by_a_few_seconds() {
    for (members, most) in [(12, 5), (32, 6)] {
        let mut net = Net::joined(members, &Config::default());
        let tenth = Duration::from_millis(100);
        let mut round = 0_u32;
        let mut flow = |net: &mut Net, owner: Option<u32>| {
            round += 1;
            let busy = 2 + round % (members - 1);
            publish(net, owner.unwrap_or(busy), "load", &round.to_be_bytes());
            net.run_for(tenth);
            round
        };
        // The tables have compared often enough by now to find that it is of no use.
        for _ in 0..2_000 {
            flow(&mut net, None);
        }
        for relay in 2..=members.min(12) {
            net.drops_telemetry = Some(relay);
            let value = flow(&mut net, Some(1)).to_be_bytes();
            let mut waited = 0;
            while (2..=members).any(|reader| {
                let member = net.node(reader).member("n1").unwrap();
                member.value("load").is_none_or(|entry| entry.value != value)
            }) {
                flow(&mut net, None);
                waited += 1;
                assert!(waited <= 10 * most, "n{relay} of {members} hides a value");
            }
            net.drops_telemetry = None;
            for _ in 0..200 {
                flow(&mut net, None);
            }
        }
    }
}

/// The sender cannot make it go before it has spread.
#[test]
fn a_delete_marker_stays_for_a_minute_however_old_it_is_said_to_be() {
    let mut node = node(1, &Config::default());
    introduce(&mut node, [alive(2, 0)]);
    let slot = node.cx.table.find("n2").unwrap();
    let markers = |node: &Node<u32>| {
        let entries = node.cx.table.row(slot).entries();
        entries.filter(|entry| entry.value.is_none()).count()
    };
    node.handle(Instant::ORIGIN + Duration::from_secs(7_200), Input::Tick).unwrap();
    // The lowest bit of an age says something else.
    let hour = 2 * 3_600_000;
    let values = [(1, 0, &b"a"[..], Some(&b"1"[..])), (1, 0, b"b", Some(b"1")), (1, 0, b"c", None)];
    hear(&mut node, 2, &lie("n2", Instance(77), 0, &values));
    hear(&mut node, 2, &lie("n2", Instance(77), 3, &[(1, hour, b"a", None)]));
    let last = lie("n2", Instance(77), 4, &[(1, hour, b"b", None)]);
    hear(&mut node, 2, &last);
    assert_eq!(markers(&node), 3);
    node.handle(node.now() + Duration::from_secs(60), Input::Tick).unwrap();
    hear(&mut node, 2, &lie("n2", Instance(77), 5, &[(1, 0, b"d", None)]));
    assert_eq!(markers(&node), 1, "the others have had a minute to spread");
}

/// Those behind the owner get it from the owner itself.
#[test]
fn an_update_is_passed_on_no_further_than_to_its_owner_whatever_its_sender_says() {
    for owner in 3..=20 {
        let mut node = node(1, &Config::default());
        introduce(&mut node, (2..=20).map(|at| alive(at, 0)));
        drain(&mut node);
        let id = name(owner);
        // It names the whole circle as the arc of this node.
        let bytes = datagram(2, |w| {
            assert!(w.frame(kind::TREE, &Tree { number: 1, end: id_hash("n1").0 }));
            put(w, &id, Instance(77), 0, &[(1, 0, b"load", Some(b"1"))]);
        });
        hear(&mut node, 2, &bytes);
        let places = |to: &str| id_hash(to).0.wrapping_sub(id_hash("n1").0);
        for (to, bytes) in drain(&mut node) {
            if frames(&bytes).iter().any(|frame| matches!(frame, Frame::Tree(_))) {
                assert!(places(&name(to)) < places(&id), "n{to} is not before n{owner}");
            }
        }
    }
}
