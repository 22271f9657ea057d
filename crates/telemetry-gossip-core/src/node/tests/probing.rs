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
    let target = crate::id::id_hash_of(crate::id::full_id_hash(b"n9")).0;
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

#[test]
fn a_datagram_asks_for_one_relay_and_a_stranger_gets_no_more_than_its_bytes() {
    let mut net = Net::joined(12, &Config::default());
    let (victim, target) = (99_u32, crate::id::id_hash_of(crate::id::full_id_hash(b"n99")).0);
    let request = datagram(50, |w| {
        for number in 0..8 {
            let address = &victim.to_be_bytes();
            assert!(w.frame(kind::PING_REQ, &crate::wire::PingReq { number, target, address }));
        }
    });
    let node = net.node(1);
    drain(node);
    // News enough to fill a datagram.
    let others: Vec<_> = (60..95).map(|at| alive(at, 0)).collect();
    hear(node, 50, &claims(50, &others));
    drain(node);
    hear(node, 50, &request);
    let pings: Vec<usize> =
        drain(node).iter().filter(|&&(to, _)| to == victim).map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(pings.len(), 1);
    assert!(pings[0] <= request.len(), "{pings:?} for {}", request.len());
}

#[test]
fn a_probe_that_the_host_wants_waits_for_the_one_under_way_and_is_never_lost() {
    let (mut node, _, right) = pinging();
    let now = node.now();
    node.handle(now, Input::Probe { id: id(2) }).unwrap();
    assert_eq!(drain(&mut node), [], "one at a time");
    // The first ends without a verdict, as another life answers.
    ack(&mut node, 2, Ack { instance: 78, ..right });
    assert_eq!(drain(&mut node).len(), 1, "then the second begins");
    assert_eq!(verdict(&mut node), Status::Suspected);
    let outcomes: Vec<_> = core::iter::from_fn(|| node.poll_event())
        .filter(|event| matches!(event, Event::ProbeCompleted { .. }))
        .collect();
    assert_eq!(outcomes, [Event::ProbeCompleted { id: id(2), outcome: ProbeOutcome::Failed }]);
}

#[test]
fn silence_from_before_a_refutation_is_held_against_nobody() {
    let (mut node, ..) = pinging();
    // Accused by somebody else and back, all while our probe is under way.
    hear(&mut node, 3, &claims(3, &[alive(2, 5)]));
    assert_eq!(verdict(&mut node), Status::Alive);
}

#[test]
fn a_late_tick_leaves_each_stage_its_time_and_no_deadline_behind() {
    let (mut node, ..) = pinging();
    let (begun, timeout) = (node.now(), node.config().probe_timeout);
    while node.poll_timeout() != node.detector.probe.as_ref().map(|probe| probe.deadline) {
        tick(&mut node);
    }
    // Late, but not so late that the node takes it for a pause.
    let late = node.poll_timeout().unwrap() + timeout;
    node.handle(late, Input::Tick).unwrap();
    assert_eq!(node.stats().pauses, 0);
    while node.stats().probes_failed == 0 {
        assert!(node.poll_timeout().unwrap() > node.now());
        tick(&mut node);
    }
    assert_eq!(node.now().since(begun), timeout * 3);
}

#[test]
fn a_member_is_rechecked_once_at_a_time() {
    let mut node = node(1, &Config::default());
    hear(&mut node, 2, &claims(2, &[alive(2, 0)]));
    let slot = node.cx.table.find("n2").unwrap();
    for _ in 0..3 {
        node.detector.flap_damping.add_flap(slot, node.now());
    }
    let (mut pings, end) = (0, node.now() + Duration::from_secs(12));
    while let Some(at) = node.poll_timeout().filter(|&at| at <= end) {
        node.handle(at, Input::Tick).unwrap();
        let is_ping = |(to, bytes): &(u32, Vec<u8>)| {
            *to == 2 && frames(bytes).iter().any(|frame| matches!(frame, Frame::Ping(_)))
        };
        pings += drain(&mut node).iter().filter(|sent| is_ping(sent)).count();
    }
    // Those of one trial, and of the probes, each of which pings up to three times.
    assert!(pings <= 72 + 12 * 3, "{pings}");
}

#[test]
fn a_limit_that_passes_in_sleep_ends_no_isolation() {
    let config = Config { isolation_limit: Some(Duration::from_secs(60)), ..Config::default() };
    let mut net = Net::joined(5, &config);
    for other in 2..=5 {
        net.cut.extend([(1, other), (other, 1)]);
    }
    net.run_for(Duration::from_secs(12));
    assert!(net.node(1).health().isolated_since.is_some());
    let hour_later = net.now + Duration::from_secs(3_600);
    net.node(1).handle(hour_later, Input::Tick).unwrap();
    assert!(net.node(1).health().isolated_since.is_some());
}

/// Found by fuzzing: a member was forgotten while it was probed, and the next probe that the host
/// wanted began a tick later.
#[test]
fn a_probe_that_is_wanted_begins_in_the_tick_that_forgets_the_one_probed() {
    let config = Config { tombstone_ttl: Duration::from_secs(30), ..Config::default() };
    let mut node = node(1, &config);
    let member =
        Input::Introduce { id: id(2), address: Some(2), instance: None, generation: Generation(0) };
    node.handle(node.now(), member).unwrap();
    while node.member("n2").is_some() {
        for _ in 0..2 {
            node.handle(node.now(), Input::Probe { id: id(2) }).unwrap();
        }
        tick(&mut node);
        assert!(
            node.poll_timeout().is_none_or(|next| next > node.now()),
            "a deadline is left behind"
        );
    }
    assert!(node.stats().probes_failed > 0, "it was probed");
}

/// Found by fuzzing: with a member forgotten the roll call that asked it was given up, and what it
/// had held was due since long.
#[test]
fn a_roll_call_given_up_leaves_no_deadline_behind() {
    let config = Config { tombstone_ttl: Duration::from_secs(30), ..Config::default() };
    let mut node = node(1, &config);
    for silent in [2, 3] {
        let member = Input::Introduce {
            id: id(silent),
            address: Some(silent),
            instance: None,
            generation: Generation(0),
        };
        node.handle(node.now(), member).unwrap();
    }
    let accusers = core::iter::once(node.cx.this.id_hash).collect();
    let accused = Claim { status: Status::Suspected, accusers, ..alive(2, 0) };
    hear(&mut node, 2, &claims(2, &[accused]));
    while node.stats().roll_calls == 0 {
        tick(&mut node);
    }
    // By now half a second or more has passed since; the roll call goes on for a second and a half.
    let left = Claim { status: Status::Left, age_secs: 29, ..alive(3, 0) };
    hear(&mut node, 2, &claims(2, &[left]));
    while node.member("n3").is_some() {
        tick(&mut node);
        assert!(
            node.poll_timeout().is_none_or(|next| next > node.now()),
            "a deadline is left behind"
        );
    }
    assert_eq!(node.stats().roll_calls, 2, "it begins anew");
}

/// Found by fuzzing: the probes that fail for a cut had every node doubt itself so much that a
/// crash meanwhile was found 14 s after the cut had ended.
#[test]
fn who_crashed_during_a_partition_is_found_soon_after_it() {
    let mut net = Net::joined(5, &Config::default());
    let cut = |side: [u32; 2], other: [u32; 2]| {
        side.into_iter()
            .flat_map(move |from| other.into_iter().flat_map(move |to| [(from, to), (to, from)]))
    };
    let crash = (1..=5).flat_map(|other| [(other, 3), (3, other)]);
    net.cut = crash.clone().chain(cut([1, 4], [2, 5])).collect();
    net.run_for(Duration::from_secs(120));
    assert!([1, 2, 4, 5].into_iter().all(|at| net.node(at).health().isolated_since.is_some()));
    net.cut = crash.collect();
    net.run_for(Duration::from_secs(6));
    for at in [1, 2, 4, 5] {
        assert_eq!(net.status(at, 3), Some(Status::Dead), "at n{at}");
    }
}
