//! Forged snapshots: what is restored keeps its invariants from then on, and is never due for ever.

use super::snapshot::{Twins, outputs};
use super::*;
use crate::node::snapshot::RestoreError;
use crate::rng::Random;

/// The most ticks at one time: more than all parts together have stages.
const MAX_TICKS_AT_ONCE: u32 = 32;

/// The most ticks in one second: a busy node has some hundred.
const MAX_TICKS_PER_SECOND: u32 = 5_000;

/// Rules at whose bounds a forged state may begin, so that it passes them soon. No other does in
/// ten thousand years.
const OUT_OF_REACH: [&str; 3] = [
    "it is within the time of a node",
    "no counter is near its end",
    "this node has versions left for its own telemetry",
];

/// Snapshots of nodes in all kinds of trouble, each with an honest peer at another address.
fn busy() -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut saved = Vec::new();
    let configs = [
        Config::default(),
        Config { detector: DetectorFeatures::SWIM, byte_budget: Some(2_000), ..Config::default() },
        Config {
            isolation_limit: Some(Duration::from_secs(40)),
            tombstone_ttl: Duration::from_secs(60),
            ..Config::local()
        },
    ];
    for (seed, config) in (20..).zip(&configs) {
        let mut twins = Twins::new(8, seed, config);
        let mut take = |twins: &mut Twins, at: usize, peer: usize| {
            let [node, peer] = [at, peer].map(|at| {
                outputs(&mut twins.nodes[at]);
                twins.nodes[at].snapshot().unwrap()
            });
            saved.push((node, peer));
        };
        // Joining: no page has come yet.
        twins.run_for(Duration::from_millis(1), 100, &[]);
        take(&mut twins, 3, 0);
        twins.run_for(Duration::from_secs(10), 0, &[]);
        // A probe, a recheck or a session is under way, and telemetry is in flight.
        twins.run_for(Duration::from_secs(8), 30, &[2]);
        for value in 0..4_u8 {
            twins.input(0, &Input::publish("load", alloc::vec![value]));
            twins.run_for(Duration::from_millis(120), 60, &[2]);
            twins.input(0, &Input::Exchange);
            twins.input(0, &Input::Probe { id: id(3) });
        }
        twins.run_for(Duration::from_millis(40), 100, &[2]);
        take(&mut twins, 0, 1);
        // A suspicion and a death.
        for _ in 0..200 {
            if twins.nodes[0].health().suspected > 0 {
                break;
            }
            twins.run_for(Duration::from_millis(50), 5, &[2, 4]);
        }
        take(&mut twins, 0, 1);
        twins.run_for(Duration::from_secs(20), 5, &[2, 4]);
        take(&mut twins, 1, 0);
        // Isolation, with a roll call now and then.
        twins.run_for(Duration::from_secs(20), 0, &[2, 3, 4, 5, 6, 7]);
        take(&mut twins, 0, 1);
        for _ in 0..200 {
            if twins.nodes[0].detector.roll_calls.is_calling() {
                break;
            }
            twins.run_for(Duration::from_millis(20), 0, &[2, 3, 4, 5, 6, 7]);
        }
        take(&mut twins, 0, 1);
        twins.run_for(Duration::from_secs(20), 0, &[2]);
        twins.input(1, &Input::Leave);
        take(&mut twins, 1, 0);
        // A member is forgotten, and its row is free.
        twins.run_for(Duration::from_secs(70), 0, &[2]);
        take(&mut twins, 0, 5);
    }
    saved
}

/// Changes a few bytes: sets, flips, removes or inserts some, or copies a piece from elsewhere.
fn forge(saved: &[u8], other: &[u8], at: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = saved.to_vec();
    let len = saved.len();
    // The end of the varint that may begin here.
    let end = saved[at..].iter().position(|byte| byte & 0x80 == 0).map_or(len, |end| at + end + 1);
    let end = end.min(at + 10);
    let varint = |mut value: u64| {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        bytes.push(u8::try_from(value).unwrap());
        bytes
    };
    match random.below(9) {
        0 => bytes[at] = [0, 1, 2, 0x7f, 0x80, 0xff][random.below(6)],
        1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = bytes[at].wrapping_add([1, 0xff, 7][random.below(3)]),
        3 => {
            let bits = random.below(65);
            let value = u64::from(random.word()) << 32 | u64::from(random.word());
            let value = value.checked_shr(u32::try_from(bits).unwrap()).unwrap_or(0);
            bytes.splice(at..end, varint(value));
        }
        4 => {
            let value =
                [u64::MAX, 1 << 63, (1 << 62) - 1, 1 << 48, 1 << 32, u32::MAX.into(), 300, 9];
            bytes.splice(at..end, varint(value[random.below(value.len())]));
        }
        5 => {
            // A time or a version some way off.
            let old = saved[at..end].iter().rev().fold(0_u64, |value, byte| {
                value.checked_shl(7).unwrap_or(0) | u64::from(byte & 0x7f)
            });
            let by = 1_u64 << random.below(40);
            let new =
                if random.below(2) == 0 { old.wrapping_add(by) } else { old.wrapping_sub(by) };
            bytes.splice(at..end, varint(new));
        }
        6 => {
            bytes.drain(at..(at + 1 + random.below(4)).min(len));
        }
        7 => {
            // An option or a list becomes another of the same length.
            bytes[at] ^= 1;
            bytes.insert(at + 1, [0, 1, 3, 0xff][random.below(4)]);
        }
        _ => {
            let from = random.below(other.len());
            let piece = &other[from..(from + 1 + random.below(12)).min(other.len())];
            bytes.splice(at..(at + piece.len()).min(len), piece.iter().copied());
        }
    }
    bytes
}

/// Runs a restored node beside an honest peer, which alone answers. Commands come now and then.
fn drive(node: &mut Node<u32>, peer: &mut Node<u32>, span: Duration, random: &mut Random) {
    let begun = node.now();
    // Both have clocks of their own, which begin at the times of their snapshots.
    let peer_begun = peer.now();
    let peer_now = |now: Instant| peer_begun + now.since(begun);
    let (here, there) = (node.cx.this.address, peer.cx.this.address);
    let (mut now, mut ticks, mut second, mut at_once) = (begun, 0, 0, (begun, 0));
    let mut next_command = begun;
    while now.since(begun) < span {
        let due = node.poll_timeout();
        let peer_due = peer.poll_timeout().map(|at| begun + at.since(peer_begun));
        let next = [due, peer_due, Some(next_command)].into_iter().flatten().min().unwrap();
        now = now.max(next);
        if due.is_some_and(|due| due <= now) {
            at_once = if at_once.0 == now { (now, at_once.1 + 1) } else { (now, 1) };
            // The peer answers in no time, and each exchange that waits begins in a tick.
            if node.anti_entropy.exchanges_wanted > 0 {
                at_once.1 = 1;
            }
            assert!(at_once.1 <= MAX_TICKS_AT_ONCE, "still due at {now} after many ticks");
            let passed = now.since(begun).as_secs();
            (second, ticks) = if passed == second { (second, ticks + 1) } else { (passed, 1) };
            assert!(ticks <= MAX_TICKS_PER_SECOND, "too many ticks in second {second}");
            node.handle(now, Input::Tick).unwrap();
        } else if peer_due.is_some_and(|due| due <= now) {
            peer.handle(peer_now(now), Input::Tick).unwrap();
        } else {
            next_command = now + Duration::from_millis(700);
            let value = alloc::vec![7; random.below(60)];
            let command = match random.below(12) {
                0 => Input::Unpublish { key: "load".into() },
                1 => Input::Exchange,
                2 => Input::Probe { id: id(u32::try_from(1 + random.below(8)).unwrap()) },
                3 => Input::AcceptLoss,
                4 => Input::Join { seeds: alloc::vec![there].into() },
                5 => Input::publish_urgent("disk", value),
                _ => Input::publish("load", value),
            };
            // A restored node may have left, or have other limits.
            let _ = node.handle(now, command);
            let value = alloc::vec![random.word().to_le_bytes()[0]];
            let _ = peer.handle(peer_now(now), Input::publish("load", value));
        }
        loop {
            let sent = outputs(node).0;
            let quiet = sent.is_empty();
            for (to, bytes) in sent {
                if to == there {
                    let input = Input::Datagram { from: here, bytes: bytes.into() };
                    let _ = peer.handle(peer_now(now), input);
                }
            }
            let replies = outputs(peer).0;
            if quiet && replies.is_empty() {
                break;
            }
            for (to, bytes) in replies {
                if to == here {
                    let input = Input::Datagram { from: there, bytes: bytes.into() };
                    let _ = node.handle(now, input);
                }
            }
        }
    }
    for member in 1..9 {
        let _ = node.explain(&name(member)).map(|explanation| alloc::format!("{explanation:?}"));
    }
    let saved = node.snapshot().unwrap();
    match Node::<u32>::restore(&saved) {
        Ok(_) => {}
        Err(RestoreError::Unsound { rule, .. }) if OUT_OF_REACH.contains(&rule) => {}
        Err(error) => panic!("what a node comes to is restored: {error}"),
    }
    let _ = node.handle(now, Input::Leave);
    for _ in 0..200 {
        let Some(due) = node.poll_timeout() else { break };
        node.handle(due, Input::Tick).unwrap();
        outputs(node);
    }
    assert_eq!(node.poll_timeout(), None, "a leave comes to its end");
}

/// `FORGED_SNAPSHOTS` sets the number of forged snapshots.
#[test]
fn a_forged_snapshot_is_refused_or_makes_a_node_that_keeps_all_rules() {
    let wanted = option_env!("FORGED_SNAPSHOTS").map_or(3_000, |text| text.parse().unwrap());
    let saved = busy();
    let mut random = Random::new([9; 32]);
    let (mut restored, mut refused) = (0, alloc::collections::BTreeMap::new());
    let mut offset = 0;
    for round in 0..wanted {
        let (node, peer) = &saved[round % saved.len()];
        let other = &saved[random.below(saved.len())].0;
        // A stride without a common divisor comes to every offset.
        offset = (offset + 7_919) % node.len();
        let mut bytes = forge(node, other, offset, &mut random);
        if random.below(4) == 0 {
            bytes = forge(&bytes, other, random.below(bytes.len()), &mut random);
        }
        match Node::<u32>::restore(&bytes) {
            Ok(mut node) => {
                restored += 1;
                let mut peer = Node::restore(peer).unwrap();
                let span = Duration::from_secs(if restored % 8 == 0 { 150 } else { 5 });
                drive(&mut node, &mut peer, span, &mut random);
            }
            Err(RestoreError::Unsound { part, rule }) => {
                *refused.entry((part, rule)).or_insert(0) += 1;
            }
            Err(_) => {}
        }
    }
    assert!(restored > wanted / 8, "{restored} of {wanted} were restored");
    assert!(wanted < 3_000 || refused.len() > 15, "{refused:#?}");
}

/// A change to a sound node, and the part and the rule that it breaks.
type Broken = (fn(&mut Node<u32>), &'static str, &'static str);

/// Each of these would make the node panic, stay due or break an invariant later.
#[test]
fn a_state_that_would_fail_later_is_refused_with_the_rule_that_it_breaks() {
    let broken: [Broken; 11] = [
        (|node| node.cx.stats.probes = u64::MAX, "context", "no counter is near its end"),
        (
            |node| node.cx.now = Instant::from_micros(u64::MAX),
            "time",
            "it is within the time of a node",
        ),
        (|node| node.cx.this.instance = Instance(1), "own row", "it has the instance of this node"),
        (
            |node| node.detector.schedule.round = u64::MAX,
            "schedule",
            "the round is one that a clock can show",
        ),
        (
            |node| node.detector.schedule.rank.1 = usize::MAX,
            "schedule",
            "the rank of this node is one of the table",
        ),
        (
            |node| node.detector.schedule.probe_at = Instant::from_micros(1 << 60),
            "schedule",
            "the next probe is not ages away",
        ),
        (
            |node| node.detector.probe.as_mut().unwrap().target = node.cx.this.slot,
            "detector",
            "a probe is of another member, began in the past and ends",
        ),
        (
            |node| node.detector.probe.as_mut().unwrap().judged = 17,
            "detector",
            "a probe is of another member, began in the past and ends",
        ),
        (
            |node| node.anti_entropy.exchanges_wanted = usize::MAX,
            "anti-entropy",
            "no more exchanges wait than may wait",
        ),
        (
            |node| node.dissemination.gossiped_at = Some(node.cx.now + Duration::from_secs(9)),
            "dissemination",
            "rumors were last sent in the past",
        ),
        (
            |node| node.wrong_accusers.push(node.cx.this.id_hash),
            "node",
            "no accuser waits between two datagrams",
        ),
    ];
    let probes = |saved: &Vec<u8>| Node::<u32>::restore(saved).unwrap().detector.probe.is_some();
    let mut saved = busy().into_iter().map(|(saved, _)| saved);
    let sound = saved.find(probes).expect("a node with a probe under way");
    for (change, part, rule) in broken {
        let mut node = Node::<u32>::restore(&sound).unwrap();
        change(&mut node);
        let refused = Node::<u32>::restore(&node.snapshot().unwrap()).map(drop);
        assert_eq!(refused, Err(RestoreError::Unsound { part, rule }));
    }
}

/// What a node can come to, it can be restored from: full queues, a full table, a full history, and
/// telemetry of its own that lies of peers have made longer than others take in.
#[test]
fn a_node_at_each_of_its_limits_is_restored() {
    let config = Config { max_members: 40, byte_budget: Some(1_000), ..Config::default() };
    let mut net = Net::joined(3, &config);
    let now = net.now;
    let node = net.node(1);
    let mut give = |input: Input<'_, u32>| {
        // At the limit, further ones are refused.
        let _ = node.handle(now, input);
        outputs(node);
    };
    for address in 4..60 {
        let generation = Generation(u64::MAX >> 8);
        let address_or_none = (address % 5 != 0).then_some(address);
        give(Input::Introduce {
            id: id(address),
            address: address_or_none,
            instance: None,
            generation,
        });
    }
    for _ in 0..1_100 {
        give(Input::Probe { id: id(9) });
        give(Input::Exchange);
    }
    give(Input::Join { seeds: (100..90_000).collect::<Vec<u32>>().into() });
    for key in 0..900_u64 {
        let key_text = alloc::format!("{key:0>200}");
        let (version, urgent) = ((key + 1) << 36, key % 2 == 0);
        let (key, published) = (key_text.as_bytes(), Instant::from_micros(u64::MAX));
        let entry = crate::membership::telemetry_log::LogEntry {
            key,
            value: (version % 3 == 0).then_some(&b"value"[..]),
            version,
            published,
            urgent,
        };
        let slot = node.cx.this.slot;
        node.cx.table.set_entry(slot, now, &entry);
    }
    assert!(node.cx.table.row(node.cx.this.slot).log().len() > 150_000);
    for n in 0..200 {
        let (ours, theirs) = (crate::id::RequestId(n), crate::id::RequestId(n + 1));
        let asker = ((n, crate::id::IdHash(n)), n);
        node.detector.ping_reqs.add(now, (ours, theirs), asker, node.cx.config.probe_timeout);
    }
    for _ in 0..3 {
        for address in 2..40 {
            let Some(slot) = node.cx.table.find(&name(address)) else { continue };
            for _ in 0..40 {
                let evidence = Evidence::NotAccused;
                node.detector.add_evidence(slot, evidence, &mut node.cx);
            }
            node.detector.flap_damping.add_flap(slot, now);
        }
    }
    node.detector.begin_roll_call(&mut node.cx);
    outputs(node);
    let saved = node.snapshot().unwrap();
    let mut restored = Node::<u32>::restore(&saved).unwrap();
    assert_eq!(restored.snapshot().unwrap(), saved);
    for _ in 0..300 {
        let due = restored.poll_timeout().unwrap();
        restored.handle(due, Input::Tick).unwrap();
        outputs(&mut restored);
        let saved = restored.snapshot().unwrap();
        assert_eq!(Node::<u32>::restore(&saved).map(drop), Ok(()));
    }
}
