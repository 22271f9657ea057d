//! Two to five watched nodes in virtual time, on a network that loses, repeats, delays, reorders
//! and alters.
//!
//! Everything is decided by the calls: which of the datagrams of a link are lost, repeated or late
//! is a pattern of eight bits that goes round.

use std::collections::BTreeMap;
use std::time::Duration;

use telemetry_gossip_core::{
    Address, Config, Event, Identity, Input, Instance, Instant, NodeId, Status,
};

use crate::watched::Watched;

/// The most nodes in a cluster.
pub const MAX_NODES: usize = 5;

/// When it begins.
pub(crate) const START: Instant = Instant::from_millis(1_000);
/// Time on the wire.
const LATENCY: Duration = Duration::from_millis(1);
/// Time on the wire of a late datagram: longer than a gossip interval, shorter than a probe's
/// timeout.
const LATE: Duration = Duration::from_millis(250);
/// The most inputs of one virtual second: far above what five nodes may need, so reaching it is a
/// storm.
const STORM: u32 = 20_000;

/// How one direction between two nodes treats datagrams. Each pattern's bits go round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Which datagrams are lost.
    pub lose: u8,
    /// Which arrive twice.
    pub repeat: u8,
    /// Which come late, and so after later ones.
    pub delay: u8,
    /// No datagram arrives.
    pub cut: bool,
    /// The next datagram has a byte altered: (position, bits).
    pub alter: Option<(u16, u8)>,
    sent: u8,
}

/// A place where a node may run.
#[derive(Debug)]
struct Host<A> {
    address: A,
    node: Option<Watched<A>>,
    lives: u8,
    paused: bool,
    /// The host asked it to leave.
    leaving: bool,
}

/// A datagram under way.
#[derive(Clone, Debug)]
struct Parcel<A> {
    from: A,
    to: A,
    bytes: Vec<u8>,
    /// A node did not send it like this.
    forged: bool,
}

/// The cluster: hosts, the network between them, and what time it is.
#[derive(Debug)]
pub struct Cluster<A: Address + 'static> {
    config: Config,
    hosts: Vec<Host<A>>,
    links: [[Link; MAX_NODES]; MAX_NODES],
    under_way: BTreeMap<(Instant, u64), Parcel<A>>,
    parcels: u64,
    now: Instant,
    /// Datagrams that no node sent as they were have been accepted: strangers may be in the tables,
    /// and telemetry may be anything.
    pub forged: bool,
    /// Datagrams and bytes sent so far.
    pub traffic: (u64, u64),
    /// All inputs of the first host, if they are wanted.
    pub log: Option<Vec<(Instant, Input<'static, A>)>>,
    /// All datagrams sent, with their sender's host, if they are wanted.
    pub tap: Option<Vec<(usize, Vec<u8>)>>,
}

/// The id of the node on a host.
#[must_use]
pub fn id(host: usize) -> NodeId {
    NodeId::new(&format!("n{host}")).expect("the name is an id")
}

impl<A: Address + 'static> Cluster<A> {
    /// A node on each address; nobody knows anybody.
    #[must_use]
    pub fn new(config: Config, addresses: &[A]) -> Self {
        let hosts = addresses
            .iter()
            .map(|&address| Host { address, node: None, lives: 0, paused: false, leaving: false })
            .collect();
        let mut cluster = Self {
            config,
            hosts,
            links: Default::default(),
            under_way: BTreeMap::new(),
            parcels: 0,
            now: START,
            forged: false,
            traffic: (0, 0),
            log: None,
            tap: None,
        };
        for host in 0..cluster.len() {
            cluster.start(host, None);
        }
        cluster
    }

    /// How many hosts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there are no hosts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The node on a host, if one runs.
    #[must_use]
    pub fn node(&self, host: usize) -> Option<&Watched<A>> {
        self.hosts[host].node.as_ref()
    }

    /// The address of a host.
    #[must_use]
    pub fn address(&self, host: usize) -> A {
        self.hosts[host].address
    }

    /// The hosts on which a node runs that was not asked to leave.
    pub fn running(&self) -> impl Iterator<Item = (usize, &Watched<A>)> {
        let staying = self.hosts.iter().enumerate().filter(|(_, host)| !host.leaving);
        staying.filter_map(|(at, host)| Some((at, host.node.as_ref()?)))
    }

    /// One direction between two hosts.
    pub fn link(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from][to]
    }

    /// Every link works, and who was paused goes on.
    pub fn heal(&mut self) {
        self.links = Default::default();
        for host in 0..self.len() {
            self.resume(host);
        }
    }

    /// The seed and the instance of a node's life: `life` makes them new, as a host's entropy
    /// would.
    pub(crate) fn birth(host: usize, life: u8) -> ([u8; 32], Instance) {
        let host = u8::try_from(host).unwrap_or(u8::MAX);
        let mut seed = [host; 32];
        seed[0] = life;
        // Later lives have neither always the higher nor always the lower instance.
        let instance =
            u32::from(life).wrapping_mul(0x9e37_79b9) ^ u32::from(host).wrapping_mul(0x0101);
        (seed, Instance(instance | 1))
    }

    fn born(config: Config, (host, life): (usize, u8), address: A, now: Instant) -> Watched<A> {
        let (seed, instance) = Self::birth(host, life);
        let identity = Identity::new(id(host), address).instance(instance);
        Watched::new(config, identity, seed, now)
    }

    /// The first life of a node, as the cluster starts it.
    #[must_use]
    pub fn birthday(config: Config, host: usize, address: A) -> Watched<A> {
        Self::born(config, (host, 0), address, START)
    }

    /// Starts a node where none runs, perhaps at another address. It knows nothing, not even its
    /// generation.
    pub fn start(&mut self, host: usize, address: Option<A>) {
        if self.hosts[host].node.is_some() {
            return;
        }
        let life = self.hosts[host].lives;
        let address = address.unwrap_or(self.hosts[host].address);
        let node = Self::born(self.config.clone(), (host, life), address, self.now);
        self.hosts[host] = Host {
            address,
            node: Some(node),
            lives: life.wrapping_add(1),
            paused: false,
            leaving: false,
        };
    }

    /// The node ends without a word.
    pub fn crash(&mut self, host: usize) {
        self.hosts[host].node = None;
        self.hosts[host].leaving = false;
    }

    /// The node is not called any more; what arrives waits.
    pub fn pause(&mut self, host: usize) {
        self.hosts[host].paused = self.hosts[host].node.is_some();
    }

    /// The node is called again.
    pub fn resume(&mut self, host: usize) {
        self.hosts[host].paused = false;
    }

    /// A command of the host. Whether a node accepts it is its own business.
    pub fn command(&mut self, host: usize, input: Input<'static, A>) {
        if self.hosts[host].paused {
            return;
        }
        self.hosts[host].leaving |=
            matches!(input, Input::Leave) && self.hosts[host].node.is_some();
        self.input(host, input, false);
    }

    /// Asks all the others for the cluster.
    pub fn join(&mut self, host: usize) {
        let seeds: Vec<A> = self.hosts.iter().map(|host| host.address).collect();
        self.command(host, Input::Join { seeds: seeds.into() });
    }

    /// Bytes that no node sent arrive soon.
    pub fn forge(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        let (from, to) = (self.hosts[from].address, self.hosts[to].address);
        self.post(LATENCY, Parcel { from, to, bytes, forged: true });
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// If a node breaks a rule, or the nodes call each other without end.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        let mut second = self.now;
        let mut inputs = 0;
        loop {
            let parcel = self.next_parcel();
            let tick = self.next_tick();
            let next = parcel.map(|key| key.0).into_iter().chain(tick.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|&next| next <= end) else { break };
            self.now = self.now.max(next);
            if self.now >= second + Duration::from_secs(1) {
                (second, inputs) = (self.now, 0);
            }
            inputs += 1;
            assert!(
                inputs < STORM,
                "L6: a storm at {}: {} datagrams under way",
                self.now,
                self.under_way.len()
            );
            if let Some(key) = parcel.filter(|key| key.0 <= next)
                && let Some(parcel) = self.under_way.remove(&key)
            {
                self.deliver(parcel);
            } else if let Some((_, host)) = tick {
                self.input(host, Input::Tick, false);
            }
        }
        self.now = end;
    }

    /// The next datagram to arrive; what is for a paused node waits.
    fn next_parcel(&self) -> Option<(Instant, u64)> {
        let waits = |to: A| self.hosts.iter().any(|host| host.paused && host.address == to);
        self.under_way.iter().find(|(_, parcel)| !waits(parcel.to)).map(|(&key, _)| key)
    }

    fn next_tick(&self) -> Option<(Instant, usize)> {
        let called = self.hosts.iter().enumerate().filter(|(_, host)| !host.paused);
        called.filter_map(|(at, host)| Some((host.node.as_ref()?.node.poll_timeout()?, at))).min()
    }

    fn deliver(&mut self, parcel: Parcel<A>) {
        let Parcel { from, to, bytes, forged } = parcel;
        if let Some(host) = self.hosts.iter().position(|host| host.address == to) {
            self.input(host, Input::Datagram { from, bytes: bytes.into() }, forged);
        }
    }

    fn input(&mut self, at: usize, input: Input<'static, A>, forged: bool) {
        let now = self.now;
        let host = &mut self.hosts[at];
        let Some(watched) = &mut host.node else { return };
        if let Some(log) = self.log.as_mut().filter(|_| at == 0) {
            log.push((now, input.clone()));
        }
        let datagram = matches!(input, Input::Datagram { .. });
        let result = watched.handle(now, input);
        self.forged |= forged && result.is_ok();
        if datagram
            && !forged
            && let Err(error) = result
        {
            panic!("{} refuses what another node sent: {error}", id(at));
        }
        let (from, sent) = (host.address, core::mem::take(&mut watched.sent));
        let lost =
            watched.events.iter().any(|event| matches!(event, Event::IdentityConflict { .. }));
        assert!(
            !lost || self.forged,
            "{} sees a second process with its id, and there is none",
            id(at)
        );
        watched.events.clear();
        if !watched.node.health().active {
            assert!(
                host.leaving || self.forged,
                "{} fell silent and was not asked to leave",
                id(at)
            );
            host.node = None;
        }
        for (to, bytes) in sent {
            self.send(at, from, to, bytes);
        }
    }

    fn send(&mut self, at: usize, from: A, to: A, mut bytes: Vec<u8>) {
        self.traffic = (self.traffic.0 + 1, self.traffic.1 + bytes.len() as u64);
        if let Some(tap) = &mut self.tap {
            tap.push((at, bytes.clone()));
        }
        let Some(target) = self.hosts.iter().position(|host| host.address == to) else { return };
        let link = &mut self.links[at][target];
        let bit = 1_u8 << (link.sent % 8);
        link.sent = link.sent.wrapping_add(1);
        if link.cut || link.lose & bit != 0 {
            return;
        }
        let mut forged = false;
        if let Some((position, bits)) = link.alter.take() {
            let len = bytes.len();
            bytes[usize::from(position) % len] ^= bits;
            forged = true;
        }
        let late = if link.delay & bit != 0 { LATE } else { Duration::ZERO };
        let repeat = link.repeat & bit != 0;
        let parcel = Parcel { from, to, bytes, forged };
        if repeat {
            self.post(LATENCY + LATE, parcel.clone());
        }
        self.post(LATENCY + late, parcel);
    }

    fn post(&mut self, after: Duration, parcel: Parcel<A>) {
        self.under_way.insert((self.now + after, self.parcels), parcel);
        self.parcels += 1;
    }

    /// Why the cluster is not live, if it is not: each running node must hold each running one
    /// Alive at its address, and nobody that has gone live.
    pub fn defect(&self) -> Option<String> {
        for (at, watched) in self.running() {
            for (of, other) in self.running() {
                let me = other.node.me();
                let held = watched.node.member(me.id());
                let seen = held.map(|held| {
                    (held.status(), held.generation(), held.address(), held.instance())
                });
                let is = (Status::Alive, me.generation(), me.address(), me.instance());
                if seen != Some(is) {
                    return Some(format!("{} holds {} at {seen:?}, it is {is:?}", id(at), id(of)));
                }
                if let Some(held) = held
                    && !self.forged
                    && !held
                        .telemetry()
                        .map(|entry| (entry.key, entry.value, entry.version))
                        .eq(me.telemetry().map(|entry| (entry.key, entry.value, entry.version)))
                {
                    return Some(format!("{} lacks telemetry of {}", id(at), id(of)));
                }
            }
            for (gone, host) in self.hosts.iter().enumerate() {
                let held = watched.node.member(id(gone).as_str()).map(|member| member.status());
                // The view of whoever is cut off from most of what it held Alive is frozen, until a
                // limit if there is one.
                let isolated = watched.node.health().isolated_since.is_some();
                let frozen = isolated && self.config.isolation_limit.is_none();
                let resolved = frozen || matches!(held, None | Some(Status::Dead | Status::Left));
                if host.node.is_none() && !resolved {
                    return Some(format!("{} holds {} {held:?}, which has gone", id(at), id(gone)));
                }
            }
        }
        self.hosts
            .iter()
            .position(|host| host.leaving && host.node.is_some())
            .map(|at| format!("{} has not finished leaving", id(at)))
    }

    /// Running nodes of which no table of a running node leads to the first: they have never met,
    /// or each side has seen the other leave. Their hosts must join again, as only they know where.
    #[must_use]
    pub fn strangers(&self) -> Vec<usize> {
        let running: Vec<usize> = self.running().map(|(at, _)| at).collect();
        let mut met: Vec<usize> = running.iter().copied().take(1).collect();
        let mut next = 0;
        while let Some(&at) = met.get(next) {
            next += 1;
            for &other in &running {
                if !met.contains(&other) && (self.knows(at, other) || self.knows(other, at)) {
                    met.push(other);
                }
            }
        }
        running.into_iter().filter(|at| !met.contains(at)).collect()
    }

    fn knows(&self, at: usize, other: usize) -> bool {
        let held = self.hosts[at]
            .node
            .as_ref()
            .and_then(|watched| watched.node.member(id(other).as_str()));
        held.is_some_and(|held| {
            held.status() != Status::Left && held.address() == Some(self.hosts[other].address)
        })
    }
}
