//! The discrete-event loop: a heap of (time, sequence, happening), and the processes and the
//! network that they meet.
//!
//! The simulation carries and the nodes decide: it moves datagrams, arms timers, and applies
//! faults. It has no rule of the protocol in it. What is checked on the way is `checker`'s
//! business, what is measured `watch`'s.

mod blocks;
mod checks;
mod engine;
mod hosts;
mod sealing;
pub(crate) use sealing::node_config;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{
    Config, ConfigError, Event, MAX_MTU, Node, NodeId, Stats, SuspicionTimeout,
};
use telemetry_gossip_seal::Keyring;

use crate::checker::{Checker, Checking, Name, Violation};
use crate::clock::Clock;
use crate::network::{Fabric, Network, Traffic};
use crate::process::{Condition, Process, Usage};
use crate::rng::{Draws, Stream};
use crate::trace::{Moment, Trace};
use crate::units::Share;
use crate::watch::{Spread, Watches};

/// What a simulation is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many nodes a [`Cluster`](crate::Cluster) starts with; a bare simulation starts empty.
    pub nodes: usize,
    /// The settings of every node.
    pub config: Config,
    /// The keys under which every node's host seals what it sends; the MTU of the config is that of
    /// the sealed datagram. `None`, the default: datagrams go as the nodes make them.
    pub sealing: Option<Keyring>,
    /// The network between them.
    pub network: Network,
    /// Decides everything that is random.
    pub seed: u64,
    /// How much is checked.
    pub checking: Checking,
    /// Whether events are kept for [`Simulation::log`]: some 170 bytes each.
    pub keep_events: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: 10,
            config: Config::default(),
            sealing: None,
            network: Network::default(),
            seed: 0,
            checking: Checking::default(),
            keep_events: true,
        }
    }
}

/// An event of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// When, in virtual time.
    pub at: Duration,
    /// At which node.
    pub node: usize,
    /// It followed from a timer of the node, not from a datagram or a command.
    pub timed: bool,
    /// What.
    pub event: Event<u32>,
}

/// How many events of each kind a run has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named after the events")]
pub struct EventCounts {
    pub joined: u64,
    pub alive: u64,
    pub suspected: u64,
    pub dead: u64,
    pub left: u64,
    pub moved: u64,
    pub removed: u64,
    pub telemetry: u64,
    pub refuted: u64,
    pub isolated: u64,
    pub reconnected: u64,
    pub identity_conflicts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: u64,
    sequence: u64,
    what: Happening,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrival { packet: u32 },
    Wake { process: u32, boot: u32 },
}

/// A datagram on its way. The buffers are used again.
#[derive(Debug, Default)]
struct Packet {
    from: u32,
    to: u32,
    bytes: Vec<u8>,
    /// It is not what was sent.
    altered: bool,
}

#[derive(Debug, Default)]
struct Packets {
    all: Vec<Packet>,
    free: Vec<u32>,
}

impl Packets {
    fn add(&mut self, from: u32, to: u32, bytes: &[u8]) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.all.push(Packet::default());
            u32::try_from(self.all.len() - 1).unwrap_or(u32::MAX)
        });
        let packet = &mut self.all[place as usize];
        packet.from = from;
        packet.to = to;
        packet.altered = false;
        packet.bytes.clear();
        packet.bytes.extend_from_slice(bytes);
        place
    }
}

/// Claims are merged in all orders (S1) once in so many inputs.
const MERGE_PERIOD: u64 = 128;

/// The claims of whole tables are merged in all orders (S2) once in so many.
const TABLES_PERIOD: u64 = 1_024;

/// A newborn's old life may still be declared dead for so long without that being a false alarm.
const AFTERLIFE: Duration = Duration::from_secs(10);

/// Processes and a network in virtual time.
///
/// This is the engine; [`Cluster`](crate::Cluster) is the comfortable way to drive it.
#[derive(Debug)]
pub struct Simulation {
    config: Config,
    sealing: Option<Keyring>,
    seed: u64,
    now: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    packets: Packets,
    processes: Vec<Process>,
    /// Address to process.
    owners: Vec<Option<u32>>,
    names: BTreeMap<String, Name>,
    ids: Vec<NodeId>,
    fabric: Fabric,
    operations: Draws,
    checking: Checking,
    checker: Checker,
    checker_draws: Draws,
    trace: Trace,
    watches: Watches,
    counts: EventCounts,
    declared: BTreeSet<(Name, u64)>,
    false_deads: u64,
    /// What the nodes of processes that were killed had counted.
    gone: Stats,
    keep_events: bool,
    log: Vec<Logged>,
    inputs: u64,
    /// What is sent now follows from a datagram or a command, not from a timer.
    prompted: bool,
    /// It follows from telemetry that the host publishes.
    publishing: bool,
    /// While a datagram is taken in: its source, and how many datagrams went back there.
    answering: Option<u32>,
    replies: u32,
    touched: Vec<Name>,
    buffer: Vec<u8>,
    /// What is about to be sealed into the buffer.
    plain: Vec<u8>,
}

impl Simulation {
    /// An empty world; refuses a config that no node can run with.
    pub fn new(settings: &Settings) -> Result<Self, ConfigError> {
        settings.config.validate()?;
        Ok(Self {
            config: settings.config.clone(),
            sealing: settings.sealing.clone(),
            seed: settings.seed,
            now: 0,
            sequence: 0,
            queue: BinaryHeap::new(),
            packets: Packets::default(),
            processes: Vec::new(),
            owners: Vec::new(),
            names: BTreeMap::new(),
            ids: Vec::new(),
            fabric: Fabric::new(settings.network, settings.seed),
            operations: Draws::new(settings.seed, Stream::Operations),
            checking: settings.checking,
            checker: Checker::new(shortest_suspicion(&settings.config)),
            checker_draws: Draws::new(settings.seed, Stream::Checker),
            trace: Trace::new(),
            watches: Watches::default(),
            counts: EventCounts::default(),
            declared: BTreeSet::new(),
            false_deads: 0,
            gone: Stats::default(),
            keep_events: settings.keep_events,
            log: Vec::new(),
            inputs: 0,
            prompted: false,
            publishing: false,
            answering: None,
            replies: 0,
            touched: Vec::new(),
            // Longer than any MTU, so that a datagram above it is seen and not just cut off.
            buffer: vec![0; usize::from(MAX_MTU) + 1],
            plain: Vec::new(),
        })
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// How many processes there ever were: their indices are below.
    #[must_use]
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether no process was ever started.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// The node of a process, unless that is down (or there is none of this index).
    #[must_use]
    pub fn node(&self, index: usize) -> Option<&Node<u32>> {
        self.processes.get(index)?.node.as_ref()
    }

    /// The id of a process.
    #[must_use]
    pub fn id(&self, index: usize) -> Option<NodeId> {
        self.processes.get(index).map(|process| process.id)
    }

    /// The address at which a process listens.
    #[must_use]
    pub fn address(&self, index: usize) -> Option<u32> {
        self.processes.get(index).map(|process| process.address)
    }

    /// What a process does at the moment; `None` if there is none of this index.
    #[must_use]
    pub fn condition(&self, index: usize) -> Option<Condition> {
        self.processes.get(index).map(Process::condition)
    }

    /// The clock of a process.
    #[must_use]
    pub fn clock(&self, index: usize) -> Option<Clock> {
        self.processes.get(index).map(|process| process.clock)
    }

    /// When a node first sent a process that is down a datagram on a timer, not in reply: in a
    /// cluster without news, the start of the first probe of it after its crash.
    #[must_use]
    pub fn sought(&self, index: usize) -> Option<Duration> {
        self.processes.get(index)?.sought
    }

    /// The processes that run, are paused or blocked, are members, and were not told to leave.
    pub fn taking_part(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(|&index| self.processes[index].takes_part())
    }

    /// What a process has sent and received in all its lives.
    #[must_use]
    pub fn usage(&self, index: usize) -> Usage {
        self.processes.get(index).map_or_else(Usage::default, |process| process.usage)
    }

    /// What became of all datagrams.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.fabric.traffic
    }

    /// The events of all nodes so far, if they are kept.
    #[must_use]
    pub fn log(&self) -> &[Logged] {
        &self.log
    }

    /// How many events there were.
    #[must_use]
    pub fn counts(&self) -> EventCounts {
        self.counts
    }

    /// How many times a node was first declared Dead that ran, was neither paused nor blocked, and
    /// that its judge could reach. A judge that is blocked itself counts: its host acts on what it
    /// says.
    #[must_use]
    pub fn false_deads(&self) -> u64 {
        self.false_deads
    }

    /// What all nodes have counted, in all their lives.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.gone;
        self.processes
            .iter()
            .filter_map(|process| process.node.as_ref())
            .for_each(|node| stats += *node.stats());
        stats
    }

    /// How news spread: of crashes, leaves, returns and publications.
    #[must_use]
    pub fn spreads(&self) -> Vec<Spread> {
        self.watches.spreads()
    }

    /// The rules broken so far: the first of them.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        self.checker.violations()
    }

    /// How many times a rule was broken.
    #[must_use]
    pub fn violations_found(&self) -> u64 {
        self.checker.found()
    }

    /// One number over all inputs and outputs of all nodes so far.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// From now on what goes into the trace is kept, too.
    pub(crate) fn keep_trace(&mut self) {
        self.trace.keep();
    }

    /// What has gone into the trace since then.
    pub(crate) fn kept_trace(&mut self) -> Vec<Moment> {
        self.trace.kept()
    }

    /// The seed that decides everything.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The conditions on the network.
    #[must_use]
    pub fn network(&self) -> &Network {
        self.fabric.conditions()
    }

    /// Replaces the conditions on the network; cuts stay.
    pub fn set_network(&mut self, network: Network) {
        self.fabric.set_conditions(network);
    }

    /// Sets the loss of one link, in one direction, until the network is healed.
    pub fn set_link_loss(&mut self, from: usize, to: usize, loss: Share) {
        self.fabric.set_link_loss(from, to, loss);
    }

    /// Cuts all links from these nodes to those, one way.
    pub fn cut(
        &mut self,
        from: impl IntoIterator<Item = usize>,
        to: impl IntoIterator<Item = usize>,
    ) {
        self.fabric.cut(from, to);
    }

    /// Lets every node reach only the `reach` next ones on either side.
    pub fn ring(&mut self, reach: usize) {
        self.fabric.ring(reach, self.processes.len());
    }

    /// Ends every cut, ring and loss of single links.
    pub fn heal(&mut self) {
        self.fabric.heal();
    }

    /// Whether no cut, ring or loss of a single link is in force.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.fabric.is_whole()
    }
}

impl EventCounts {
    fn add(&mut self, event: &Event<u32>) {
        let count = match event {
            Event::Joined { .. } => &mut self.joined,
            Event::Alive { .. } => &mut self.alive,
            Event::Suspected { .. } => &mut self.suspected,
            Event::Dead { .. } => &mut self.dead,
            Event::Left { .. } => &mut self.left,
            Event::Moved { .. } => &mut self.moved,
            Event::Removed { .. } => &mut self.removed,
            Event::Telemetry { .. } => &mut self.telemetry,
            Event::Refuted { .. } => &mut self.refuted,
            Event::Isolated { .. } => &mut self.isolated,
            Event::Reconnected { .. } => &mut self.reconnected,
            Event::IdentityConflict { .. } => &mut self.identity_conflicts,
            _ => return,
        };
        *count += 1;
    }
}

/// No suspicion is shorter: what [`SuspicionTimeout`] documents, for the smallest cluster.
fn shortest_suspicion(config: &Config) -> Duration {
    match config.suspicion {
        SuspicionTimeout::Fixed(span) => span,
        SuspicionTimeout::Scaled { multiplier_percent: percent, .. } => {
            (config.probe_interval * percent.into() / 100).max(config.gossip_interval * 2)
        }
        _ => config.gossip_interval * 2,
    }
}

/// The nodes of a cluster are called n0, n1, ..., in order; other ids take the longer way.
fn find_name(ids: &[NodeId], names: &BTreeMap<String, Name>, id: &str) -> Option<Name> {
    let number = id.strip_prefix('n').and_then(|digits| digits.parse::<u32>().ok());
    number
        .map(Name)
        .filter(|name| ids.get(name.index()).is_some_and(|known| known.as_str() == id))
        .or_else(|| names.get(id).copied())
}
