//! Sealed datagrams: what was recorded changes nothing, and what is fresh is taken.

use super::*;
use crate::wire::{Ack, Ping, kind};

const PREFIX: [u8; 16] = [9; 16];

fn id_hash(address: u32) -> IdHash {
    crate::id::id_hash_of(crate::id::full_id_hash(name(address).as_bytes()))
}

fn stamp(counter: u64) -> Stamp {
    Stamp { prefix: PREFIX, counter }
}

/// Hands the node a datagram of the prefix without a proof, and returns the proof that it makes.
fn hear_unproved(node: &mut Node<u32>, from: u32, counter: u64, bytes: &[u8]) -> Option<Stamp> {
    let now = node.now();
    node.handle(now, Input::sealed(from, stamp(counter), None, bytes)).unwrap();
    node.poll_proof()
}

/// The pings that the node sends now, as (to, request id).
fn pings(node: &mut Node<u32>) -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    for (to, bytes) in drain(node) {
        for frame in frames(&bytes) {
            if let Frame::Ping(ping) = frame {
                found.push((to, ping.number));
            }
        }
    }
    found
}

/// A datagram of a sender whose round clock shows `clock`.
fn at_clock(mut bytes: Vec<u8>, clock: u32) -> Vec<u8> {
    bytes[17..20].copy_from_slice(&clock.to_be_bytes()[1..]);
    bytes
}

fn ack(sender: u32, number: u32) -> Vec<u8> {
    datagram(sender, |w| assert!(w.frame(kind::ACK, &Ack { number, instance: 77 })))
}

/// The state of a node but for its counters, its random numbers and what it has parked.
fn shown(node: &Node<u32>) -> Vec<String> {
    node.members()
        .map(|it| alloc::format!("{} {} {:?}", it.id(), it.status(), it.generation()))
        .collect()
}

#[test]
fn claims_without_a_proof_wait_until_their_sender_answers() {
    let mut node = node(1, &Config::default());
    drain(&mut node);
    let before = shown(&node);
    assert_eq!(hear_unproved(&mut node, 2, 5, &claims(2, &[alive(2, 0), alive(3, 0)])), None);
    assert_eq!(shown(&node), before);
    let asked = pings(&mut node);
    let [(2, number)] = asked[..] else { panic!("{asked:?}") };
    // A second copy asks nothing anew.
    hear_unproved(&mut node, 2, 5, &claims(2, &[alive(2, 0), alive(3, 0)]));
    assert_eq!(pings(&mut node), []);
    assert_eq!(hear_unproved(&mut node, 2, 6, &ack(2, number)), Some(stamp(6)));
    assert!(node.member("n2").is_some() && node.member("n3").is_none());
    assert!(matches!(pings(&mut node)[..], [(3, _)]), "what it says of others waits for them");
}

#[test]
fn another_number_or_another_prefix_proves_nothing() {
    let mut node = node(1, &Config::default());
    hear_unproved(&mut node, 2, 5, &claims(2, &[alive(2, 0)]));
    let number = pings(&mut node)[0].1;
    assert_eq!(hear_unproved(&mut node, 2, 6, &ack(2, number ^ 1)), None);
    let now = node.now();
    let other = Stamp { prefix: [8; 16], counter: 6 };
    node.handle(now, Input::sealed(2, other, None, ack(2, number))).unwrap();
    assert_eq!((node.poll_proof(), node.members().count()), (None, 1));
}

/// The sender lives on, and answers: so the recording must not count as what it says now.
#[test]
fn a_recording_of_a_living_sender_is_not_taken_for_its_present_word() {
    for (recorded, answer, clocks, taken) in [
        (5, 6, (0, 10), true),
        (5, 1_029, (0, 1_024), true),
        (5, 1_030, (0, 10), false),
        (5, 6, (0, 1_025), false),
        (5, 6, (10, 0), false),
        (6, 5, (0, 10), false),
        (5, 6, (0xff_fff0, 5), true),
    ] {
        let mut node = node(1, &Config::default());
        let bytes = at_clock(claims(2, &[alive(2, 0), alive(3, 0)]), clocks.0);
        hear_unproved(&mut node, 2, recorded, &bytes);
        let number = pings(&mut node)[0].1;
        let answered = at_clock(ack(2, number), clocks.1);
        assert_eq!(hear_unproved(&mut node, 2, answer, &answered), Some(stamp(answer)));
        let case = (recorded, answer, clocks);
        assert_eq!(node.member("n2").is_some(), taken, "{case:?}");
    }
}

#[test]
fn a_ping_without_a_proof_gets_a_bare_ack_and_spends_no_rumor() {
    let mut node = node(1, &Config::default());
    let ping = Ping { number: 7, target: id_hash(1).0 };
    let bytes = datagram(2, |w| assert!(w.frame(kind::PING, &ping)));
    for _ in 0..50 {
        assert_eq!(hear_unproved(&mut node, 2, 5, &bytes), None);
        let sent = drain(&mut node);
        let [(2, answer)] = &sent[..] else { panic!("{sent:?}") };
        assert!(matches!(frames(answer)[..], [Frame::Ack(Ack { number: 7, .. })]));
    }
    hear(&mut node, 2, &bytes);
    let sent = drain(&mut node);
    assert!(frames(&sent[0].1).len() > 1, "the rumor of its own start is still to be told");
}

#[test]
fn a_replayed_accusation_changes_nothing() {
    let mut node = node(1, &Config::default());
    hear(&mut node, 2, &claims(2, &[alive(2, 0)]));
    drain(&mut node);
    let (accusers, none): (Accusers, _) = ([id_hash(2)].into_iter().collect(), Accusers::new);
    let before = (shown(&node), node.health());
    for (counter, status) in (0..).zip([Status::Suspected, Status::Dead, Status::Left]) {
        for generation in [0, 1, 1_000] {
            let accused = Claim {
                status,
                instance: node.me().instance(),
                accusers: if status == Status::Suspected { accusers.clone() } else { none() },
                ..alive(1, generation)
            };
            hear_unproved(&mut node, 2, counter, &claims(2, &[accused]));
        }
    }
    assert_eq!((shown(&node), node.health()), before);
    assert_eq!(node.stats().refutations, 0);
    let alike = |frame: &Frame<'_, u32>| matches!(frame, Frame::Ping(_));
    assert!(drain(&mut node).iter().all(|(_, bytes)| frames(bytes).iter().all(alike)));
}

#[test]
fn a_proof_lapses_within_a_quarter_of_the_memory_of_the_dead() {
    let config = Config::default().tombstone_ttl(Duration::from_secs(400));
    for (age, taken, renewed) in
        [(0, true, false), (50, true, true), (99, true, true), (100, false, true)]
    {
        let mut node = node(1, &config);
        let now = node.now();
        let age = Some(Duration::from_secs(age));
        introduce(&mut node, [alive(2, 0)]);
        let bytes = claims(2, &[alive(2, 1)]);
        node.handle(now, Input::sealed(2, stamp(5), age, bytes)).unwrap();
        let generation = node.member("n2").unwrap().generation();
        assert_eq!((generation == Generation(1), node.poll_proof()), (taken, None), "{age:?}");
        drain(&mut node);
        // An answer to a ping of its own renews a proof that is no longer young.
        node.handle(now, Input::probe(id(2))).unwrap();
        let Some(&(_, number)) = pings(&mut node).first() else { continue };
        node.handle(now, Input::sealed(2, stamp(6), age, ack(2, number))).unwrap();
        assert_eq!(node.poll_proof().is_some(), renewed, "{age:?}");
    }
}

#[test]
fn a_flood_of_recordings_is_bounded_in_memory_and_in_answers() {
    let mut node = node(1, &Config::default());
    drain(&mut node);
    let bytes = claims(2, &[alive(2, 0), alive(3, 0)]);
    let (now, idle) = (node.now(), node.heap_bytes());
    let mut answered = 0;
    for sender in 0..5_000_u32 {
        let mut prefix = PREFIX;
        prefix[..4].copy_from_slice(&sender.to_be_bytes());
        let stamp = Stamp { prefix, counter: 5 };
        node.handle(now, Input::sealed(2, stamp, None, &bytes[..])).unwrap();
        answered += drain(&mut node).len();
    }
    assert_eq!(answered, 2_048, "as many as are looked at in a second");
    assert_eq!(node.freshness.bound(), (64, 64));
    assert!(node.heap_bytes() - idle < 64 * (bytes.len() + 200), "{}", node.heap_bytes() - idle);
    assert_eq!(node.members().count(), 1);
    // They lapse, and nothing is left.
    let later = now + Duration::from_secs(5);
    node.handle(later, Input::sealed(2, stamp(9), Some(Duration::ZERO), ack(2, 1))).unwrap();
    assert_eq!(node.freshness.bound(), (0, 64));
}

#[test]
fn a_snapshot_holds_what_is_parked() {
    let mut node = node(1, &Config::default());
    hear_unproved(&mut node, 2, 5, &claims(2, &[alive(2, 0)]));
    let number = pings(&mut node)[0].1;
    while node.poll_event().is_some() {}
    let mut twin = Node::<u32>::restore(&node.snapshot().unwrap()).unwrap();
    for node in [&mut node, &mut twin] {
        assert_eq!(hear_unproved(node, 2, 6, &ack(2, number)), Some(stamp(6)));
        assert!(node.member("n2").is_some());
    }
}

#[test]
fn a_flood_of_one_recorded_prefix_does_not_keep_a_newcomer_out() {
    let mut node = node(1, &Config::default());
    let flood = claims(7, &[alive(7, 0)]);
    for _ in 0..10_000 {
        let now = node.now();
        let stamp = Stamp { prefix: [3; 16], counter: 5 };
        node.handle(now, Input::sealed(7, stamp, None, &flood[..])).unwrap();
        drain(&mut node);
    }
    assert_eq!(hear_unproved(&mut node, 2, 5, &claims(2, &[alive(2, 0)])), None);
    assert!(matches!(pings(&mut node)[..], [(2, _)]));
}

/// The answer proves the session and the address at once, so the first page is not cut short.
#[test]
fn a_newcomer_gets_its_first_page_whole_after_one_round_trip() {
    let mut node = node(1, &Config::default());
    introduce(&mut node, (10..40).map(|at| alive(at, 0)));
    drain(&mut node);
    let mut joining = super::node(2, &Config::default());
    let now = joining.now();
    joining.handle(now, Input::join(&[1][..])).unwrap();
    let request = drain(&mut joining).remove(0).1;
    hear_unproved(&mut node, 2, 0, &request);
    let number = pings(&mut node)[0].1;
    hear_unproved(&mut node, 2, 1, &ack(2, number));
    let page = drain(&mut node).into_iter().find(|&(to, _)| to == 2).unwrap().1;
    assert!(page.len() > 3 * request.len(), "{} after {}", page.len(), request.len());
    hear(&mut joining, 1, &page);
    assert_eq!(joining.members().count(), 32);
}

#[test]
fn new_randomness_changes_the_numbers_to_come_and_parts_two_copies() {
    let mut node = node(1, &Config::default());
    introduce(&mut node, [alive(2, 0)]);
    drain(&mut node);
    while node.poll_event().is_some() {}
    let state = node.snapshot().unwrap();
    let numbers = |entropy: Option<u8>| {
        let mut copy = Node::<u32>::restore(&state).unwrap();
        let now = copy.now();
        if let Some(entropy) = entropy {
            copy.handle(now, Input::Reseed { entropy: [entropy; 32] }).unwrap();
        }
        copy.handle(now, Input::probe(id(2))).unwrap();
        let drawn = pings(&mut copy);
        // The numbers that stand for an address, too.
        let made = copy.cx.proof.challenge(2_u32, now);
        (drawn, made)
    };
    assert_eq!(numbers(None), numbers(None));
    assert_eq!(numbers(Some(1)), numbers(Some(1)), "a replay goes the same way");
    let all = [numbers(None), numbers(Some(0)), numbers(Some(1)), numbers(Some(2))];
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            assert!(one.0 != other.0 && one.1 != other.1, "{one:?} {other:?}");
        }
    }
}
