//! The measured scenes: a quiet cluster, a cluster with telemetry, the spread of one value, memory.

use std::time::Instant;

use telemetry_gossip_bench::arena::VALUE;
use telemetry_gossip_bench::{Arena, Contender, Out};

use crate::counting;

/// A second of virtual time, in microseconds.
pub(crate) const SECOND: u64 = 1_000_000;

/// The seeds of the runs of each figure.
pub(crate) const SEEDS: [u64; 3] = [1, 2, 3];

/// The figures of a quiet cluster.
#[derive(Debug)]
pub(crate) struct Quiet {
    node_seconds: f64,
    pub(crate) nanos: f64,
    pub(crate) events: f64,
    pub(crate) bytes: f64,
}

impl Quiet {
    pub(crate) fn speed(&self) -> f64 {
        self.node_seconds * 1e9 / self.nanos
    }

    pub(crate) fn rate(&self) -> f64 {
        self.events / self.node_seconds
    }

    pub(crate) fn nanos_per_event(&self) -> f64 {
        self.nanos / self.events
    }
}

pub(crate) fn quiet<C: Contender>(mut arena: Arena<C>, seconds: u32) -> Quiet {
    arena.run_for(30 * SECOND);
    let (before, begun) = (arena.counts, Instant::now());
    arena.run_for(u64::from(seconds) * SECOND);
    let nanos = begun.elapsed().as_nanos() as f64;
    let counts = arena.counts - before;
    all_known(&arena);
    let node_seconds = arena.nodes.len() as f64 * f64::from(seconds);
    Quiet {
        node_seconds,
        nanos,
        events: (counts.handled + counts.timers) as f64,
        bytes: counts.bytes as f64 / node_seconds,
    }
}

/// The seconds for which one node of a large cluster is measured.
pub(crate) const FEW_SECONDS: u32 = 120;

/// Returns the bytes per second that node 0 sends.
pub(crate) fn bytes_of_one(arena: &mut Arena<telemetry_gossip_bench::contenders::Few>) -> f64 {
    const FROM: u32 = 20;
    let sent = |arena: &Arena<telemetry_gossip_bench::contenders::Few>| match arena.nodes.first() {
        Some(telemetry_gossip_bench::contenders::Few::Node(node)) => node.node.stats().bytes_sent,
        _ => 0,
    };
    arena.run_for(u64::from(FROM) * SECOND);
    let before = sent(arena);
    arena.run_for(u64::from(FEW_SECONDS - FROM) * SECOND);
    (sent(arena) - before) as f64 / f64::from(FEW_SECONDS - FROM)
}

/// The figures of a cluster with telemetry.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) allocations: f64,
    pub(crate) handled: f64,
    pub(crate) accepted: f64,
    /// Bytes per node and second.
    pub(crate) bytes: f64,
    /// Node-seconds per wall second.
    pub(crate) speed: f64,
}

/// Lets each node publish every 10 seconds, one after the other. After two minutes, measures 50 s.
pub(crate) fn flow<C: Contender>(mut arena: Arena<C>) -> Flow {
    let nodes = u32::try_from(arena.nodes.len()).unwrap_or(u32::MAX);
    let gap = 10 * SECOND / u64::from(nodes);
    let publish = |arena: &mut Arena<C>, rounds: u8| {
        for _ in 0..rounds {
            for node in 0..nodes {
                let mut value = [0; VALUE];
                value[..8].copy_from_slice(&arena.now().to_be_bytes());
                arena.publish(node, value);
                arena.run_for(gap);
            }
        }
    };
    publish(&mut arena, 12);
    let accepted = |arena: &Arena<C>| arena.nodes.iter().map(Contender::accepted).sum::<u64>();
    let before = (accepted(&arena), arena.counts);
    arena.meter = Some(counting::calls);
    let begun = Instant::now();
    publish(&mut arena, 5);
    let node_seconds = 50.0 * f64::from(nodes);
    let speed = node_seconds / begun.elapsed().as_secs_f64();
    let counts = arena.counts - before.1;
    all_known(&arena);
    Flow {
        allocations: counts.metered as f64,
        handled: counts.handled as f64,
        accepted: (accepted(&arena) - before.0) as f64,
        bytes: counts.bytes as f64 / node_seconds,
        speed,
    }
}

/// The figures of the spread of values to all nodes.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    /// The seconds until all nodes had a value, for values that reached all.
    pub(crate) times: Vec<f64>,
    missed: u32,
}

impl Spread {
    pub(crate) fn join(mut self, other: Self) -> Self {
        self.times.extend(other.times);
        self.missed += other.missed;
        self
    }

    pub(crate) fn missed_percent(&self) -> f64 {
        let missed = f64::from(self.missed);
        100.0 * missed / (missed + self.times.len() as f64)
    }
}

/// Publishes ten values, each of another node, and gives each 20 seconds.
pub(crate) fn spread<C: Contender>(mut arena: Arena<C>) -> Spread {
    let nodes = arena.nodes.len();
    let mut spread = Spread::default();
    arena.run_for(10 * SECOND);
    for value in 0..10_u8 {
        let origin = u32::try_from((usize::from(value) * 7 + 3) % nodes).unwrap_or(0);
        arena.nodes.iter_mut().for_each(|node| node.watch(origin));
        let (mut told, mut count) = (vec![false; nodes], 1);
        told[origin as usize] = true;
        let begun = arena.now();
        arena.publish(origin, [value + 1; VALUE]);
        while let Some(node) = arena.step(begun + 20 * SECOND) {
            let node = node as usize;
            if !told[node] && arena.nodes[node].heard() {
                (told[node], count) = (true, count + 1);
                if count == nodes {
                    spread.times.push((arena.now() - begun) as f64 / SECOND as f64);
                    break;
                }
            }
        }
        spread.missed += u32::from(count < nodes);
        let rest = begun + 20 * SECOND - arena.now();
        arena.run_for(rest);
    }
    spread
}

/// Returns the heap bytes per node and member after 30 seconds.
pub(crate) fn heap<C: Contender>(mut arena: Arena<C>) -> f64 {
    arena.run_for(30 * SECOND);
    let nodes = arena.nodes.len() as f64;
    let before = counting::held();
    arena.nodes = Vec::new();
    // The list of the nodes belongs to the arena.
    let list = size_of::<C>() as f64 * nodes;
    ((before - counting::held()) as f64 - list) / nodes / nodes
}

/// Returns the heap bytes per member of one node.
pub(crate) fn heap_of_one<C: Contender>(
    nodes: u32,
    make: impl FnOnce(&mut Out<C::Timer>) -> C,
) -> f64 {
    let mut out = Out::default();
    let node = make(&mut out);
    let before = counting::held();
    drop(node);
    (before - counting::held()) as f64 / f64::from(nodes)
}

/// Checks that a quiet cluster has lost no member.
pub(crate) fn all_known<C: Contender>(arena: &Arena<C>) {
    let nodes = arena.nodes.len();
    assert!(
        arena.nodes.iter().all(|node| node.live() == nodes),
        "a member was lost in a quiet cluster"
    );
}
