//! A simulated process: a node, its clock, its address, and the state of its host.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Generation, Input, Node, NodeId};
use telemetry_gossip_seal::Seal;

use crate::checker::Name;
use crate::clock::Clock;
use crate::network::Kind;
use crate::setters::setters;

/// What a restarted node remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Memory {
    /// Nothing. It starts at generation 0 and learns its old generation from other nodes.
    #[default]
    Lost,
    /// Its last generation, which its host has kept. It starts one generation above.
    Kept,
    /// Its state when its host last saved it, and with it its address; nothing if that never
    /// happened.
    Saved,
}

/// Where a restarted node listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Place {
    /// At its old address.
    #[default]
    Same,
    /// At a new address.
    New,
}

/// How a restarted node finds the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rejoin {
    /// It joins through members that run at that time.
    #[default]
    Running,
    /// It does not join, and knows only itself until a member reaches it.
    Alone,
    /// It joins through the seeds of its first start, some of which may be down or have moved. A
    /// node that had no seeds, such as the first of a cluster, does not join.
    OldSeeds,
    /// Its host introduces the members that the node held live when it was killed, with the
    /// addresses, instances and generations of that time, as if from a file.
    File,
}

/// The settings of a process to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spawn {
    /// The id of the node. Two processes may have the same id.
    pub id: NodeId,
    /// The first generation of the node.
    pub generation: Generation,
    /// How much faster than true the clock runs, in millionths.
    pub clock_ppm: i32,
}

setters! {
    Spawn {
        generation: Generation,
        clock_ppm: i32,
    }
}

impl Spawn {
    /// Settings with this id, generation 0 and a true clock.
    #[must_use]
    pub const fn new(id: NodeId) -> Self {
        Self { id, generation: Generation(0), clock_ppm: 0 }
    }
}

/// The traffic of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Datagrams sent.
    pub sent: u64,
    /// Payload bytes sent.
    pub sent_bytes: u64,
    /// Datagrams received.
    pub received: u64,
    /// Payload bytes received.
    pub received_bytes: u64,
}

/// The condition of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Condition {
    /// The process runs.
    Running,
    /// The process is suspended: datagrams wait, and ticks come late.
    Paused,
    /// The process runs, and so do its timers, but its datagrams wait at the socket in both
    /// directions. Other nodes cannot tell it from a dead one, so a declaration of Dead about it is
    /// not false. Its own declarations about running nodes are false.
    Blocked,
    /// The process was killed.
    Down,
}

/// The state of a node, as its host has saved it.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) state: Vec<u8>,
    /// The address of the node, which is in the state.
    pub(crate) address: u32,
    /// The clock of the node, which goes on.
    pub(crate) clock: Clock,
}

/// A process, which outlives the instances of its node.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: NodeId,
    pub(crate) name: Name,
    pub(crate) address: u32,
    /// A second address, from which it sends.
    pub(crate) second: Option<u32>,
    /// Whether `address` leads nowhere.
    pub(crate) is_lost: bool,
    pub(crate) node: Option<Node<u32>>,
    /// The seal between the node and its socket, if the hosts seal.
    pub(crate) seal: Option<Seal>,
    pub(crate) paused: bool,
    pub(crate) blocked: bool,
    pub(crate) clock: Clock,
    pub(crate) clock_ppm: i32,
    /// When the process took over from another one of its id: an earlier instance of its own, or
    /// one for whose end it has waited. `None` for the first.
    pub(crate) took_over: Option<Duration>,
    /// The number of instances that were started. The number of the current one serves as its id.
    pub(crate) instances: u32,
    /// The time of the valid wake-up; other wake-ups in the queue are stale.
    pub(crate) wake: Option<u64>,
    /// Whether a wake-up came while the process was paused.
    pub(crate) overslept: bool,
    /// Packets that arrived while the process was paused or blocked.
    pub(crate) inbox: VecDeque<u32>,
    /// Datagrams sent while the process was blocked, with their destinations.
    pub(crate) held: VecDeque<(u32, Kind, Vec<u8>)>,
    /// How slow the process is: it receives datagrams up to this much late, and its timers fire
    /// only at multiples of this.
    pub(crate) slowness: Duration,
    /// How late its timers fire.
    pub(crate) lateness: Duration,
    /// What the host of the node last saved.
    pub(crate) saved: Option<Saved>,
    /// While the process is down: when a node first sent it a datagram by a timer.
    pub(crate) first_probed: Option<Duration>,
    pub(crate) usage: Usage,
    /// Frames that the process appends to each datagram.
    pub(crate) addition: Vec<u8>,
    /// The highest generation that the node had.
    pub(crate) generation: u64,
    /// Whether the node was told to leave.
    pub(crate) leaving: bool,
    pub(crate) inputs: u32,
    /// The seeds of the first start.
    pub(crate) seeds: Vec<u32>,
    /// The seeds of the latest join of the current instance.
    pub(crate) joined_through: Vec<u32>,
    /// Whether that join is complete.
    pub(crate) has_joined: bool,
    /// Introductions of the members that the node held live when it was last killed.
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

    /// Whether arriving datagrams are received at once.
    pub(crate) fn listens(&self) -> bool {
        !self.paused && !self.blocked
    }

    /// Whether the process takes part: it is not down, it is not leaving, and it is still a member,
    /// which ends when another process wins its id or the cluster config excludes it.
    pub(crate) fn takes_part(&self) -> bool {
        self.node.as_ref().is_some_and(|node| node.health().active) && !self.leaving
    }
}
