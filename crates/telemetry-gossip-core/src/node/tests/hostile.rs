//! Hostile datagrams: what one forged datagram does to a node does not last, and harms no other.

use super::*;
use crate::wire::{Ack, Ping, PingReq, RangeHead, TelemetryHead, VersionsHead, WireEntry, kind};

fn id_hash(address: u32) -> IdHash {
    crate::id::id_hash_of(crate::id::full_id_hash(name(address).as_bytes()))
}

/// Answers all pings that the node sends to `address` now.
fn answer_as(node: &mut Node<u32>, address: u32, instance: Instance) {
    for (_, bytes) in drain(node).iter().filter(|&&(to, _)| to == address) {
        for frame in frames(bytes) {
            if let Frame::Ping(ping) = frame {
                let ack = |w: &mut Writer<'_>| {
                    assert!(w.lead(kind::ACK, ping.number, instance.0));
                };
                hear(node, address, &datagram(address, ack));
            }
        }
    }
}

fn telemetry(sender: u32, owner: u32, instance: Instance, version: u64) -> Vec<u8> {
    datagram(sender, |w| {
        let open = w.open(kind::TELEMETRY).unwrap();
        assert!(w.item(&TelemetryHead { owner: id_hash(owner).0, instance: instance.0, since: 0 }));
        assert!(w.item(&WireEntry { step: version, age: 0, key: b"load", value: Some(b"evil") }));
        w.close(open);
    })
}

#[test]
fn claims_of_another_process_do_not_retire_a_node_at_once() {
    let mut node = node(1, &Config::default());
    let id_conflict = |generation| Claim { instance: Instance(u32::MAX), ..alive(1, generation) };
    let all: Vec<_> = (0..20).map(|at| id_conflict(2 * at + 1)).collect();
    hear(&mut node, 9, &claims(9, &all));
    for claim in &all {
        hear(&mut node, 9, &claims(9, core::slice::from_ref(claim)));
    }
    assert!(node.health().active, "the node was silenced for ever");
    assert_eq!(node.stats().refutations, 1, "one refutation, then none for a while");
}

#[test]
fn accusations_in_one_datagram_are_answered_by_one_short_datagram() {
    let mut node = node(1, &Config::default());
    // A member at the address of a victim, which was never verified.
    introduce(&mut node, [alive(5, 0)]);
    drain(&mut node);
    let accusers: Accusers = [id_hash(5); 4].into_iter().collect();
    let accused = |generation| Claim {
        status: Status::Suspected,
        accusers: accusers.clone(),
        ..alive(1, generation)
    };
    let bytes = claims(9, &(0..30).map(accused).collect::<Vec<_>>());
    hear(&mut node, 9, &bytes);
    let sent: Vec<usize> =
        drain(&mut node).iter().filter(|&&(to, _)| to == 5).map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0] <= 120, "{sent:?}");
}

#[test]
fn reply_and_ping_req_together_send_at_most_three_times_the_bytes_received() {
    let mut node = node(1, &Config::default());
    introduce(&mut node, (20..45).map(|at| alive(at, 0)));
    drain(&mut node);
    let bytes = datagram(99, |w| {
        assert!(w.frame(kind::PING, &Ping { number: 1, target: id_hash(1).0 }));
        assert!(w.frame(
            kind::PING_REQ,
            &PingReq { number: 1, target: id_hash(30).0, address: &30_u32.to_be_bytes() }
        ));
    });
    hear(&mut node, 50, &bytes);
    let (mut sent, end) = (0, node.now() + Duration::from_millis(290));
    loop {
        sent += drain(&mut node)
            .iter()
            .filter(|&&(to, _)| to == 50)
            .map(|(_, bytes)| bytes.len())
            .sum::<usize>();
        let Some(at) = node.poll_timeout().filter(|&at| at <= end) else { break };
        node.handle(at, Input::Tick).unwrap();
    }
    assert!(sent > 0 && sent <= 3 * bytes.len(), "{sent} for {}", bytes.len());
}

#[test]
fn a_request_id_that_was_seen_does_not_help_to_guess_the_next() {
    let mut node = node(1, &Config::default());
    introduce(&mut node, [alive(9, 0), alive(5, 0)]);
    drain(&mut node);
    let ping_req = PingReq { number: 1, target: id_hash(9).0, address: &9_u32.to_be_bytes() };
    hear(&mut node, 9, &datagram(9, |w| assert!(w.frame(kind::PING_REQ, &ping_req))));
    let seen = drain(&mut node).iter().find_map(|(_, bytes)| {
        frames(bytes).into_iter().find_map(|frame| match frame {
            Frame::Ping(ping) => Some(ping.number),
            _ => None,
        })
    });
    let seen = seen.unwrap();
    while node.detector.probe.is_none() {
        let at = node.poll_timeout().unwrap();
        node.handle(at, Input::Tick).unwrap();
        drain(&mut node);
    }
    for guess in 1..100 {
        for member in [5, 9] {
            let ack = Ack { number: seen.wrapping_add(guess), instance: 77 };
            hear(&mut node, member, &datagram(member, |w| assert!(w.frame(kind::ACK, &ack))));
        }
    }
    assert!(node.detector.probe.is_some(), "a guess ended the probe");
}

#[test]
fn an_old_death_is_remembered_and_beats_lower_generations() {
    let mut node = node(1, &Config::default());
    introduce(&mut node, [alive(2, 4)]);
    let dead = Claim { status: Status::Dead, age_secs: u32::MAX, ..alive(2, 5) };
    hear(&mut node, 9, &claims(9, &[dead]));
    let at = node.poll_timeout().unwrap();
    node.handle(at, Input::Tick).unwrap();
    hear(&mut node, 9, &claims(9, &[alive(2, 3)]));
    assert_eq!(node.member("n2").map(|member| member.status()), Some(Status::Dead));
}

#[test]
fn forged_telemetry_is_corrected_by_its_owner() {
    let mut net = Net::joined(3, &Config::default());
    net.input(
        2,
        Input::Publish { key: "load".into(), value: b"1".as_slice().into(), urgent: false },
    );
    net.run_for(Duration::from_secs(3));
    let instance = net.node(2).me().instance();
    let now = net.now;
    let mut lie = |version| {
        let bytes = telemetry(3, 2, instance, version).into();
        net.node(1).handle(now, Input::Datagram { from: 3, bytes })
    };
    let refused = lie(1 << 48);
    assert!(matches!(refused, Err(InputError::Datagram(WireError::Rule { .. }))), "{refused:?}");
    lie(1_000_000).unwrap();
    net.run_for(Duration::from_secs(60));
    let read = |net: &mut Net, reader| {
        net.node(reader).member("n2").unwrap().value("load").unwrap().value.to_vec()
    };
    assert_eq!([read(&mut net, 1), read(&mut net, 3)], [b"1", b"1"]);
    net.input(
        2,
        Input::Publish { key: "load".into(), value: b"2".as_slice().into(), urgent: false },
    );
    net.run_for(Duration::from_secs(1));
    assert_eq!([read(&mut net, 1), read(&mut net, 3)], [b"2", b"2"]);
}

#[test]
fn version_lists_with_overlapping_or_unordered_ranges_are_malformed() {
    let list = |ranges: &[(u32, u32)]| {
        datagram(9, |w| {
            let open = w.open(kind::SYNC_VERSIONS).unwrap();
            assert!(w.item(&VersionsHead { number: 1, more: false }));
            for &(from, to) in ranges {
                assert!(w.item(&RangeHead { from, to, rows: 0 }));
            }
            w.close(open);
        })
    };
    let parse = |ranges: &[(u32, u32)]| {
        Datagram::<u32>::parse(&list(ranges), Label::of(""), |claims| (0, claims)).map(|_| ())
    };
    assert_eq!(parse(&[(0, 9), (10, 20), (30, u32::MAX)]), Ok(()));
    for bad in
        [[(0, u32::MAX), (0, u32::MAX)], [(0, 10), (10, 20)], [(30, 40), (0, 9)], [(5, 4), (6, 7)]]
    {
        assert!(parse(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_full_table_lets_go_of_the_dead_before_it_refuses_the_living() {
    let mut node = node(1, &Config { max_members: 16, ..Config::default() });
    introduce(&mut node, (10..=16).map(|at| alive(at, 0)));
    let dead: Vec<_> = (10..=16).map(|at| Claim { status: Status::Dead, ..alive(at, 1) }).collect();
    hear(&mut node, 9, &claims(9, &dead));
    // They had the time to refute it.
    node.handle(node.now() + Duration::from_secs(10), Input::Tick).unwrap();
    introduce(&mut node, (2..=9).map(|at| alive(at, 0)));
    drain(&mut node);
    assert_eq!((node.health().alive, node.health().dead), (9, 7));
    // Nodes that ask to join, and that answer the question back.
    for address in 20..=40 {
        hear(&mut node, address, &claims(address, &[alive(address, 0)]));
        answer_as(&mut node, address, Instance(77));
    }
    assert_eq!((node.health().alive, node.health().dead), (16, 0));
    assert_eq!(node.stats().claims_table_full, 14, "no live member is lost for a newcomer");
    for address in 2..=9 {
        assert!(node.member(&name(address)).is_some());
    }
}
