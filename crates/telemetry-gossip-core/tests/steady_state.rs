//! In steady state, telemetry flowing, no call of a node touches the heap. A counting allocator
//! proves it.

use std::collections::VecDeque;
use std::time::Duration;

use telemetry_gossip_core::{Config, Identity, Input, Instant, Node, NodeId};

const NODES: u32 = 20;
const WARM_UP: Duration = Duration::from_secs(300);
const MEASURED: Duration = Duration::from_secs(120);

struct Cluster {
    nodes: Vec<Node<u32>>,
    wire: VecDeque<(u32, u32, Vec<u8>)>,
    now: Instant,
    /// Allocations inside the nodes' methods.
    allocations: u64,
    handled: u64,
}

impl Cluster {
    fn new() -> Self {
        let node = |address: u32| {
            let id: NodeId = format!("a-node-with-a-rather-long-name-{address}").parse().unwrap();
            let seed = [u8::try_from(address).unwrap(); 32];
            Node::new(Config::default(), Identity::new(id, address), seed, Instant::ORIGIN).unwrap()
        };
        let nodes = (0..NODES).map(node).collect();
        Self { nodes, wire: VecDeque::new(), now: Instant::ORIGIN, allocations: 0, handled: 0 }
    }

    fn input(&mut self, to: u32, input: Input<'_, u32>) {
        let node = &mut self.nodes[to as usize];
        let now = self.now;
        let mut sent = [([0; 1_400], 0, 0); 64];
        let mut count = 0;
        let info = allocation_counter::measure(|| {
            node.handle(now, input).unwrap();
            while node.poll_event().is_some() {}
            while let Some(transmit) = node.poll_transmit(&mut sent[count].0) {
                (sent[count].1, sent[count].2) = (transmit.to, transmit.len);
                count += 1;
            }
        });
        self.allocations += info.count_total;
        self.handled += 1;
        for (bytes, peer, len) in &sent[..count] {
            self.wire.push_back((to, *peer, bytes[..*len].to_vec()));
        }
    }

    fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        let mut publish_at = self.now;
        loop {
            while let Some((from, to, bytes)) = self.wire.pop_front() {
                self.input(to, Input::Datagram { from, bytes: bytes.into() });
            }
            let tick = self.nodes.iter().filter_map(Node::poll_timeout).min();
            let next = tick.map_or(publish_at, |tick| tick.min(publish_at));
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if publish_at <= self.now {
                // Everybody's load changes every second, in value and in length.
                publish_at = publish_at + Duration::from_secs(1);
                let load = self.now.as_micros() / 1_000_000 % 1_500;
                for to in 0..NODES {
                    let value = load.to_string();
                    self.input(
                        to,
                        Input::Publish {
                            key: "load".into(),
                            value: value.as_bytes().into(),
                            urgent: false,
                        },
                    );
                }
            }
            for at in 0..NODES {
                if self.nodes[at as usize].poll_timeout().is_some_and(|due| due <= next) {
                    self.input(at, Input::Tick);
                }
            }
        }
        self.now = end;
    }
}

#[test]
fn handling_a_datagram_in_steady_state_allocates_nothing() {
    let mut cluster = Cluster::new();
    for to in 1..NODES {
        cluster.input(to, Input::Join { seeds: vec![0].into() });
    }
    cluster.run_for(WARM_UP);
    assert!(cluster.allocations > 0, "the counter counts");
    assert!(cluster.nodes.iter().all(|node| node.health().alive == NODES));

    (cluster.allocations, cluster.handled) = (0, 0);
    cluster.run_for(MEASURED);
    let versions =
        cluster.nodes.iter().flat_map(Node::members).map(|member| member.telemetry_version());
    assert!(versions.min() > Some(400), "telemetry flows");
    assert!(cluster.handled > 10_000);
    assert_eq!(cluster.allocations, 0, "in {} inputs", cluster.handled);
}
