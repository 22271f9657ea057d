//! Addresses that have not proved themselves: what is sent to them is little, and nothing that a
//! liar chooses; and addresses at which no member can be.

use core::net::SocketAddr;

use super::*;
use crate::wire::{PingReq, kind};

/// The bytes that the node sends to `victim` within `span`, per datagram.
fn sent_to(node: &mut Node<u32>, victim: u32, span: Duration) -> Vec<usize> {
    let (mut sent, end) = (Vec::new(), node.now() + span);
    loop {
        sent.extend(drain(node).iter().filter(|(to, _)| *to == victim).map(|(_, b)| b.len()));
        let Some(at) = node.poll_timeout().filter(|&at| at <= end) else { break };
        node.handle(at, Input::Tick).unwrap();
        while node.poll_event().is_some() {}
    }
    sent
}

#[test]
fn the_bytes_for_a_forged_ping_req_are_at_most_three_times_its_own_whoever_gets_them() {
    let mut node = node(1, &Config::default());
    introduce(&mut node, (20..45).map(|at| alive(at, 0)));
    drain(&mut node);
    let victim = 50_u32;
    let target = id(50).id_hash().0;
    let bytes = datagram(99, |w| {
        assert!(w.lead(kind::PING, 1, id(1).id_hash().0));
        let address = &victim.to_be_bytes();
        assert!(w.frame(kind::PING_REQ, &PingReq { number: 1, target, address }));
    });
    hear(&mut node, victim, &bytes);
    let sent: usize = sent_to(&mut node, victim, Duration::from_secs(2)).iter().sum();
    assert!(sent > 0 && sent <= 3 * bytes.len(), "{sent} for {}", bytes.len());
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn at(own: &str) -> Node<SocketAddr> {
    let identity = Identity::new(id(1), socket(own));
    Node::new(Config::default(), identity, [1; 32], Instant::ORIGIN).unwrap()
}

fn from(node: &mut Node<SocketAddr>, source: &str, bytes: &[u8]) {
    let now = node.now();
    node.handle(now, Input::Datagram { from: socket(source), bytes: bytes.into() }).unwrap();
}

/// Claims that members are at these addresses.
fn said(addresses: &[&str]) -> Vec<u8> {
    datagram(9, |w| {
        let open = w.open(kind::CLAIMS).unwrap();
        for (address, n) in addresses.iter().zip(20..) {
            let mut buf = [0; MAX_ADDRESS_LEN];
            let len = socket(address).encode(&mut buf);
            assert!(w.item(&crate::wire::WireClaim {
                status: 0,
                generation: 1,
                instance: 7,
                id: name(n).as_bytes(),
                address: &buf[..len],
                accusers: Accusers::new(),
                age_secs: 0,
            }));
        }
        w.close(open);
    })
}

const NOWHERE: [&str; 5] =
    ["127.0.0.1:53", "169.254.169.254:80", "224.0.0.1:7946", "0.0.0.0:7946", "10.0.0.9:0"];

#[test]
fn claims_and_ping_reqs_with_forbidden_addresses_are_refused_and_counted() {
    let mut node = at("10.0.0.1:7946");
    from(&mut node, "10.0.0.9:7946", &said(&NOWHERE));
    assert_eq!((node.membership().len(), node.stats().addresses_refused), (1, 5));
    for (address, refused) in NOWHERE.into_iter().zip(6..) {
        let mut buf = [0; MAX_ADDRESS_LEN];
        let len = socket(address).encode(&mut buf);
        let ping_req = PingReq { number: 1, target: 2, address: &buf[..len] };
        let bytes = datagram(9, |w| assert!(w.frame(kind::PING_REQ, &ping_req)));
        from(&mut node, "10.0.0.9:7946", &bytes);
        assert_eq!((node.stats().addresses_refused, node.stats().ping_reqs), (refused, 0));
    }
    let ping = datagram(9, |w| assert!(w.lead(kind::PING, 1, id(1).id_hash().0)));
    from(&mut node, "127.0.0.1:53", &ping);
    assert_eq!(node.stats().addresses_refused, 11);
    assert!(node.poll_transmit(&mut [0; 1_400]).is_none(), "nothing is sent to a local service");
    from(&mut node, "10.0.0.9:7946", &ping);
    assert!(node.poll_transmit(&mut [0; 1_400]).is_some());
}

#[test]
fn allowed_networks_refuse_members_elsewhere() {
    let mut node = at("10.0.0.1:7946");
    let networks = Networks::new(["10.0.0.0/24".parse().unwrap()]).unwrap();
    node.handle(Instant::ORIGIN, Input::allow_networks(networks)).unwrap();
    from(&mut node, "10.0.0.9:7946", &said(&["10.0.0.7:1", "10.0.1.7:1"]));
    assert_eq!((node.stats().claims_waited, node.stats().addresses_refused), (1, 1));
}

#[test]
fn a_nodes_own_datagrams_that_come_back_from_another_address_change_nothing() {
    let mut node = node(1, &Config::default());
    // Address 100 is shared, and leads back to this node.
    node.handle(Instant::ORIGIN, Input::Join { seeds: alloc::vec![100].into() }).unwrap();
    let sent = drain(&mut node);
    assert!(!sent.is_empty());
    for (_, bytes) in &sent {
        hear(&mut node, 101, bytes);
    }
    assert_eq!(node.stats().datagrams_echoed, sent.len() as u64);
    assert_eq!((drain(&mut node).len(), node.membership().len()), (0, 1));
    let done = core::iter::from_fn(|| node.poll_event())
        .any(|event| matches!(event, Event::JoinCompleted { .. }));
    assert!(!done, "a node has joined itself");
}
