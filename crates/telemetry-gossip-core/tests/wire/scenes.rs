//! The nodes that the datagrams meet: tables of one size, in the states that make work.

use std::net::SocketAddr;

use telemetry_gossip_core::{
    Config, Generation, Identity, Input, Instance, Instant, Label, Node, NodeId,
};

use crate::costly::{Known, Target, filled_key, namesakes};
use crate::meaning::{Claim, Entry, Frame, Header, Hex, News, Status};
use crate::{reader, writer};

/// How many members have as much telemetry as a reader holds of one.
const FULL_LOGS: usize = 64;

/// The most entries of one member that a reader holds, less one for what a datagram adds.
const FULL_ENTRIES: u64 = 2_040;

/// A node in some state.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    ids: fn(u32) -> Vec<String>,
    then: fn(&mut Liar, &mut Node<SocketAddr>),
}

fn names(size: u32) -> Vec<String> {
    (0..size).map(|n| format!("node-{n}")).collect()
}

fn crowd(size: u32) -> Vec<String> {
    namesakes(size.try_into().unwrap_or(usize::MAX))
}

/// All scenes.
pub(crate) const SCENES: &[Scene] = &[
    Scene { name: "quiet, from a member", ids: names, then: |_, _| {} },
    Scene { name: "quiet, from a stranger", ids: names, then: |liar, _| liar.be_a_stranger() },
    Scene { name: "full telemetry", ids: names, then: Liar::fill_logs },
    Scene {
        name: "all suspected",
        ids: names,
        then: |liar, node| liar.accuse_all(node, Status::Suspected, true),
    },
    Scene {
        name: "all dead",
        ids: names,
        then: |liar, node| liar.accuse_all(node, Status::Dead, true),
    },
    Scene {
        name: "half dead, full telemetry",
        ids: names,
        then: |liar, node| {
            liar.fill_logs(node);
            liar.accuse_all(node, Status::Dead, false);
        },
    },
    Scene { name: "ids of one hash", ids: crowd, then: |_, _| {} },
    Scene { name: "ids of one hash, full telemetry", ids: crowd, then: Liar::fill_logs },
    Scene { name: "a session in flight", ids: names, then: Liar::be_the_partner },
    Scene {
        name: "a session in flight, full telemetry",
        ids: names,
        then: |liar, node| {
            liar.fill_logs(node);
            liar.be_the_partner(node);
        },
    },
    Scene { name: "a join pending", ids: names, then: Liar::be_the_seed },
    Scene { name: "a roll call under way", ids: names, then: Liar::provoke_a_roll_call },
];

/// The sender of the datagrams, and what it knows.
#[derive(Debug)]
pub(crate) struct Liar {
    pub(crate) from: SocketAddr,
    header: Header,
    number: u32,
    node: Known,
    members: Vec<Known>,
    is_seed: bool,
}

fn address(n: usize) -> SocketAddr {
    let [.., a, b, c] = n.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 7_946))
}

fn encoded(address: SocketAddr) -> Vec<u8> {
    let mut bytes = match address.ip() {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.extend(address.port().to_be_bytes());
    bytes
}

impl Scene {
    pub(crate) fn make(&self, size: u32) -> (Node<SocketAddr>, Liar) {
        let ids = (self.ids)(size);
        let tag = |id: &str| id.parse::<NodeId>().expect("the id is valid").id_hash().0;
        let members: Vec<_> = ids
            .into_iter()
            .zip(1..)
            .map(|(id, n)| Known {
                tag: tag(&id),
                id,
                address: encoded(address(n)),
                instance: n as u32 + 100,
                generation: 1,
                telemetry: 0,
            })
            .collect();
        let own = SocketAddr::from(([10, 255, 0, 1], 7_946));
        let identity =
            Identity::new("this-node".parse().expect("the id is valid"), own).instance(Instance(9));
        let config = Config::lan().max_members(32_768);
        let mut node = Node::new(config, identity, [7; 32], Instant::ORIGIN).expect("it is valid");
        for (known, n) in members.iter().zip(1..) {
            let input = Input::Introduce {
                id: known.id.parse().expect("the id is valid"),
                address: Some(address(n)),
                instance: Some(Instance(known.instance)),
                generation: Generation(known.generation),
            };
            node.handle(Instant::ORIGIN, input).expect("there is room");
            while node.poll_event().is_some() {}
        }
        let this = Known {
            id: "this-node".into(),
            tag: tag("this-node"),
            address: encoded(own),
            instance: 9,
            generation: node.me().generation().0,
            telemetry: 0,
        };
        let header = Header {
            label: Label::of("").0,
            sender: members[0].tag,
            claims: 1,
            telemetry: 2,
            clock: 0,
        };
        let from = address(1);
        let mut liar = Liar { from, header, number: 1, node: this, members, is_seed: false };
        liar.drain(&mut node);
        (self.then)(&mut liar, &mut node);
        liar.drain(&mut node);
        (node, liar)
    }
}

impl Liar {
    /// What the liar knows, for datagrams of this length.
    pub(crate) fn target(&self, longest: usize) -> Target<'_> {
        let Self { header, number, node, members, .. } = self;
        Target { header: *header, number: *number, node: node.clone(), members, longest }
    }

    /// The seed of the node, if the liar is one.
    pub(crate) fn seed(&self) -> Option<SocketAddr> {
        self.is_seed.then_some(self.from)
    }

    fn be_a_stranger(&mut self) {
        self.from = SocketAddr::from(([198, 51, 100, 1], 7_946));
        self.header.sender = 1;
    }

    fn tell(&mut self, node: &mut Node<SocketAddr>, frames: &[Frame]) {
        let (from, bytes) = (self.from, writer::datagram(&self.header, frames));
        let now = node.now();
        node.handle(now, Input::Datagram { from, bytes: bytes.into() }).expect("it is well formed");
        self.drain(node);
    }

    /// Drains the node. Returns its datagrams.
    fn drain(&mut self, node: &mut Node<SocketAddr>) -> Vec<(SocketAddr, Vec<Frame>)> {
        let mut buffer = [0; 2_000];
        let mut sent = Vec::new();
        while let Some(transmit) = node.poll_transmit(&mut buffer) {
            let read = reader::datagram(&buffer[..transmit.len], self.header.label);
            sent.push((transmit.to, read.expect("a node writes valid datagrams").1));
        }
        while node.poll_event().is_some() {}
        sent
    }

    /// Fills the logs of some members up to what a reader holds of one.
    fn fill_logs(&mut self, node: &mut Node<SocketAddr>) {
        const ENTRIES: u64 = 20;
        for n in 0..self.members.len().min(FULL_LOGS) {
            for since in (0..FULL_ENTRIES).step_by(ENTRIES as usize) {
                let entries = (since + 1..=since + ENTRIES).map(|version| Entry {
                    version,
                    age_ms: 0,
                    urgent: false,
                    key: filled_key(version as usize),
                    value: Some(Hex(vec![7; 40])),
                });
                let Known { tag: owner, instance, .. } = self.members[n];
                let entries = entries.collect();
                self.tell(node, &[Frame::Telemetry(News { owner, instance, since, entries })]);
            }
            let known = &mut self.members[n];
            known.telemetry = FULL_ENTRIES;
            let held = node.member(&known.id).expect("it is a member");
            assert_eq!((held.telemetry_version(), held.telemetry_held()), (FULL_ENTRIES, true));
        }
    }

    /// Has all members suspected or dead, except the liar; or every other one.
    fn accuse_all(&mut self, node: &mut Node<SocketAddr>, status: Status, all: bool) {
        for n in (1..self.members.len()).filter(|n| all || n % 2 == 1) {
            self.members[n].generation += 1;
            let Known { id, address, instance, generation, .. } = self.members[n].clone();
            let claim = Claim {
                status,
                generation,
                instance,
                id,
                address: Hex(address),
                accusers: Vec::new(),
                age: 0,
            };
            self.tell(node, &[Frame::Claims { claims: vec![claim] }]);
        }
        let (suspected, dead) = (node.health().suspected, node.health().dead);
        assert!(suspected + dead + 2 >= node.membership().len() as u32 / 2);
    }

    /// Lets the node open a session, and answers as its partner.
    fn be_the_partner(&mut self, node: &mut Node<SocketAddr>) {
        node.handle(node.now(), Input::Exchange).expect("there are members");
        for (to, frames) in self.drain(node) {
            for frame in frames {
                let number = match frame {
                    Frame::SyncOpen { number }
                    | Frame::SyncDigest { number, .. }
                    | Frame::SyncVersions { number, .. } => number,
                    _ => continue,
                };
                let partner = encoded(to);
                let known = self.members.iter().find(|known| known.address == partner);
                self.header.sender = known.expect("a partner is a member").tag;
                (self.from, self.number) = (to, number);
                return;
            }
        }
        panic!("no session was opened");
    }

    /// Lets the node join through the liar.
    fn be_the_seed(&mut self, node: &mut Node<SocketAddr>) {
        self.be_a_stranger();
        self.is_seed = true;
        let seeds = vec![self.from];
        node.handle(node.now(), Input::Join { seeds: seeds.into() }).expect("there is a seed");
        for (_, frames) in self.drain(node) {
            for frame in frames {
                if let Frame::PageRequest { number, .. } = frame {
                    self.number = number;
                    return;
                }
            }
        }
        panic!("no page was requested");
    }

    /// Lets probes fail until the node asks all members.
    fn provoke_a_roll_call(&mut self, node: &mut Node<SocketAddr>) {
        for _ in 0..10_000 {
            if node.stats().roll_calls > 0 {
                return;
            }
            let due = node.poll_timeout().expect("the node probes");
            node.handle(due, Input::Tick).expect("a tick is never refused");
            self.drain(node);
        }
        panic!("no roll call began");
    }
}
