//! Nodes of this project.

use std::net::SocketAddr;

use telemetry_gossip_core::{
    Config, Event, Generation, Identity, Input, Instance, Instant, Node, NodeId, Status,
};

use super::{address, index};
use crate::arena::{Arena, Contender, MTU, Out, Setting, VALUE};

/// A node of this project.
#[derive(Debug)]
pub struct Ours {
    /// The node itself.
    pub node: Node<SocketAddr>,
    /// The earliest timer that is set.
    armed: Option<u64>,
    watched: Option<NodeId>,
    heard: bool,
    accepted: u64,
}

impl Ours {
    /// Handles one input and collects its outputs.
    pub fn input(&mut self, now: u64, input: Input<'_, SocketAddr>, out: &mut Out<()>) {
        // All datagrams here are valid, and a tick is never refused.
        let _ = self.node.handle(Instant::from_micros(now), input);
        self.carry(out);
    }

    fn carry(&mut self, out: &mut Out<()>) {
        while out.send_with(|buffer| {
            self.node.poll_transmit(buffer).map(|sent| (index(sent.to), sent.len))
        }) {}
        while let Some(event) = self.node.poll_event() {
            if let Event::Telemetry { id, .. } = event {
                self.accepted += 1;
                self.heard |= self.watched == Some(id);
            }
        }
        self.arm(out);
    }

    fn arm(&mut self, out: &mut Out<()>) {
        if let Some(at) = self.node.poll_timeout().map(Instant::as_micros)
            && self.armed.is_none_or(|armed| at < armed)
        {
            self.armed = Some(at);
            out.wake(at, ());
        }
    }
}

impl Contender for Ours {
    type Timer = ();

    fn datagram(&mut self, now: u64, from: u32, bytes: &[u8], out: &mut Out<()>) {
        self.input(now, Input::Datagram { from: address(from), bytes: bytes.into() }, out);
    }

    fn timer(&mut self, now: u64, (): (), out: &mut Out<()>) {
        if self.armed.is_some_and(|armed| armed <= now) {
            self.armed = None;
        }
        if self.node.poll_timeout().is_some_and(|due| due.as_micros() <= now) {
            self.input(now, Input::Tick, out);
        } else {
            // The deadline was met earlier, or has moved.
            self.arm(out);
        }
    }

    fn live(&self) -> usize {
        self.node.members().filter(|member| member.status() == Status::Alive).count()
    }

    fn publish(&mut self, now: u64, value: [u8; VALUE], out: &mut Out<()>) {
        self.input(
            now,
            Input::Publish { key: "load".into(), value: value.as_slice().into(), urgent: false },
            out,
        );
    }

    fn watch(&mut self, origin: u32) {
        self.watched = Some(id(origin));
        self.heard = self.node.me().id() == id(origin).as_str();
    }

    fn heard(&self) -> bool {
        self.heard
    }

    fn accepted(&self) -> u64 {
        self.accepted
    }
}

/// Returns the id of a node.
///
/// # Panics
/// Never: the text is a valid id.
#[must_use]
pub fn id(index: u32) -> NodeId {
    format!("node-{index}").parse().expect("digits are valid in an id")
}

const fn instance(index: u32) -> Instance {
    Instance(index.wrapping_mul(0x9e37_79b9) | 1)
}

/// Makes one node that knows the members `0..nodes`.
///
/// # Panics
/// If the settings are invalid.
#[must_use]
pub fn lone(own: u32, nodes: u32, seed: u64, config: Config, out: &mut Out<()>) -> Ours {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&own.to_le_bytes());
    bytes[4..12].copy_from_slice(&seed.to_le_bytes());
    let identity = Identity::new(id(own), address(own)).instance(instance(own));
    let node = Node::new(config, identity, bytes, Instant::ORIGIN).expect("settings are valid");
    let mut ours = Ours { node, armed: None, watched: None, heard: false, accepted: 0 };
    for other in (0..nodes).filter(|&other| other != own) {
        ours.introduce(other, 0);
    }
    ours.carry(out);
    ours
}

/// Makes a node at a generation. It knows no members.
///
/// # Panics
/// Never: the settings are the defaults.
#[must_use]
pub fn stub(own: u32, generation: u64) -> Ours {
    let identity = Identity::new(id(own), address(own))
        .generation(Generation(generation))
        .instance(instance(own));
    let node =
        Node::new(Config::lan(), identity, [1; 32], Instant::ORIGIN).expect("defaults are valid");
    Ours { node, armed: None, watched: None, heard: false, accepted: 0 }
}

impl Ours {
    /// Introduces a member.
    pub fn introduce(&mut self, other: u32, generation: u64) {
        let input = Input::Introduce {
            id: id(other),
            address: Some(address(other)),
            instance: Some(instance(other)),
            generation: Generation(generation),
        };
        let _ = self.node.handle(self.node.now(), input);
        while self.node.poll_event().is_some() {}
    }

    /// Ticks until a time. Its datagrams are lost.
    pub fn tick_until(&mut self, end: u64) {
        let mut buffer = [0; MTU];
        while let Some(due) = self.node.poll_timeout().filter(|due| due.as_micros() <= end) {
            let _ = self.node.handle(due, Input::Tick);
            while self.node.poll_transmit(&mut buffer).is_some() {}
            while self.node.poll_event().is_some() {}
        }
    }

    /// Probes a member and returns the ping. No other probe may be in progress.
    pub fn ping(&mut self, target: u32) -> Vec<u8> {
        let _ = self.node.handle(self.node.now(), Input::Probe { id: id(target) });
        let mut buffer = [0; MTU];
        let mut ping = Vec::new();
        while let Some(sent) = self.node.poll_transmit(&mut buffer) {
            if sent.to == address(target) && ping.is_empty() {
                ping = buffer[..sent.len].to_vec();
            }
        }
        ping
    }
}

/// Makes an arena of nodes of this project that know each other.
#[must_use]
pub fn ours(setting: Setting) -> Arena<Ours> {
    let Setting { nodes, seed, .. } = setting;
    let mut arena = Arena::new(setting);
    for index in 0..nodes {
        arena.add(|out| lone(index, nodes, seed, Config::lan(), out));
    }
    arena
}
