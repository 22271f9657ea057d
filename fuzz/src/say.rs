//! Well-formed frames of a peer about a few members, with values close to those in the node's
//! table.

use std::net::{Ipv4Addr, SocketAddr};

use arbitrary::Arbitrary;
use telemetry_gossip_core::{Address as _, MAX_ADDRESS_LEN, Node, NodeId};

use crate::cluster::id;
use crate::meaning::{self, Frame, Header, Hex, News, Parts, Range, Status, Version, Want};
use crate::{reader, wire, writer};

/// The number of members that frames are about; the first is the node itself.
const MEMBERS: u8 = 8;

/// One frame, relative to the state of the node.
#[derive(Arbitrary, Clone, Debug)]
pub enum Say {
    /// A ping of a member, which may be the node.
    Ping(u8),
    /// An ack with the known instance, or with another one.
    Ack(bool),
    /// A nack: the target of a ping-req did not answer.
    Nack,
    /// A ping-req for a member at an address.
    Relay(u8, u8),
    /// Claims about members.
    Claims(Vec<Claim>),
    /// Telemetry of an owner after a version, with a compacted version if there is one.
    Telemetry {
        /// The owner.
        of: u8,
        /// The version before the entries, relative to the known one.
        since: u8,
        /// The compacted version, relative to the known version.
        floor: Option<u8>,
        /// The entries: step of the version, key, and length of the value if there is one.
        entries: Vec<(u8, u8, Option<u8>)>,
    },
    /// The question whether the tables are equal, which opens a session.
    Open,
    /// The sums of 16 or 64 ranges, equal to those of the node except at these positions.
    Digest(bool, Vec<u8>),
    /// The rows of the sender: member, generation and telemetry version, relative to the known
    /// ones.
    Versions(bool, Vec<(u8, u8, u8)>),
    /// Requests for claims and telemetry of members.
    Wants(bool, Vec<(u8, bool, u8)>),
    /// The end of a session.
    Done(bool),
    /// A request for a page of the table, from a member on.
    PageRequest(u8),
    /// A page of the table, and the start of the next page if there is one.
    Page(Option<u8>),
    /// The request to forward telemetry up to a member.
    Tree(u8),
    /// The acknowledgement of a forwarding request.
    TreeAck,
    /// The sum over the members that are gone: that of the node, or another.
    Gone(bool),
    /// The sums of the parts of ranges: a member within the range, its bits, and the positions at
    /// which the sums differ from those of the node, one bit each.
    Sums(bool, Vec<(u8, u8, u16)>),
    /// How many claims of its id hash stand before a page.
    PagePlace(u8),
    /// The address at which the node is seen.
    SeenAt(u8),
    /// The node is no member by the cluster config of this version.
    NotAMember(u8),
    /// A frame of a later version.
    Unknown(Vec<u8>),
}

/// A claim about a member.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Claim {
    /// The member.
    pub of: u8,
    /// Its status.
    pub status: u8,
    /// Its generation, relative to the known one.
    pub generation: u8,
    /// Its instance: the known one, none, or another.
    pub instance: u8,
    /// Its address: its own, none, or another.
    pub address: u8,
    /// The members that accuse it, one bit each.
    pub accusers: u8,
    /// The minutes since its death.
    pub age: u8,
}

/// Returns the id of a member.
#[must_use]
pub fn member(of: u8) -> NodeId {
    id((of % MEMBERS).into())
}

/// Returns the usual address of a member.
#[must_use]
pub fn address(of: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, 1 + of % MEMBERS), 7_946).into()
}

/// Returns a number close to the known one, or close to a limit of generations and versions.
#[must_use]
pub fn near(known: u64, by: u8) -> u64 {
    let by = u64::from(by);
    match by {
        0..0xe0 => (known + by % 8).saturating_sub(2),
        0xe0..0xe8 => known + (1 << 31) + by - 0xe4,
        0xe8..0xf0 => known.max(1 << 56) + (1 << 32) + by - 0xec,
        0xf0..0xf8 => (1 << 48) + by - 0xf4,
        _ => u64::MAX - (by - 0xf8),
    }
}

/// Writes a datagram of a member to the node with these frames.
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

fn id_hash(of: u8) -> u32 {
    member(of).id_hash().0
}

/// Returns the generation, instance and telemetry version of a member in the node's table.
fn known(node: &Node<SocketAddr>, of: u8) -> (u64, u32, u64) {
    let row = node.member(member(of).as_str());
    row.map_or((0, 100 + u32::from(of % MEMBERS), 0), |row| {
        (row.generation().0, row.instance().0, row.telemetry_version())
    })
}

impl Say {
    fn frame(&self, node: &Node<SocketAddr>, from: u8) -> Frame {
        // A placeholder: `Requests::answer` replaces it.
        let number = 7;
        match *self {
            Self::Ping(of) => Frame::Ping { number, target: id_hash(of) },
            Self::Ack(same) => {
                Frame::Ack { number, instance: known(node, from).1 ^ u32::from(!same) }
            }
            Self::Nack => Frame::Nack { number },
            Self::Relay(of, at) => {
                Frame::Relay { number, target: id_hash(of), address: hex(address(at)) }
            }
            Self::Claims(ref claims) => Frame::Claims {
                claims: claims.iter().take(8).map(|claim| claim.to_wire(node)).collect(),
            },
            Self::Telemetry { of, since, floor, ref entries } => {
                let (_, instance, version) = known(node, of);
                let (known, since) = (version, near(version, since));
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
                let news = News { owner: id_hash(of), instance, since, entries: entries.collect() };
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
                    tag: id_hash(of),
                    claim,
                    since: near(known(node, of).2, since),
                };
                Frame::SyncWants { number, more, wants: wants.iter().take(8).map(want).collect() }
            }
            Self::Done(more) => Frame::SyncDone { number, more },
            Self::PageRequest(of) => {
                Frame::PageRequest { number, from: if of == 0 { 0 } else { id_hash(of) } }
            }
            Self::Page(next) => Frame::Page { number, next: next.map(id_hash) },
            Self::Tree(of) => Frame::Tree { number, end: id_hash(of) },
            Self::TreeAck => Frame::TreeAck { number },
            Self::Gone(other) => {
                Frame::Gone { sum: reader::gone(&wire::rows(node)) ^ u32::from(other) }
            }
            Self::Sums(more, ref ranges) => {
                let rows = wire::rows(node);
                let ranges = ranges.iter().take(8).map(|range| parts(&rows, range));
                Frame::SyncSums { number, more, ranges: ascending(ranges.collect()) }
            }
            Self::PagePlace(nth) => {
                Frame::PagePlace { nth: if nth == u8::MAX { u32::MAX } else { nth.into() } }
            }
            Self::SeenAt(at) => Frame::SeenAt { address: hex(address(at)) },
            Self::NotAMember(version) => Frame::NotAMember { version: version.into() },
            Self::Unknown(ref body) => Frame::Unknown { kind: 200, body: Hex(body.clone()) },
        }
    }
}

impl Claim {
    fn to_wire(self, node: &Node<SocketAddr>) -> meaning::Claim {
        let (generation, instance, _) = known(node, self.of);
        let status = [Status::Alive, Status::Suspected, Status::Dead, Status::Left]
            [usize::from(self.status % 4)];
        let live = self.status % 4 < 2;
        let accusers = (0..MEMBERS).filter(|of| self.accusers >> of & 1 != 0).map(id_hash).take(4);
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
    let (known_generation, _, known_telemetry) = known(node, of);
    let is_member = |row: &&reader::Row| row.id == member(of).as_str().as_bytes();
    Version {
        tag: id_hash(of),
        content: wire::rows(node).iter().find(is_member).map_or(0, reader::Row::content),
        status: Status::Alive,
        generation: near(known_generation, generation),
        telemetry: near(known_telemetry, telemetry),
    }
}

fn parts(rows: &[reader::Row], &(of, bits, changed): &(u8, u8, u16)) -> Parts {
    let bits = 4 + bits % 29;
    let from = id_hash(of) & u32::MAX.checked_shl(bits.into()).unwrap_or(0);
    let mut sums = reader::parts_of(rows, from, bits);
    for (at, sum) in sums.iter_mut().enumerate() {
        *sum ^= u32::from(changed >> at & 1);
    }
    Parts { from, bits, sums }
}

/// Returns the ranges in ascending order, without those that overlap the one before them.
fn ascending(mut ranges: Vec<Parts>) -> Vec<Parts> {
    ranges.sort_by_key(|range| range.from);
    let mut end = 0;
    ranges.retain(|range| {
        let from = u64::from(range.from);
        let follows = from >= end;
        if follows {
            end = from + (1 << range.bits);
        }
        follows
    });
    ranges
}

fn hex(address: SocketAddr) -> Hex {
    let mut buf = [0; MAX_ADDRESS_LEN];
    let len = address.encode(&mut buf);
    Hex(buf[..len].to_vec())
}
