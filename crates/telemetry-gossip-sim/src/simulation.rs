//! The discrete-event loop: a heap of (time, sequence, happening), and the processes and the network that they meet.
//!
//! The simulation carries and the nodes decide: it moves datagrams, arms timers, and applies faults. It has no rule of
//! the protocol in it. What is checked on the way is `checker`'s business, what is measured `watch`'s.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{
    CommandError, Config, ConfigError, Event, Generation, Identity, Input, InputError, MAX_MTU, Member, Node,
    NodeId, WireError,
};

use crate::checker::{Checker, Checking, Name, Row, Rule, Spot, Violation, merge_in_a_table, merge_is_a_lattice};
use crate::clock::Clock;
use crate::network::{Fabric, Network, Traffic};
use crate::process::{Condition, Memory, Place, Process, Spawn, Usage};
use crate::rng::{Draws, Stream, micros, protocol_seed};
use crate::trace::Trace;
use crate::units::Share;
use crate::watch::{News, Spread, Watches};

/// What a simulation is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many nodes a [`Cluster`](crate::Cluster) starts with; a bare simulation starts empty.
    pub nodes: usize,
    /// The settings of every node.
    pub config: Config,
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
        packet.bytes.clear();
        packet.bytes.extend_from_slice(bytes);
        place
    }
}

/// Claims are merged in all orders (S1) once in so many inputs.
const MERGE_PERIOD: u64 = 128;

/// A newborn's old life may still be declared dead for so long without that being a false alarm.
const AFTERLIFE: Duration = Duration::from_secs(10);

/// Processes and a network in virtual time.
///
/// This is the engine; [`Cluster`](crate::Cluster) is the comfortable way to drive it.
#[derive(Debug)]
pub struct Simulation {
    config: Config,
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
    keep_events: bool,
    log: Vec<Logged>,
    inputs: u64,
    touched: Vec<Name>,
    buffer: Vec<u8>,
}

impl Simulation {
    /// An empty world; refuses a config that no node can run with.
    pub fn new(settings: &Settings) -> Result<Self, ConfigError> {
        settings.config.validate()?;
        Ok(Self {
            config: settings.config.clone(),
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
            checker: Checker::default(),
            checker_draws: Draws::new(settings.seed, Stream::Checker),
            trace: Trace::new(),
            watches: Watches::default(),
            counts: EventCounts::default(),
            declared: BTreeSet::new(),
            false_deads: 0,
            keep_events: settings.keep_events,
            log: Vec::new(),
            inputs: 0,
            touched: Vec::new(),
            // Longer than any MTU, so that a datagram above it is seen and not just cut off.
            buffer: vec![0; usize::from(MAX_MTU) + 1],
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

    /// The processes that run or are paused, and were not told to leave.
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

    /// How many times a node was first declared Dead that ran, was not paused, and that its judge could reach.
    #[must_use]
    pub fn false_deads(&self) -> u64 {
        self.false_deads
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
    pub fn cut(&mut self, from: impl IntoIterator<Item = usize>, to: impl IntoIterator<Item = usize>) {
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

    /// Starts a process; it knows only itself. Its index is the number of processes before it.
    pub fn spawn(&mut self, spawn: Spawn) -> Result<usize, ConfigError> {
        let index = self.processes.len();
        let name = self.name(spawn.id);
        let node = self.boot(index, 0, spawn.id, spawn.generation, spawn.clock_ppm, None)?;
        let (address, node, clock) = node;
        self.processes.push(Process {
            id: spawn.id,
            name,
            address,
            node: Some(node),
            paused: false,
            clock,
            clock_ppm: spawn.clock_ppm,
            booted: self.now(),
            boots: 1,
            wake: None,
            overslept: false,
            inbox: Default::default(),
            usage: Usage::default(),
            generation: spawn.generation.0,
            leaving: false,
            inputs: 0,
        });
        self.born(index);
        Ok(index)
    }

    fn name(&mut self, id: NodeId) -> Name {
        if let Some(name) = find_name(&self.ids, &self.names, id.as_str()) {
            return name;
        }
        let name = Name(u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
        self.ids.push(id);
        self.names.insert(id.as_str().to_owned(), name);
        name
    }

    /// A node, where it listens (`None` for a new address) and its clock.
    fn boot(
        &mut self,
        index: usize,
        boots: u32,
        id: NodeId,
        generation: Generation,
        clock_ppm: i32,
        address: Option<u32>,
    ) -> Result<(u32, Node<u32>, Clock), ConfigError> {
        let address = address.unwrap_or_else(|| u32::try_from(self.owners.len()).unwrap_or(u32::MAX));
        // A clock's origin is what the machine happened to show: up to an hour of uptime.
        let shown = self.operations.micros_up_to(3_600_000_000);
        let clock = Clock::new(shown, self.now(), clock_ppm);
        let identity = Identity { generation, ..Identity::new(id, address) };
        let seed = protocol_seed(self.seed, index, boots);
        let node = Node::new(self.config.clone(), identity, seed, clock.read(self.now()))?;
        if self.owners.len() <= address as usize {
            self.owners.resize(address as usize + 1, None);
        }
        self.owners[address as usize] = u32::try_from(index).ok();
        Ok((address, node, clock))
    }

    fn born(&mut self, index: usize) {
        self.checker.boot(index);
        self.settle(index);
    }

    /// Kills a process on the spot: nothing is sent, what waited is lost.
    pub fn crash(&mut self, index: usize) {
        let now = self.now();
        let Some(process) = self.processes.get_mut(index).filter(|process| process.node.is_some()) else {
            return;
        };
        process.node = None;
        process.paused = false;
        process.wake = None;
        process.overslept = false;
        self.packets.free.extend(process.inbox.drain(..));
        let (name, leaving, least) = (process.name, process.leaving, process.generation);
        self.watches.gone(now, index);
        if !leaving {
            let waiting = self.waiting(index, |member| {
                !matches!(member.status(), telemetry_gossip_core::Status::Dead) || member.generation().0 < least
            });
            self.watches.open(now, News::Crash, index, name, least, waiting);
        }
    }

    /// Starts a killed process again.
    pub fn restart(&mut self, index: usize, memory: Memory, place: Place) -> Result<(), ConfigError> {
        let Some(process) = self.processes.get(index).filter(|process| process.node.is_none()) else {
            return Ok(());
        };
        let (id, ppm, boots, last, name) =
            (process.id, process.clock_ppm, process.boots, process.generation, process.name);
        let generation = match memory {
            Memory::Lost => Generation(0),
            Memory::Kept => Generation(last + 1),
        };
        let old = process.address;
        let address = match place {
            Place::Same => Some(old),
            Place::New => None,
        };
        let (address, node, clock) = self.boot(index, boots, id, generation, ppm, address)?;
        if address != old {
            self.owners[old as usize] = None;
        }
        let now = self.now();
        let process = &mut self.processes[index];
        process.node = Some(node);
        process.address = address;
        process.clock = clock;
        process.booted = now;
        process.boots += 1;
        process.generation = last.max(generation.0);
        process.leaving = false;
        // Back is who is held Alive above every generation of the old life, which may have been Alive at `last`.
        let waiting = self.waiting(index, |member| member.generation().0 <= last);
        self.watches.open(now, News::Return, index, name, last + 1, waiting);
        self.born(index);
        Ok(())
    }

    /// Who takes part beside `subject` and does not know yet what `ignorant` tells of the subject's row.
    fn waiting(&self, subject: usize, ignorant: impl Fn(Member<'_, u32>) -> bool) -> Vec<bool> {
        let id = self.processes[subject].id;
        let waits = |(index, process): (usize, &Process)| {
            index != subject
                && process.takes_part()
                && process.node.as_ref().and_then(|node| node.member(id.as_str())).is_none_or(&ignorant)
        };
        self.processes.iter().enumerate().map(waits).collect()
    }

    /// Stops a process until it is resumed: its timers pass unseen, its datagrams wait.
    pub fn pause(&mut self, index: usize) {
        if let Some(process) = self.processes.get_mut(index).filter(|process| process.node.is_some()) {
            process.paused = true;
        }
    }

    /// Lets a paused process go on. Whether its timer or its socket is served first is random, as in life.
    pub fn resume(&mut self, index: usize) {
        let timer_first = self.operations.chance(500_000);
        let Some(process) = self.processes.get_mut(index).filter(|process| process.paused) else {
            return;
        };
        process.paused = false;
        if timer_first {
            self.wake_late(index);
        }
        while let Some(packet) = self.processes[index].inbox.pop_front() {
            self.take_in(index, packet);
        }
        self.wake_late(index);
    }

    fn wake_late(&mut self, index: usize) {
        if std::mem::take(&mut self.processes[index].overslept) {
            let _ = self.feed(index, Input::Tick);
        }
    }

    /// Gives a node a command of its host. A process that does not run is no member any more.
    pub fn command(&mut self, index: usize, input: Input<'_, u32>) -> Result<(), InputError> {
        if self.condition(index) != Some(Condition::Running) {
            return Err(CommandError::Inactive.into());
        }
        let now = self.now();
        match &input {
            Input::Leave => {
                self.processes[index].leaving = true;
                self.watches.gone(now, index);
                let (name, least) = (self.processes[index].name, self.processes[index].generation);
                let waiting = self.waiting(index, |_| true);
                self.watches.open(now, News::Leave, index, name, least, waiting);
            }
            Input::Introduce { id, generation, .. } => {
                let name = self.name(*id);
                self.checker.issued(name, generation.0);
            }
            _ => {}
        }
        let before = self.own_telemetry(index);
        let result = self.feed(index, input);
        let after = self.own_telemetry(index);
        if after > before {
            let name = self.processes[index].name;
            let waiting = self.waiting(index, |_| true);
            self.watches.open(now, News::Telemetry, index, name, after, waiting);
        }
        result
    }

    fn own_telemetry(&self, index: usize) -> u64 {
        self.node(index).map_or(0, |node| node.me().telemetry_version())
    }

    /// `count` random ones of `candidates`, from the stream of operations.
    pub fn pick(&mut self, candidates: &[usize], count: usize) -> Vec<usize> {
        let chosen = self.operations.choose(candidates.len(), count);
        chosen.into_iter().map(|place| candidates[place]).collect()
    }

    /// Goes on until virtual time `until`.
    pub fn run_to(&mut self, until: Duration) {
        let until = micros(until);
        while self.queue.peek().is_some_and(|Reverse(next)| next.at <= until) {
            self.step();
        }
        self.now = self.now.max(until);
    }

    /// The time of the next thing to happen.
    #[must_use]
    pub fn next_at(&self) -> Option<Duration> {
        self.queue.peek().map(|Reverse(next)| Duration::from_micros(next.at))
    }

    /// Lets the next thing happen; false if there is none.
    pub fn step(&mut self) -> bool {
        let Some(Reverse(entry)) = self.queue.pop() else {
            return false;
        };
        self.now = self.now.max(entry.at);
        match entry.what {
            Happening::Arrival { packet } => self.arrive(packet),
            Happening::Wake { process, boot } => self.wake(process as usize, boot, entry.at),
        }
        true
    }

    fn schedule(&mut self, at: u64, what: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse(Entry { at, sequence: self.sequence, what }));
    }

    fn arrive(&mut self, packet: u32) {
        let to = self.packets.all[packet as usize].to;
        let owner = self.owners.get(to as usize).copied().flatten().map(|owner| owner as usize);
        let Some(index) = owner.filter(|&index| self.processes[index].node.is_some()) else {
            self.fabric.traffic.nobody += 1;
            self.packets.free.push(packet);
            return;
        };
        if !self.processes[index].paused {
            self.take_in(index, packet);
        } else if self.processes[index].inbox.len() < self.fabric.conditions().receive_queue as usize {
            self.processes[index].inbox.push_back(packet);
        } else {
            self.fabric.traffic.overflowed += 1;
            self.packets.free.push(packet);
        }
    }

    /// A process takes a datagram out of its socket.
    fn take_in(&mut self, index: usize, packet: u32) {
        let place = packet as usize;
        let from = self.packets.all[place].from;
        let bytes = std::mem::take(&mut self.packets.all[place].bytes);
        self.fabric.traffic.delivered += 1;
        let usage = &mut self.processes[index].usage;
        usage.received += 1;
        usage.received_bytes += bytes.len() as u64;
        let result = self.feed(index, Input::Datagram { from, bytes: Cow::Borrowed(&bytes) });
        if let Err(InputError::Datagram(error)) = result
            && error != WireError::Label
            && self.checking != Checking::Off
        {
            let spot = Spot { at: self.now(), observer: index };
            self.checker.report(spot, Rule::Wire, format!("{error}: {} bytes from address {from}", bytes.len()));
        }
        self.packets.all[place].bytes = bytes;
        self.packets.free.push(packet);
    }

    fn wake(&mut self, index: usize, boot: u32, at: u64) {
        let now = self.now();
        let process = &mut self.processes[index];
        if process.boots != boot || process.wake != Some(at) {
            return;
        }
        process.wake = None;
        let Some(deadline) = process.node.as_ref().and_then(Node::poll_timeout) else {
            return;
        };
        if process.clock.when(deadline) > now {
            // The deadline has moved on since this wake-up was set.
            self.arm(index, None);
        } else if process.paused {
            process.overslept = true;
        } else {
            // A tick is never refused.
            let _ = self.feed(index, Input::Tick);
        }
    }

    /// One input, and everything that follows from it.
    fn feed(&mut self, index: usize, input: Input<'_, u32>) -> Result<(), InputError> {
        let now = self.now();
        let process = &mut self.processes[index];
        let Some(node) = process.node.as_mut() else {
            return Ok(());
        };
        let ticked = if matches!(input, Input::Tick) { node.poll_timeout() } else { None };
        self.trace.input(now, index, &input);
        let result = node.handle(process.clock.read(now), input);
        process.inputs = process.inputs.wrapping_add(1);
        self.inputs += 1;
        self.settle(index);
        if let (Some(deadline), Some(next)) = (ticked, self.node(index).and_then(Node::poll_timeout))
            && next <= deadline
            && self.processes[index].clock.when(deadline) <= now
        {
            let spot = Spot { at: now, observer: index };
            self.checker.report(spot, Rule::S15, format!("it ticked at {deadline} and asks for {next} next"));
            self.arm(index, Some(now + Duration::from_micros(1)));
        } else {
            self.arm(index, None);
        }
        result
    }

    /// Drains what a node has to say, and checks it.
    fn settle(&mut self, index: usize) {
        let now = self.now();
        self.drain_transmits(now, index);
        self.drain_events(now, index);
        if self.checking != Checking::Off {
            self.check(now, index);
        }
        let process = &mut self.processes[index];
        if let Some(node) = &process.node {
            process.generation = process.generation.max(node.me().generation().0);
        }
        self.arm(index, None);
    }

    fn drain_transmits(&mut self, now: Duration, index: usize) {
        let mtu = usize::from(self.config.mtu);
        let source = self.processes[index].address;
        loop {
            let process = &mut self.processes[index];
            let Some(sent) = process.node.as_mut().and_then(|node| node.poll_transmit(&mut self.buffer)) else {
                return;
            };
            process.usage.sent += 1;
            process.usage.sent_bytes += sent.len as u64;
            self.fabric.traffic.sent += 1;
            self.fabric.traffic.sent_bytes += sent.len as u64;
            self.trace.transmit(now, index, sent.to, &self.buffer[..sent.len]);
            self.checker.datagram(Spot { at: now, observer: index }, sent.len, mtu);
            let Some(target) = self.owners.get(sent.to as usize).copied().flatten() else {
                self.fabric.traffic.nobody += 1;
                continue;
            };
            let arrivals = self.fabric.send(index, target as usize, sent.len);
            for after in [arrivals.first, arrivals.duplicate, arrivals.replay].into_iter().flatten() {
                let packet = self.packets.add(source, sent.to, &self.buffer[..sent.len]);
                self.schedule(self.now.saturating_add(micros(after)), Happening::Arrival { packet });
            }
        }
    }

    fn drain_events(&mut self, now: Duration, index: usize) {
        let spot = Spot { at: now, observer: index };
        self.touched.clear();
        while let Some(event) = self.processes[index].node.as_mut().and_then(Node::poll_event) {
            self.trace.event(now, index, &event);
            self.counts.add(&event);
            if self.keep_events {
                self.log.push(Logged { at: now, node: index, event });
            }
            let Some(id) = subject(&event) else {
                continue;
            };
            let name = self.name(id);
            if name == self.processes[index].name {
                continue;
            }
            self.watches.event(now, index, name, &event);
            if let Event::Dead { generation, .. } = event
                && self.declared.insert((name, generation.0))
                && self.is_false(index, name)
            {
                self.false_deads += 1;
            }
            if self.checking != Checking::Off {
                self.checker.event(spot, name, &event);
                self.touched.push(name);
            }
        }
    }

    /// Whether a node of this name runs well, and within reach of its judge.
    fn is_false(&self, judge: usize, name: Name) -> bool {
        self.processes.iter().enumerate().any(|(index, process)| {
            process.name == name
                && process.condition() == Condition::Running
                && !process.leaving
                && (process.boots == 1 || self.now() > process.booted + AFTERLIFE)
                && self.fabric.passes(judge, index)
                && self.fabric.passes(index, judge)
        })
    }

    fn check(&mut self, now: Duration, index: usize) {
        let spot = Spot { at: now, observer: index };
        let process = &self.processes[index];
        let Some(node) = &process.node else {
            return;
        };
        let (me, active) = (node.me(), node.health().active);
        self.checker.own_row(spot, process.name, row(&me), active);
        let whole = self.checking.period(self.processes.len()).is_some_and(|period| process.inputs % period == 0);
        if whole {
            let mut others = 0;
            for member in node.members() {
                let Some(name) = find_name(&self.ids, &self.names, member.id()) else {
                    let detail = format!("{:?} is the id of no process", member.id());
                    self.checker.report(spot, Rule::S4, detail);
                    continue;
                };
                if name != process.name {
                    others += 1;
                    self.checker.row(spot, name, Some(row(&member)));
                }
            }
            self.checker.len(spot, process.name, others);
            self.checker.table_len(spot, node.membership().len(), self.config.max_members as usize);
            if let Err(violation) = node.check_invariants() {
                self.checker.report(spot, Rule::Inner, violation.to_string());
            }
        }
        for &name in &self.touched {
            let member = node.member(self.ids[name.index()].as_str());
            if !whole {
                self.checker.row(spot, name, member.as_ref().map(row));
            }
            if let Some(member) = member {
                // A packed entry takes 19 bytes beside its key and value.
                let size = |entry: telemetry_gossip_core::TelemetryEntry<'_>| {
                    19 + entry.key.len() + entry.value.map_or(0, <[u8]>::len)
                };
                let len = member.telemetry().map(size).sum();
                self.checker.telemetry_len(spot, name, len, self.config.max_telemetry as usize);
            }
        }
        if self.inputs.is_multiple_of(MERGE_PERIOD) {
            self.check_merge(spot);
        }
    }

    /// S1, on what three random nodes claim of a random one.
    fn check_merge(&mut self, spot: Spot) {
        let len = self.processes.len();
        let draws = &mut self.checker_draws;
        let id = self.processes[draws.below(len)].id;
        let witnesses = [draws.below(len), draws.below(len), draws.below(len)];
        let claims = witnesses.map(|witness| {
            let node = self.processes[witness].node.as_ref()?;
            node.member(id.as_str()).map(|member| telemetry_gossip_core::Claim {
                id: member.id(),
                address: member.address(),
                instance: member.instance(),
                generation: member.generation(),
                status: member.status(),
                accusers: Default::default(),
                age_secs: 0,
            })
        });
        if let [Some(a), Some(b), Some(c)] = &claims
            && let Err(detail) = merge_is_a_lattice([a, b, c], merge_in_a_table)
        {
            self.checker.report(spot, Rule::S1, detail);
        }
    }

    /// Sees to it that the queue holds a wake-up at the node's deadline, or before.
    fn arm(&mut self, index: usize, not_before: Option<Duration>) {
        let now = self.now();
        let process = &mut self.processes[index];
        let Some(deadline) = process.node.as_ref().and_then(Node::poll_timeout) else {
            return;
        };
        let at = micros(process.clock.when(deadline).max(now).max(not_before.unwrap_or_default()));
        if not_before.is_none() && process.wake.is_some_and(|wake| wake <= at) {
            return;
        }
        process.wake = Some(at);
        let boot = process.boots;
        self.schedule(at, Happening::Wake { process: u32::try_from(index).unwrap_or(u32::MAX), boot });
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

fn row(member: &Member<'_, u32>) -> Row {
    Row {
        generation: member.generation().0,
        status: member.status(),
        instance: member.instance(),
        address: member.address(),
    }
}

/// Whom a member event is about.
fn subject(event: &Event<u32>) -> Option<NodeId> {
    match *event {
        Event::Joined { id, .. }
        | Event::Alive { id, .. }
        | Event::Suspected { id, .. }
        | Event::Dead { id, .. }
        | Event::Left { id, .. }
        | Event::Moved { id, .. }
        | Event::Removed { id, .. }
        | Event::Telemetry { id, .. } => Some(id),
        _ => None,
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
