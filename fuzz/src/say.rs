//! What a peer may say to a node: well-formed frames about a few members, near what the node holds
//! of them.

use std::net::{Ipv4Addr, SocketAddr};

use arbitrary::Arbitrary;
use telemetry_gossip_core::{Address as _, MAX_ADDRESS_LEN, Node, NodeId};

use crate::cluster::id;
use crate::meaning::{self, Frame, Header, Hex, News, Range, Status, Version, Want};
use crate::{reader, wire, writer};

/// The members of whom anything is said; the first is the node itself.
const MEMBERS: u8 = 8;

/// One frame.
#[derive(Arbitrary, Clone, Debug)]
pub enum Say {
    /// Are you there? To a member, which may be the node.
    Ping(u8),
    /// I am: in the life that the node knows, or another one.
    Ack(bool),
    /// The member that I was to ping is silent.
    Nack,
    /// Ping a member for me, at an address.
    Relay(u8, u8),
    /// Claims.
    Claims(Vec<Claim>),
    /// Telemetry of an owner, after what it had at first; at a floor, if there is one.
    Telemetry {
        /// Whose.
        of: u8,
        /// After which version, near the one that the node knows.
        since: u8,
        /// The floor, near the version that the node knows.
        floor: Option<u8>,
        /// The entries: step and key, and the length of the value if there is one.
        entries: Vec<(u8, u8, Option<u8>)>,
    },
    /// Is your table like mine?
    Open,
    /// The sums of 16 or 64 ranges, as the node has them but for these.
    Digest(bool, Vec<u8>),
    /// All that I hold: whom, near which generation and telemetry version.
    Versions(bool, Vec<(u8, u8, u8)>),
    /// Tell me about these.
    Wants(bool, Vec<(u8, bool, u8)>),
    /// That is all.
    Done(bool),
    /// Tell me all you know, from a member on.
    PageRequest(u8),
    /// The claims are a page; there is another one.
    Page(Option<u8>),
    /// Pass it on up to a member.
    Tree(u8),
    /// It has come.
    TreeAck,
    /// Something of a later version.
    Unknown(Vec<u8>),
}

/// A claim about a member.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Claim {
    /// About whom.
    pub of: u8,
    /// Its status.
    pub status: u8,
    /// Its generation, near the one held.
    pub generation: u8,
    /// Its instance: the one held, none, or another.
    pub instance: u8,
    /// Its address: its own, none, or another.
    pub address: u8,
    /// Which members accuse it, one bit each.
    pub accusers: u8,
    /// For how many minutes it has been dead.
    pub age: u8,
}

/// The id of a member.
#[must_use]
pub fn member(of: u8) -> NodeId {
    id((of % MEMBERS).into())
}

/// Where a member usually is.
#[must_use]
pub fn address(of: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, 1 + of % MEMBERS), 7_946).into()
}

/// A number near the one held, or near where generations and versions end.
#[must_use]
pub fn near(held: u64, by: u8) -> u64 {
    let by = u64::from(by);
    match by {
        0..0xe0 => (held + by % 8).saturating_sub(2),
        0xe0..0xe8 => held + (1 << 31) + by - 0xe4,
        0xe8..0xf0 => held.max(1 << 56) + (1 << 32) + by - 0xec,
        0xf0..0xf8 => (1 << 48) + by - 0xf4,
        _ => u64::MAX - (by - 0xf8),
    }
}

/// The datagram in which a member says all this to the node.
#[must_use]
pub fn datagram(
    node: &Node<SocketAddr>,
    from: u8,
    equal: bool,
    clock: u32,
    says: &[Say],
) -> Vec<u8> {
    let [claims, telemetry] = if equal { wire::fingerprints(node) } else { [1, 2] };
    let sender = member(from).id_hash().0;
    let header = Header { label: node.config().label.0, sender, claims, telemetry, clock };
    let frames: Vec<Frame> = says.iter().take(8).map(|say| say.frame(node, from)).collect();
    writer::datagram(&header, &frames)
}

fn tag(of: u8) -> u32 {
    member(of).id_hash().0
}

/// What the node holds of a member: generation, instance, version of its telemetry.
fn held(node: &Node<SocketAddr>, of: u8) -> (u64, u32, u64) {
    let held = node.member(member(of).as_str());
    held.map_or((0, 100 + u32::from(of % MEMBERS), 0), |held| {
        (held.generation().0, held.instance().0, held.telemetry_version())
    })
}

impl Say {
    fn frame(&self, node: &Node<SocketAddr>, from: u8) -> Frame {
        // Until an answer's number is put in its place.
        let number = 7;
        match *self {
            Self::Ping(of) => Frame::Ping { number, target: tag(of) },
            Self::Ack(same) => {
                Frame::Ack { number, instance: held(node, from).1 ^ u32::from(!same) }
            }
            Self::Nack => Frame::Nack { number },
            Self::Relay(of, at) => {
                Frame::Relay { number, target: tag(of), address: hex(address(at)) }
            }
            Self::Claims(ref claims) => Frame::Claims {
                claims: claims.iter().take(8).map(|claim| claim.meant(node)).collect(),
            },
            Self::Telemetry { of, since, floor, ref entries } => {
                let (_, instance, known) = held(node, of);
                let since = near(known, since);
                let mut version = since;
                let entries = entries.iter().take(8).map(|&(step, key, value)| {
                    version = version.saturating_add(u64::from(step % 8));
                    let value = value.map(|len| Hex(vec![b'w'; len.into()]));
                    let age_ms = 250 * u64::from(step);
                    meaning::Entry {
                        version,
                        age_ms,
                        urgent: step >= 0x80,
                        key: format!("key-{}", key % 8),
                        value,
                    }
                });
                let news = News { owner: tag(of), instance, since, entries: entries.collect() };
                match floor {
                    None => Frame::Telemetry(news),
                    Some(floor) => Frame::TelemetryAnew { floor: near(known, floor), news },
                }
            }
            Self::Open => Frame::SyncOpen { number },
            Self::Digest(fine, ref changed) => {
                let mut sums = reader::digest(&wire::rows(node), if fine { 64 } else { 16 });
                for &at in changed {
                    let at = usize::from(at) % sums.len();
                    sums[at] ^= 1;
                }
                Frame::SyncDigest { number, sums }
            }
            Self::Versions(more, ref rows) => {
                let mut rows: Vec<Version> =
                    rows.iter().take(8).map(|row| version(node, row)).collect();
                rows.sort_by_key(|row| row.tag);
                let ranges = vec![Range { from: 0, to: u32::MAX, rows }];
                Frame::SyncVersions { number, more, ranges }
            }
            Self::Wants(more, ref wants) => {
                let want = |&(of, claim, since): &(u8, bool, u8)| Want {
                    tag: tag(of),
                    claim,
                    since: near(held(node, of).2, since),
                };
                Frame::SyncWants { number, more, wants: wants.iter().take(8).map(want).collect() }
            }
            Self::Done(more) => Frame::SyncDone { number, more },
            Self::PageRequest(of) => {
                Frame::PageRequest { number, from: if of == 0 { 0 } else { tag(of) } }
            }
            Self::Page(next) => Frame::Page { number, next: next.map(tag) },
            Self::Tree(of) => Frame::Tree { number, end: tag(of) },
            Self::TreeAck => Frame::TreeAck { number },
            Self::Unknown(ref body) => Frame::Unknown { kind: 200, body: Hex(body.clone()) },
        }
    }
}

impl Claim {
    fn meant(self, node: &Node<SocketAddr>) -> meaning::Claim {
        let (generation, instance, _) = held(node, self.of);
        let status = [Status::Alive, Status::Suspected, Status::Dead, Status::Left]
            [usize::from(self.status % 4)];
        let live = self.status % 4 < 2;
        let accusers = (0..MEMBERS).filter(|of| self.accusers >> of & 1 != 0).map(tag).take(4);
        meaning::Claim {
            status,
            generation: near(generation, self.generation),
            instance: match self.instance {
                0..0xc0 => instance,
                0xc0..0xd0 => 0,
                other => other.into(),
            },
            id: member(self.of).as_str().into(),
            address: match self.address {
                0..0xc0 => hex(address(self.of)),
                0xc0..0xd0 => Hex::default(),
                other => hex(address(other)),
            },
            accusers: if status == Status::Suspected { accusers.collect() } else { Vec::new() },
            age: if live { 0 } else { 60 * u32::from(self.age) },
        }
    }
}

fn version(node: &Node<SocketAddr>, &(of, generation, telemetry): &(u8, u8, u8)) -> Version {
    let (held_generation, _, held_telemetry) = held(node, of);
    let of_held = |row: &&reader::Row| row.id == member(of).as_str().as_bytes();
    Version {
        tag: tag(of),
        content: wire::rows(node).iter().find(of_held).map_or(0, reader::Row::content),
        status: Status::Alive,
        generation: near(held_generation, generation),
        telemetry: near(held_telemetry, telemetry),
    }
}

fn hex(address: SocketAddr) -> Hex {
    let mut buf = [0; MAX_ADDRESS_LEN];
    let len = address.encode(&mut buf);
    Hex(buf[..len].to_vec())
}
