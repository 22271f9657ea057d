//! Liars: participants of the network that keep to no rule, remember what they heard and said, and
//! have a plan.
//!
//! A liar is no node. It moves once in a while, as its kind says, and answers what is sent to its
//! addresses. All liars of a run work together: they share one [`Memory`], one random stream, and
//! one seal if they hold the key. They end with the operation `stop-lying`, and their addresses
//! fall silent.
//!
//! This module decides what is said. `simulation::liars` carries it, and tells the checker which
//! claims no honest node has made.

mod answers;
mod memory;
mod moves;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Label, NodeId};

use crate::process::Process;
use crate::rng::{Draws, Stream, micros};
use memory::Memory;
use wire::{Said, Writer, kind, status};

/// The plan of a liar; `scenario::Lie` describes the fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) kind: LieKind,
    pub(crate) every: Duration,
    pub(crate) count: usize,
    pub(crate) member: bool,
    pub(crate) key: bool,
}

/// What a liar does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LieKind {
    /// It says that members are suspected, dead, gone or moved, each time a little above what it
    /// said or heard last.
    Ladder,
    /// It makes up members that never answer.
    Crowd,
    /// It answers under the id of a member, at an address of its own and as an instance of its own.
    Rival,
    /// It forges telemetry of members: high versions, other values, removed keys.
    Poison,
    /// It records datagrams, and repeats them later from the same source.
    Recording,
    /// It sends datagrams in the name and from the address of members.
    Spoof,
    /// It joins under more and more ids, which answer for a while and then fall silent.
    Newcomers,
    /// It is a member that answers each question with a lie, and passes nothing on.
    Partner,
}

impl fmt::Display for LieKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ladder => "ladder",
            Self::Crowd => "crowd",
            Self::Rival => "rival",
            Self::Poison => "poison",
            Self::Recording => "recording",
            Self::Spoof => "spoof",
            Self::Newcomers => "newcomers",
            Self::Partner => "partner",
        })
    }
}

/// The first address at which liars listen.
const FACES: u32 = 1 << 30;

/// The first address of made-up members; nothing listens there.
const NOWHERE: u32 = 1 << 29;

/// The most ids of made-up members and of newcomers. When they are used up, they are used again.
const STRANGERS: u32 = 1_000;
const NEWCOMERS: u32 = 48;

/// The address of a liar that does not listen.
const STRANGER: u32 = 1 << 28;

/// An address at which a liar answers, and the member that it pretends to be.
#[derive(Clone, Debug)]
struct Face {
    liar: usize,
    id: String,
    hash: u32,
    instance: u32,
    generation: u64,
    /// Whether it is silent for the moment.
    asleep: bool,
}

impl Face {
    fn claim(&self, address: u32) -> Said {
        Said {
            status: status::ALIVE,
            generation: self.generation,
            instance: self.instance,
            id: self.id.clone(),
            address: Some(address),
            accusers: Vec::new(),
        }
    }
}

/// A liar: its plan, and how far it has come.
#[derive(Debug)]
struct Liar {
    plan: Plan,
    about: Vec<usize>,
    to: Vec<usize>,
    /// Its address as a member, or as a rival.
    face: Option<u32>,
    /// Its newcomers, the oldest first.
    newcomers: VecDeque<u32>,
}

/// A datagram of a liar.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) liar: usize,
    /// The source address, which may be that of a node.
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) bytes: Vec<u8>,
    /// Whether the bytes were recorded on the wire, and are repeated as they are.
    pub(crate) recorded: bool,
}

/// What a datagram of a liar says, as far as the checker needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A claim about the member with this id, and whether it says Alive.
    Claim { id: NodeId, generation: u64, alive: bool },
    /// Telemetry of the member with this id hash.
    Telemetry { owner: u32 },
}

/// All liars of a run.
#[derive(Debug)]
pub(crate) struct Liars {
    label: Label,
    draws: Draws,
    all: Vec<Liar>,
    faces: BTreeMap<u32, Face>,
    memory: Memory,
    /// The number of faces and of made-up members so far.
    faces_made: u32,
    strangers_made: u32,
    stopped: bool,
}

impl Liars {
    pub(crate) fn new(label: Label, seed: u64) -> Self {
        Self {
            label,
            draws: Draws::new(seed, Stream::Lies),
            all: Vec::new(),
            faces: BTreeMap::new(),
            memory: Memory::default(),
            faces_made: 0,
            strangers_made: 0,
            stopped: false,
        }
    }

    /// Begins a lie about and to these nodes, and returns the number of its liar.
    pub(crate) fn begin(&mut self, plan: Plan, about: Vec<usize>, to: Vec<usize>) -> usize {
        self.stopped = false;
        self.all.push(Liar { plan, about, to, face: None, newcomers: Default::default() });
        self.all.len() - 1
    }

    /// Ends all lies; returns false if there are none. Nothing listens at the addresses of liars
    /// from now on.
    pub(crate) fn stop(&mut self) -> bool {
        self.faces.clear();
        !std::mem::replace(&mut self.stopped, true) && !self.all.is_empty()
    }

    /// The liar that listens at an address.
    pub(crate) fn listening(&self, address: u32) -> Option<usize> {
        self.faces.get(&address).map(|face| face.liar)
    }

    /// Whether a liar holds the key of a sealed cluster.
    pub(crate) fn holds_key(&self, liar: usize) -> bool {
        self.all.get(liar).is_some_and(|liar| liar.plan.key)
    }

    /// Whether there are liars that listen to the traffic; `contents` asks for those that hold the
    /// key.
    pub(crate) fn overhears(&self, contents: bool) -> bool {
        !self.stopped && self.all.iter().any(|liar| liar.plan.key || !contents)
    }

    /// Listens to a datagram between two nodes: to what is on the wire, and to its contents if they
    /// can be read.
    pub(crate) fn overhear(&mut self, from: u32, to: u32, wire: &[u8], contents: Option<&[u8]>) {
        let records = |liar: &Liar| liar.plan.kind == LieKind::Recording;
        if self.all.iter().any(records) {
            self.memory.record(&mut self.draws, from, to, wire);
        }
        if let Some(contents) = contents {
            self.memory.hear(contents);
        }
    }

    /// The time until the next move of a liar; `None` if it has stopped.
    pub(crate) fn pause(&mut self, liar: usize) -> Option<Duration> {
        let every = micros(self.all.get(liar).filter(|_| !self.stopped)?.plan.every);
        Some(Duration::from_micros(every / 2 + self.draws.micros_up_to(every) + 1))
    }

    /// A new address that answers as this member.
    fn make_face(&mut self, liar: usize, id: String, generation: u64) -> u32 {
        let address = FACES + self.faces_made;
        self.faces_made += 1;
        let instance = self.instance();
        let hash = id_hash(&id);
        let face = Face { liar, id, hash, instance, generation, asleep: false };
        self.faces.insert(address, face);
        address
    }

    /// The address of a liar as a member of its own name; a new one if it has none yet.
    fn own_face(&mut self, liar: usize) -> u32 {
        if let Some(face) = self.all[liar].face.filter(|face| self.faces.contains_key(face)) {
            return face;
        }
        let face = self.make_face(liar, format!("liar-{liar}"), 0);
        self.all[liar].face = Some(face);
        face
    }

    /// A random instance, which is never 0.
    fn instance(&mut self) -> u32 {
        self.number() | 1
    }

    fn number(&mut self) -> u32 {
        self.draws.micros_up_to(u32::MAX.into()) as u32
    }

    /// Whether there are any, or were.
    pub(crate) fn exist(&self) -> bool {
        !self.all.is_empty()
    }

    fn one_in(&mut self, odds: usize) -> bool {
        self.draws.below(odds) == 0
    }

    fn any<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(self.draws.below(of.len())).copied()
    }

    /// A datagram in the name of the member with this id hash.
    fn writer(&mut self, sender: u32) -> Writer {
        // Mostly no clock, and now and then one that is far ahead.
        let clock = if self.one_in(8) { self.number() } else { 0 };
        Writer::new(self.label, sender, clock)
    }
}

/// The claims and the owners of telemetry that a datagram of a liar names.
pub(crate) fn told(datagram: &[u8]) -> Vec<Told> {
    let mut all = Vec::new();
    for (kind, mut body) in wire::frames(datagram) {
        match kind {
            kind::CLAIMS => {
                while let Some(said) = body.claim() {
                    if let Ok(id) = NodeId::new(&said.id) {
                        let Said { generation, status, .. } = said;
                        all.push(Told::Claim { id, generation, alive: status == status::ALIVE });
                    }
                }
            }
            kind::TELEMETRY | kind::TELEMETRY_ANEW => {
                let head = body.telemetry(kind == kind::TELEMETRY_ANEW);
                all.extend(head.map(|head| Told::Telemetry { owner: head.owner }));
            }
            _ => {}
        }
    }
    all
}

fn id_hash(id: &str) -> u32 {
    NodeId::new(id).map_or(0, |id| id.id_hash().0)
}

/// What a liar knows of a node without having heard of it: the name and the address.
fn known(processes: &[Process], index: usize) -> Option<(NodeId, u32)> {
    processes.get(index).map(|process| (process.id, process.address))
}
