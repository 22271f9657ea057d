//! Knocks: the host is told of nodes that ask for something although they do not belong.

use super::*;
use crate::wire::encode::Writer;
use crate::wire::{PageRequest, Ping, WireClaim, kind};

/// Applies a cluster config of these members at the node.
fn configure(node: &mut Node<u32>, version: u64, members: &[u32]) {
    let members: Vec<NodeId> = members.iter().copied().map(id).collect();
    let now = node.now();
    node.handle(now, Input::ApplyClusterConfig { version, members: members.into() }).unwrap();
}

/// Node 1, whose cluster config names nodes 1 to 3.
fn configured() -> Node<u32> {
    let mut node = node(1, &Config::default());
    configure(&mut node, 1, &[1, 2, 3]);
    node
}

/// The ids and addresses of the knocks of which the node tells now.
fn knocks(node: &mut Node<u32>) -> Vec<(NodeId, u32)> {
    core::iter::from_fn(|| node.poll_event())
        .filter_map(|event| match event {
            Event::Knocked { id, address } => Some((id, address)),
            _ => None,
        })
        .collect()
}

fn put_claim(w: &mut Writer<'_>, of: u32, status: Status) {
    let open = w.open(kind::CLAIMS).unwrap();
    assert!(w.item(&WireClaim {
        status: status.rank(),
        generation: 0,
        instance: 77,
        id: name(of).as_bytes(),
        address: &of.to_be_bytes(),
        accusers: Accusers::new(),
        age_secs: 0,
    }));
    w.close(open);
}

/// A request of `sender` for pages, with a claim about `of`.
fn request(sender: u32, of: u32, status: Status) -> Vec<u8> {
    datagram(sender, |w| {
        put_claim(w, of, status);
        assert!(w.frame(kind::PAGE_REQUEST, &PageRequest { number: 1, from: 0 }));
    })
}

/// A ping of node 1 by `sender`.
fn ping(sender: u32, introduces_itself: bool) -> Vec<u8> {
    datagram(sender, |w| {
        assert!(w.frame(kind::PING, &Ping { number: 1, target: id(1).id_hash().0 }));
        if introduces_itself {
            put_claim(w, sender, Status::Alive);
        }
    })
}

/// Hands the node a datagram of this address, and returns the knocks and the number of answers.
fn after(node: &mut Node<u32>, from: u32, bytes: &[u8]) -> (Vec<(NodeId, u32)>, usize) {
    hear(node, from, bytes);
    let answers = drain(node).iter().filter(|&&(to, _)| to == from).count();
    (knocks(node), answers)
}

#[test]
fn a_stranger_that_joins_is_told_once_by_id_and_address() {
    let mut net = Net::joined(3, &Config::default());
    for address in 1..=3 {
        configure(net.node(address), 1, &[1, 2, 3]);
        knocks(net.node(address));
    }
    let mut stranger = node(4, &Config::default());
    stranger.handle(net.now, Input::Tick).unwrap();
    net.nodes.push(stranger);
    net.input(4, Input::Join { seeds: alloc::vec![1].into() });
    assert_eq!(knocks(net.node(1)), [(id(4), 4)], "by its first datagram");
    net.run_for(Duration::from_secs(29));
    assert!(net.node(1).stats().datagrams_not_in_config > 1, "it goes on asking");
    assert_eq!(knocks(net.node(1)), []);
    net.run_for(Duration::from_secs(91));
    let later = knocks(net.node(1));
    assert!((1..=4).contains(&later.len()), "once in 30 s: {later:?}");
    assert!(later.iter().all(|&knock| knock == (id(4), 4)));
    assert_eq!(knocks(net.node(2)), [], "node 2 was not asked");
}

#[test]
fn a_removed_member_that_knocks_again_is_told() {
    let mut net = Net::joined(4, &Config::default());
    configure(net.node(1), 1, &[1, 2, 3]);
    net.run_for(Duration::from_secs(60));
    knocks(net.node(1));
    net.input(4, Input::Join { seeds: alloc::vec![1].into() });
    assert_eq!(knocks(net.node(1)), [(id(4), 4)]);
}

#[test]
fn no_knock_is_told_without_a_cluster_config_or_of_a_node_that_it_names() {
    let mut node = node(1, &Config::default());
    assert_eq!(after(&mut node, 9, &request(9, 9, Status::Alive)).0, []);
    configure(&mut node, 1, &[1, 8]);
    assert_eq!(after(&mut node, 8, &request(8, 8, Status::Alive)).0, []);
    assert_eq!(after(&mut node, 9, &request(9, 9, Status::Alive)).0, [(id(9), 9)]);
}

#[test]
fn a_thousand_made_up_ids_are_told_as_four_knocks_in_ten_seconds() {
    let mut node = configured();
    let start = node.now();
    let mut told = Vec::new();
    for made_up in 0..1_000_u32 {
        let now = start + Duration::from_millis(40) * made_up;
        node.handle(now, Input::Tick).unwrap();
        let (knocks, answers) =
            after(&mut node, 9, &request(100 + made_up, 100 + made_up, Status::Alive));
        assert_eq!(answers, 1, "the answer is the same, told or not");
        told.extend(knocks.iter().map(|_| now));
    }
    assert_eq!(told.len(), 16, "in 40 s");
    assert!(told.windows(5).all(|five| five[4].since(five[0]) >= Duration::from_secs(10)));
    assert_eq!(node.check_invariants(), Ok(()));
}

#[test]
fn a_knock_counts_only_if_it_asks_and_names_its_sender() {
    let mut node = configured();
    let told_of_another = after(&mut node, 9, &request(9, 8, Status::Alive));
    assert_eq!(told_of_another, (alloc::vec![], 1), "the claim is not of the sender");
    assert_eq!(after(&mut node, 9, &ping(9, false)), (alloc::vec![], 1), "no id is stated");
    let left = after(&mut node, 9, &request(9, 9, Status::Left));
    assert_eq!(left, (alloc::vec![], 1), "a node that has left asks for nothing");
    let only_claims = after(&mut node, 9, &claims(9, &[alive(9, 0)]));
    assert_eq!(only_claims, (alloc::vec![], 0), "nothing is asked");
    let named = after(&mut node, 5, &ping(9, true));
    assert_eq!(named, (alloc::vec![(id(9), 5)], 1), "the address is that of the source");
}

#[test]
fn a_restored_node_remembers_the_knocks_and_a_new_config_forgets_them() {
    let mut node = configured();
    let bytes = request(9, 9, Status::Alive);
    assert_eq!(after(&mut node, 9, &bytes).0.len(), 1);
    let mut node = Node::restore(&node.snapshot().unwrap()).unwrap();
    let start = node.now();
    node.handle(start + Duration::from_millis(29_999), Input::Tick).unwrap();
    assert_eq!(after(&mut node, 9, &bytes).0, []);
    node.handle(start + Duration::from_secs(30), Input::Tick).unwrap();
    assert_eq!(after(&mut node, 9, &bytes).0, [(id(9), 9)]);
    configure(&mut node, 2, &[1, 2]);
    assert_eq!(after(&mut node, 9, &bytes).0, [(id(9), 9)], "the new config was to name it");
}
