//! Two to five watched nodes in virtual time, on a network that loses, repeats, delays, reorders
//! and alters datagrams.
//!
//! The caller decides everything: a repeating pattern of eight bits per link decides which of its
//! datagrams are lost, repeated or late.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use telemetry_gossip_core::{
    Address, Config, Event, Identity, Input, Instance, Instant, NodeId, Status,
};

use crate::watched::Watched;

/// The most nodes in a cluster.
pub const MAX_NODES: usize = 5;

/// The time at which a cluster starts.
pub(crate) const START: Instant = Instant::from_millis(1_000);
/// The usual latency of a datagram.
const LATENCY: Duration = Duration::from_millis(1);
/// The latency of a late datagram: longer than a gossip interval, and shorter than the timeout of
/// a probe.
const LATE: Duration = Duration::from_millis(250);
/// The most inputs per virtual second. Five nodes need far fewer, so that more are a storm.
const STORM: u32 = 20_000;

/// One direction between two nodes. Each pattern of eight bits repeats.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Which datagrams are lost.
    pub lose: u8,
    /// Which datagrams arrive twice.
    pub repeat: u8,
    /// Which datagrams arrive late, and therefore out of order.
    pub delay: u8,
    /// All datagrams are lost.
    pub cut: bool,
    /// Alters a byte of the next datagram: (position, bits).
    pub alter: Option<(u16, u8)>,
    sent: u8,
}

/// A host on which a node may run.
#[derive(Debug)]
struct Host<A> {
    address: A,
    /// The address from which the datagrams of the node come, if it is another one.
    source: Option<A>,
    node: Option<Watched<A>>,
    instances: u8,
    paused: bool,
    /// The host has told the node to leave.
    leaving: bool,
}

impl<A: Address> Host<A> {
    fn is_at(&self, address: A) -> bool {
        self.address == address || self.source == Some(address)
    }
}

/// A datagram in flight.
#[derive(Clone, Debug)]
struct InFlight<A> {
    from: A,
    to: A,
    bytes: Vec<u8>,
    /// No node has sent exactly these bytes.
    forged: bool,
}

/// A cluster: hosts, the network between them, and a virtual clock.
#[derive(Debug)]
pub struct Cluster<A: Address + 'static> {
    config: Config,
    hosts: Vec<Host<A>>,
    links: [[Link; MAX_NODES]; MAX_NODES],
    in_flight: BTreeMap<(Instant, u64), InFlight<A>>,
    datagrams: u64,
    now: Instant,
    /// A node has accepted a forged datagram. From then on tables may contain members that do not
    /// exist, and any telemetry.
    pub forged: bool,
    /// The numbers of datagrams and bytes sent so far.
    pub traffic: (u64, u64),
    /// All inputs of the first host, if set.
    pub log: Option<Vec<(Instant, Input<'static, A>)>>,
    /// All datagrams sent and the index of the sending host, if set.
    pub tap: Option<Vec<(usize, Vec<u8>)>>,
}

/// Returns the id of the node on a host.
#[must_use]
pub fn id(host: usize) -> NodeId {
    NodeId::new(&format!("n{host}")).expect("the name is a valid id")
}

impl<A: Address + 'static> Cluster<A> {
    /// Starts a node on each address. The nodes do not know each other.
    #[must_use]
    pub fn new(config: Config, addresses: &[A]) -> Self {
        let hosts = addresses
            .iter()
            .map(|&address| Host {
                address,
                source: None,
                node: None,
                instances: 0,
                paused: false,
                leaving: false,
            })
            .collect();
        let mut cluster = Self {
            config,
            hosts,
            links: Default::default(),
            in_flight: BTreeMap::new(),
            datagrams: 0,
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

    /// Returns the number of hosts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Returns whether there are no hosts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Returns the virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Returns the node on a host, if one is running.
    #[must_use]
    pub fn node(&self, host: usize) -> Option<&Watched<A>> {
        self.hosts[host].node.as_ref()
    }

    /// Returns the address of a host.
    #[must_use]
    pub fn address(&self, host: usize) -> A {
        self.hosts[host].address
    }

    /// Returns the running nodes that were not told to leave, with the index of their host.
    pub fn running(&self) -> impl Iterator<Item = (usize, &Watched<A>)> {
        let staying = self.hosts.iter().enumerate().filter(|(_, host)| !host.leaving);
        staying.filter_map(|(at, host)| Some((at, host.node.as_ref()?)))
    }

    /// Returns one direction between two hosts.
    pub fn link(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from][to]
    }

    /// Restores all links and resumes all paused nodes.
    pub fn heal(&mut self) {
        self.links = Default::default();
        for host in 0..self.len() {
            self.resume(host);
        }
    }

    /// Returns the seed and the instance of a node. Each `start` of it gets new ones, as from the
    /// entropy of a host.
    pub(crate) fn entropy(host: usize, start: u8) -> ([u8; 32], Instance) {
        let host = u8::try_from(host).unwrap_or(u8::MAX);
        let mut seed = [host; 32];
        seed[0] = start;
        // A later instance is sometimes the higher number and sometimes the lower one.
        let instance =
            u32::from(start).wrapping_mul(0x9e37_79b9) ^ u32::from(host).wrapping_mul(0x0101);
        (seed, Instance(instance | 1))
    }

    fn new_node(
        config: Config,
        (host, start): (usize, u8),
        address: A,
        now: Instant,
    ) -> Watched<A> {
        let (seed, instance) = Self::entropy(host, start);
        let identity = Identity::new(id(host), address).instance(instance);
        Watched::new(config, identity, seed, now)
    }

    /// Makes the first instance of a node, as the cluster starts it.
    #[must_use]
    pub fn first_node(config: Config, host: usize, address: A) -> Watched<A> {
        Self::new_node(config, (host, 0), address, START)
    }

    /// Starts a node on a host where none is running, perhaps at another address. The node knows
    /// nothing, not even its earlier generation.
    pub fn start(&mut self, host: usize, address: Option<A>) {
        if self.hosts[host].node.is_some() {
            return;
        }
        let count = self.hosts[host].instances;
        let address = address.unwrap_or(self.hosts[host].address);
        let node = Self::new_node(self.config.clone(), (host, count), address, self.now);
        self.hosts[host] = Host {
            address,
            source: None,
            node: Some(node),
            instances: count.wrapping_add(1),
            paused: false,
            leaving: false,
        };
    }

    /// Stops the node without a leave.
    pub fn crash(&mut self, host: usize) {
        self.hosts[host].node = None;
        self.hosts[host].leaving = false;
    }

    /// Lets the datagrams of a host come from another address, as behind a router that translates
    /// addresses. Those to either address reach the node.
    pub fn translate(&mut self, host: usize, source: A) {
        self.hosts[host].source = Some(source);
    }

    /// Pauses the node. Its datagrams wait.
    pub fn pause(&mut self, host: usize) {
        self.hosts[host].paused = self.hosts[host].node.is_some();
    }

    /// Resumes the node.
    pub fn resume(&mut self, host: usize) {
        self.hosts[host].paused = false;
    }

    /// Gives the node a command, which it may refuse.
    pub fn command(&mut self, host: usize, input: Input<'static, A>) {
        if self.hosts[host].paused {
            return;
        }
        self.hosts[host].leaving |=
            matches!(input, Input::Leave) && self.hosts[host].node.is_some();
        self.input(host, input, false);
    }

    /// Tells the node to join with all hosts as its seeds.
    pub fn join(&mut self, host: usize) {
        let seeds: Vec<A> = self.hosts.iter().map(|host| host.address).collect();
        self.command(host, Input::Join { seeds: seeds.into() });
    }

    /// Delivers bytes that no node has sent.
    pub fn forge(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        let (from, to) = (self.hosts[from].address, self.hosts[to].address);
        self.post(LATENCY, InFlight { from, to, bytes, forged: true });
    }

    /// Lets time pass.
    ///
    /// # Panics
    /// If a node breaks a rule, or the nodes exchange datagrams without end.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        let mut second = self.now;
        let mut inputs = 0;
        loop {
            let datagram = self.next_datagram();
            let tick = self.next_tick();
            let next = datagram.map(|key| key.0).into_iter().chain(tick.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|&next| next <= end) else { break };
            self.now = self.now.max(next);
            if self.now >= second + Duration::from_secs(1) {
                (second, inputs) = (self.now, 0);
            }
            inputs += 1;
            assert!(
                inputs < STORM,
                "L6: a storm at {}: {} datagrams in flight",
                self.now,
                self.in_flight.len()
            );
            if let Some(key) = datagram.filter(|key| key.0 <= next)
                && let Some(datagram) = self.in_flight.remove(&key)
            {
                self.deliver(datagram);
            } else if let Some((_, host)) = tick {
                self.input(host, Input::Tick, false);
            }
        }
        self.now = end;
    }

    /// Returns the key of the next datagram to arrive, except those for paused nodes.
    fn next_datagram(&self) -> Option<(Instant, u64)> {
        let waits = |to: A| self.hosts.iter().any(|host| host.paused && host.is_at(to));
        self.in_flight.iter().find(|(_, datagram)| !waits(datagram.to)).map(|(&key, _)| key)
    }

    fn next_tick(&self) -> Option<(Instant, usize)> {
        let called = self.hosts.iter().enumerate().filter(|(_, host)| !host.paused);
        called.filter_map(|(at, host)| Some((host.node.as_ref()?.node.poll_timeout()?, at))).min()
    }

    fn deliver(&mut self, datagram: InFlight<A>) {
        let InFlight { from, to, bytes, forged } = datagram;
        if let Some(host) = self.hosts.iter().position(|host| host.is_at(to)) {
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
        let is_datagram = matches!(input, Input::Datagram { .. });
        let result = watched.handle(now, input);
        self.forged |= forged && result.is_ok();
        if is_datagram
            && !forged
            && let Err(error) = result
        {
            panic!("{} refuses a datagram of another node: {error}", id(at));
        }
        let from = host.source.unwrap_or(host.address);
        let sent = core::mem::take(&mut watched.sent);
        let lost =
            watched.events.iter().any(|event| matches!(event, Event::IdentityConflict { .. }));
        assert!(
            !lost || self.forged,
            "{} reports a second process with its id, but there is none",
            id(at)
        );
        watched.events.clear();
        if !watched.node.health().active {
            assert!(
                host.leaving || self.forged,
                "{} has stopped but was not told to leave",
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
        let Some(target) = self.hosts.iter().position(|host| host.is_at(to)) else { return };
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
        let datagram = InFlight { from, to, bytes, forged };
        if repeat {
            self.post(LATENCY + LATE, datagram.clone());
        }
        self.post(LATENCY + late, datagram);
    }

    fn post(&mut self, after: Duration, datagram: InFlight<A>) {
        self.in_flight.insert((self.now + after, self.datagrams), datagram);
        self.datagrams += 1;
    }

    /// Returns the reason why the cluster is not live, if it is not.
    ///
    /// In a live cluster each running node considers each running node Alive, at its address and
    /// with its telemetry, and considers no stopped node live.
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
                    return Some(format!(
                        "{} knows {} as {seen:?}, but it is {is:?}",
                        id(at),
                        id(of)
                    ));
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
                // The view of an isolated node is frozen until the isolation limit, if there is
                // one.
                let isolated = watched.node.health().isolated_since.is_some();
                let frozen = isolated && self.config.isolation_limit.is_none();
                let resolved = frozen || matches!(held, None | Some(Status::Dead | Status::Left));
                if host.node.is_none() && !resolved {
                    return Some(format!(
                        "{} knows {} as {held:?}, but it has stopped",
                        id(at),
                        id(gone)
                    ));
                }
            }
        }
        self.hosts
            .iter()
            .position(|host| host.leaving && host.node.is_some())
            .map(|at| format!("{} has not finished leaving", id(at)))
    }

    /// Whether all running nodes remember the same of the members that are gone.
    ///
    /// That is no part of a live cluster, since nodes forget them at different times.
    #[must_use]
    pub fn remembers_the_same(&self) -> bool {
        let mut all = self.running().map(|(_, watched)| {
            let gone = watched
                .node
                .members()
                .filter(|member| matches!(member.status(), Status::Dead | Status::Left));
            gone.map(|member| {
                let claim = (member.status(), member.generation(), member.instance());
                (member.id().to_owned(), claim, member.address())
            })
            .collect::<BTreeSet<_>>()
        });
        let Some(first) = all.next() else { return true };
        all.all(|other| other == first)
    }

    /// Returns the running nodes that no chain of tables connects to the first running node.
    ///
    /// They have never met, or each side has seen the other leave. Only their hosts can connect
    /// them, by joining again.
    #[must_use]
    pub fn unconnected(&self) -> Vec<usize> {
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
