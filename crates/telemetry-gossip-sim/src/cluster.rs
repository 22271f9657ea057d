//! A cluster for tests: start it, disturb it, let time pass, compare what its nodes hold.
//!
//! [`Cluster`] is a convenient front of [`Simulation`]. It panics where a test should fail: on a
//! broken rule of the protocol, on settings that no node can run with, on an index without a node.

use std::borrow::Cow;
use std::time::Duration;

use telemetry_gossip_core::{Event, Generation, Health, Input, Member, Node, NodeId, Status};
use telemetry_gossip_seal::{Keyring, KeyringError, SealStats};

use crate::process::{Memory, Place, Rejoin, Spawn, Usage};
use crate::simulation::{Logged, Settings, Simulation};
use crate::units::Share;

/// The time between two evaluations of the condition of [`Cluster::run_until`].
const GRAIN: Duration = Duration::from_millis(10);

/// The number of seeds of a node that joins or is restarted.
const SEEDS: usize = 3;

/// The state of a member in the view of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberState {
    /// The id of the member.
    pub id: NodeId,
    /// The status of the member.
    pub status: Status,
    /// The generation of the member.
    pub generation: Generation,
}

/// A simulated cluster of nodes n0, n1, ...
///
/// ```
/// use std::time::Duration;
/// use telemetry_gossip_core::Status;
/// use telemetry_gossip_sim::{Cluster, Settings};
///
/// let mut cluster = Cluster::new(Settings::default().nodes(10).seed(42));
/// cluster.start_joined();
/// assert!(cluster.views_complete_and_alive());
///
/// cluster.crash(7);
/// let dead = |cluster: &Cluster| cluster.everyone_holds(7, Status::Dead);
/// assert!(cluster.run_until(dead, Duration::from_secs(10)).is_some());
/// ```
#[derive(Debug)]
pub struct Cluster {
    simulation: Simulation,
}

impl Cluster {
    /// Starts the nodes; each of them knows only itself.
    ///
    /// # Panics
    /// Panics if no node can run with the configuration.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let simulation =
            Simulation::new(&settings).unwrap_or_else(|error| panic!("the config: {error}"));
        let mut cluster = Self::from(simulation);
        for _ in 0..settings.nodes {
            let index = cluster.len();
            cluster.spawn(Spawn::new(node_id(index)));
        }
        cluster
    }

    /// Joins all nodes through node 0, and returns the time until all views were complete.
    ///
    /// # Panics
    /// Panics if the views are not complete within a minute.
    pub fn start_joined(&mut self) -> Duration {
        for index in 1..self.len() {
            self.join(index, &[0]);
        }
        let complete = self.run_until(Self::views_complete_and_alive, Duration::from_secs(60));
        complete.unwrap_or_else(|| {
            panic!("not all views are complete 60 s after the join{}", self.replay())
        })
    }

    /// Introduces all nodes to each other by their hosts, in no time.
    pub fn start_known(&mut self) {
        let known: Vec<(NodeId, u32)> = (0..self.len())
            .filter_map(|index| self.simulation.id(index).zip(self.simulation.address(index)))
            .collect();
        let instances: Vec<_> =
            (0..self.len()).map(|index| self.node(index).me().instance()).collect();
        for index in 0..self.len() {
            for (other, &(id, address)) in known.iter().enumerate() {
                if other != index {
                    let (address, instance) = (Some(address), instances.get(other).copied());
                    self.command(
                        index,
                        Input::Introduce { id, address, instance, generation: Generation(0) },
                    );
                }
            }
        }
    }

    /// Lets `span` of virtual time pass.
    ///
    /// # Panics
    /// Panics if a rule of the protocol was broken.
    pub fn run_for(&mut self, span: Duration) {
        self.simulation.run_to(self.simulation.now() + span);
        self.assert_sound();
    }

    /// Lets time pass until `condition` holds, and returns the time that passed, with a resolution
    /// of 10 ms; `None` if the condition does not hold within `limit`.
    ///
    /// # Panics
    /// Panics if a rule of the protocol was broken.
    pub fn run_until(
        &mut self,
        condition: impl Fn(&Self) -> bool,
        limit: Duration,
    ) -> Option<Duration> {
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

    /// Whether `condition` holds now and every 10 ms until `span` has passed.
    ///
    /// # Panics
    /// Panics if a rule of the protocol was broken.
    pub fn stays(&mut self, condition: impl Fn(&Self) -> bool, span: Duration) -> bool {
        self.run_until(|cluster| !condition(cluster), span).is_none() && condition(self)
    }

    /// Asserts that no rule of the protocol was broken. Methods that let time pass call it too.
    ///
    /// # Panics
    /// Panics if a rule was broken.
    pub fn assert_sound(&self) {
        if let Some(first) = self.simulation.violations().first() {
            let found = self.simulation.violations_found();
            panic!(
                "rules of the protocol were broken {found} times, first: {first}{}",
                self.replay()
            );
        }
    }

    fn replay(&self) -> String {
        format!(" (seed {}, {} nodes, t={:?})", self.simulation.seed(), self.len(), self.now())
    }

    /// Adds a node that joins through running ones, and returns its index.
    pub fn add(&mut self) -> usize {
        self.add_as(Spawn::new(node_id(self.len())))
    }

    /// Adds a process that joins through running ones, and returns its index. Its id may be that of
    /// another process.
    ///
    /// # Panics
    /// Panics if the node refuses to start, because its generation is too high.
    pub fn add_as(&mut self, spawn: Spawn) -> usize {
        let index = self.spawn(spawn);
        self.join_through_running(index);
        index
    }

    /// Kills a node for good, and adds another one at its address that joins through running ones.
    ///
    /// # Panics
    /// Panics if the node refuses to start, because its generation is too high.
    pub fn replace(&mut self, index: usize) -> usize {
        self.crash(index);
        let spawn = Spawn::new(node_id(self.len()));
        let started = self.simulation.spawn_in_place_of(spawn, index);
        let index = started.unwrap_or_else(|error| panic!("{}: {error}", spawn.id));
        self.join_through_running(index);
        index
    }

    /// Adds a process that knows only itself, and returns its index. Its id may be that of another
    /// process.
    ///
    /// # Panics
    /// Panics if the node refuses to start, because its generation is too high.
    pub fn spawn(&mut self, spawn: Spawn) -> usize {
        self.simulation.spawn(spawn).unwrap_or_else(|error| panic!("{}: {error}", spawn.id))
    }

    /// Lets a node join through other nodes.
    ///
    /// # Panics
    /// Panics if the node refuses, or if one of the others does not exist.
    pub fn join(&mut self, index: usize, through: &[usize]) {
        let seeds: Vec<u32> = through.iter().map(|&seed| self.address(seed)).collect();
        self.command(index, Input::Join { seeds: Cow::Owned(seeds) });
    }

    fn join_through_running(&mut self, index: usize) {
        let running: Vec<usize> =
            self.simulation.taking_part().filter(|&other| other != index).take(SEEDS).collect();
        if !running.is_empty() {
            self.join(index, &running);
        }
    }

    /// Kills a node at once.
    pub fn crash(&mut self, index: usize) {
        self.simulation.crash(index);
    }

    /// Restarts a killed node at its address; it joins through running nodes.
    ///
    /// # Panics
    /// Panics if the node refuses to start.
    pub fn restart(&mut self, index: usize, memory: Memory) {
        self.restart_at(index, memory, Place::Same);
    }

    /// Restarts a killed node; it joins through running nodes.
    ///
    /// # Panics
    /// Panics if the node refuses to start.
    pub fn restart_at(&mut self, index: usize, memory: Memory, place: Place) {
        self.restart_with(index, memory, place, Rejoin::Running);
    }

    /// Restarts a killed node at its address, without its memory. It does not join.
    ///
    /// # Panics
    /// Panics if the node refuses to start.
    pub fn restart_alone(&mut self, index: usize) {
        self.restart_with(index, Memory::Lost, Place::Same, Rejoin::Alone);
    }

    /// Restarts a killed node.
    ///
    /// # Panics
    /// Panics if the node refuses to start.
    pub fn restart_with(&mut self, index: usize, memory: Memory, place: Place, rejoin: Rejoin) {
        self.simulation
            .restart(index, memory, place)
            .unwrap_or_else(|error| panic!("n{index}: {error}"));
        match rejoin {
            Rejoin::Running => self.join_through_running(index),
            Rejoin::Alone => {}
            Rejoin::OldSeeds => self.simulation.join_through_old_seeds(index),
            Rejoin::File => self.simulation.introduce_from_file(index),
        }
    }

    /// Joins groups of nodes that cannot find each other, because no node of one group has a record
    /// of, or a seed in, the other. One node of each group joins through the largest group. Returns
    /// false if there is only one group, which is nearly always the case.
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

    /// Lets the host of a node save its state, for a restart with [`Memory::Saved`].
    pub fn save(&mut self, index: usize) {
        self.simulation.save(index);
    }

    /// Pauses a node until it is resumed: it gets no calls, and its datagrams wait.
    pub fn pause(&mut self, index: usize) {
        self.simulation.pause(index);
    }

    /// Resumes a paused node.
    pub fn resume(&mut self, index: usize) {
        self.simulation.resume(index);
    }

    /// Blocks the socket of a node until it is unblocked. The timers of the node run.
    pub fn block(&mut self, index: usize) {
        self.simulation.block(index);
    }

    /// Unblocks the socket of a node; waiting datagrams pass.
    pub fn unblock(&mut self, index: usize) {
        self.simulation.unblock(index);
    }

    /// Lets a node send from a second address from now on; it states the first.
    pub fn send_elsewhere(&mut self, index: usize) {
        self.simulation.send_elsewhere(index);
    }

    /// Lets the address that a node states lead nowhere, until it is regained. What the node sends
    /// comes from a second address.
    pub fn lose_address(&mut self, index: usize) {
        self.simulation.lose_address(index);
    }

    /// Lets the address that a node states lead to it again.
    pub fn regain_address(&mut self, index: usize) {
        self.simulation.regain_address(index);
    }

    /// Changes the keys of a node's host.
    ///
    /// # Panics
    /// Panics if the hosts do not seal, or if the keyring refuses the change.
    pub fn rekey(
        &mut self,
        index: usize,
        change: impl FnOnce(&mut Keyring) -> Result<(), KeyringError>,
    ) {
        let ring =
            self.simulation.keyring_mut(index).unwrap_or_else(|| panic!("n{index} does not seal"));
        change(ring).unwrap_or_else(|error| panic!("the keys of n{index}: {error}"));
    }

    /// The counters of the seal of a node's current instance; all zero if the hosts do not seal.
    #[must_use]
    pub fn seal_stats(&self, index: usize) -> SealStats {
        self.simulation.seal(index).map(|seal| seal.stats()).unwrap_or_default()
    }

    /// Lets a node leave the cluster.
    ///
    /// # Panics
    /// Panics if the node refuses.
    pub fn leave(&mut self, index: usize) {
        self.command(index, Input::Leave);
    }

    /// Lets a node publish an entry of its telemetry.
    ///
    /// # Panics
    /// Panics if the node refuses.
    pub fn publish(&mut self, index: usize, key: &str, value: &[u8]) {
        self.command(
            index,
            Input::Publish { key: Cow::Borrowed(key), value: Cow::Borrowed(value), urgent: false },
        );
    }

    /// Passes a command to a node.
    ///
    /// # Panics
    /// Panics if the node refuses the command.
    pub fn command(&mut self, index: usize, input: Input<'_, u32>) {
        if let Err(error) = self.simulation.command(index, input) {
            panic!("n{index}: {error}{}", self.replay());
        }
    }

    /// Stops all datagrams between two groups of nodes, in both directions.
    pub fn partition(
        &mut self,
        left: impl IntoIterator<Item = usize> + Clone,
        right: impl IntoIterator<Item = usize> + Clone,
    ) {
        self.cut(left.clone(), right.clone());
        self.cut(right, left);
    }

    /// Stops all datagrams from one group of nodes to another, in this direction only.
    pub fn cut(
        &mut self,
        from: impl IntoIterator<Item = usize>,
        to: impl IntoIterator<Item = usize>,
    ) {
        self.simulation.cut(from, to);
    }

    /// Sets the share of datagrams from one node to another that is lost.
    pub fn lose(&mut self, from: usize, to: usize, loss: Share) {
        self.simulation.set_link_loss(from, to, loss);
    }

    /// Ends all partitions, cuts, rings and losses of single links.
    pub fn heal(&mut self) {
        self.simulation.heal();
    }

    /// The number of processes that were ever started.
    #[must_use]
    pub fn len(&self) -> usize {
        self.simulation.len()
    }

    /// Whether no process was ever started.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.simulation.is_empty()
    }

    /// Virtual time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.simulation.now()
    }

    /// The node of a process.
    ///
    /// # Panics
    /// Panics if the process is down or does not exist.
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

    /// The row of the member `of` in the table of `observer`; `None` if there is none, or if
    /// `observer` is down.
    #[must_use]
    pub fn held(&self, observer: usize, of: usize) -> Option<Member<'_, u32>> {
        self.simulation.node(observer)?.member(self.id(of).as_str())
    }

    /// The status of the member `of` in the table of `observer`.
    #[must_use]
    pub fn status(&self, observer: usize, of: usize) -> Option<Status> {
        self.held(observer, of).map(|member| member.status())
    }

    /// The generation of the member `of` in the table of `observer`.
    #[must_use]
    pub fn generation(&self, observer: usize, of: usize) -> Option<u64> {
        self.held(observer, of).map(|member| member.generation().0)
    }

    /// A value of the telemetry of `of`, as `observer` knows it.
    #[must_use]
    pub fn value(&self, observer: usize, of: usize, key: &str) -> Option<&[u8]> {
        Some(self.held(observer, of)?.value(key)?.value)
    }

    /// The view of a node, including itself, in the order of ids.
    #[must_use]
    pub fn view(&self, observer: usize) -> Vec<MemberState> {
        let held = |member: Member<'_, u32>| {
            let (status, generation) = (member.status(), member.generation());
            NodeId::new(member.id()).ok().map(|id| MemberState { id, status, generation })
        };
        let mut view: Vec<MemberState> = self.node(observer).members().filter_map(held).collect();
        view.sort_by_key(|held| held.id);
        view
    }

    /// The health of a node.
    #[must_use]
    pub fn health(&self, index: usize) -> Health {
        self.node(index).health()
    }

    /// The nodes that take part: they run, are paused or blocked, are members, and were not told to
    /// leave.
    pub fn taking_part(&self) -> impl Iterator<Item = usize> {
        self.simulation.taking_part()
    }

    /// Whether all nodes that take part, except `of` itself, hold `of` with this status.
    #[must_use]
    pub fn everyone_holds(&self, of: usize, status: Status) -> bool {
        self.all_hold(self.taking_part().filter(|&observer| observer != of), of, status)
    }

    /// Whether all `observers` hold `of` with this status.
    #[must_use]
    pub fn all_hold(
        &self,
        observers: impl IntoIterator<Item = usize>,
        of: usize,
        status: Status,
    ) -> bool {
        observers.into_iter().all(|observer| self.status(observer, of) == Some(status))
    }

    /// Whether each node that takes part holds exactly the nodes that take part Alive, and no node
    /// Suspected.
    #[must_use]
    pub fn views_complete_and_alive(&self) -> bool {
        let members: Vec<usize> = self.taking_part().collect();
        let complete = members.iter().all(|&observer| {
            let table = self.node(observer).membership();
            table.count_of(Status::Alive) as usize == members.len()
                && table.count_of(Status::Suspected) == 0
        });
        // Tables with one fingerprint hold the same live members, so compare one table of each.
        let mut seen = None;
        complete
            && members.iter().all(|&observer| {
                let fingerprint = self.node(observer).membership().fingerprint();
                seen.replace(fingerprint) == Some(fingerprint)
                    || self.all_alive_at(observer, &members)
            })
    }

    fn all_alive_at(&self, observer: usize, members: &[usize]) -> bool {
        members.iter().all(|&of| self.status(observer, of) == Some(Status::Alive))
    }

    /// The events of one node so far.
    pub fn events(&self, index: usize) -> impl Iterator<Item = (Duration, Event<u32>)> {
        self.log()
            .iter()
            .filter(move |logged| logged.node == index)
            .map(|logged| (logged.at, logged.event))
    }

    /// The events of all nodes so far.
    #[must_use]
    pub fn log(&self) -> &[Logged] {
        self.simulation.log()
    }

    /// The traffic of a process.
    #[must_use]
    pub fn usage(&self, index: usize) -> Usage {
        self.simulation.usage(index)
    }

    /// The simulation behind the cluster.
    #[must_use]
    pub fn simulation(&self) -> &Simulation {
        &self.simulation
    }

    /// The simulation behind the cluster, for operations that this type does not offer.
    pub fn simulation_mut(&mut self) -> &mut Simulation {
        &mut self.simulation
    }
}

impl From<Simulation> for Cluster {
    /// Creates a cluster of the processes of a simulation.
    fn from(simulation: Simulation) -> Self {
        Self { simulation }
    }
}

/// The id of the node with this index: n0, n1, ...
#[must_use]
pub fn node_id(index: usize) -> NodeId {
    // "n" and at most 20 digits are a valid id.
    NodeId::new(&format!("n{index}")).unwrap_or_else(|_| unreachable!("n{index} is an id"))
}
