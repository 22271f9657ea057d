//! One node of a cluster that is too large to run completely. Each other node exists only while it
//! answers this node or pings it. The node receives one ping per second, as in a complete cluster.

use telemetry_gossip_core::{Config, Input, Mode};

use super::{Ours, id, lone};
use crate::arena::{Arena, Contender, Out, Setting, VALUE};

const SECOND: u64 = 1_000_000;

/// The node, or one of the other nodes.
#[derive(Debug)]
pub enum Few {
    /// Node 0.
    Node(Box<Ours>),
    /// Another node.
    Other {
        /// Its index.
        own: u32,
        /// The number of nodes.
        nodes: u32,
    },
}

impl Few {
    /// Creates the other node, handles one input, and drops the node.
    fn other(
        own: u32,
        nodes: u32,
        now: u64,
        input: Input<'_, std::net::SocketAddr>,
        out: &mut Out<()>,
    ) {
        let config = Config::lan().mode(Mode::OnDemand);
        let mut unwanted = Out::default();
        lone(own, nodes, 1, config, &mut unwanted).input(now, input, &mut unwanted);
        unwanted.drain_sends(|to, bytes| {
            out.send_with(|buffer| {
                buffer[..bytes.len()].copy_from_slice(bytes);
                Some((to, bytes.len()))
            });
        });
    }
}

impl Contender for Few {
    type Timer = ();

    fn datagram(&mut self, now: u64, from: u32, bytes: &[u8], out: &mut Out<()>) {
        match self {
            Self::Node(node) => node.datagram(now, from, bytes, out),
            Self::Other { own, nodes } => {
                let input = Input::Datagram { from: super::address(from), bytes: bytes.into() };
                Self::other(*own, *nodes, now, input, out);
            }
        }
    }

    fn timer(&mut self, now: u64, (): (), out: &mut Out<()>) {
        match self {
            Self::Node(node) => node.timer(now, (), out),
            Self::Other { own, nodes } => {
                Self::other(*own, *nodes, now, Input::Probe { id: id(0) }, out)
            }
        }
    }

    fn live(&self) -> usize {
        match self {
            Self::Node(node) => node.live(),
            Self::Other { nodes, .. } => *nodes as usize,
        }
    }

    fn publish(&mut self, now: u64, value: [u8; VALUE], out: &mut Out<()>) {
        if let Self::Node(node) = self {
            node.publish(now, value, out);
        }
    }

    fn watch(&mut self, _: u32) {}

    fn heard(&self) -> bool {
        true
    }

    fn accepted(&self) -> u64 {
        0
    }
}

/// Makes an arena with node 0 of a cluster, for this many seconds.
#[must_use]
pub fn few(setting: Setting, seconds: u32) -> Arena<Few> {
    let Setting { nodes, seed, .. } = setting;
    let mut arena = Arena::new(setting);
    arena.add(|out| Few::Node(Box::new(lone(0, nodes, seed, Config::lan(), out))));
    for own in 1..nodes {
        arena.add(|out| {
            // A prime step through the other nodes: one per second.
            let second = (u64::from(own) * 7_919) % u64::from(nodes);
            if second < u64::from(seconds) {
                out.wake(second * SECOND + SECOND / 3, ());
            }
            Few::Other { own, nodes }
        });
    }
    arena
}
