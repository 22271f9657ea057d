use super::*;
use crate::wire::{Ack, Ping, kind};

/// Node 1 knows node 2 and pings it: the node, the ping's number, and the ack that fits.
fn pinging() -> (Node<u32>, u32, Ack) {
    let mut node = node(1, &Config::default());
    hear(&mut node, 2, &claims(2, &[alive(2, 0)]));
    let number = loop {
        tick(&mut node);
        let number = drain(&mut node).iter().find_map(|(to, bytes)| {
            frames(bytes).into_iter().find_map(|frame| match frame {
                Frame::Ping(ping) if *to == 2 => Some(ping.number),
                _ => None,
            })
        });
        if let Some(number) = number {
            break number;
        }
    };
    assert!(node.now() <= Instant::from_millis(1_000), "the first probe is within an interval");
    (node, number, Ack { number, instance: 77 })
}

fn ack(node: &mut Node<u32>, from: u32, ack: Ack) {
    hear(node, from, &datagram(from, |w| assert!(w.frame(kind::ACK, &ack))));
}

fn tick(node: &mut Node<u32>) {
    let at = node.poll_timeout().unwrap();
    node.handle(at, Input::Tick).unwrap();
}

/// Lets the probe run to its end and says what is held of the target.
fn verdict(node: &mut Node<u32>) -> Status {
    let end = node.now() + Duration::from_millis(800);
    while node.poll_timeout().is_some_and(|at| at <= end) {
        tick(node);
        drain(node);
    }
    node.member("n2").unwrap().status()
}

#[test]
fn an_ack_with_number_and_source_ends_the_probe() {
    let (mut node, _, right) = pinging();
    ack(&mut node, 2, right);
    assert_eq!(node.stats().acks_unmatched, 0);
    assert_eq!(verdict(&mut node), Status::Alive);
}

#[test]
fn an_ack_of_another_number_or_source_counts_for_nothing() {
    for (from, offset) in [(2, 1), (3, 0)] {
        let (mut node, number, right) = pinging();
        ack(&mut node, from, Ack { number: number.wrapping_add(offset), ..right });
        assert_eq!(node.stats().acks_unmatched, 1);
        assert_eq!(verdict(&mut node), Status::Suspected);
    }
}

#[test]
fn an_ack_of_another_life_ends_the_probe_without_a_verdict() {
    let (mut node, _, right) = pinging();
    ack(&mut node, 2, Ack { instance: 78, ..right });
    assert_eq!(verdict(&mut node), Status::Alive);
}

#[test]
fn a_ping_for_another_id_gets_no_answer() {
    let mut node = node(1, &Config::default());
    let target = crate::id::tag_of(crate::id::id_hash("n9")).0;
    hear(&mut node, 2, &datagram(2, |w| assert!(w.frame(kind::PING, &Ping { number: 5, target }))));
    assert_eq!(drain(&mut node), []);
}

#[test]
fn each_member_is_probed_once_before_any_is_probed_twice() {
    const MEMBERS: u32 = 12;
    let mut net = Net::joined(MEMBERS, &Config::default());
    net.log.clear();
    net.run_for(Duration::from_secs(3 * (u64::from(MEMBERS) - 1)));
    let probed: Vec<u32> = net
        .log
        .iter()
        .filter(|(from, _, bytes)| {
            *from == 1 && frames(bytes).iter().any(|frame| matches!(frame, Frame::Ping(_)))
        })
        .map(|&(_, to, _)| to)
        .collect();
    // Whole rounds after the one that was under way: in each, everybody once.
    let start = (0..probed.len()).find(|&at| {
        let mut round = probed[at..].iter().take(MEMBERS as usize - 1).copied().collect::<Vec<_>>();
        round.sort_unstable();
        round.dedup();
        round.len() == MEMBERS as usize - 1
    });
    assert!(start.is_some(), "{probed:?}");
}

#[test]
fn a_broken_path_is_healed_by_helpers() {
    let mut net = Net::joined(4, &Config::default());
    net.cut = alloc::vec![(1, 2)];
    net.run_for(Duration::from_secs(60));
    assert_eq!(net.status(1, 2), Some(Status::Alive));
    let stats = *net.node(1).stats();
    assert!(stats.probes_indirect > 10, "{stats:?}");
    assert_eq!(stats.probes_failed, 0);
}

#[test]
fn fewer_members_than_helpers_wanted_is_normal() {
    for members in 1..=3 {
        let mut net = Net::joined(members, &Config { indirect_probes: 16, ..Config::default() });
        net.run_for(Duration::from_secs(20));
        assert!(net.nodes.iter().all(|node| node.health().alive == members));
    }
}
