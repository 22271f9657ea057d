//! The memory that `Node::restore` takes is bounded by the length of the bytes, whatever they are.

use telemetry_gossip_core::{Config, Identity, Input, Instance, Instant, Node, NodeId};

/// The bound: this many times the bytes, and some more.
const TIMES: u64 = 24;
const MORE: u64 = 8 << 20;

/// Restores these bytes within the bound; whether a node was made of them.
#[track_caller]
fn restores(bytes: &[u8]) -> bool {
    let mut restored = false;
    let took = allocation_counter::measure(|| restored = Node::<u32>::restore(bytes).is_ok());
    let bound = TIMES * bytes.len() as u64 + MORE;
    let (most, len) = (took.bytes_max, bytes.len());
    assert!(most <= bound, "{most} bytes for a snapshot of {len}: {} times", most / len as u64);
    restored
}

fn node(max_members: u32) -> Node<u32> {
    let config = Config::default().max_members(max_members);
    let identity = Identity::new("edge-17".parse().unwrap(), 17).instance(Instance(5));
    let mut node = Node::new(config, identity, [3; 32], Instant::from_millis(9)).unwrap();
    while node.poll_event().is_some() {}
    node
}

/// A list of any type may stand at any place of the bytes.
#[test]
fn a_long_list_at_any_place_of_a_snapshot_takes_a_bounded_multiple_of_its_bytes() {
    let saved = node(100).snapshot().unwrap();
    let items: u32 = 1 << 18;
    let mut len = Vec::new();
    let mut left = items;
    while left >= 0x80 {
        len.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    len.push(u8::try_from(left).unwrap());
    for at in 0..saved.len() {
        // Each item is one byte, or a few; other than that, what they say does not matter.
        for fill in [0, 1, 2, 6] {
            let mut bytes = saved[..at].to_vec();
            bytes.extend(&len);
            bytes.resize(bytes.len() + 2 * items as usize, fill);
            bytes.extend(&saved[at..]);
            assert!(!restores(&bytes), "a list at {at}");
        }
    }
}

#[test]
fn a_table_whose_members_were_all_forgotten_takes_a_bounded_multiple_of_its_bytes() {
    let mut node = node(1 << 20);
    for address in 0..120_000 {
        let id: NodeId = format!("m{address}").parse().unwrap();
        let (instance, generation) = (None, Default::default());
        let input = Input::Introduce { id, address: Some(address), instance, generation };
        node.handle(Instant::from_millis(9), input).unwrap();
        while node.poll_event().is_some() {}
    }
    assert!(restores(&node.snapshot().unwrap()));
    let config = Input::apply_cluster_config(1, vec![node.me().id().parse::<NodeId>().unwrap()]);
    node.handle(Instant::from_millis(9), config).unwrap();
    while node.poll_event().is_some() {}
    assert!(restores(&node.snapshot().unwrap()));
}
