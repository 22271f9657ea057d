//! A simulated process: one node, its clock, its address, and the state that the host of a node would be in.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Generation, Input, Node, NodeId};
use telemetry_gossip_seal::Seal;

use crate::checker::Name;
use crate::clock::Clock;
use crate::network::Kind;

/// What a restarted node remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Memory {
    /// Nothing: it starts at generation 0 and learns its old one on contact.
    #[default]
    Lost,
    /// Its last generation, which its host has kept: it starts one above.
    Kept,
}

/// Where a restarted node listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Where it did before.
    #[default]
    Same,
    /// At an address that nobody had before.
    New,
}

/// How a restarted node finds the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rejoin {
    /// It joins through members that run at that time.
    #[default]
    Running,
    /// Not at all: it knows only itself until a member reaches it.
    Alone,
    /// It joins through the seeds of its first start, of which some may be down or have moved. A
    /// node that was given none, as the first of a cluster, is alone.
    OldSeeds,
    /// Its host introduces the members that the node held live when it was killed, with their
    /// addresses, instances and generations of that time, as from a file.
    File,
}

/// A node to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// Its id. Two processes may have one.
    pub id: NodeId,
    /// Its first generation.
    pub generation: Generation,
    /// How much faster its clock runs, in millionths.
    pub clock_ppm: i32,
}

impl Spawn {
    /// A node with this id, generation 0 and a true clock.
    #[must_use]
    pub const fn new(id: NodeId) -> Self {
        Self { id, generation: Generation(0), clock_ppm: 0 }
    }
}

/// What a process sent and took in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Datagrams sent.
    pub sent: u64,
    /// Their payload bytes.
    pub sent_bytes: u64,
    /// Datagrams taken in.
    pub received: u64,
    /// Their payload bytes.
    pub received_bytes: u64,
}

/// What a process does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It runs.
    Running,
    /// It is stopped and will go on: datagrams wait, ticks come late.
    Paused,
    /// It runs and its timers with it, but what it sends and what arrives waits at its socket. Nobody can tell it from a dead
    /// one, so to declare it Dead is no false alarm; that it declares others Dead, who run, is one.
    Blocked,
    /// It was killed.
    Down,
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: NodeId,
    pub(crate) name: Name,
    pub(crate) address: u32,
    pub(crate) node: Option<Node<u32>>,
    /// What stands between the node and its socket, if the hosts seal.
    pub(crate) seal: Option<Seal>,
    pub(crate) paused: bool,
    pub(crate) blocked: bool,
    pub(crate) clock: Clock,
    pub(crate) clock_ppm: i32,
    pub(crate) booted: Duration,
    pub(crate) boots: u32,
    /// The time of the one wake-up that counts; others in the queue are stale.
    pub(crate) wake: Option<u64>,
    /// A wake-up came while the process was paused.
    pub(crate) overslept: bool,
    /// Packets that arrived while the process was paused or blocked.
    pub(crate) inbox: VecDeque<u32>,
    /// Datagrams sent while it was blocked, and to whom.
    pub(crate) held: VecDeque<(u32, Kind, Vec<u8>)>,
    /// It takes things in up to so much late, and its timers run out at multiples of that only.
    pub(crate) slowness: Duration,
    /// While it is down: when a node first sent it a datagram of its own accord.
    pub(crate) sought: Option<Duration>,
    pub(crate) usage: Usage,
    /// Frames that it adds to each datagram.
    pub(crate) addition: Vec<u8>,
    /// The last own generation that the host saw.
    pub(crate) generation: u64,
    /// The node was told to leave.
    pub(crate) leaving: bool,
    pub(crate) inputs: u32,
    /// The seeds of its first start.
    pub(crate) seeds: Vec<u32>,
    /// The seeds of its latest join in this life.
    pub(crate) joined_through: Vec<u32>,
    /// Introductions of the members that it held live when it was last killed.
    pub(crate) file: Vec<Input<'static, u32>>,
}

impl Process {
    pub(crate) fn condition(&self) -> Condition {
        match &self.node {
            None => Condition::Down,
            Some(_) if self.paused => Condition::Paused,
            Some(_) if self.blocked => Condition::Blocked,
            Some(_) => Condition::Running,
        }
    }

    /// Whether what arrives is taken in at once.
    pub(crate) fn listens(&self) -> bool {
        !self.paused && !self.blocked
    }

    /// Running, paused or blocked, not on its way out, and a member still: neither has another process its id, nor does the
    /// cluster config leave it out.
    pub(crate) fn takes_part(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.health().active) && !self.leaving
    }
}
