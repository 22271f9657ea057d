//! Restarts, id conflicts and cluster configs: which process is a member, and which node belongs.

use super::*;
use crate::wire::kind;

/// Replaces a node by a new process with the same id.
fn restart(net: &mut Net, address: u32, seed: u8) {
    let identity = Identity::new(id(address), address);
    let now = net.now;
    *net.node(address) = Node::new(Config::default(), identity, [seed; 32], now).unwrap();
}

#[test]
fn a_restarted_node_takes_a_generation_above_the_one_it_lost() {
    let mut net = Net::joined(4, &Config::default());
    let instance = net.node(4).me().instance();
    let accusation = Claim { instance, status: Status::Suspected, ..alive(4, 9) };
    hear(net.node(4), 3, &claims(3, &[accusation]));
    net.run_for(Duration::from_secs(2));
    assert_eq!(net.node(1).member("n4").unwrap().generation(), Generation(10));

    restart(&mut net, 4, 99);
    net.input(4, Input::Join { seeds: alloc::vec![1].into() });
    net.run_for(Duration::from_secs(5));
    let reborn = net.node(4).me().instance();
    assert_ne!(reborn, instance);
    for observer in 1..=4 {
        let member = net.node(observer).member("n4").unwrap();
        assert_eq!((member.status(), member.instance()), (Status::Alive, reborn));
        assert!(member.generation() > Generation(10));
    }
}

/// The first node of a cluster of `nodes` has published and refuted up to `generation`, and starts
/// again at once, with an instance below or above the old one. It joins through no node.
fn restarted_alone(nodes: u32, generation: u64, above: bool) -> Net {
    let mut net = Net::joined(nodes, &Config::default());
    let (key, value) = ("load".into(), b"old"[..].into());
    net.input(1, Input::Publish { key, value, urgent: false });
    let old = net.node(1).me().instance();
    if let Some(accused) = generation.checked_sub(1) {
        let accusation = Claim { instance: old, status: Status::Suspected, ..alive(1, accused) };
        hear(net.node(1), 2, &claims(2, &[accusation]));
    }
    net.run_for(Duration::from_secs(10));
    let held = net.node(2).member("n1").unwrap();
    assert_eq!(held.generation(), Generation(generation));
    assert_eq!(held.value("load").map(|entry| entry.value), Some(&b"old"[..]));

    let instance = Some(Instance(if above { old.0 + 1 } else { old.0 - 1 }));
    let identity = Identity { instance, ..Identity::new(id(1), 1) };
    let now = net.now;
    *net.node(1) = Node::new(Config::default(), identity, [99; 32], now).unwrap();
    net
}

/// What is held of it is Alive and looks right, so that no rumor would ever correct it.
#[test]
fn a_node_restarted_without_a_join_is_seen_in_its_new_instance_and_sees_the_others() {
    for nodes in [2, 5, 40] {
        for (generation, above) in [(0, false), (0, true), (2, false), (2, true)] {
            let mut net = restarted_alone(nodes, generation, above);
            let reborn = net.node(1).me().instance();
            net.run_for(Duration::from_secs(5));
            let case = alloc::format!("{nodes} nodes, generation {generation}, above {above}");
            assert_eq!(net.node(1).health().alive, nodes, "{case}: it knows all");
            for observer in 1..=nodes {
                let held = net.node(observer).member("n1").unwrap();
                assert_eq!((held.status(), held.instance()), (Status::Alive, reborn), "{case}");
                assert!(held.value("load").is_none(), "{case}: its old telemetry is gone");
                let alarmed = |event: &Event<u32>| {
                    matches!(event, Event::Suspected { .. } | Event::Dead { .. })
                };
                assert!(!net.events(observer).iter().any(alarmed), "{case}: it is never accused");
            }
        }
    }
}

/// A member that answers in a new instance each time, several times over, makes no more work than
/// one comparison for each ping.
#[test]
fn acks_of_other_instances_open_at_most_one_session_for_each_ping() {
    let mut net = Net::joined(2, &Config::default());
    let before = net.node(1).stats().syncs;
    let (mut pings, mut instance) = (0, 0);
    for _ in 0..600 {
        net.now = net.now + Duration::from_millis(100);
        let now = net.now;
        net.node(1).handle(now, Input::Tick).unwrap();
        for (_, bytes) in drain(net.node(1)) {
            let Some(Frame::Ping(ping)) = frames(&bytes).into_iter().next() else { continue };
            pings += 1;
            for _ in 0..3 {
                instance += 1;
                let ack = datagram(2, |w| assert!(w.lead(kind::ACK, ping.number, instance)));
                hear(net.node(1), 2, &ack);
            }
        }
    }
    let opened = net.node(1).stats().syncs - before;
    assert!(0 < opened && opened <= pings, "{opened} sessions for {pings} pings");
}

/// Starts a second process under the id of n4, at address 5, which joins.
fn start_rival(net: &mut Net, above: bool) {
    let held = net.node(4).me().instance();
    let instance = Some(Instance(if above { held.0 + 1 } else { held.0 - 1 }));
    let identity = Identity { instance, ..Identity::new(id(4), 5) };
    let now = net.now;
    net.nodes.push(Node::new(Config::default(), identity, [55; 32], now).unwrap());
    net.input(5, Input::Join { seeds: alloc::vec![1].into() });
}

fn yielded(net: &mut Net, address: u32) -> bool {
    let lost = |event: &Event<u32>| matches!(event, Event::IdentityConflict { lost: true, .. });
    net.events(address).iter().any(lost)
}

/// That n4 is held alive at `address` by all others.
fn all_hold(net: &mut Net, address: u32) -> bool {
    (1..=3).all(|observer| {
        let held = net.node(observer).member("n4").unwrap();
        (held.status(), held.address()) == (Status::Alive, Some(address))
    })
}

#[test]
fn of_two_processes_with_one_id_the_one_that_was_known_first_stays() {
    for above in [false, true] {
        let mut net = Net::joined(4, &Config::default());
        start_rival(&mut net, above);
        net.run_for(Duration::from_secs(20));
        assert!(!yielded(&mut net, 4) && net.node(4).health().active, "above {above}");
        assert!(yielded(&mut net, 5) && !net.node(5).health().active, "above {above}");
        assert!(all_hold(&mut net, 4), "above {above}");
        // It asks again every 5 s, and does not get the id while the first is there.
        net.run_for(Duration::from_secs(100));
        assert!(!net.node(5).health().active && all_hold(&mut net, 4));
    }
}

#[test]
fn a_process_that_has_yielded_takes_its_id_when_the_other_is_gone() {
    let mut net = Net::joined(4, &Config::default());
    start_rival(&mut net, true);
    net.run_for(Duration::from_secs(20));
    net.cut = (1..=5).flat_map(|other| [(other, 4), (4, other)]).collect();
    net.run_for(Duration::from_secs(60));
    assert!(net.node(5).health().active && all_hold(&mut net, 5));
    let regained = |event: &Event<u32>| matches!(event, Event::IdentityRegained { .. });
    assert!(net.events(5).iter().any(regained));
}

/// It may have yielded to liars, and have known no others.
#[test]
fn a_process_that_has_yielded_takes_its_id_when_nobody_answers_and_yields_again_to_the_other() {
    let mut net = Net::joined(4, &Config::default());
    start_rival(&mut net, true);
    net.run_for(Duration::from_secs(20));
    assert!(!net.node(5).health().active);
    net.cut = (1..=4).flat_map(|other| [(other, 5), (5, other)]).collect();
    net.run_for(Duration::from_secs(35));
    assert!(net.node(5).health().active && all_hold(&mut net, 4));
    net.cut.clear();
    net.run_for(Duration::from_secs(60));
    assert!(!net.node(5).health().active && net.node(4).health().active);
    assert!(all_hold(&mut net, 4));
}

#[test]
fn a_newcomer_takes_its_id_at_once_if_its_old_address_is_silent() {
    for above in [false, true] {
        let mut net = Net::joined(4, &Config::default());
        net.cut = (1..=5).flat_map(|other| [(other, 4), (4, other)]).collect();
        start_rival(&mut net, above);
        net.run_for(Duration::from_secs(3));
        assert!(net.node(5).health().active && all_hold(&mut net, 5), "above {above}");
    }
}

/// A host that was paused comes back, and its replacement runs elsewhere.
#[test]
fn a_process_that_slept_yields_to_its_replacement() {
    let mut net = Net::joined(4, &Config::default());
    let asleep = net.nodes.remove(3);
    let held = asleep.me().instance();
    net.nodes.push(node(9, &Config::default()));
    net.cut = (1..=5).flat_map(|other| [(other, 4), (4, other)]).collect();
    let identity = Identity { instance: Some(Instance(held.0 - 1)), ..Identity::new(id(4), 5) };
    let now = net.now;
    net.nodes.push(Node::new(Config::default(), identity, [55; 32], now).unwrap());
    net.input(5, Input::Join { seeds: alloc::vec![1].into() });
    net.run_for(Duration::from_secs(60));
    net.nodes[3] = asleep;
    net.cut.clear();
    net.run_for(Duration::from_secs(30));
    assert!(!net.node(4).health().active && net.node(5).health().active);
    assert!(all_hold(&mut net, 5));
}

/// Neither a claim nor an answer moves a process: the other members have to hold the rival.
#[test]
fn claims_of_a_rival_that_answers_do_not_end_a_process() {
    let mut net = Net::joined(5, &Config::default());
    let rival = |generation| Claim {
        instance: Instance(u32::MAX),
        address: Some(77),
        ..alive(1, generation)
    };
    for told in 1..=20 {
        let bytes = claims(99, &[rival(1_000 * told)]);
        net.input(1, Input::Datagram { from: 99, bytes: bytes.into() });
        net.run_for(Duration::from_millis(250));
        let pings: Vec<_> = core::mem::take(&mut net.log);
        for (_, _, bytes) in pings.iter().filter(|(from, to, _)| (*from, *to) == (1, 77)) {
            let Some(Frame::Ping(ping)) = frames(bytes).into_iter().next() else { continue };
            let ack = datagram(1, |w| assert!(w.lead(kind::ACK, ping.number, u32::MAX)));
            net.input(1, Input::Datagram { from: 77, bytes: ack.into() });
        }
    }
    assert!(net.node(1).health().active);
    assert_eq!(net.status(2, 1), Some(Status::Alive));
}

#[test]
fn a_process_that_knows_no_member_yields_to_nobody() {
    let mut net = Net::new(1, &Config::default());
    net.run_for(Duration::from_secs(10));
    for told in 1..=20 {
        let instance = Instance(u32::MAX);
        let claim = Claim { instance, address: Some(77), ..alive(1, 1_000 * told) };
        net.input(1, Input::Datagram { from: 99, bytes: claims(99, &[claim]).into() });
        net.run_for(Duration::from_millis(250));
    }
    assert!(net.node(1).health().active);
    assert_eq!(net.node(1).me().generation(), Generation(20_001));
}

/// Two processes with one id would otherwise never hear of each other again, because claims about
/// the id go to the one whose address is known.
#[test]
fn sender_using_an_id_known_at_another_address_is_notified() {
    let mut net = Net::joined(4, &Config::default());
    let id_hash = crate::id::id_hash_of(crate::id::full_id_hash(b"n1"));
    let ping = datagram(4, |w| assert!(w.lead(kind::PING, 7, id_hash.0)));
    let mut claim_in_reply = |from| {
        hear(net.node(1), from, &ping);
        let [(to, reply)] = drain(net.node(1)).try_into().unwrap();
        assert!(to == from && reply.len() <= 3 * ping.len());
        frames(&reply).into_iter().find_map(|frame| match frame {
            Frame::Claims(mut claims) => {
                claims.next().map(|claim| (String::from(claim.id), claim.address))
            }
            _ => None,
        })
    };
    assert_eq!(claim_in_reply(4), None);
    assert_eq!(claim_in_reply(5), Some(("n4".into(), Some(4))));
}

#[test]
fn a_cluster_config_removes_and_refuses_members_that_it_does_not_name() {
    let mut net = Net::joined(4, &Config::default());
    let members = alloc::vec![id(1), id(2), id(3)];
    net.input(1, Input::ApplyClusterConfig { version: 2, members: members.clone().into() });
    net.run_for(Duration::from_secs(5));
    assert_eq!(net.status(1, 4), None);
    assert!(net.node(1).stats().claims_not_in_config > 0);
    let now = net.now;
    let again =
        net.node(1).handle(now, Input::ApplyClusterConfig { version: 2, members: members.into() });
    assert_eq!(again, Err(CommandError::StaleClusterConfig { version: 2, applied: 2 }.into()));
}

#[test]
fn a_member_outside_the_cluster_config_cannot_be_introduced() {
    let mut node = node(1, &Config::default());
    let members = alloc::vec![id(1), id(2)];
    node.handle(Instant::ORIGIN, Input::ApplyClusterConfig { version: 1, members: members.into() })
        .unwrap();
    let introduce = |address| Input::Introduce {
        id: id(address),
        address: Some(address),
        instance: None,
        generation: Generation(0),
    };
    assert_eq!(node.handle(Instant::ORIGIN, introduce(2)), Ok(()));
    assert_eq!(
        node.handle(Instant::ORIGIN, introduce(3)),
        Err(CommandError::MemberNotInClusterConfig.into())
    );
    assert!(node.member("n3").is_none());
}

#[test]
fn a_node_enters_a_lent_table_even_if_it_is_full() {
    let mut table = Membership::new(2);
    for address in [5, 6] {
        table.merge(Instant::ORIGIN, &alive(address, 0));
    }
    let mut node = node(1, &Config { mode: Mode::OnDemand, ..Config::default() });
    node.with_table(&mut table, |node| assert_eq!(node.me().id(), "n1"));
    assert_eq!(table.len(), 3);
    assert_eq!(table.merge(Instant::ORIGIN, &alive(7, 0)), Merged::Full);
}

/// Starts a copy of the running n4, as after a machine was cloned: it states the address of n4, and
/// sends from another.
fn start_copy(net: &mut Net) {
    net.events(4);
    let saved = net.node(4).snapshot().unwrap();
    let place = u32::try_from(net.nodes.len()).unwrap() + 1;
    net.nodes.push(Node::restore(&saved).unwrap());
    net.sends_from.push((place, 100));
}

/// They have one instance and one address. What tells them apart is who is reached.
#[test]
fn a_copy_of_a_running_node_yields_to_the_one_that_is_reached() {
    for others in [4, 5, 12] {
        let mut net = Net::joined(others, &Config::default());
        start_copy(&mut net);
        let copy = others + 1;
        net.run_for(Duration::from_secs(30));
        assert!(yielded(&mut net, copy) && !net.node(copy).health().active);
        net.run_for(Duration::from_secs(300));
        assert!(!net.node(copy).health().active, "it waits while the other is there");
        assert!(!yielded(&mut net, 4) && all_hold(&mut net, 4));
        let alarmed = |event: &Event<u32>| matches!(event, Event::Suspected { .. });
        assert!(!(1..=others).any(|it| net.events(it).iter().any(alarmed)));
    }
}

/// The machine of which it is a copy was shut down, and its address leads to the copy.
#[test]
fn a_copy_that_waits_takes_the_place_of_the_node_that_is_gone() {
    let mut net = Net::joined(4, &Config::default());
    start_copy(&mut net);
    net.run_for(Duration::from_secs(30));
    assert!(!net.node(5).health().active);
    let copy = net.nodes.pop().unwrap();
    net.sends_from.clear();
    *net.node(4) = copy;
    net.run_for(Duration::from_secs(30));
    assert!(net.node(4).health().active && all_hold(&mut net, 4));
    let regained = |event: &Event<u32>| matches!(event, Event::IdentityRegained { .. });
    assert!(net.events(4).iter().any(regained));
}

/// One that lies takes no member's place.
#[test]
fn one_member_alone_cannot_say_that_another_process_answers() {
    let mut net = Net::joined(5, &Config::default());
    // Only the liar, n2, is heard. It pings n1 never, answers pings, and says that n1 answers.
    net.cut = (2..=5).map(|other| (other, 1)).collect();
    let (me, liar) = (net.node(1).me().instance(), net.node(2).me().instance());
    let this = crate::id::id_hash_of(crate::id::full_id_hash(b"n1"));
    let mut lies = 0;
    for _ in 0..1_200 {
        net.run_for(Duration::from_millis(50));
        let sent = core::mem::take(&mut net.log);
        for (_, _, bytes) in sent.iter().filter(|it| (it.0, it.1) == (1, 2)) {
            for frame in frames(bytes) {
                let (number, instance) = match frame {
                    Frame::Ping(ping) => (ping.number, liar),
                    Frame::PingReq { number, target, .. } if target == this.0 => {
                        lies += 1;
                        (number, me)
                    }
                    _ => continue,
                };
                let ack = datagram(2, |w| assert!(w.lead(kind::ACK, number, instance.0)));
                net.input(1, Input::Datagram { from: 2, bytes: ack.into() });
            }
        }
    }
    assert!(lies > 0, "it was asked");
    assert!(!yielded(&mut net, 1));
}
