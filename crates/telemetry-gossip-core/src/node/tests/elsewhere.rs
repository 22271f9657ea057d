//! Hosts with several addresses: they are reached at one, and what they send leaves from another.

use super::victims::padded;
use super::*;
use crate::wire::{PageRequest, kind};

/// Nodes of which the last `elsewhere` send from other addresses, 100 above their own. They join
/// through the first, all at once.
fn fleet(nodes: u32, elsewhere: u32) -> Net {
    let mut net = Net::new(nodes, &Config::default());
    net.sends_from = (nodes - elsewhere + 1..=nodes).map(|it| (it, it + 100)).collect();
    net.join_all();
    net
}

fn suspicions(net: &mut Net) -> usize {
    let all = net.nodes.len().try_into().unwrap();
    let suspects = |event: &Event<u32>| matches!(event, Event::Suspected { .. });
    (1..=all).map(|it| net.events(it).iter().filter(|&event| suspects(event)).count()).sum()
}

#[test]
fn a_host_that_answers_from_another_address_works_as_any_other() {
    for (nodes, elsewhere) in [(5, 1), (5, 2), (5, 5), (2, 2), (12, 6)] {
        let mut net = fleet(nodes, elsewhere);
        net.input(
            nodes,
            Input::Publish { key: "k".into(), value: [7].as_slice().into(), urgent: false },
        );
        net.run_for(Duration::from_secs(300));
        assert_eq!(suspicions(&mut net), 0, "{elsewhere} of {nodes}");
        let last = name(nodes);
        for node in &net.nodes {
            assert!(node.health().isolated_since.is_none());
            assert!(node.member(&last).unwrap().value("k").is_some(), "{}", node.me().id());
        }
    }
}

/// Its acks to a helper, to a roll call and to a recheck count as well.
#[test]
fn a_member_elsewhere_is_found_through_helpers_and_its_crash_as_soon_as_any() {
    let mut net = fleet(8, 4);
    // The first reaches the last through helpers alone.
    net.cut = alloc::vec![(1, 8), (8, 1)];
    net.run_for(Duration::from_secs(60));
    assert_eq!(suspicions(&mut net), 0);
    assert!(net.node(1).stats().probes_indirect > 4);
    net.cut = (1..=7).flat_map(|other| [(other, 8), (8, other)]).collect();
    net.run_for(Duration::from_secs(6));
    assert!((1..=7).all(|observer| net.status(observer, 8) == Some(Status::Dead)));
}

#[test]
fn the_hosts_at_both_ends_are_told_once() {
    let mut net = fleet(5, 1);
    net.run_for(Duration::from_secs(600));
    for observer in 1..=4 {
        let events = net.events(observer);
        let told: Vec<_> = events
            .iter()
            .filter_map(|event| match *event {
                Event::AnswersElsewhere { id, stated, source } => Some((id, stated, source)),
                _ => None,
            })
            .collect();
        assert_eq!(told, [(id(5), 5, 105)]);
    }
    let events = net.events(5);
    let told = events.iter().filter(|event| matches!(event, Event::SeenElsewhere { address: 105 }));
    assert_eq!(told.count(), 1);
}

/// It hears the answers to its own pings, and its address leads nowhere.
#[test]
fn a_member_whose_address_stops_working_is_dead_once_and_told_where_it_is_seen() {
    let mut net = fleet(8, 1);
    suspicions(&mut net);
    // From now on, its stated address leads nowhere, and the other one does.
    net.gone = Some(8);
    net.run_for(Duration::from_secs(600));
    for observer in 1..=7 {
        assert_eq!(net.status(observer, 8), Some(Status::Dead));
        let events = net.events(observer);
        let changes = events.into_iter().filter(|event| {
            let of = |it: &NodeId| *it == id(8);
            match event {
                Event::Suspected { id, .. } | Event::Dead { id, .. } | Event::Alive { id, .. } => {
                    of(id)
                }
                _ => false,
            }
        });
        assert_eq!(changes.count(), 2, "suspected, and dead");
    }
    let told = |event: &Event<u32>| matches!(event, Event::Unreached { seen_at: Some(108) });
    assert_eq!(net.events(8).iter().filter(|&event| told(event)).count(), 1);
    net.gone = None;
    net.run_for(Duration::from_secs(60));
    assert!((1..=7).all(|observer| net.status(observer, 8) == Some(Status::Alive)));
}

/// Another node holds it dead at its former address, from which it still sends. It is believed only
/// once it answers at the new one, so the two must not tell each other for ever what they hold.
#[test]
fn a_member_that_is_back_under_an_address_that_leads_nowhere_is_not_told_for_ever_that_it_is_dead()
{
    let mut net = Net::joined(3, &Config::default());
    net.gone = Some(3);
    net.run_for(Duration::from_secs(20));
    assert_eq!(net.status(1, 3), Some(Status::Dead));
    // It comes back under address 9, which leads nowhere, and sends from where it was.
    let (generation, now) = (net.node(1).member("n3").unwrap().generation(), net.now);
    let identity = Identity::new(id(3), 9).generation(Generation(generation.0 + 1));
    net.nodes[2] = Node::new(Config::default(), identity, [9; 32], now).unwrap();
    net.gone = Some(9);
    net.input(3, Input::Join { seeds: alloc::vec![1].into() });
    net.run_for(Duration::from_secs(10));
    net.log.clear();
    net.run_for(Duration::from_secs(10));
    assert!(net.log.len() < 400, "{} datagrams in ten seconds", net.log.len());
}

/// A page for an address that has proved nothing has three times the bytes of its request. However
/// few these are, the pages come to an end, and tell all members whose claims fit into one alone.
#[test]
fn the_pages_for_an_unverified_address_come_to_an_end_whatever_their_length() {
    let long = |n: u32| &*alloc::format!("{n}-{}", "x".repeat(20 * n as usize % 125)).leak();
    let members: Vec<_> = (10..30).map(|n| Claim { id: long(n), ..alive(n, 1 << 50) }).collect();
    let told = |len| {
        let mut net = Net::joined(2, &Config::default());
        let (now, node) = (net.now, net.node(1));
        introduce(node, members.clone());
        for claim in &members {
            let slot = node.cx.table.find(claim.id).unwrap();
            node.cx.table.heard(slot, now, true);
        }
        let (mut from, mut told) = (Some(0), alloc::collections::BTreeSet::new());
        let mut pages = 0;
        while let Some(place) = from.take() {
            pages += 1;
            assert!(pages <= members.len() + 2, "endless pages for requests of {len} bytes");
            let request = PageRequest { number: 7, from: place };
            let bytes = datagram(900, |w| assert!(w.frame(kind::PAGE_REQUEST, &request)));
            hear(node, 900, &padded(bytes, len).unwrap());
            for (_, bytes) in drain(node).iter().filter(|(to, _)| *to == 900) {
                for frame in frames(bytes) {
                    match frame {
                        Frame::Claims(claims) => told.extend(claims.map(|it| String::from(it.id))),
                        Frame::Page(page) => from = page.next.map(|IdHash(next)| next),
                        _ => {}
                    }
                }
            }
        }
        told.len()
    };
    let all = members.len() + 2;
    let counts: Vec<usize> = (35..150).map(told).collect();
    assert!(counts[..5].iter().all(|&told| (1..all).contains(&told)), "{counts:?}");
    assert!(counts[50..].iter().all(|&told| told == all), "{counts:?}");
}

/// None of the claims fits into the page. A short request must not cost a look at the whole table.
#[test]
fn a_page_passes_over_a_bounded_number_of_claims_that_do_not_fit() {
    let mut net = Net::joined(2, &Config::default());
    let (now, node) = (net.now, net.node(1));
    for n in 10..510 {
        let id = &*alloc::format!("{n}-{}", "x".repeat(120)).leak();
        introduce(node, [Claim { id, ..alive(n, 0) }]);
        let slot = node.cx.table.find(id).unwrap();
        node.cx.table.heard(slot, now, true);
    }
    let before = node.stats().rows_visited;
    let bytes = datagram(900, |w| {
        assert!(w.frame(kind::PAGE_REQUEST, &PageRequest { number: 7, from: 0 }))
    });
    hear(node, 900, &bytes);
    drain(node);
    let visited = node.stats().rows_visited - before;
    assert!((2..=40).contains(&visited), "{visited} rows");
}
