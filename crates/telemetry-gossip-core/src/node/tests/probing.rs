//! Probes of a whole node: acks, helpers, late ticks, rechecks, roll calls and isolation.

use super::*;
use crate::wire::{Ack, Ping, kind};

/// Node 1 while it probes node 2, the request id of its ping, and the ack that answers it.
fn pinging() -> (Node<u32>, u32, Ack) {
    let mut node = node(1, &Config::default());
    introduce(&mut node, [alive(2, 0)]);
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
    assert!(node.now() <= Instant::from_millis(1_000), "the first probe comes within an interval");
    (node, number, Ack { number, instance: 77 })
}

fn ack(node: &mut Node<u32>, from: u32, ack: Ack) {
    hear(node, from, &datagram(from, |w| assert!(w.frame(kind::ACK, &ack))));
}

fn tick(node: &mut Node<u32>) {
    let at = node.poll_timeout().unwrap();
    node.handle(at, Input::Tick).unwrap();
}

/// Lets the probe run to its end, and returns the status of the target.
fn verdict(node: &mut Node<u32>) -> Status {
    let end = node.now() + Duration::from_millis(800);
    while node.poll_timeout().is_some_and(|at| at <= end) {
        tick(node);
        drain(node);
    }
    node.member("n2").unwrap().status()
}

#[test]
fn an_ack_with_the_request_id_of_the_probe_ends_it() {
    let (mut node, _, right) = pinging();
    ack(&mut node, 2, right);
    assert_eq!(node.stats().acks_unmatched, 0);
    assert_eq!(verdict(&mut node), Status::Alive);
}

/// What the probe was to find out is known.
#[test]
fn a_probe_ends_without_a_failure_when_its_target_is_gone_by_another_word() {
    for status in [Status::Left, Status::Dead] {
        let (mut node, _, _) = pinging();
        hear(&mut node, 2, &claims(2, &[Claim { status, ..alive(2, 0) }]));
        assert_eq!(verdict(&mut node), status);
        let stats = node.stats();
        assert_eq!((stats.probes_failed, stats.ping_reqs, stats.roll_calls), (0, 0, 0));
    }
}

/// The host knows that it has restarted, or has moved.
#[test]
fn a_probe_ends_without_a_failure_when_another_process_runs_in_its_place() {
    for (instance, address) in [(88, 2), (77, 3)] {
        let (mut node, _, _) = pinging();
        let (id, now) = (id(2), node.now());
        let input = Input::Introduce {
            id,
            address: Some(address),
            instance: Some(Instance(instance)),
            generation: Generation(1),
        };
        node.handle(now, input).unwrap();
        assert!(node.detector.probe.is_none());
        let stats = node.stats();
        assert_eq!((stats.probes_failed, stats.ping_reqs, stats.roll_calls), (0, 0, 0));
    }
}

#[test]
fn an_ack_with_another_request_id_is_ignored() {
    let (mut node, number, right) = pinging();
    ack(&mut node, 2, Ack { number: number.wrapping_add(1), ..right });
    assert_eq!(node.stats().acks_unmatched, 1);
    assert_eq!(verdict(&mut node), Status::Suspected);
}

#[test]
fn an_ack_with_the_request_id_counts_whatever_its_source() {
    for source in [3, 99] {
        let (mut node, _, right) = pinging();
        ack(&mut node, source, right);
        assert_eq!(node.stats().acks_unmatched, 0);
        assert_eq!(verdict(&mut node), Status::Alive);
    }
}

#[test]
fn an_ack_of_another_instance_ends_the_probe_without_a_verdict() {
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
    // After the round that was under way, each whole round probes each member once.
    let start = (0..probed.len()).find(|&at| {
        let mut round = probed[at..].iter().take(MEMBERS as usize - 1).copied().collect::<Vec<_>>();
        round.sort_unstable();
        round.dedup();
        round.len() == MEMBERS as usize - 1
    });
    assert!(start.is_some(), "{probed:?}");
}

#[test]
fn helpers_bridge_a_broken_path() {
    let mut net = Net::joined(4, &Config::default());
    net.cut = alloc::vec![(1, 2)];
    net.run_for(Duration::from_secs(60));
    assert_eq!(net.status(1, 2), Some(Status::Alive));
    let stats = *net.node(1).stats();
    assert!(stats.probes_indirect > 10, "{stats:?}");
    assert_eq!(stats.probes_failed, 0);
}

/// A process was restarted under another name at its port. It is no helper for its earlier name.
#[test]
fn a_member_at_the_address_of_the_target_is_no_helper() {
    let mut net = Net::joined(4, &Config::default());
    *net.node(2) = Node::new(Config::default(), Identity::new(id(5), 2), [5; 32], net.now).unwrap();
    net.input(2, Input::Join { seeds: alloc::vec![1].into() });
    net.log.clear();
    net.run_for(Duration::from_secs(20));
    assert_eq!(net.status(1, 2), Some(Status::Dead));
    assert_eq!(net.status(1, 5), Some(Status::Alive));
    let requests = net.log.iter().filter(|(_, _, bytes)| {
        frames(bytes).iter().any(|frame| matches!(frame, Frame::PingReq { .. }))
    });
    let asked: Vec<_> = requests.map(|&(_, to, _)| to).collect();
    assert!(!asked.is_empty() && !asked.contains(&2), "{asked:?}");
}

#[test]
fn a_cluster_smaller_than_the_number_of_helpers_stays_alive() {
    for members in 1..=3 {
        let mut net = Net::joined(members, &Config { indirect_probes: 16, ..Config::default() });
        net.run_for(Duration::from_secs(20));
        assert!(net.nodes.iter().all(|node| node.health().alive == members));
    }
}

#[test]
fn a_datagram_causes_one_ping_req_and_an_unknown_target_gets_no_more_bytes_than_it() {
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
    // Enough rumors to fill a datagram.
    introduce(node, (60..95).map(|at| alive(at, 0)));
    drain(node);
    hear(node, 50, &request);
    let pings: Vec<usize> =
        drain(node).iter().filter(|&&(to, _)| to == victim).map(|(_, bytes)| bytes.len()).collect();
    assert_eq!(pings.len(), 1);
    assert!(pings[0] <= request.len(), "{pings:?} for {}", request.len());
}

#[test]
fn a_probe_for_the_host_waits_for_the_one_under_way_and_is_never_lost() {
    let (mut node, _, right) = pinging();
    let now = node.now();
    node.handle(now, Input::Probe { id: id(2) }).unwrap();
    assert_eq!(drain(&mut node), [], "one at a time");
    // The first ends without a verdict, since another instance answers.
    ack(&mut node, 2, Ack { instance: 78, ..right });
    let sent = drain(&mut node);
    assert_eq!(sent.len(), 2, "that one learns what is held, then the second begins: {sent:?}");
    assert_eq!(verdict(&mut node), Status::Suspected);
    let outcomes: Vec<_> = core::iter::from_fn(|| node.poll_event())
        .filter(|event| matches!(event, Event::ProbeCompleted { .. }))
        .collect();
    assert_eq!(outcomes, [Event::ProbeCompleted { id: id(2), outcome: ProbeOutcome::Failed }]);
}

#[test]
fn a_failed_probe_from_before_a_refutation_leads_to_no_accusation() {
    let (mut node, ..) = pinging();
    // Another member's accusation was refuted, all while our probe is under way.
    hear(&mut node, 3, &claims(3, &[alive(2, 5)]));
    assert_eq!(verdict(&mut node), Status::Alive);
}

#[test]
fn a_late_tick_shortens_no_stage_and_leaves_no_deadline_in_the_past() {
    let (mut node, ..) = pinging();
    let (begun, timeout) = (node.now(), node.config().probe_timeout);
    while node.poll_timeout() != node.detector.probe.as_ref().map(|probe| probe.deadline) {
        tick(&mut node);
    }
    // Late, but not late enough to count as a pause.
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
    introduce(&mut node, [alive(2, 0)]);
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
    // The pings of one recheck and of the probes, each of which pings up to three times.
    assert!(pings <= 72 + 12 * 3, "{pings}");
}

#[test]
fn an_isolation_limit_that_passes_in_a_pause_ends_no_isolation() {
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

/// Found by fuzzing: a member was forgotten while it was probed, and the next probe for the host
/// began a tick too late.
#[test]
fn a_waiting_probe_begins_in_the_tick_that_forgets_the_member_probed() {
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
            "a deadline is left in the past"
        );
    }
    assert!(node.stats().probes_failed > 0, "the member was probed");
}

/// Found by fuzzing: when a member was forgotten, the roll call that had asked it was given up, and
/// the suspicions that it had held up were overdue.
#[test]
fn a_roll_call_given_up_leaves_no_deadline_in_the_past() {
    let config = Config { tombstone_ttl: Duration::from_secs(30), ..Config::default() };
    let mut node = node(1, &config);
    introduce(&mut node, [alive(2, 0), alive(3, 0)]);
    let accusers = core::iter::once(node.cx.this.id_hash).collect();
    let accused = Claim { status: Status::Suspected, accusers, ..alive(2, 0) };
    hear(&mut node, 2, &claims(2, &[accused]));
    while node.stats().roll_calls == 0 {
        tick(&mut node);
    }
    // The tombstone of n3 has one second left, and the roll call goes on for a second and a half.
    let left = Claim { status: Status::Left, age_secs: 29, ..alive(3, 0) };
    hear(&mut node, 2, &claims(2, &[left]));
    while node.member("n3").is_some() {
        tick(&mut node);
        assert!(
            node.poll_timeout().is_none_or(|next| next > node.now()),
            "a deadline is left in the past"
        );
    }
    assert_eq!(node.stats().roll_calls, 2, "the roll call begins anew");
}

/// Found by fuzzing: the probes that failed because of a partition worsened the local health of
/// every node so much that a crash meanwhile was found only 14 s after the partition had ended.
#[test]
fn a_crash_during_a_partition_is_found_soon_after_it() {
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

/// When a node that suspects n2 declares it dead, and how much later than it had asked for its host
/// called it once meanwhile: right before the suspicion was over, after a pause of the host.
fn death_after_a_pause(pause: Duration) -> (Instant, Duration) {
    let mut node = node(1, &Config::default());
    introduce(&mut node, [alive(2, 0), alive(3, 0)]);
    let status = |node: &Node<u32>| node.member("n2").unwrap().status();
    while status(&node) != Status::Suspected {
        tick(&mut node);
        answer(&mut node, &[3]);
    }
    let slot = node.cx.table.find("n2").unwrap();
    let ends = node.detector.suspicions.get(slot).unwrap().deadline;
    let asked_for = loop {
        let next = node.poll_timeout().unwrap();
        if next + Duration::from_secs(1) >= ends {
            break next;
        }
        tick(&mut node);
        answer(&mut node, &[3]);
    };
    node.handle(asked_for + pause, Input::Tick).unwrap();
    assert_eq!(node.stats().pauses, u64::from(!pause.is_zero()));
    while status(&node) == Status::Suspected {
        tick(&mut node);
        answer(&mut node, &[3]);
    }
    assert_eq!(status(&node), Status::Dead);
    (node.now(), node.now().since(asked_for + pause))
}

/// What the suspect said during the pause was lost, and it must not die of that.
#[test]
fn a_suspect_has_the_time_that_it_had_left_after_a_pause_of_the_node_that_suspects_it() {
    let (dies_at, left) = death_after_a_pause(Duration::ZERO);
    assert!(left > Duration::from_millis(500), "{left:?}");
    for pause in [5, 60, 3_600].map(Duration::from_secs) {
        let (paused_dies_at, left_after) = death_after_a_pause(pause);
        assert!(
            paused_dies_at >= dies_at + pause,
            "a pause of {pause:?} left the suspect {left_after:?} of {left:?} to be heard"
        );
        assert!(paused_dies_at <= dies_at + pause + Duration::from_secs(5));
    }
}

/// A node that knows n2 and n3, at the moment when its probe of n2 has failed and it calls the roll
/// about that. With flaps, it is rechecked instead.
fn about_to_accuse(flaps: u8) -> Node<u32> {
    let mut node = node(1, &Config::default());
    introduce(&mut node, [alive(2, 0), alive(3, 0)]);
    let slot = node.cx.table.find("n2").unwrap();
    for _ in 0..flaps {
        node.detector.flap_damping.add_flap(slot, node.now());
    }
    let waits = |node: &Node<u32>| match flaps {
        0 => !node.detector.pending_accusations.is_empty(),
        _ => node.detector.flap_damping.is_rechecking(slot),
    };
    while !waits(&node) {
        tick(&mut node);
        if !waits(&node) {
            answer(&mut node, &[3]);
        }
    }
    node
}

/// Lets these members answer what the node asks them now.
fn answer(node: &mut Node<u32>, who: &[u32]) {
    for (to, bytes) in drain(node) {
        for frame in frames(&bytes) {
            if let Frame::Ping(Ping { number, .. }) = frame
                && who.contains(&to)
            {
                let instance = node.member(&name(to)).unwrap().instance().0;
                ack(node, to, Ack { number, instance });
            }
        }
    }
}

/// Runs the node for `span`, while these members answer, and returns the suspicions.
fn suspicions_while(node: &mut Node<u32>, who: &[u32], span: Duration) -> usize {
    let end = node.now() + span;
    answer(node, who);
    while node.poll_timeout().is_some_and(|at| at <= end) {
        tick(node);
        answer(node, who);
    }
    let events = core::iter::from_fn(|| node.poll_event());
    events.filter(|event| matches!(event, Event::Suspected { .. })).count()
}

#[test]
fn a_failed_probe_of_a_process_that_has_been_replaced_accuses_no_other() {
    let suspected = |instance: u32| {
        let mut node = about_to_accuse(0);
        let replaced = Claim { instance: Instance(instance), ..alive(2, 0) };
        introduce(&mut node, [replaced]);
        assert_eq!(node.member("n2").unwrap().instance(), Instance(instance));
        suspicions_while(&mut node, &[2, 3], Duration::from_secs(3))
    };
    assert_eq!(suspected(77), 1, "the process that was probed");
    assert_eq!(suspected(88), 0, "a later one");
}

/// The probe failed before the pause, and so much has happened since that it proves nothing.
#[test]
fn a_failed_probe_from_before_a_pause_leads_to_no_accusation() {
    let suspected = |pause: Duration| {
        let mut node = about_to_accuse(0);
        if !pause.is_zero() {
            let due = node.poll_timeout().unwrap();
            node.handle(due + pause, Input::Tick).unwrap();
        }
        suspicions_while(&mut node, &[3], Duration::from_millis(400))
            + suspicions_while(&mut node, &[2, 3], Duration::from_secs(10))
    };
    assert_eq!(suspected(Duration::ZERO), 1);
    assert_eq!(suspected(Duration::from_secs(60)), 0);
}

/// Some of the pings of the recheck were answered in the pause, when nothing was heard.
#[test]
fn a_recheck_from_before_a_pause_is_given_up() {
    let suspected = |pause: Duration| {
        let mut node = about_to_accuse(1);
        suspicions_while(&mut node, &[3], Duration::from_millis(400));
        let due = node.poll_timeout().unwrap();
        node.handle(due + pause, Input::Tick).unwrap();
        suspicions_while(&mut node, &[3], Duration::from_millis(400))
            + suspicions_while(&mut node, &[2, 3], Duration::from_secs(10))
    };
    assert_eq!(suspected(Duration::ZERO), 1);
    assert_eq!(suspected(Duration::from_secs(60)), 0);
}
