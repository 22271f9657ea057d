//! The discrete-event loop: a heap of events ordered by time and sequence number, and the processes
//! and the network that they act on.
//!
//! The simulation transports and the nodes decide: it moves datagrams, arms timers, and applies
//! faults, but contains no rule of the protocol. `checker` checks the run, `watch` measures it.

mod addresses;
mod blocks;
mod checks;
mod engine;
mod hosts;
mod liars;
mod sealing;
pub use sealing::Tapped;
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
use telemetry_gossip_seal::{Keyring, Seal};

use crate::checker::{Checker, Checking, Name, Violation};
use crate::clock::Clock;
use crate::liar::Liars;
use crate::network::{Fabric, Kind, Network, Traffic};
use crate::process::{Condition, Process, Usage};
use crate::rng::{Draws, Stream};
use crate::setters::setters;
use crate::trace::{Moment, Trace};
use crate::units::Share;
use crate::watch::{Spread, Watches};

/// The initial conditions of a simulation.
///
/// ```
/// use telemetry_gossip_sim::{Network, Settings, Share};
///
/// let settings = Settings::default()
///     .nodes(20)
///     .network(Network::losing(Share::percent(5)))
///     .seed(42);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The number of nodes that a [`Cluster`](crate::Cluster) starts with; a bare [`Simulation`]
    /// starts empty.
    pub nodes: usize,
    /// The configuration of every node, if there are no others.
    pub config: Config,
    /// Other configurations: the processes take `config` and these in turn.
    pub other_configs: Vec<Config>,
    /// The keys with which every host seals its datagrams; the MTU of the configuration is then
    /// that of the sealed datagram. With `None`, the default, hosts send datagrams as the nodes
    /// make them.
    pub sealing: Option<Keyring>,
    /// The network between the nodes.
    pub network: Network,
    /// The seed of everything that is random.
    pub seed: u64,
    /// How much is checked.
    pub checking: Checking,
    /// Whether events are kept for [`Simulation::log`], in about 170 bytes per event.
    pub keep_events: bool,
}

setters! {
    Settings {
        nodes: usize,
        config: Config,
        other_configs: Vec<Config>,
        sealing: Option<Keyring>,
        network: Network,
        seed: u64,
        checking: Checking,
        keep_events: bool,
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: 10,
            config: Config::default(),
            other_configs: Vec::new(),
            sealing: None,
            network: Network::default(),
            seed: 0,
            checking: Checking::default(),
            keep_events: true,
        }
    }
}

/// An event of a node, with its time and place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Logged {
    /// The virtual time of the event.
    pub at: Duration,
    /// The node that emitted the event.
    pub node: usize,
    /// Whether a timer of the node caused the event, rather than a datagram or a command.
    pub timed: bool,
    /// The event.
    pub event: Event<u32>,
}

/// The number of events of each kind in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
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
    what: QueuedEvent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum QueuedEvent {
    /// A packet arrives at its destination.
    Arrival { packet: u32 },
    /// The timer of an instance of a process fires. A wake-up of an earlier instance is stale.
    Wake { process: u32, instance: u32 },
    /// A liar moves.
    Lie { liar: u32 },
}

/// A datagram in flight. The buffers are reused.
#[derive(Debug, Default)]
struct Packet {
    from: u32,
    to: u32,
    bytes: Vec<u8>,
    /// Whether the bytes differ from those that were sent.
    altered: bool,
    /// Whether a liar made the contents.
    lie: bool,
}

/// All packets; free ones are used again.
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
        packet.lie = false;
        packet.bytes.clear();
        packet.bytes.extend_from_slice(bytes);
        place
    }
}

/// The number of inputs between two checks of rule S1, which merges claims in all orders.
const MERGE_PERIOD: u64 = 128;

/// The number of inputs between two checks of rule S2, which merges whole tables in several orders.
const TABLES_PERIOD: u64 = 1_024;

/// For this long after a process took over from another one of its id, a declaration of Dead may
/// still be about that one and is not counted as false.
const PREDECESSOR_GRACE: Duration = Duration::from_secs(10);

/// Processes and a network in virtual time.
///
/// This is the engine. [`Cluster`](crate::Cluster) is the convenient way to drive it.
#[derive(Debug)]
pub struct Simulation {
    /// The configurations of the processes, which take them in turn.
    configs: Vec<Config>,
    sealing: Option<Keyring>,
    seed: u64,
    now: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    packets: Packets,
    processes: Vec<Process>,
    /// The process that owns each address.
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
    /// The sum of the counters of all instances that were killed.
    killed_stats: Stats,
    keep_events: bool,
    log: Vec<Logged>,
    inputs: u64,
    /// Whether the current input is a datagram or a command, rather than a timer.
    prompted: bool,
    /// Whether the current input publishes telemetry.
    publishing: bool,
    /// The source of the datagram that is the current input.
    answering: Option<u32>,
    /// The kinds of the datagrams sent back to that source.
    replies: Vec<Kind>,
    /// The members named by events of the current input.
    changed: Vec<Name>,
    /// The datagram that is being sent.
    buffer: Vec<u8>,
    /// The datagram before it is sealed into `buffer`.
    plain: Vec<u8>,
    /// Copies of all datagrams sent, if they are recorded.
    tapped: Option<Vec<Tapped>>,
    liars: Liars,
    /// The seal that all liars with the key share.
    liars_seal: Option<Seal>,
}

impl Simulation {
    /// Creates a simulation without processes.
    ///
    /// # Errors
    /// Fails if no node can run with one of the configurations.
    pub fn new(settings: &Settings) -> Result<Self, ConfigError> {
        let configs: Vec<Config> =
            [&settings.config].into_iter().chain(&settings.other_configs).cloned().collect();
        configs.iter().try_for_each(Config::validate)?;
        Ok(Self {
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
            checker: Checker::new(
                configs.iter().map(shortest_suspicion).min().unwrap_or(Duration::MAX),
            ),
            configs,
            checker_draws: Draws::new(settings.seed, Stream::Checker),
            trace: Trace::new(),
            watches: Watches::default(),
            counts: EventCounts::default(),
            declared: BTreeSet::new(),
            false_deads: 0,
            killed_stats: Stats::default(),
            keep_events: settings.keep_events,
            log: Vec::new(),
            inputs: 0,
            prompted: false,
            publishing: false,
            answering: None,
            replies: Vec::new(),
            changed: Vec::new(),
            // Longer than any MTU, so that a datagram above the MTU is noticed rather than
            // truncated.
            buffer: vec![0; usize::from(MAX_MTU) + 1],
            plain: Vec::new(),
            tapped: None,
            liars: Liars::new(settings.config.label, settings.seed),
            liars_seal: None,
        })
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// The number of processes that were ever started; their indices are below it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Whether no process was ever started.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// The node of a process; `None` if the process is down or does not exist.
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

    /// The condition of a process at the moment; `None` if the process does not exist.
    #[must_use]
    pub fn condition(&self, index: usize) -> Option<Condition> {
        self.processes.get(index).map(Process::condition)
    }

    /// The clock of a process.
    #[must_use]
    pub fn clock(&self, index: usize) -> Option<Clock> {
        self.processes.get(index).map(|process| process.clock)
    }

    /// When a node first sent, by a timer and not in reply, a datagram to a process that is down.
    /// In a cluster without news, this is the start of the first probe after the crash.
    #[must_use]
    pub fn first_probed(&self, index: usize) -> Option<Duration> {
        self.processes.get(index)?.first_probed
    }

    /// The processes that take part: they run, are paused or blocked, are members, and were not
    /// told to leave.
    pub fn taking_part(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(|&index| self.processes[index].takes_part())
    }

    /// The traffic of a process, summed over all its instances.
    #[must_use]
    pub fn usage(&self, index: usize) -> Usage {
        self.processes.get(index).map_or_else(Usage::default, |process| process.usage)
    }

    /// What happened to all datagrams.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.fabric.traffic
    }

    /// The events of all nodes so far; empty unless [`Settings::keep_events`] is set.
    #[must_use]
    pub fn log(&self) -> &[Logged] {
        &self.log
    }

    /// The number of events of each kind so far.
    #[must_use]
    pub fn counts(&self) -> EventCounts {
        self.counts
    }

    /// The number of false declarations of Dead: the node declared Dead ran, was neither paused nor
    /// blocked, and the declaring node could reach it. Each generation counts once. Declarations by
    /// a blocked node count too, since its host acts on them.
    #[must_use]
    pub fn false_deads(&self) -> u64 {
        self.false_deads
    }

    /// The sum of the counters of all instances of all nodes.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.killed_stats;
        self.processes
            .iter()
            .filter_map(|process| process.node.as_ref())
            .for_each(|node| stats += *node.stats());
        stats
    }

    /// How the news of crashes, leaves, returns and publications spread.
    #[must_use]
    pub fn spreads(&self) -> Vec<Spread> {
        self.watches.spreads()
    }

    /// The first violations of rules so far.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        self.checker.violations()
    }

    /// The number of violations so far, including those that are not kept.
    #[must_use]
    pub fn violations_found(&self) -> u64 {
        self.checker.found()
    }

    /// A hash over all inputs and outputs of all nodes so far.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// Keeps the entries of the trace from now on.
    pub(crate) fn keep_trace(&mut self) {
        self.trace.keep();
    }

    /// Takes the entries of the trace that were kept.
    pub(crate) fn kept_trace(&mut self) -> Vec<Moment> {
        self.trace.kept()
    }

    /// The seed of everything that is random.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The conditions on the network.
    #[must_use]
    pub fn network(&self) -> &Network {
        self.fabric.conditions()
    }

    /// Replaces the conditions on the network; barriers stay in force.
    pub fn set_network(&mut self, network: Network) {
        self.fabric.set_conditions(network);
    }

    /// Sets the loss of one link in one direction, until the network is healed.
    pub fn set_link_loss(&mut self, from: usize, to: usize, loss: Share) {
        self.fabric.set_link_loss(from, to, loss);
    }

    /// Cuts all links from one set of nodes to another, in this direction.
    pub fn cut(
        &mut self,
        from: impl IntoIterator<Item = usize>,
        to: impl IntoIterator<Item = usize>,
    ) {
        self.fabric.cut(from, to);
    }

    /// Arranges the nodes on a ring, on which each can reach only `reach` nodes on either side.
    pub fn ring(&mut self, reach: usize) {
        self.fabric.ring(reach, self.processes.len());
    }

    /// Ends all cuts, rings and losses of single links.
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

/// The shortest suspicion that [`SuspicionTimeout`] allows, that of the smallest cluster.
fn shortest_suspicion(config: &Config) -> Duration {
    match config.suspicion {
        SuspicionTimeout::Fixed(span) => span,
        SuspicionTimeout::Scaled { multiplier_percent: percent, .. } => {
            (config.probe_interval * percent.into() / 100).max(config.gossip_interval * 2)
        }
        _ => config.gossip_interval * 2,
    }
}

/// Finds the name of an id. The ids n0, n1, ... of a cluster are found by their number, others in
/// the map.
fn find_name(ids: &[NodeId], names: &BTreeMap<String, Name>, id: &str) -> Option<Name> {
    let number = id.strip_prefix('n').and_then(|digits| digits.parse::<u32>().ok());
    number
        .map(Name)
        .filter(|name| ids.get(name.index()).is_some_and(|known| known.as_str() == id))
        .or_else(|| names.get(id).copied())
}
