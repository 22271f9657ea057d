//! Tests of whole nodes: a few nodes on a network without latency or loss, and datagrams made by
//! hand.

mod addresses;
mod cost;
mod dropped;
mod elsewhere;
mod explained;
mod freshness;
mod full_table;
mod gone;
mod hostile;
mod identity;
mod knocked;
mod large_tables;
mod leaving;
mod lies;
mod newcomers;
mod probing;
mod refused;
mod refuting;
mod removed;
mod revived;
mod seeds;
mod snapshot;
mod snapshot_forged;
mod telemetry;
mod telemetry_lies;
mod victims;

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::Node;
use crate::wire::decode::{Datagram, Frame};
use crate::wire::encode::Writer;
use crate::*;

/// A network of nodes `n1`, `n2`, ... at addresses 1, 2, ...
pub(super) struct Net {
    pub(super) nodes: Vec<Node<u32>>,
    pub(super) now: Instant,
    /// Paths on which datagrams are lost, as (from, to).
    pub(super) cut: Vec<(u32, u32)>,
    /// Hosts that send from another address than the one at which they are reached, as (address,
    /// source). They are reached at both.
    pub(super) sends_from: Vec<(u32, u32)>,
    /// An address that leads nowhere.
    pub(super) gone: Option<u32>,
    /// A node that acknowledges telemetry and passes none on.
    pub(super) drops_telemetry: Option<u32>,
    /// A node of a version that neither reads nor writes sums of parts.
    pub(super) older: Option<u32>,
    /// All datagrams sent, as (from, to, bytes).
    pub(super) log: Vec<(u32, u32, Vec<u8>)>,
}

pub(super) fn name(address: u32) -> String {
    alloc::format!("n{address}")
}

pub(super) fn id(address: u32) -> NodeId {
    NodeId::new(&name(address)).unwrap()
}

pub(super) fn node(address: u32, config: &Config) -> Node<u32> {
    let mut seed = [address.to_le_bytes()[0]; 32];
    seed[31] = seed[31].wrapping_add(address.to_le_bytes()[1]);
    Node::new(config.clone(), Identity::new(id(address), address), seed, Instant::ORIGIN).unwrap()
}

impl Net {
    pub(super) fn new(nodes: u32, config: &Config) -> Self {
        let nodes = (1..=nodes).map(|address| node(address, config)).collect();
        Self {
            nodes,
            now: Instant::ORIGIN,
            cut: Vec::new(),
            sends_from: Vec::new(),
            gone: None,
            drops_telemetry: None,
            older: None,
            log: Vec::new(),
        }
    }

    /// A network in which all nodes know each other, and no rumors are left.
    pub(super) fn joined(nodes: u32, config: &Config) -> Self {
        let mut net = Self::new(nodes, config);
        net.join_all();
        net
    }

    /// Lets all nodes join through the first one, until they know each other and no rumors are
    /// left.
    pub(super) fn join_all(&mut self) {
        let nodes = u32::try_from(self.nodes.len()).unwrap();
        for address in 2..=nodes {
            self.input(address, Input::Join { seeds: alloc::vec![1].into() });
        }
        self.run_for(Duration::from_secs(10));
        for node in &self.nodes {
            assert_eq!(node.health().alive, nodes, "{} knows all", node.me().id());
        }
    }

    pub(super) fn node(&mut self, address: u32) -> &mut Node<u32> {
        &mut self.nodes[address as usize - 1]
    }

    pub(super) fn input(&mut self, address: u32, input: Input<'_, u32>) {
        let now = self.now;
        self.node(address).handle(now, input).unwrap();
        self.deliver();
    }

    /// Delivers datagrams until no node sends any.
    pub(super) fn deliver(&mut self) {
        let mut buf = [0; 2_000];
        let mut quiet = false;
        while !quiet {
            quiet = true;
            for at in 0..self.nodes.len() {
                let from = u32::try_from(at + 1).unwrap();
                while let Some(Transmit { to, len }) = self.nodes[at].poll_transmit(&mut buf) {
                    quiet = false;
                    self.log.push((from, to, buf[..len].to_vec()));
                    assert!(self.log.len() < 1_000_000, "nodes answer each other for ever");
                    let is_gone = self.gone == Some(to);
                    let source = self.sends_from.iter().find(|it| it.0 == from);
                    let source = source.map_or(from, |it| it.1);
                    let to = self.sends_from.iter().find(|it| it.1 == to).map_or(to, |it| it.0);
                    let dropped = self.drops_telemetry == Some(from)
                        && frames(&buf[..len]).iter().any(|frame| matches!(frame, Frame::Tree(_)));
                    if !dropped
                        && !is_gone
                        && !self.cut.contains(&(from, to))
                        && (1..=self.nodes.len()).contains(&(to as usize))
                    {
                        let mut bytes = buf[..len].to_vec();
                        if self.older == Some(from) || self.older == Some(to) {
                            hide_sums(&mut bytes);
                        }
                        let bytes = bytes.into();
                        self.nodes[to as usize - 1]
                            .handle(self.now, Input::Datagram { from: source, bytes })
                            .unwrap();
                    }
                }
            }
        }
    }

    pub(super) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.deliver();
            let next =
                self.nodes.iter().filter_map(Node::poll_timeout).min().filter(|&at| at <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            for node in &mut self.nodes {
                if node.poll_timeout().is_some_and(|at| at <= next) {
                    node.handle(self.now, Input::Tick).unwrap();
                }
            }
        }
        self.now = end;
    }

    pub(super) fn status(&mut self, observer: u32, of: u32) -> Option<Status> {
        let of = name(of);
        self.node(observer).member(&of).map(|member| member.status())
    }

    pub(super) fn events(&mut self, address: u32) -> Vec<Event<u32>> {
        core::iter::from_fn(|| self.node(address).poll_event()).collect()
    }
}

/// Makes the frame before a digest one of a kind that no node knows.
fn hide_sums(bytes: &mut [u8]) {
    use crate::wire::{HEADER_LEN, kind};
    if let Some(first) = bytes.get_mut(HEADER_LEN).filter(|first| **first == kind::SYNC_SUMS) {
        *first = u8::MAX;
    }
}

pub(super) fn alive(address: u32, generation: u64) -> Claim<'static, u32> {
    let id: &'static str = String::leak(name(address));
    Claim {
        id,
        address: Some(address),
        instance: Instance(77),
        generation: Generation(generation),
        status: Status::Alive,
        accusers: Accusers::new(),
        age_secs: 0,
    }
}

/// Makes the node know these members: its host vouches for them.
pub(super) fn introduce(
    node: &mut Node<u32>,
    members: impl IntoIterator<Item = Claim<'static, u32>>,
) {
    for claim in members {
        let (id, instance) = (claim.id.parse().unwrap(), Some(claim.instance));
        let (address, generation) = (claim.address, claim.generation);
        let now = node.now();
        node.handle(now, Input::Introduce { id, address, instance, generation }).unwrap();
    }
}

/// A datagram made by hand, with the id of `sender`.
pub(super) fn datagram(sender: u32, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buf = [0; 1_400];
    let id_hash = crate::id::id_hash_of(crate::id::full_id_hash(name(sender).as_bytes()));
    let mut w =
        Writer::new(&mut buf, 1_400, Label::of(""), id_hash, Default::default(), 0).unwrap();
    fill(&mut w);
    let len = w.len();
    buf[..len].to_vec()
}

pub(super) fn claims(sender: u32, claims: &[Claim<'_, u32>]) -> Vec<u8> {
    datagram(sender, |w| {
        let open = w.open(crate::wire::kind::CLAIMS).unwrap();
        for claim in claims {
            let address = claim.address.map(u32::to_be_bytes);
            assert!(w.item(&crate::wire::WireClaim {
                status: claim.status.rank(),
                generation: claim.generation.0,
                instance: claim.instance.0,
                id: claim.id.as_bytes(),
                address: address.as_ref().map_or(&[], |bytes| bytes.as_slice()),
                accusers: claim.accusers.clone(),
                age_secs: claim.age_secs,
            }));
        }
        w.close(open);
    })
}

pub(super) fn frames(bytes: &[u8]) -> Vec<Frame<'_, u32>> {
    Datagram::parse(bytes, Label::of(""), |claims| (0, claims)).unwrap().frames().collect()
}

/// The datagrams that the node sends now, as (to, bytes).
pub(super) fn drain(node: &mut Node<u32>) -> Vec<(u32, Vec<u8>)> {
    let mut buf = [0; 2_000];
    core::iter::from_fn(|| {
        let Transmit { to, len } = node.poll_transmit(&mut buf)?;
        Some((to, buf[..len].to_vec()))
    })
    .collect()
}

/// Hands the node a datagram.
pub(super) fn hear(node: &mut Node<u32>, from: u32, bytes: &[u8]) {
    let now = node.now();
    node.handle(now, Input::Datagram { from, bytes: bytes.into() }).unwrap();
}
