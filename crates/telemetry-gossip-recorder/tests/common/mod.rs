//! A small cluster on a lossy network, with a recorder of its first node.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::VecDeque;
use std::time::Duration;

use telemetry_gossip_core::{Config, Event, Identity, Input, Instant, Node};
use telemetry_gossip_recorder::{Boot, Divergence, Limits, Output, Player, Reader, Recorder, Tail};

/// The datagrams and events of the recorded node.
pub(crate) type Outputs = Vec<(Instant, Option<Vec<u8>>, Option<Event<u32>>)>;

pub(crate) struct Cluster {
    nodes: Vec<Node<u32>>,
    pub(crate) recorder: Recorder,
    /// Files, as they would be on disk.
    pub(crate) files: Vec<Vec<u8>>,
    /// Chunks are written; otherwise they are lost.
    pub(crate) writes: bool,
    pub(crate) outputs: Outputs,
    pub(crate) now: Instant,
    wire: VecDeque<(u32, u32, Vec<u8>)>,
    steps: u32,
}

impl Cluster {
    pub(crate) fn new(nodes: u32, limits: Limits) -> Self {
        let boot = |address: u32| {
            let identity = Identity::new(format!("n{address}").parse().unwrap(), address);
            let seed = [u8::try_from(address).unwrap(); 32];
            Boot::new(Config::default(), identity, seed, Instant::from_millis(5))
        };
        let mut cluster = Self {
            nodes: (0..nodes).map(|address| boot(address).node().unwrap()).collect(),
            recorder: Recorder::new(boot(0), limits, 1_764_000_000_000_000).unwrap(),
            files: Vec::new(),
            writes: true,
            outputs: Vec::new(),
            now: Instant::from_millis(5),
            wire: VecDeque::new(),
            steps: 0,
        };
        for address in 0..nodes {
            cluster.input(address, Input::Join { seeds: vec![0, 1].into() });
        }
        cluster
    }

    pub(crate) fn node(&self) -> &Node<u32> {
        &self.nodes[0]
    }

    pub(crate) fn input(&mut self, to: u32, input: Input<'_, u32>) {
        let node = &mut self.nodes[to as usize];
        let recorded = to == 0;
        if recorded {
            self.recorder.input(self.now, &input).unwrap();
        }
        let result = node.handle(self.now, input);
        let mut buf = [0; 1_400];
        while let Some(sent) = node.poll_transmit(&mut buf) {
            let bytes = &buf[..sent.len];
            if recorded {
                self.recorder.transmit(&sent.to, bytes);
                self.outputs.push((self.now, Some(bytes.to_vec()), None));
            }
            self.wire.push_back((to, sent.to, bytes.to_vec()));
        }
        while let Some(event) = node.poll_event() {
            if recorded {
                self.recorder.event(&event);
                self.outputs.push((self.now, None, Some(event)));
            }
        }
        if recorded {
            self.recorder.handled(&self.nodes[0], result.is_ok()).unwrap();
            self.write_chunks();
        }
    }

    pub(crate) fn write_chunks(&mut self) {
        while let Some(chunk) = self.recorder.poll_chunk() {
            if !self.writes {
                self.recorder.shed();
            } else if chunk.new_file().is_some() {
                self.files.push(chunk.bytes().to_vec());
            } else {
                self.files.last_mut().unwrap().extend(chunk.bytes());
            }
        }
    }

    /// Loses every seventh datagram, and truncates a few others.
    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            while let Some((from, to, mut bytes)) = self.wire.pop_front() {
                self.steps += 1;
                if self.steps.is_multiple_of(7) {
                    continue;
                }
                if self.steps.is_multiple_of(31) {
                    bytes.truncate(9);
                }
                self.input(to, Input::Datagram { from, bytes: bytes.into() });
            }
            let next = self.nodes.iter().filter_map(Node::poll_timeout).min().unwrap();
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            for at in 0..self.nodes.len() {
                if self.nodes[at].poll_timeout().is_some_and(|due| due <= next) {
                    let address = u32::try_from(at).unwrap();
                    self.input(address, Input::Tick);
                    if self.steps.is_multiple_of(3) {
                        let value = self.steps.to_le_bytes();
                        let publish = Input::Publish {
                            key: "load".into(),
                            value: value[..].into(),
                            urgent: false,
                        };
                        self.input(address, publish);
                    }
                }
            }
        }
        self.now = end;
    }
}

/// The result of the replay of one file.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) player: Player<u32>,
    pub(crate) outputs: Outputs,
    pub(crate) divergence: Option<Divergence>,
    pub(crate) tail: Tail,
}

pub(crate) fn play(file: &[u8]) -> Played {
    let mut reader = Reader::<_, u32>::new(file).unwrap();
    let player = Player::start(reader.header()).unwrap();
    let mut played = Played { player, outputs: Vec::new(), divergence: None, tail: Tail::Unread };
    while let Some(block) = reader.next_block().unwrap() {
        for entry in &block.entries {
            played.player.play(&entry, |output| {
                played.outputs.push(match output {
                    Output::Transmit { bytes, .. } => (entry.at, Some(bytes.to_vec()), None),
                    Output::Event(event) => (entry.at, None, Some(event)),
                    other => panic!("an unknown output: {other:?}"),
                });
            });
        }
        let compared = played.player.compare(&block.digest).err();
        played.divergence = played.divergence.or(compared);
    }
    played.tail = reader.tail();
    played
}
