//! 100,000 random and mutated datagrams at the port of a running agent: it keeps running, its
//! members do not change, it counts the datagrams that it refuses, and its memory does not grow.
//!
//! Plaintext datagrams carry no signature, so a mutant can still be a valid claim, which an agent
//! has to accept. The generator therefore gives each mutant to a node of its own first, and keeps
//! those that this node refuses or that change nothing in its table.
#![cfg(target_os = "linux")]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use common::{Agent, TIMEOUT, member, resident_kib};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use telemetry_gossip_core::{
    Config, Event, Identity, Input, InputError, Instant as CoreInstant, Node, NodeId,
};
use telemetry_gossip_tokio::PeerAddr;

const DATAGRAMS: u64 = 100_000;

/// The number of datagrams sent at a time, with a ping behind them whose ack shows that they were
/// read. The default buffer of a socket holds as many of the longest.
const BURST: u64 = 63;

/// The length of the header of a datagram; docs/wire.md describes it and the frames.
const HEADER: usize = 20;

/// The largest growth of resident memory.
const GROWTH_KIB: u64 = 512;

#[test]
fn garbage_changes_nothing() {
    let a = Agent::start("a", &["--set", "role=target"]);
    let b = Agent::start("b", &["--join", &a.udp.to_string(), "--set", "role=witness"]);
    a.wait_for(|line| line["event"] == "telemetry" && line["id"] == "b");
    b.wait_for(|line| line["event"] == "telemetry" && line["id"] == "a");

    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(TIMEOUT)).expect("a socket");
    let mut garbage = Garbage::new(7);
    let mut refused = refusals(&a);
    let before = (members(&a), resident_kib(a.pid()));
    let mut sent = 0;
    while sent < DATAGRAMS {
        for _ in 0..BURST.min(DATAGRAMS - sent) {
            let (datagram, is_refused) = garbage.next();
            socket.send_to(&datagram, a.udp).expect("loopback takes it");
            refused += u64::from(is_refused);
            sent += 1;
        }
        let number = u32::try_from(sent).expect("few datagrams");
        socket.send_to(&garbage.ping("a", number), a.udp).expect("loopback takes it");
        await_ack(&socket, number);
    }
    await_refusals(&a, refused);
    let after = (members(&a), resident_kib(a.pid()));

    let mut a = a;
    assert!(a.is_running(), "the agent has ended");
    assert_eq!(after.0, before.0, "the members changed");
    let growth = after.1.saturating_sub(before.1);
    println!(
        "resident: {} KiB before, {} KiB after {sent} datagrams; {refused} refused",
        before.1, after.1
    );
    assert!(growth <= GROWTH_KIB, "resident memory grew by {growth} KiB");
    assert!(
        garbage.kinds.iter().all(|count| *count > DATAGRAMS / 20),
        "too few datagrams of a kind: {:?}",
        garbage.kinds
    );
    assert!(
        garbage.harmless > 100,
        "too few mutants are valid and change nothing: {}",
        garbage.harmless
    );
}

/// Lists the members by id, status and generation.
fn members(agent: &Agent) -> Vec<(String, String, u64)> {
    let view = agent.view();
    ["a", "b"]
        .map(|id| {
            let member = member(&view, id);
            let status = member["status"].as_str().unwrap_or_default().to_owned();
            (id.to_owned(), status, member["generation"].as_u64().unwrap_or(u64::MAX))
        })
        .into_iter()
        .chain([(
            "members".to_owned(),
            String::new(),
            view["members"].as_array().map_or(0, Vec::len) as u64,
        )])
        .collect()
}

/// Counts the datagrams that the agent has refused.
fn refusals(agent: &Agent) -> u64 {
    let view = agent.view();
    ["datagrams_malformed", "datagrams_other_version", "datagrams_other_label"]
        .map(|counter| view["stats"][counter].as_u64().expect("a counter"))
        .iter()
        .sum()
}

/// Waits for the ack with this request id. Harmless mutants may have been answered before.
fn await_ack(socket: &UdpSocket, number: u32) {
    let mut reply = [0; 1_500];
    loop {
        let len = socket.recv(&mut reply).expect("the ack of the agent");
        if reply[..len].get(HEADER..).is_some_and(|frames| is_ack(frames, number)) {
            return;
        }
    }
}

/// Whether the first of these frames is the ack with this request id.
fn is_ack(frames: &[u8], number: u32) -> bool {
    matches!(frames, [2, 8, rest @ ..] if rest.starts_with(&number.to_be_bytes()))
}

fn await_refusals(agent: &Agent, count: u64) {
    let end = Instant::now() + TIMEOUT;
    loop {
        let seen = refusals(agent);
        if seen >= count {
            return;
        }
        assert!(Instant::now() < end, "the agent counted {seen} of {count} refusals");
    }
}

/// Random datagrams, from a seed, that change nothing at any agent.
struct Garbage {
    rng: ChaCha8Rng,
    /// Datagrams of real nodes.
    recorded: Vec<Vec<u8>>,
    judge: Node<PeerAddr>,
    /// The number of each kind: random, random after a valid header, mutated.
    kinds: [u64; 3],
    /// The number of datagrams that the node did not refuse.
    harmless: u64,
}

impl Garbage {
    fn new(seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { rng, recorded: recorded(), judge: node("a", 1), kinds: [0; 3], harmless: 0 }
    }

    /// Makes a datagram. Returns it, and whether an agent refuses it.
    fn next(&mut self) -> (Vec<u8>, bool) {
        loop {
            let kind = self.below(3);
            let datagram = match kind {
                0 => self.random(),
                1 => self.behind_a_header(),
                _ => self.mutated(),
            };
            let known = self.judge.membership().fingerprint();
            let input = Input::Datagram { from: peer(9), bytes: datagram.as_slice().into() };
            let refused = matches!(
                self.judge.handle(CoreInstant::ORIGIN, input),
                Err(InputError::Datagram(_))
            );
            let events = drained(&mut self.judge);
            let changed = events > 0 || self.judge.membership().fingerprint() != known;
            assert!(!(refused && changed), "a refused datagram changed something: {datagram:?}");
            if refused || (!changed && self.judge.stats().ping_reqs == 0) {
                self.kinds[kind] += 1;
                self.harmless += u64::from(!refused);
                return (datagram, refused);
            }
            self.judge = node("a", 1);
        }
    }

    /// Makes a ping to the node with this id, of a stranger.
    fn ping(&self, id: &str, number: u32) -> Vec<u8> {
        let target = id.parse::<NodeId>().expect("an id").id_hash().0;
        let header = &self.recorded[0][..HEADER];
        [header, &[1, 8], &number.to_be_bytes(), &target.to_be_bytes()].concat()
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.rng.next_u64() % bound.max(1) as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.below(most + 1)];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    fn random(&mut self) -> Vec<u8> {
        self.bytes(1_400)
    }

    /// Makes random bytes after a header with the right version and label, so that an agent decodes
    /// the frames.
    fn behind_a_header(&mut self) -> Vec<u8> {
        let like = self.below(self.recorded.len());
        let header: Vec<u8> = self.recorded[like].iter().copied().take(17).collect();
        let rest = self.bytes(600);
        [header, rest].concat()
    }

    fn mutated(&mut self) -> Vec<u8> {
        let like = self.below(self.recorded.len());
        let mut datagram = self.recorded[like].clone();
        for _ in 0..=self.below(4) {
            let (at, len) = (self.below(datagram.len()), datagram.len());
            match self.below(6) {
                0 if len > 0 => datagram[at] ^= 1 << self.below(8),
                1 if len > 0 => datagram[at] = [0, 0x7f, 0x80, 0xff][self.below(4)],
                2 => datagram.truncate(at),
                3 => datagram.extend(self.bytes(40)),
                4 => {
                    let other = self.below(self.recorded.len());
                    let other = self.recorded[other].clone();
                    let from = self.below(other.len());
                    datagram.truncate(at);
                    datagram.extend_from_slice(&other[from..]);
                }
                _ => datagram.extend_from_within(at..),
            }
        }
        datagram.truncate(1_400);
        datagram
    }
}

fn peer(port: u16) -> PeerAddr {
    SocketAddr::from(([127, 0, 0, 1], port)).into()
}

/// Makes a node with this id, without output.
fn node(id: &str, port: u16) -> Node<PeerAddr> {
    let identity = Identity::new(id.parse().expect("an id"), peer(port));
    let mut node = Node::new(Config::default(), identity, [port as u8; 32], CoreInstant::ORIGIN)
        .expect("the defaults are valid");
    drained(&mut node);
    node
}

/// Drops the output of a node. Returns the number of its events, except those of what it drops.
fn drained(node: &mut Node<PeerAddr>) -> usize {
    let mut out = [0; 1_400];
    while node.poll_transmit(&mut out).is_some() {}
    let events = std::iter::from_fn(|| node.poll_event());
    events.filter(|event| !matches!(event, Event::Dropped { .. })).count()
}

/// Records every datagram of three nodes that join, publish and probe for a while.
fn recorded() -> Vec<Vec<u8>> {
    let mut nodes = [node("x", 1), node("y", 2), node("z", 3)];
    let mut datagrams = Vec::new();
    let mut now = CoreInstant::ORIGIN;
    let end = now + Duration::from_secs(20);
    for joining in &mut nodes[1..] {
        joining.handle(now, Input::Join { seeds: vec![peer(1)].into() }).expect("a seed");
    }
    for (index, node) in nodes.iter_mut().enumerate() {
        let value = vec![index as u8; 40];
        node.handle(now, Input::Publish { key: "load".into(), value: value.into(), urgent: false })
            .expect("a value");
    }
    while now < end {
        let mut out = [0; 1_400];
        while let Some((from, transmit)) = (0..3).find_map(|index| {
            nodes[index].poll_transmit(&mut out).map(|transmit| (index, transmit))
        }) {
            let datagram = out[..transmit.len].to_vec();
            let to =
                (1..=3).position(|port| peer(port) == transmit.to).expect("a node of this cluster");
            let input =
                Input::Datagram { from: peer(from as u16 + 1), bytes: datagram.as_slice().into() };
            nodes[to].handle(now, input).expect("a node's datagram is valid");
            datagrams.push(datagram);
        }
        now = nodes.iter().filter_map(Node::poll_timeout).min().expect("nodes have timers");
        for node in &mut nodes {
            node.handle(now, Input::Tick).expect("a tick is no error");
        }
    }
    datagrams
}
