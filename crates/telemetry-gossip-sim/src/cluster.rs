//! A cluster in the words of a test: start it, break it, let time pass, look at who holds what.
//!
//! [`Cluster`] is [`Simulation`] made comfortable. It is for tests, so it panics where a test should fail: on a
//! broken rule of the protocol, on settings that no node can run with, on an index that is no node's.

use std::borrow::Cow;
use std::time::Duration;

use telemetry_gossip_core::{Event, Generation, Health, Input, Member, Node, NodeId, Status};
use telemetry_gossip_seal::{Keyring, KeyringError, SealStats};

use crate::process::{Memory, Place, Rejoin, Spawn, Usage};
use crate::simulation::{Logged, Settings, Simulation};
use crate::units::Share;

/// How finely [`Cluster::run_until`] looks.
const GRAIN: Duration = Duration::from_millis(10);

/// Members that a node is told as seeds when it joins or comes back.
const SEEDS: usize = 3;

/// A row of somebody's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The member's id.
    pub id: NodeId,
    /// What it is held to be.
    pub status: Status,
    /// At which generation.
    pub generation: Generation,
}

/// A simulated cluster of nodes n0, n1, ...
///
/// ```
/// use std::time::Duration;
/// use telemetry_gossip_core::Status;
/// use telemetry_gossip_sim::{Cluster, Settings};
///
/// let mut cluster = Cluster::new(Settings { nodes: 10, seed: 42, ..Settings::default() });
/// cluster.start_joined();
/// assert!(cluster.views_complete_and_alive());
///
/// cluster.crash(7);
/// let everyone_knows = cluster.run_until(|cluster| cluster.everyone_holds(7, Status::Dead), Duration::from_secs(10));
/// assert!(everyone_knows.is_some());
/// ```
#[derive(Debug)]
pub struct Cluster {
    simulation: Simulation,
}

impl Cluster {
    /// The nodes run, each knowing only itself.
    ///
    /// # Panics
    /// If no node can run with the config.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let simulation = Simulation::new(&settings).unwrap_or_else(|error| panic!("the config: {error}"));
        let mut cluster = Self::from(simulation);
        for _ in 0..settings.nodes {
            let index = cluster.len();
            cluster.spawn(Spawn::new(node_id(index)));
        }
        cluster
    }

    /// Everybody joins through node 0; returns how long it took until all views were complete.
    ///
    /// # Panics
    /// If that is not so within a minute.
    pub fn start_joined(&mut self) -> Duration {
        for index in 1..self.len() {
            self.join(index, &[0]);
        }
        let complete = self.run_until(Self::views_complete_and_alive, Duration::from_secs(60));
        complete.unwrap_or_else(|| panic!("the join is not complete after 60 s{}", self.replay()))
    }

    /// Everybody is told of everybody by the hosts, and no time passes.
    pub fn start_known(&mut self) {
        let known: Vec<(NodeId, u32)> = (0..self.len())
            .filter_map(|index| self.simulation.id(index).zip(self.simulation.address(index)))
            .collect();
        let instances: Vec<_> = (0..self.len()).map(|index| self.node(index).me().instance()).collect();
        for index in 0..self.len() {
            for (other, &(id, address)) in known.iter().enumerate() {
                if other != index {
                    let (address, instance) = (Some(address), instances.get(other).copied());
                    self.tell(index, Input::Introduce { id, address, instance, generation: Generation(0) });
                }
            }
        }
    }

    /// Lets `span` of virtual time pass.
    pub fn run_for(&mut self, span: Duration) {
        self.simulation.run_to(self.simulation.now() + span);
        self.assert_sound();
    }

    /// Lets time pass until `condition` holds, at most `limit`; how long that took, to 10 ms.
    pub fn run_until(&mut self, condition: impl Fn(&Self) -> bool, limit: Duration) -> Option<Duration> {
        let start = self.now();
        while !condition(self) {
            let passed = self.now() - start;
            if passed >= limit {
                return None;
            }
            self.run_for(GRAIN.min(limit - passed));
        }
        Some(self.now() - start)
    }

    /// Whether `condition` holds now and at every look until `span` has passed.
    pub fn stays(&mut self, condition: impl Fn(&Self) -> bool, span: Duration) -> bool {
        self.run_until(|cluster| !condition(cluster), span).is_none() && condition(self)
    }

    /// Fails if a rule of the protocol was broken; also called after each stretch of time.
    ///
    /// # Panics
    /// If one was.
    pub fn assert_sound(&self) {
        if let Some(first) = self.simulation.violations().first() {
            let found = self.simulation.violations_found();
            panic!("{found} broken rules, the first: {first}{}", self.replay());
        }
    }

    fn replay(&self) -> String {
        format!(" (seed {}, {} nodes, t={:?})", self.simulation.seed(), self.len(), self.now())
    }

    /// One more node, n and its index, which joins through running ones.
    pub fn add(&mut self) -> usize {
        self.add_as(Spawn::new(node_id(self.len())))
    }

    /// One more process, perhaps with the id of another one, which joins through running ones.
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    pub fn add_as(&mut self, spawn: Spawn) -> usize {
        let index = self.spawn(spawn);
        self.join_through_running(index);
        index
    }

    /// One more process, perhaps with the id of another one, that knows only itself; its index.
    ///
    /// # Panics
    /// If the node refuses to start, for a generation too high.
    pub fn spawn(&mut self, spawn: Spawn) -> usize {
        self.simulation.spawn(spawn).unwrap_or_else(|error| panic!("{}: {error}", spawn.id))
    }

    /// A node joins through others.
    pub fn join(&mut self, index: usize, through: &[usize]) {
        let seeds: Vec<u32> = through.iter().map(|&seed| self.address(seed)).collect();
        self.tell(index, Input::Join { seeds: Cow::Owned(seeds) });
    }

    fn join_through_running(&mut self, index: usize) {
        let running: Vec<usize> =
            self.simulation.taking_part().filter(|&other| other != index).take(SEEDS).collect();
        if !running.is_empty() {
            self.join(index, &running);
        }
    }

    /// Kills a node on the spot.
    pub fn crash(&mut self, index: usize) {
        self.simulation.crash(index);
    }

    /// Starts a killed node again, where it was; it joins through running ones.
    pub fn restart(&mut self, index: usize, memory: Memory) {
        self.restart_at(index, memory, Place::Same);
    }

    /// Starts a killed node again; it joins through running ones.
    ///
    /// # Panics
    /// If the node refuses to start.
    pub fn restart_at(&mut self, index: usize, memory: Memory, place: Place) {
        self.restart_with(index, memory, place, Rejoin::Running);
    }

    /// Starts a killed node again, where it was and without its memory. It joins through no node.
    ///
    /// # Panics
    /// If the node refuses to start.
    pub fn restart_alone(&mut self, index: usize) {
        self.restart_with(index, Memory::Lost, Place::Same, Rejoin::Alone);
    }

    /// Starts a killed node again.
    ///
    /// # Panics
    /// If the node refuses to start.
    pub fn restart_with(&mut self, index: usize, memory: Memory, place: Place, rejoin: Rejoin) {
        self.simulation.restart(index, memory, place).unwrap_or_else(|error| panic!("n{index}: {error}"));
        match rejoin {
            Rejoin::Running => self.join_through_running(index),
            Rejoin::Alone => {}
            Rejoin::OldSeeds => self.simulation.join_through_old_seeds(index),
            Rejoin::File => self.simulation.introduce_from_file(index),
        }
    }

    /// Joins groups of nodes that no record and no seed leads to each other: one node of each joins
    /// through the largest group. False if there is one group, as nearly always.
    pub fn reunite(&mut self) -> bool {
        let groups = self.simulation.groups();
        let Some((largest, others)) = groups.split_first() else { return false };
        for group in others {
            if let Some(&node) = group.first() {
                self.join(node, &largest[..largest.len().min(SEEDS)]);
            }
        }
        !others.is_empty()
    }

    /// Stops a node until it is resumed.
    pub fn pause(&mut self, index: usize) {
        self.simulation.pause(index);
    }

    /// Lets a paused node go on.
    pub fn resume(&mut self, index: usize) {
        self.simulation.resume(index);
    }

    /// Lets nothing pass a node's socket until it is unblocked; its timers go on.
    pub fn block(&mut self, index: usize) {
        self.simulation.block(index);
    }

    /// Lets what waits at a blocked node pass.
    pub fn unblock(&mut self, index: usize) {
        self.simulation.unblock(index);
    }

    /// Changes the keys of a node's host.
    ///
    /// # Panics
    /// If the hosts do not seal, or the ring refuses.
    pub fn rekey(&mut self, index: usize, change: impl FnOnce(&mut Keyring) -> Result<(), KeyringError>) {
        let ring = self.simulation.keyring_mut(index).unwrap_or_else(|| panic!("n{index} does not seal"));
        change(ring).unwrap_or_else(|error| panic!("the keys of n{index}: {error}"));
    }

    /// What a node's seal has counted in this life of it; all zero if the hosts do not seal.
    #[must_use]
    pub fn seal_stats(&self, index: usize) -> SealStats {
        self.simulation.seal(index).map(|seal| seal.stats()).unwrap_or_default()
    }

    /// A node leaves in good order.
    pub fn leave(&mut self, index: usize) {
        self.tell(index, Input::Leave);
    }

    /// A node publishes an entry of its telemetry.
    pub fn publish(&mut self, index: usize, key: &str, value: &[u8]) {
        self.tell(
            index,
            Input::Publish { key: Cow::Borrowed(key), value: Cow::Borrowed(value), urgent: false },
        );
    }

    /// A node is given any command of its host.
    ///
    /// # Panics
    /// If the node refuses it.
    pub fn tell(&mut self, index: usize, input: Input<'_, u32>) {
        if let Err(error) = self.simulation.command(index, input) {
            panic!("n{index}: {error}{}", self.replay());
        }
    }

    /// Nothing passes between the two groups, either way.
    pub fn partition(
        &mut self,
        left: impl IntoIterator<Item = usize> + Clone,
        right: impl IntoIterator<Item = usize> + Clone,
    ) {
        self.cut(left.clone(), right.clone());
        self.cut(right, left);
    }

    /// Nothing passes from these nodes to those; the other way it does.
    pub fn cut(&mut self, from: impl IntoIterator<Item = usize>, to: impl IntoIterator<Item = usize>) {
        self.simulation.cut(from, to);
    }

    /// Datagrams from one node to another are lost with this share.
    pub fn lose(&mut self, from: usize, to: usize, loss: Share) {
        self.simulation.set_link_loss(from, to, loss);
    }

    /// Ends every partition, cut and loss of single links.
    pub fn heal(&mut self) {
        self.simulation.heal();
    }

    /// How many processes there ever were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.simulation.len()
    }

    /// Whether there is no process at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.simulation.is_empty()
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.simulation.now()
    }

    /// The running node of this index.
    ///
    /// # Panics
    /// If it is down.
    #[must_use]
    pub fn node(&self, index: usize) -> &Node<u32> {
        self.simulation.node(index).unwrap_or_else(|| panic!("n{index} is down"))
    }

    fn address(&self, index: usize) -> u32 {
        self.simulation.address(index).unwrap_or_else(|| panic!("there is no process {index}"))
    }

    fn id(&self, index: usize) -> NodeId {
        self.simulation.id(index).unwrap_or_else(|| panic!("there is no process {index}"))
    }

    /// What one node holds of another.
    #[must_use]
    pub fn held(&self, observer: usize, of: usize) -> Option<Member<'_, u32>> {
        self.simulation.node(observer)?.member(self.id(of).as_str())
    }

    /// What one node holds another to be; `None` if it does not know it.
    #[must_use]
    pub fn status(&self, observer: usize, of: usize) -> Option<Status> {
        self.held(observer, of).map(|member| member.status())
    }

    /// At which generation one node holds another.
    #[must_use]
    pub fn generation(&self, observer: usize, of: usize) -> Option<u64> {
        self.held(observer, of).map(|member| member.generation().0)
    }

    /// A value of one node's telemetry as another one knows it.
    #[must_use]
    pub fn value(&self, observer: usize, of: usize, key: &str) -> Option<&[u8]> {
        self.held(observer, of)?.value(key)?.value
    }

    /// All that a node holds, itself included, in order of id.
    #[must_use]
    pub fn view(&self, observer: usize) -> Vec<Held> {
        let held = |member: Member<'_, u32>| {
            let (status, generation) = (member.status(), member.generation());
            NodeId::new(member.id()).ok().map(|id| Held { id, status, generation })
        };
        let mut view: Vec<Held> = self.node(observer).members().filter_map(held).collect();
        view.sort_by_key(|held| held.id);
        view
    }

    /// How a node is.
    #[must_use]
    pub fn health(&self, index: usize) -> Health {
        self.node(index).health()
    }

    /// The nodes that run, are paused or blocked, are members, and were not told to leave.
    pub fn taking_part(&self) -> impl Iterator<Item = usize> {
        self.simulation.taking_part()
    }

    /// Whether everybody who takes part, `of` aside, holds it to be `status`.
    #[must_use]
    pub fn everyone_holds(&self, of: usize, status: Status) -> bool {
        self.all_hold(self.taking_part().filter(|&observer| observer != of), of, status)
    }

    /// Whether all of `observers` hold `of` to be `status`.
    #[must_use]
    pub fn all_hold(&self, observers: impl IntoIterator<Item = usize>, of: usize, status: Status) -> bool {
        observers.into_iter().all(|observer| self.status(observer, of) == Some(status))
    }

    /// Whether everybody who takes part holds everybody who does Alive, and nobody else Alive or Suspected.
    #[must_use]
    pub fn views_complete_and_alive(&self) -> bool {
        let members: Vec<usize> = self.taking_part().collect();
        let complete = members.iter().all(|&observer| {
            let table = self.node(observer).membership();
            table.count_of(Status::Alive) as usize == members.len() && table.count_of(Status::Suspected) == 0
        });
        // Views of one fingerprint hold the same live members: each such view is looked at once.
        let mut seen = None;
        complete
            && members.iter().all(|&observer| {
                let fingerprint = self.node(observer).membership().fingerprint();
                seen.replace(fingerprint) == Some(fingerprint) || self.all_alive_at(observer, &members)
            })
    }

    fn all_alive_at(&self, observer: usize, members: &[usize]) -> bool {
        members.iter().all(|&of| self.status(observer, of) == Some(Status::Alive))
    }

    /// The events of one node so far.
    pub fn events(&self, index: usize) -> impl Iterator<Item = (Duration, Event<u32>)> {
        self.log().iter().filter(move |logged| logged.node == index).map(|logged| (logged.at, logged.event))
    }

    /// The events of all nodes so far.
    #[must_use]
    pub fn log(&self) -> &[Logged] {
        self.simulation.log()
    }

    /// What a process sent and received.
    #[must_use]
    pub fn usage(&self, index: usize) -> Usage {
        self.simulation.usage(index)
    }

    /// The engine below.
    #[must_use]
    pub fn simulation(&self) -> &Simulation {
        &self.simulation
    }

    /// The engine below, to change what this type has no word for.
    pub fn simulation_mut(&mut self) -> &mut Simulation {
        &mut self.simulation
    }
}

impl From<Simulation> for Cluster {
    /// A cluster of whatever processes the simulation has.
    fn from(simulation: Simulation) -> Self {
        Self { simulation }
    }
}

/// The id of the node with this index: n0, n1, ...
#[must_use]
pub fn node_id(index: usize) -> NodeId {
    // "n" and at most 20 digits keep the rule of ids.
    NodeId::new(&format!("n{index}")).unwrap_or_else(|_| unreachable!("n{index} is an id"))
}
