//! What a node cannot read or may not take is told to the host, with its source, and to no node
//! else.

use super::*;
use crate::wire::{Ping, SEALED_FORMAT, kind};

fn told(node: &mut Node<u32>) -> Vec<Dropped<u32>> {
    core::iter::from_fn(|| node.poll_event())
        .filter_map(|event| match event {
            Event::Dropped { dropped } => Some(dropped),
            _ => None,
        })
        .collect()
}

fn refuse(node: &mut Node<u32>, from: u32, bytes: &[u8], at: Instant) {
    let refused = node.handle(at, Input::Datagram { from, bytes: bytes.into() });
    assert!(matches!(refused, Err(InputError::Datagram(_))), "{refused:?}");
    assert!(node.poll_transmit(&mut [0; 1_400]).is_none(), "its source is answered");
}

#[test]
fn each_reason_is_told_with_the_source_and_nothing_is_answered() {
    let mut node = node(1, &Config::default().label(Label::of("here")));
    drain(&mut node);
    told(&mut node);
    let now = node.now();
    let own = ping_from(9, Label::of("here"));
    let starting_with = |first: u8| [&[first], &own[1..]].concat();
    for (from, bytes, reason) in [
        (11, ping_from(9, Label::of("elsewhere")), DropReason::OtherLabel),
        (12, starting_with(2), DropReason::OtherVersion),
        (13, starting_with(SEALED_FORMAT), DropReason::Sealed),
        (14, own[..own.len() - 1].to_vec(), DropReason::Malformed),
        (15, alloc::vec![1; 1_501], DropReason::TooLong),
    ] {
        refuse(&mut node, from, &bytes, now);
        let expected = Dropped::new(reason, 1, [Some(from), None, None]);
        assert_eq!(told(&mut node), [expected]);
        refuse(&mut node, from, &bytes, now);
        assert_eq!(told(&mut node), []);
    }
}

#[test]
fn a_restored_node_goes_on_counting() {
    let mut node = node(1, &Config::default());
    drain(&mut node);
    let start = node.now();
    for second in 0..300 {
        refuse(&mut node, 7, &[0xff], start + Duration::from_secs(second));
    }
    drain(&mut node);
    assert_eq!(told(&mut node).len(), 1);
    let mut twin = Node::<u32>::restore(&node.snapshot().unwrap()).unwrap();
    for second in 300..=600 {
        refuse(&mut twin, 7, &[0xff], start + Duration::from_secs(second));
    }
    let counts: Vec<u64> = told(&mut twin).iter().map(|told| told.count).collect();
    assert_eq!(counts, [600]);
}

#[test]
fn a_node_that_has_left_tells_nothing() {
    let mut node = node(1, &Config::default());
    node.handle(node.now(), Input::Leave).unwrap();
    while node.health().active {
        drain(&mut node);
        let at = node.poll_timeout().unwrap();
        node.handle(at, Input::Tick).unwrap();
    }
    drain(&mut node);
    told(&mut node);
    let now = node.now();
    refuse(&mut node, 7, &[0xff], now);
    assert_eq!(told(&mut node), []);
}

/// A ping of n1 in a cluster with this label.
fn ping_from(sender: u32, label: Label) -> Vec<u8> {
    let mut buf = [0; 100];
    let mut w =
        Writer::new(&mut buf, 100, label, id(sender).id_hash(), Default::default(), 0).unwrap();
    let ping = Ping { number: 5, target: id(1).id_hash().0 };
    assert!(w.frame(kind::PING, &ping));
    let len = w.len();
    buf[..len].to_vec()
}
