//! Leaving: a leave reaches all members, is remembered like a death, and ends the node.

use super::*;

#[test]
fn a_leaving_node_is_left_everywhere_and_then_inert() {
    let mut net = Net::joined(5, &Config::default());
    net.input(5, Input::Leave);
    net.run_for(Duration::from_secs(3));
    assert!(net.events(5).contains(&Event::LeaveCompleted { heard_by: 4, others: 4 }));
    for observer in 1..=4 {
        assert_eq!(net.status(observer, 5), Some(Status::Left));
    }
    let now = net.now;
    let refused = net.node(5).handle(
        now,
        Input::Publish { key: "k".into(), value: b"v".as_slice().into(), urgent: false },
    );
    assert_eq!(refused, Err(CommandError::Inactive.into()));
    assert_eq!(net.node(5).poll_timeout(), None);
    let before = net.node(5).stats().datagrams_while_inactive;
    hear(net.node(5), 1, &claims(1, &[alive(9, 0)]));
    assert_eq!(net.node(5).stats().datagrams_while_inactive, before + 1);
    assert!(net.node(5).member("n9").is_none());
}

#[test]
fn a_suspicion_under_way_does_not_outlive_the_leave() {
    let mut net = Net::joined(3, &Config::default());
    let held = net.node(3).me().generation();
    let instance = net.node(3).me().instance();
    net.input(3, Input::Leave);
    let suspicion = Claim { instance, status: Status::Suspected, ..alive(3, held.0 + 1) };
    hear(net.node(1), 2, &claims(2, &[suspicion]));
    net.run_for(Duration::from_secs(5));
    assert_eq!(net.status(1, 3), Some(Status::Left));
    assert_eq!(net.status(2, 3), Some(Status::Left));
}

/// It may tell many members of it, and each answer would be one datagram more.
#[test]
fn a_member_that_says_that_it_leaves_is_not_told_that_it_has_left() {
    let mut node = node(1, &Config::default());
    introduce(&mut node, [alive(2, 0)]);
    let left = claims(2, &[Claim { status: Status::Left, ..alive(2, 1) }]);
    drain(&mut node);
    for _ in 0..2 {
        hear(&mut node, 2, &left);
        assert_eq!(drain(&mut node), []);
    }
    // One that takes part goes on, and does not know it.
    hear(
        &mut node,
        2,
        &datagram(2, |w| assert!(w.frame(crate::wire::kind::GONE, &crate::wire::Gone { sum: 1 }))),
    );
    assert!(matches!(&drain(&mut node)[..], [(2, _)]));
}

#[test]
fn a_node_alone_completes_its_leave_at_once() {
    let mut net = Net::new(1, &Config::default());
    net.input(1, Input::Leave);
    assert!(net.events(1).contains(&Event::LeaveCompleted { heard_by: 0, others: 0 }));
}

#[test]
fn a_leave_that_reaches_nobody_is_said_until_its_time_is_over_and_heard_by_nobody() {
    let mut net = Net::joined(2, &Config::default());
    net.gone = Some(2);
    net.input(1, Input::Leave);
    net.log.clear();
    net.run_for(Duration::from_secs(5));
    assert!(net.events(1).contains(&Event::LeaveCompleted { heard_by: 0, others: 1 }));
    assert!(net.log.len() > 5, "{} farewells", net.log.len());
}

#[test]
fn members_that_left_are_forgotten_everywhere_after_the_tombstone_ttl() {
    let config = Config { tombstone_ttl: Duration::from_secs(60), ..Config::default() };
    let mut net = Net::joined(4, &config);
    net.input(4, Input::Leave);
    net.run_for(Duration::from_secs(58));
    assert_eq!(net.status(1, 4), Some(Status::Left));
    net.run_for(Duration::from_secs(10));
    for observer in 1..=3 {
        assert_eq!(net.status(observer, 4), None);
    }
}

#[test]
fn the_age_of_a_death_is_kept_by_a_node_younger_than_the_death() {
    let hour = 3_600;
    let mut node = node(
        1,
        &Config { tombstone_ttl: Duration::from_secs(10 * u64::from(hour)), ..Config::default() },
    );
    let dead = Claim { status: Status::Dead, age_secs: 4 * hour, ..alive(3, 1) };
    introduce(&mut node, [alive(2, 0), alive(3, 0)]);
    hear(&mut node, 2, &claims(2, core::slice::from_ref(&dead)));
    let ages: Vec<u32> = drain_claims(&mut node)
        .into_iter()
        .filter(|(id, _)| id == "n3")
        .map(|(_, age)| age)
        .collect();
    assert!(!ages.is_empty() && ages.iter().all(|&age| age == 4 * hour), "{ages:?}");
    let ends = Instant::ORIGIN + Duration::from_secs(6 * u64::from(hour));
    node.handle(ends - Duration::from_secs(1), Input::Tick).unwrap();
    assert!(node.member("n3").is_some());
    node.handle(ends, Input::Tick).unwrap();
    assert!(node.member("n3").is_none());
}

/// The claims that the node gossips next, as (id, age).
fn drain_claims(node: &mut Node<u32>) -> Vec<(String, u32)> {
    let at = node.poll_timeout().unwrap();
    node.handle(at, Input::Tick).unwrap();
    let mut sent = Vec::new();
    for (_, bytes) in drain(node) {
        for frame in frames(&bytes) {
            if let Frame::Claims(claims) = frame {
                sent.extend(claims.map(|claim| (claim.id.into(), claim.age_secs)));
            }
        }
    }
    sent
}

#[test]
fn members_that_leave_together_are_held_left_and_not_dead() {
    let mut net = Net::joined(90, &Config::default());
    let order: Vec<u32> = net.node(1).members().filter_map(|member| member.address()).collect();
    let (leaving, staying) = order.split_at(34);
    for &leaver in leaving {
        let now = net.now;
        net.node(leaver).handle(now, Input::Leave).unwrap();
    }
    net.run_for(Duration::from_secs(20));
    for &observer in staying {
        for &leaver in leaving {
            assert_eq!(
                net.status(observer, leaver),
                Some(Status::Left),
                "n{leaver} at n{observer}"
            );
        }
    }
}

#[test]
fn a_leave_is_complete_once_its_rumor_is_sent() {
    let mut net = Net::joined(3, &Config::default());
    net.input(1, Input::Leave);
    while net.nodes[0].cx.rumors.contains(net.nodes[0].cx.this.slot) {
        let at = net.node(1).poll_timeout().unwrap();
        net.run_for(at.since(net.now));
    }
    net.run_for(Config::default().gossip_interval);
    assert!(!net.node(1).health().active);
}

/// The rumor of the leave is told a few times only, and all of that may be lost.
#[test]
fn a_farewell_is_said_again_until_a_member_has_heard_it() {
    let mut net = Net::joined(2, &Config::default());
    net.gone = Some(2);
    net.input(1, Input::Leave);
    while net.nodes[0].cx.rumors.contains(net.nodes[0].cx.this.slot) {
        let at = net.node(1).poll_timeout().unwrap();
        net.run_for(at.since(net.now));
    }
    assert_eq!(net.status(2, 1), Some(Status::Alive), "nothing has arrived so far");
    net.gone = None;
    net.run_for(Config::default().gossip_interval * 2);
    assert_eq!(net.status(2, 1), Some(Status::Left));
    assert!(net.events(1).contains(&Event::LeaveCompleted { heard_by: 1, others: 1 }));
}

fn publish(net: &mut Net, address: u32, value: &[u8]) {
    let (key, value) = ("load".into(), value.into());
    net.input(address, Input::Publish { key, value, urgent: false });
}

fn value_at(net: &mut Net, reader: u32, of: u32) -> Option<Vec<u8>> {
    let member = net.node(reader).member(&name(of)).unwrap();
    member.value("load").map(|entry| entry.value.to_vec())
}

/// What a newcomer publishes waits until the others know it.
#[test]
fn a_newcomer_that_leaves_at_once_publishes_what_it_has_held_back() {
    let mut net = Net::joined(4, &Config::default());
    net.nodes.push(node(5, &Config::default()));
    publish(&mut net, 5, b"last");
    net.input(5, Input::Join { seeds: alloc::vec![1].into() });
    assert!(net.node(5).dissemination.first_publish_at.is_some(), "it is held back");
    while (1..=4).any(|reader| net.status(reader, 5).is_none()) {
        let at = net.nodes.iter().filter_map(Node::poll_timeout).min().unwrap();
        net.run_for(at.since(net.now));
    }
    assert!((1..=4).all(|reader| value_at(&mut net, reader, 5).is_none()), "it is held back still");
    net.input(5, Input::Leave);
    net.run_for(Duration::from_secs(1));
    for reader in 1..=4 {
        assert_eq!(net.status(reader, 5), Some(Status::Left));
        assert_eq!(value_at(&mut net, reader, 5).as_deref(), Some(&b"last"[..]), "n{reader}");
    }
}

/// All others have heard of the leave, and it would be over.
#[test]
fn a_leave_waits_until_what_was_published_before_it_has_arrived() {
    let mut net = Net::joined(3, &Config::default());
    let (me, heard) = (net.nodes[0].cx.this.slot, Config::default().gossip_interval);
    net.cut = alloc::vec![(1, 2), (1, 3)];
    publish(&mut net, 1, b"last");
    // From now on only telemetry to one of them is lost, since it is its partner.
    net.cut = alloc::vec![(1, 2)];
    net.input(1, Input::Leave);
    while net.nodes[0].cx.rumors.contains(me) {
        let at = net.node(1).poll_timeout().unwrap();
        net.run_for(at.since(net.now));
    }
    net.run_for(heard);
    assert!(net.nodes[0].dissemination.trees.carries(me), "n2 has not acknowledged it");
    assert!(net.node(1).health().active);
    net.cut.clear();
    net.run_for(Duration::from_secs(1));
    assert_eq!(value_at(&mut net, 2, 1).as_deref(), Some(&b"last"[..]));
    assert!(!net.node(1).health().active);
}
