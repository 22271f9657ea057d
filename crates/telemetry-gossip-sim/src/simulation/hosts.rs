//! The hosts of the nodes: they start, kill, restart, pause and resume processes, and pass
//! commands.

use std::time::Duration;

use telemetry_gossip_core::{
    CommandError, ConfigError, Generation, Identity, Input, InputError, Member, Node, NodeId,
    Status,
};

use super::checks::row;
use super::{Simulation, find_name};
use crate::checker::Name;
use crate::clock::Clock;
use crate::process::{Condition, Memory, Place, Process, Saved, Spawn, Usage};
use crate::rng::protocol_seed;
use crate::watch::News;

impl Simulation {
    /// Starts a process that knows only itself, and returns its index.
    ///
    /// # Errors
    /// Fails if the node refuses to start, because its generation is too high.
    pub fn spawn(&mut self, spawn: Spawn) -> Result<usize, ConfigError> {
        self.spawn_at(spawn, None)
    }

    /// As [`spawn`](Self::spawn), at the address of a process that is down.
    ///
    /// # Errors
    /// Fails if the node refuses to start, because its generation is too high.
    pub fn spawn_in_place_of(&mut self, spawn: Spawn, down: usize) -> Result<usize, ConfigError> {
        let address = self.processes.get(down).filter(|down| down.node.is_none());
        self.spawn_at(spawn, address.map(|down| down.address))
    }

    fn spawn_at(&mut self, spawn: Spawn, address: Option<u32>) -> Result<usize, ConfigError> {
        let index = self.processes.len();
        let name = self.name(spawn.id);
        let (address, node, clock) =
            self.start(index, 0, spawn.id, spawn.generation, spawn.clock_ppm, address)?;
        self.processes.push(Process {
            id: spawn.id,
            name,
            address,
            second: None,
            is_lost: false,
            node: Some(node),
            seal: self.new_seal(index, 0, None),
            paused: false,
            blocked: false,
            clock,
            clock_ppm: spawn.clock_ppm,
            took_over: None,
            instances: 1,
            wake: None,
            overslept: false,
            inbox: Default::default(),
            held: Default::default(),
            slowness: Duration::ZERO,
            lateness: Duration::ZERO,
            saved: None,
            first_probed: None,
            usage: Usage::default(),
            addition: Vec::new(),
            generation: spawn.generation.0,
            leaving: false,
            inputs: 0,
            seeds: Vec::new(),
            joined_through: Vec::new(),
            has_joined: false,
            file: Vec::new(),
        });
        self.run_started(index);
        Ok(index)
    }

    /// The name of an id; a new one if the id is unknown.
    pub(super) fn name(&mut self, id: NodeId) -> Name {
        if let Some(name) = find_name(&self.ids, &self.names, id.as_str()) {
            return name;
        }
        let name = Name(u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
        self.ids.push(id);
        self.names.insert(id.as_str().to_owned(), name);
        name
    }

    /// Creates the node of an instance, at `address` or a new one, and its clock.
    fn start(
        &mut self,
        index: usize,
        instance: u32,
        id: NodeId,
        generation: Generation,
        clock_ppm: i32,
        address: Option<u32>,
    ) -> Result<(u32, Node<u32>, Clock), ConfigError> {
        let address =
            address.unwrap_or_else(|| u32::try_from(self.owners.len()).unwrap_or(u32::MAX));
        // The origin of a clock is arbitrary: up to an hour of uptime.
        let shown = self.operations.micros_up_to(3_600_000_000);
        let clock = Clock::new(shown, self.now(), clock_ppm);
        let identity = Identity::new(id, address).generation(generation);
        let seed = protocol_seed(self.seed, index, instance);
        let node = Node::new(self.node_config(index), identity, seed, clock.read(self.now()))?;
        if self.owners.len() <= address as usize {
            self.owners.resize(address as usize + 1, None);
        }
        self.owners[address as usize] = u32::try_from(index).ok();
        Ok((address, node, clock))
    }

    /// Drains the first outputs of a new instance.
    fn run_started(&mut self, index: usize) {
        self.checker.started(index);
        self.settle(index);
    }

    /// Kills a process at once: it sends nothing more, and waiting datagrams are lost.
    pub fn crash(&mut self, index: usize) {
        let now = self.now();
        let Some(process) = self.processes.get_mut(index).filter(|process| process.node.is_some())
        else {
            return;
        };
        let Some(node) = process.node.take() else { return };
        self.killed_stats += *node.stats();
        // A node that lost its id to another process is no longer a member: its crash is no news.
        let active = node.health().active;
        // Take the current generation rather than the highest one ever: if all nodes have forgotten
        // the latter, they declare the node Dead at a lower one.
        let least = node.me().generation().0;
        process.file = node.members().filter_map(|member| introduction(&node, &member)).collect();
        process.paused = false;
        process.blocked = false;
        process.held.clear();
        process.wake = None;
        process.overslept = false;
        self.packets.free.extend(process.inbox.drain(..));
        let (name, leaving) = (process.name, process.leaving);
        self.watches.stopped(now, index);
        if !leaving && active {
            let waiting = self.waiting(index, |member| {
                !matches!(member.status(), Status::Dead) || member.generation().0 < least
            });
            let has_audience = waiting.contains(&true);
            self.watches.open(now, News::Crash, index, name, least, waiting);
            let id = self.processes[index].id;
            let held_at = |observer: &Process| {
                let member = observer.node.as_ref()?.member(id.as_str())?;
                let generation = member.generation().0;
                (member.status().is_live() && generation < least).then_some(generation)
            };
            let observers = self.processes.iter().enumerate();
            let behind = observers.filter_map(|(at, observer)| Some((at, held_at(observer)?)));
            if has_audience {
                self.watches.are_behind(name, behind.collect());
            }
        }
    }

    /// Restarts a killed process.
    ///
    /// # Errors
    /// Fails if the node refuses to start, because its generation is too high.
    pub fn restart(
        &mut self,
        index: usize,
        memory: Memory,
        place: Place,
    ) -> Result<(), ConfigError> {
        let Some(process) = self.processes.get(index).filter(|process| process.node.is_none())
        else {
            return Ok(());
        };
        let (id, ppm, instance, last, name) =
            (process.id, process.clock_ppm, process.instances, process.generation, process.name);
        let generation = match memory {
            Memory::Lost | Memory::Saved => Generation(0),
            // A host that keeps generations keeps to the highest at which a node may start.
            Memory::Kept => Generation(last + 1).min(Generation::MAX_START),
        };
        let old = process.address;
        // Another process may have its address by now.
        let owns = self.owners[old as usize].is_some_and(|owner| owner as usize == index);
        let address = match place {
            Place::Same => Some(old).filter(|_| owns),
            Place::New => None,
        };
        let restored = self.restored(index, memory);
        let goes_on = restored.is_some();
        let (address, node, clock) = match restored {
            Some((node, clock)) => (old, node, clock),
            None => self.start(index, instance, id, generation, ppm, address)?,
        };
        if address != old && owns {
            self.owners[old as usize] = None;
        }
        self.checker.restarted(name);
        let now = self.now();
        // The host keeps its keys, perhaps changed since the first start, across restarts.
        let ring = self.processes[index].seal.as_ref().map(|seal| seal.keyring().clone());
        let seal = self.new_seal(index, instance, ring);
        let process = &mut self.processes[index];
        process.node = Some(node);
        process.seal = seal;
        process.address = address;
        process.clock = clock;
        process.took_over = Some(now);
        process.instances += 1;
        process.generation = last.max(generation.0);
        process.leaving = false;
        process.first_probed = None;
        process.joined_through.clear();
        process.has_joined = false;
        // The return is known to nodes that hold the member Alive above all its earlier
        // generations.
        let back = |member: &Member<'_, u32>| {
            member.status() == Status::Alive && member.generation().0 > last
        };
        let waiting = self.waiting(index, |member| !back(&member));
        self.watches.open(now, News::Return, index, name, last + 1, waiting);
        if goes_on {
            self.run_restored(index, protocol_seed(self.seed, index, instance));
        } else {
            self.run_started(index);
        }
        Ok(())
    }

    /// Lets the host of a running process save the state of its node.
    pub fn save(&mut self, index: usize) {
        if let Some(process) = self.processes.get_mut(index)
            && let Some(node) = &process.node
            && !process.leaving
        {
            let (address, clock) = (process.address, process.clock);
            process.saved = node.snapshot().ok().map(|state| Saved { state, address, clock });
        }
    }

    /// Lets a node that was restored go on as a member.
    fn run_restored(&mut self, index: usize, entropy: [u8; 32]) {
        self.checker.started(index);
        let process = &self.processes[index];
        let own = process.name;
        for member in process.node.iter().flat_map(Node::members) {
            let name = find_name(&self.ids, &self.names, member.id());
            if let Some(name) = name.filter(|&name| name != own) {
                self.checker.restored(index, name, row(&member));
            }
        }
        // It is refused if another process had the id of the node when it was saved.
        _ = self.command(index, Input::Restored { entropy });
        self.settle(index);
    }

    /// The node of a saved state and its clock, if its process restarts from one.
    fn restored(&self, index: usize, memory: Memory) -> Option<(Node<u32>, Clock)> {
        let process = &self.processes[index];
        let owner = self.owners[process.address as usize];
        let saved = process.saved.as_ref().filter(|_| memory == Memory::Saved)?;
        // The node may have moved since, and another process may have its address by now.
        let owns = owner.is_some_and(|owner| owner as usize == index);
        if owns && saved.address == process.address {
            Some((Node::restore(&saved.state).ok()?, saved.clock))
        } else {
            None
        }
    }

    /// Marks the nodes that have still to learn news of `subject`: those that take part and whose
    /// row about it is missing or `ignorant`.
    fn waiting(&self, subject: usize, ignorant: impl Fn(Member<'_, u32>) -> bool) -> Vec<bool> {
        let id = self.processes[subject].id;
        let waits = |(index, process): (usize, &Process)| {
            index != subject
                && process.takes_part()
                && process
                    .node
                    .as_ref()
                    .and_then(|node| node.member(id.as_str()))
                    .is_none_or(&ignorant)
        };
        self.processes.iter().enumerate().map(waits).collect()
    }

    /// Lets a process append these bytes to each of its datagrams that has room for them: frames of
    /// unknown kinds, as a later version of the protocol might send. An empty slice ends this. The
    /// process itself does not understand them either, so this tests only that current nodes skip
    /// what a later version may send.
    pub fn add_to_datagrams(&mut self, index: usize, frames: &[u8]) {
        if let Some(process) = self.processes.get_mut(index) {
            process.addition = frames.to_vec();
        }
    }

    /// Pauses a process until it is resumed: its timers do not fire, and its datagrams wait.
    pub fn pause(&mut self, index: usize) {
        if let Some(process) =
            self.processes.get_mut(index).filter(|process| process.node.is_some())
        {
            process.paused = true;
        }
    }

    /// Resumes a paused process. Whether its timer or its socket is served first is random, as in
    /// reality.
    pub fn resume(&mut self, index: usize) {
        let timer_first = self.operations.chance(500_000);
        let Some(process) = self.processes.get_mut(index).filter(|process| process.paused) else {
            return;
        };
        process.paused = false;
        if timer_first {
            self.wake_late(index);
        }
        self.empty_inbox(index);
        // Has an effect only if the timer was not first.
        self.wake_late(index);
    }

    /// Ticks a node whose deadline passed while it was paused.
    fn wake_late(&mut self, index: usize) {
        if std::mem::take(&mut self.processes[index].overslept) {
            let _ = self.feed(index, Input::Tick);
        }
    }

    /// Slows a process down: it receives each datagram up to `by` late, at random, and its timers
    /// fire only at multiples of `by`, several of them together. Zero ends this.
    pub fn slow(&mut self, index: usize, by: Duration) {
        if let Some(process) = self.processes.get_mut(index) {
            process.slowness = by;
        }
    }

    /// Lets the timers of a process fire this much later than it asks for, as on a host that has
    /// too much to do. Zero ends this.
    pub fn delay_ticks(&mut self, index: usize, by: Duration) {
        if let Some(process) = self.processes.get_mut(index) {
            process.lateness = by;
            // Has an effect if its timer is due later than before.
            process.wake = None;
            self.arm(index, None);
        }
    }

    /// Sets the clock of a process ahead or back.
    pub fn jump(&mut self, index: usize, by: Duration, back: bool) {
        if let Some(process) = self.processes.get_mut(index) {
            process.clock.jump(by, back);
            self.arm(index, None);
        }
    }

    /// Lets the host of a process introduce `count` members that do not exist, each at an address
    /// without a process. Their ids are g0, g1, ...; a second call introduces the same ones.
    ///
    /// # Errors
    /// Fails if the node refuses an introduction.
    pub fn introduce_ghosts(&mut self, index: usize, count: usize) -> Result<(), InputError> {
        for ghost in 0..count {
            // The highest addresses, which no process will ever have.
            let address = Some(u32::MAX - u32::try_from(ghost).unwrap_or(0));
            let id = NodeId::new(&format!("g{ghost}"))
                .unwrap_or_else(|_| unreachable!("g{ghost} is an id"));
            self.command(
                index,
                Input::Introduce { id, address, instance: None, generation: Generation(0) },
            )?;
        }
        Ok(())
    }

    /// Passes a command to a node.
    ///
    /// # Errors
    /// Fails if the node refuses the command, or if the process neither runs nor is blocked.
    pub fn command(&mut self, index: usize, input: Input<'_, u32>) -> Result<(), InputError> {
        if !matches!(self.condition(index), Some(Condition::Running | Condition::Blocked)) {
            return Err(CommandError::Inactive.into());
        }
        let now = self.now();
        match &input {
            Input::Leave => {
                // Before the command is passed: it sends datagrams, and others may learn at once.
                self.processes[index].leaving = true;
                self.watches.stopped(now, index);
                let (name, least) = (self.processes[index].name, self.processes[index].generation);
                let waiting = self.waiting(index, |_| true);
                self.watches.open(now, News::Leave, index, name, least, waiting);
            }
            Input::Join { seeds } => {
                let process = &mut self.processes[index];
                process.joined_through = seeds.to_vec();
                process.has_joined = false;
                if process.instances == 1 {
                    process.seeds = seeds.to_vec();
                }
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

    /// Joins a restarted node through the seeds of its first start, if there were any.
    pub(crate) fn join_through_old_seeds(&mut self, index: usize) {
        let Some(process) = self.processes.get(index) else { return };
        let mut seeds = process.seeds.clone();
        seeds.retain(|&seed| seed != process.address);
        if !seeds.is_empty() {
            // A node that has just started refuses only a join without seeds.
            let _ = self.command(index, Input::Join { seeds: seeds.into() });
        }
    }

    /// Introduces the members in the file of its host to a restarted node.
    pub(crate) fn introduce_from_file(&mut self, index: usize) {
        let file = self.processes.get(index).map(|process| process.file.clone());
        for introduction in file.unwrap_or_default() {
            // A node may refuse an introduction that an altered datagram brought into the file.
            let _ = self.command(index, introduction);
        }
    }

    /// Whether one process can find another by itself: it holds the other at its current address as
    /// a member that has not left, or it is still joining and its seeds lead to the other and to no
    /// further process. A join through several seeds may end at any of them, and once it is over,
    /// what it brought may be replaced or forgotten.
    ///
    /// After lies a record is not enough: a member that has not answered, or is dead since, may be
    /// asked by another node only, or a few times, and then be forgotten.
    fn can_find(&self, from: usize, to: usize) -> bool {
        let (asking, asked) = (&self.processes[from], &self.processes[to]);
        let holds = |node: &Node<u32>| {
            let held = node.member(asked.id.as_str());
            held.is_some_and(|held| {
                held.status() != Status::Left
                    && (!self.liars.exist() || held.is_proved())
                    && held.address() == Some(asked.address)
            })
        };
        let mut seeds = asking.joined_through.iter().filter_map(|&seed| self.taking_part_at(seed));
        let only = seeds.next().filter(|_| seeds.next().is_none());
        let seeds_lead_there = only == Some(to) && !asking.has_joined;
        seeds_lead_there || asking.node.as_ref().is_some_and(holds)
    }

    /// The process that owns an address, if it takes part.
    fn taking_part_at(&self, address: u32) -> Option<usize> {
        let owner = self.owners.get(address as usize).copied().flatten()?;
        let index = usize::try_from(owner).ok()?;
        self.processes.get(index)?.takes_part().then_some(index)
    }

    /// The processes that take part, in groups that cannot find each other by themselves, the
    /// largest group first.
    pub(crate) fn groups(&self) -> Vec<Vec<usize>> {
        let mut rest: Vec<usize> = self.taking_part().collect();
        let mut groups = Vec::new();
        while let Some(first) = rest.first().copied() {
            let mut group = vec![first];
            rest.remove(0);
            let mut next = 0;
            while let Some(&member) = group.get(next) {
                next += 1;
                let meets = |other: &mut usize| {
                    self.can_find(member, *other) || self.can_find(*other, member)
                };
                group.extend(rest.extract_if(.., meets));
            }
            group.sort_unstable();
            groups.push(group);
        }
        // The sort is stable: of two groups of one size, that with the lowest index comes first.
        groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
        groups
    }

    fn own_telemetry(&self, index: usize) -> u64 {
        self.node(index).map_or(0, |node| node.me().telemetry_version())
    }

    /// Picks `count` random elements of `candidates`, from the stream of operations.
    pub fn pick(&mut self, candidates: &[usize], count: usize) -> Vec<usize> {
        let chosen = self.operations.choose(candidates.len(), count);
        chosen.into_iter().map(|place| candidates[place]).collect()
    }
}

/// The entry in the file of a host about a live member other than its own node.
fn introduction(node: &Node<u32>, member: &Member<'_, u32>) -> Option<Input<'static, u32>> {
    let live = matches!(member.status(), Status::Alive | Status::Suspected);
    let id = NodeId::new(member.id()).ok().filter(|_| live && member.id() != node.me().id())?;
    let (address, instance) = (member.address(), Some(member.instance()));
    Some(Input::Introduce { id, address, instance, generation: member.generation() })
}
