//! A registry that the nodes of a cluster follow in virtual time.
//!
//! The followers are those of `telemetry-gossip-registry`, as in production; the store is a list of
//! editions in memory that answers at once, or not at all. Each host reads with its own random
//! delays and keeps what it has read over a restart.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use telemetry_gossip_core::{Event, Input, Instant, Label, NodeId, Status as MemberStatus};
use telemetry_gossip_registry::follow::{
    Action, Fleet, Follower, Gone, Hint, Kept, Published, Settings, Status, TELEMETRY_KEY,
};
use telemetry_gossip_registry::{Edition, Head, Stamp, StoreError};

use crate::cluster::Cluster;

/// The longest time that passes before what the nodes tell their hosts is heard.
const GRAIN: Duration = Duration::from_millis(100);

/// A registry, and the hosts that follow it.
///
/// ```
/// use std::time::Duration;
/// use telemetry_gossip_registry::{ClusterId, Edition, Member, Stamp};
/// use telemetry_gossip_sim::{Cluster, Registry, Settings, node_id};
///
/// let mut cluster = Cluster::new(Settings::default().nodes(5).seed(42));
/// let members = (0..5).map(|index| (node_id(index), Member::default()));
/// let first = Edition::first(ClusterId::from_random([1; 16]), "", members)?;
/// let mut registry = Registry::new(first.clone());
/// (0..5).for_each(|index| registry.follow(&cluster, index));
/// cluster.start_joined();
///
/// registry.write(first.remove(&[node_id(4)], None, &Stamp::new("ana", "retired"))?);
/// registry.run_for(&mut cluster, Duration::from_secs(60));
/// assert!(registry.left(4).is_some());
/// assert_eq!(cluster.health(0).alive, 4);
/// # Ok::<(), telemetry_gossip_registry::edit::EditError>(())
/// ```
pub struct Registry {
    editions: Vec<Edition>,
    down: bool,
    hosts: BTreeMap<usize, Host>,
    /// What each host has on its disk.
    kept: BTreeMap<usize, Kept>,
    /// How many editions a host sees whose copy of the registry lags behind.
    seen: BTreeMap<usize, usize>,
    /// How many events of the cluster were heard.
    heard: usize,
    reads: u64,
    gone: BTreeMap<usize, Gone>,
}

struct Host {
    id: NodeId,
    follower: Follower,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.newest().version();
        f.debug_struct("Registry").field("version", &version).field("down", &self.down).finish()
    }
}

impl Registry {
    /// A registry with this first version, which no host follows yet.
    #[must_use]
    pub fn new(first: Edition) -> Self {
        Self {
            editions: vec![first],
            down: false,
            hosts: BTreeMap::new(),
            kept: BTreeMap::new(),
            seen: BTreeMap::new(),
            heard: 0,
            reads: 0,
            gone: BTreeMap::new(),
        }
    }

    /// The newest version.
    #[must_use]
    pub fn newest(&self) -> &Edition {
        // The first version is never taken away.
        &self.editions[self.editions.len() - 1]
    }

    /// Writes a version.
    pub fn write(&mut self, edition: Edition) {
        self.editions.push(edition);
    }

    /// Restores the registry from a backup that has its first versions only.
    pub fn restore(&mut self, versions: usize) {
        self.editions.truncate(versions.max(1));
    }

    /// Sets whether the store answers nothing.
    pub fn set_down(&mut self, down: bool) {
        self.down = down;
    }

    /// Lets a host see no more than the first versions, as where a tool has not copied the newest
    /// file yet; `None` ends that.
    pub fn show(&mut self, index: usize, versions: impl Into<Option<usize>>) {
        match versions.into() {
            Some(versions) => drop(self.seen.insert(index, versions)),
            None => drop(self.seen.remove(&index)),
        }
    }

    /// How often the store was asked for its head.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// Lets the host of a process that was just spawned follow the registry, with what an earlier
    /// process on this host has kept.
    pub fn follow(&mut self, cluster: &Cluster, index: usize) {
        let Some(id) = cluster.simulation().id(index) else { return };
        let mut seed = [0; 32];
        for (place, byte) in seed.iter_mut().zip(
            cluster
                .simulation()
                .seed()
                .to_le_bytes()
                .into_iter()
                .chain((index as u64).to_le_bytes()),
        ) {
            *place = byte;
        }
        let settings = Settings::new(id, Label::default(), seed);
        let follower = Follower::new(settings, self.kept.get(&index).cloned(), at(cluster.now()));
        self.hosts.insert(index, Host { id, follower });
        self.gone.remove(&index);
    }

    /// Kills a node and its host's follower. The disk stays.
    pub fn crash(&mut self, cluster: &mut Cluster, index: usize) {
        cluster.crash(index);
        self.hosts.remove(&index);
    }

    /// Wipes the disk of a host, as on another machine.
    pub fn forget(&mut self, index: usize) {
        self.kept.remove(&index);
    }

    /// Restarts a killed node, which goes by what its host has kept from its first datagram on.
    ///
    /// # Panics
    /// Panics if the node refuses to start.
    pub fn restart(&mut self, cluster: &mut Cluster, index: usize) {
        use crate::process::{Memory, Place, Rejoin};
        cluster.restart_with(index, Memory::Lost, Place::Same, Rejoin::Alone);
        self.follow(cluster, index);
        self.apply_kept(cluster, index);
        let seeds = cluster.taking_part().filter(|&other| other != index).take(3);
        let seeds: Vec<usize> = seeds.collect();
        if !seeds.is_empty() {
            cluster.join(index, &seeds);
        }
    }

    fn apply_kept(&mut self, cluster: &mut Cluster, index: usize) {
        let first = self.hosts.get(&index).and_then(|host| host.follower.first_config());
        if let Some((version, members)) = first {
            let members = Cow::Owned(members);
            cluster.command(index, Input::ApplyClusterConfig { version, members });
        }
    }

    /// Asks the host of a node to read now, as an operator's command does.
    pub fn ask(&mut self, cluster: &Cluster, index: usize) {
        if let Some(host) = self.hosts.get_mut(&index) {
            host.follower.on_hint(at(cluster.now()), Hint::Asked);
        }
    }

    /// What the host of a node makes of the registry; `None` while it is down.
    #[must_use]
    pub fn status(&self, index: usize) -> Option<&Status> {
        self.hosts.get(&index).map(|host| host.follower.status())
    }

    /// The version by which a node goes.
    #[must_use]
    pub fn in_force(&self, index: usize) -> Option<u64> {
        Some(self.status(index)?.in_force.as_ref()?.version)
    }

    /// Why a node has left by itself; `None` if it has not.
    #[must_use]
    pub fn left(&self, index: usize) -> Option<&Gone> {
        self.gone.get(&index)
    }

    /// Lets `span` of virtual time pass.
    ///
    /// # Panics
    /// Panics if a rule of the protocol was broken.
    pub fn run_for(&mut self, cluster: &mut Cluster, span: Duration) {
        let until = cluster.now() + span;
        loop {
            self.hear(cluster);
            self.carry_out_all(cluster);
            let now = cluster.now();
            if now >= until {
                return;
            }
            let due = self.hosts.values().filter_map(|host| host.follower.poll_timeout()).min();
            let wait = due.map_or(GRAIN, |due| due.since(at(now)));
            cluster.run_for(wait.clamp(Duration::from_millis(1), GRAIN).min(until - now));
        }
    }

    /// Lets time pass until `condition` holds, and returns the time that passed, with a resolution
    /// of 100 ms; `None` if it does not hold within `limit`.
    ///
    /// # Panics
    /// Panics if a rule of the protocol was broken.
    pub fn run_until(
        &mut self,
        cluster: &mut Cluster,
        condition: impl Fn(&Self, &Cluster) -> bool,
        limit: Duration,
    ) -> Option<Duration> {
        let start = cluster.now();
        while !condition(self, cluster) {
            if cluster.now() - start >= limit {
                return None;
            }
            self.run_for(cluster, GRAIN);
        }
        Some(cluster.now() - start)
    }

    /// Gives the hosts what their nodes have told since the last time.
    fn hear(&mut self, cluster: &Cluster) {
        let now = at(cluster.now());
        for logged in cluster.log().iter().skip(self.heard) {
            let Some(host) = self.hosts.get_mut(&logged.node) else { continue };
            let hint = match logged.event {
                Event::Telemetry { id, .. } if id != host.id => {
                    let node = cluster.simulation().node(logged.node);
                    let member = node.and_then(|node| node.member(id.as_str()));
                    let value = member.and_then(|member| member.value(TELEMETRY_KEY));
                    value
                        .and_then(|value| Published::parse(value.value))
                        .map(|published| Hint::Published { by: id, published })
                }
                Event::NotAMember { version, by, .. } => Some(Hint::NotAMember { version, by }),
                Event::Knocked { .. } => Some(Hint::Knocked),
                _ => None,
            };
            if let Some(hint) = hint {
                host.follower.on_hint(now, hint);
            }
        }
        self.heard = cluster.log().len();
    }

    fn carry_out_all(&mut self, cluster: &mut Cluster) {
        let now = at(cluster.now());
        let indices: Vec<usize> = self.hosts.keys().copied().collect();
        for index in indices {
            while let Some(action) =
                self.hosts.get_mut(&index).and_then(|host| host.follower.poll(now))
            {
                self.carry_out(cluster, index, action);
            }
        }
    }

    fn carry_out(&mut self, cluster: &mut Cluster, index: usize, action: Action) {
        let now = at(cluster.now());
        let seen = self.seen.get(&index).map_or(self.editions.len(), |&seen| seen);
        let editions = &self.editions[..seen.min(self.editions.len())];
        let down = || StoreError::Unreachable("it is down".to_owned());
        let Some(Host { id, follower }) = self.hosts.get_mut(&index) else { return };
        match action {
            Action::ReadHead => {
                self.reads += 1;
                follower.set_fleet(now, fleet(cluster, index, *id));
                let newest = editions.last().map(|newest| Head::of(newest, &Stamp::default()));
                follower.on_head(now, if self.down { Err(down()) } else { Ok(newest) });
            }
            Action::ReadDocument { version, .. } => {
                let found = editions.iter().rev().find(|edition| edition.version() == version);
                let bytes = found.map(|edition| edition.bytes().to_vec());
                follower.on_document(now, if self.down { Err(down()) } else { Ok(bytes) });
            }
            Action::Keep(kept) => {
                self.kept.insert(index, kept);
                follower.on_kept(now, Ok(()));
            }
            Action::Apply { version, members } => {
                let members = Cow::Owned(members);
                let input = Input::ApplyClusterConfig { version, members };
                let applied = cluster.simulation_mut().command(index, input);
                follower.on_applied(now, applied.map_err(|error| error.to_string()));
            }
            Action::Publish(value) => {
                let (key, value) = (Cow::Borrowed(TELEMETRY_KEY), Cow::Owned(value.into_bytes()));
                let input = Input::Publish { key, value, urgent: true };
                // A node that has left publishes nothing.
                let _ = cluster.simulation_mut().command(index, input);
            }
            // The seeds of a simulated node are set by its operation.
            Action::Seeds(_) | Action::Warn(_) => {}
            Action::Leave(gone) => {
                follower.on_left();
                self.gone.insert(index, gone);
                let _ = cluster.simulation_mut().command(index, Input::Leave);
            }
        }
    }
}

/// What the live members publish, as this node knows it.
fn fleet(cluster: &Cluster, index: usize, me: NodeId) -> Fleet {
    let Some(node) = cluster.simulation().node(index) else { return Fleet::default() };
    let others = node
        .members()
        .filter(|member| member.status() == MemberStatus::Alive && me != *member.id())
        .map(|member| Published::parse(member.value(TELEMETRY_KEY)?.value));
    // A node that has not joined may hear from no member; its follower waits some seconds.
    Fleet::new(others, node.health().joined)
}

fn at(time: Duration) -> Instant {
    Instant::ORIGIN + time
}
