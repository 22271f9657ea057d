//! Real nodes live through a join, telemetry, a silent member, loss, exchanges and a leave, and the
//! reader made from the page reads every datagram: nothing is said that the page does not know, and
//! each header has the fingerprints of its sender's table.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use telemetry_gossip_core::{Config, Identity, Input, Instant, Node, NodeId, Status};

use crate::meaning::Frame;
use crate::reader::{self, Row};
use crate::writer;

/// Nodes `n0`, `n1`, ... at addresses 10.0.0.1, 10.0.0.2, ...; a network without latency that loses
/// what it is told to.
struct Net {
    nodes: Vec<Node<SocketAddr>>,
    now: Instant,
    down: BTreeSet<usize>,
    /// Every so many datagrams one is lost.
    loss: Option<usize>,
    sent: usize,
    /// How often each kind of frame was said.
    seen: BTreeMap<&'static str, usize>,
}

fn address(index: usize) -> SocketAddr {
    ([10, 0, 0, u8::try_from(index + 1).expect("few nodes")], 7946).into()
}

fn row(member: &telemetry_gossip_core::Member<'_, SocketAddr>) -> Row {
    let mut bytes = Vec::new();
    if let Some(SocketAddr::V4(address)) = member.address() {
        bytes.extend(address.ip().octets());
        bytes.extend(address.port().to_be_bytes());
    }
    Row {
        id: member.id().as_bytes().to_vec(),
        address: bytes,
        instance: member.instance().0,
        generation: member.generation().0,
        status: match member.status() {
            Status::Alive => 0,
            Status::Suspected => 1,
            Status::Dead => 2,
            Status::Left => 3,
        },
        telemetry: member.telemetry_version(),
    }
}

fn name(frame: &Frame) -> &'static str {
    match frame {
        Frame::Ping { .. } => "ping",
        Frame::Ack { .. } => "ack",
        Frame::Nack { .. } => "nack",
        Frame::Relay { .. } => "relay",
        Frame::Claims { .. } => "claims",
        Frame::Telemetry(_) => "telemetry",
        Frame::TelemetryAnew { .. } => "telemetry anew",
        Frame::SyncOpen { .. } => "sync open",
        Frame::SyncDigest { .. } => "sync digest",
        Frame::SyncSums { .. } => "sync sums",
        Frame::SyncVersions { .. } => "sync versions",
        Frame::SyncWants { .. } => "sync wants",
        Frame::SyncDone { .. } => "sync done",
        Frame::PageRequest { .. } => "page request",
        Frame::Page { .. } => "page",
        Frame::PagePlace { .. } => "page place",
        Frame::SeenAt { .. } => "seen at",
        Frame::Gone { .. } => "sum of the gone",
        Frame::NotAMember { .. } => "not a member",
        Frame::Tree { .. } => "tree",
        Frame::TreeAck { .. } => "tree ack",
        Frame::Unknown { .. } => "unknown",
    }
}

impl Net {
    fn new(nodes: usize, config: &Config) -> Self {
        let node = |index: usize| {
            let id = NodeId::new(&format!("n{index}")).expect("an id");
            let seed = [u8::try_from(index).expect("few nodes"); 32];
            Node::new(config.clone(), Identity::new(id, address(index)), seed, Instant::ORIGIN)
                .expect("valid")
        };
        let nodes = (0..nodes).map(node).collect();
        Self {
            nodes,
            now: Instant::ORIGIN,
            down: BTreeSet::new(),
            loss: None,
            sent: 0,
            seen: BTreeMap::new(),
        }
    }

    fn tell(&mut self, index: usize, input: Input<'_, SocketAddr>) {
        self.nodes[index].handle(self.now, input).expect("a valid command");
        self.carry(index);
    }

    /// What a node says, and what the others say to that, until all are silent.
    fn carry(&mut self, first: usize) {
        let (mut speakers, mut buf) = (VecDeque::from([first]), [0; 1_400]);
        while let Some(from) = speakers.pop_front() {
            while let Some(sent) = self.nodes[from].poll_transmit(&mut buf) {
                let to = usize::from(match sent.to.ip() {
                    IpAddr::V4(ip) => ip.octets()[3],
                    IpAddr::V6(_) => unreachable!("all are of IPv4"),
                }) - 1;
                self.read(from, &buf[..sent.len]);
                self.sent += 1;
                let lost = self.loss.is_some_and(|each| self.sent.is_multiple_of(each));
                if !lost && !self.down.contains(&to) {
                    let bytes = buf[..sent.len].into();
                    let taken = self.nodes[to]
                        .handle(self.now, Input::Datagram { from: address(from), bytes });
                    taken.expect("what a node says is valid");
                    speakers.push_back(to);
                }
            }
            while self.nodes[from].poll_event().is_some() {}
        }
    }

    fn read(&mut self, from: usize, bytes: &[u8]) {
        let node = &self.nodes[from];
        let (header, frames) = reader::datagram(bytes, node.config().label.0)
            .unwrap_or_else(|bad| panic!("n{from}: {bad:?}"));
        assert_eq!(writer::datagram(&header, &frames), bytes, "n{from}: not in the shortest form");
        let rows: Vec<Row> = node.members().map(|member| row(&member)).collect();
        assert_eq!(
            [header.claims, header.telemetry],
            reader::fingerprints(&rows),
            "n{from} at {}",
            self.now
        );
        assert_eq!(u64::from(header.sender), reader::hash(format!("n{from}").as_bytes()) >> 32);
        for frame in &frames {
            *self.seen.entry(name(frame)).or_default() += 1;
            match frame {
                Frame::SyncDigest { sums, .. } => {
                    assert_eq!(*sums, reader::digest(&rows, sums.len() as u64), "n{from}");
                }
                Frame::SyncSums { ranges, .. } => {
                    for range in ranges {
                        let sums = reader::parts_of(&rows, range.from, range.bits);
                        assert_eq!(range.sums, sums, "n{from}");
                    }
                }
                Frame::Gone { sum } => assert_eq!(*sum, reader::gone(&rows), "n{from}"),
                Frame::SyncVersions { ranges, .. } => {
                    for version in ranges.iter().flat_map(|range| &range.rows) {
                        let row = rows
                            .iter()
                            .find(|row| reader::hash(&row.id) >> 32 == version.tag.into());
                        let row = row.expect("a row of the sender's table");
                        assert_eq!(
                            (row.content(), row.generation, row.telemetry),
                            (version.content, version.generation, version.telemetry)
                        );
                    }
                }
                _ => {}
            }
        }
    }

    /// Asserts that all nodes that are not down hold this version of the telemetry of a node.
    fn assert_all_up_hold(&self, owner: usize, version: u64) {
        let id = format!("n{owner}");
        for index in (0..self.nodes.len()).filter(|index| !self.down.contains(index)) {
            let held = self.nodes[index].members().find(|member| member.id() == id);
            let held = held.map(|member| member.telemetry_version());
            assert_eq!(held, Some(version), "n{index}");
        }
    }

    fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let due = (0..self.nodes.len()).filter(|index| !self.down.contains(index));
            let due =
                due.filter_map(|index| Some((self.nodes[index].poll_timeout()?, index))).min();
            let Some((at, index)) = due.filter(|&(at, _)| at <= end) else { break };
            self.now = self.now.max(at);
            self.tell(index, Input::Tick);
        }
        self.now = end;
    }
}

#[test]
fn all_that_nodes_say_is_on_the_page() {
    // More than 32, so that sessions begin with digests.
    const NODES: usize = 40;
    let second = Duration::from_secs(1);
    let mut net = Net::new(NODES, &Config::default());
    for index in 1..NODES {
        net.tell(index, Input::Join { seeds: vec![address(0)].into() });
    }
    net.run_for(10 * second);
    let publish = |key: &'static str| Input::Publish {
        key: key.into(),
        value: b"1".as_slice().into(),
        urgent: false,
    };
    for index in 0..NODES {
        net.tell(index, publish("load"));
    }
    net.run_for(second);
    // Silence: helpers, nacks, accusations.
    net.down.insert(7);
    net.loss = Some(9);
    net.run_for(20 * second);
    // A delete marker that is older than a minute goes when another key is removed. A reader that
    // missed it reads the log anew. n7 is that reader: it wakes only after all others have dropped
    // the marker of `zone`, so that none of them can send it.
    net.tell(3, publish("zone"));
    net.tell(3, Input::Unpublish { key: "zone".into() });
    net.tell(3, publish("rack"));
    net.run_for(70 * second);
    net.assert_all_up_hold(3, 4);
    net.loss = None;
    net.tell(3, Input::Unpublish { key: "rack".into() });
    net.tell(3, publish("load"));
    net.run_for(10 * second);
    net.assert_all_up_hold(3, 6);
    net.down.clear();
    net.run_for(60 * second);
    for index in 0..NODES {
        assert_eq!(net.nodes[index].health().alive as usize, NODES, "n{index}");
    }
    // Exchanges on command open with a question.
    for index in 0..3 {
        net.tell(index, Input::Exchange);
    }
    net.tell(5, Input::Leave);
    net.run_for(5 * second);

    let kinds = [
        "ping",
        "ack",
        "nack",
        "relay",
        "claims",
        "telemetry",
        "telemetry anew",
        "sync open",
        "sync digest",
        "sync sums",
        "sync versions",
        "sync wants",
        "sync done",
        "page request",
        "page",
        "tree",
        "tree ack",
        "sum of the gone",
    ];
    let missing: Vec<_> = kinds.into_iter().filter(|kind| !net.seen.contains_key(kind)).collect();
    assert!(missing.is_empty(), "nobody said {missing:?}: {:?}", net.seen);
    assert_eq!(net.seen.len(), kinds.len());
}
