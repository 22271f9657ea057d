//! The node: routes inputs to the parts that decide, and their decisions to outbox, events and
//! timers.
//!
//! - `receive`: a datagram's frames, and the one reply to it
//! - `learn`: a claim about a member, what follows from it, and this node's refutations
//! - `touch`: suspicions that run out, roll calls, isolation
//! - `tick`: everything else that is due
//! - `command`: what the host wants
//! - `session`: sync sessions and exchanges
//! - `flights`: telemetry along the trees
//! - `transmit`: intents become bytes
//! - `snapshot`: the whole state as bytes, and back

mod command;
mod flights;
mod learn;
mod receive;
mod session;
pub(crate) mod snapshot;
#[cfg(test)]
mod tests;
mod tick;
mod touch;
mod transmit;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::budget::Budget;
use crate::cluster::ClusterConfig;
use crate::config::{Config, ConfigError, Mode};
use crate::contact::Contact;
use crate::dissemination::{Dissemination, send_limit};
use crate::error::InputError;
use crate::event::Event;
use crate::history::{Explanation, History, OpenSuspicion};
use crate::id::{
    Generation, IdHash, Instance, NodeId, RequestId, full_id_hash, id_hash_of, keyed_hash,
};
use crate::input::{Identity, Input};
use crate::join::{Joining, Pages};
use crate::local_health::LocalHealth;
use crate::member::{Accusers, Claim, Status};
use crate::membership::{Member, Membership, Slot};
use crate::outbox::{Intent, Outbox};
use crate::patience::Patience;
use crate::probe::{Cycle, Probe};
use crate::relay::Relays;
use crate::rng::Random;
use crate::schedule::{Pacer, Rounds};
use crate::stats::{Health, Stats};
use crate::suspicion::Suspicions;
use crate::sync::{Pace, Partners, Plans, Session, TelemetryPace};
use crate::time::Instant;
use crate::tombstone::Tombstones;
use crate::tree::Trees;

pub use transmit::Transmit;

/// The most events that wait for the host.
const MAX_EVENTS: usize = 65_536;

/// Room for events that is kept once they are polled.
const EVENTS_KEPT: usize = 16;

/// Room for the telemetry changes of one datagram of usual size; larger ones make more.
const CHANGES: usize = 32;

/// How long a challenge stands, at least; at most twice as long.
const CHALLENGE_SPAN: core::time::Duration = core::time::Duration::from_secs(10);

/// The most failed probes that await a roll call. It takes less than as many probe intervals.
const CHARGES: usize = 8;

/// With how many members a newcomer compares its table at most.
const CATCH_UPS: u8 = 10;

/// How often another process must outbid this one before it is held to live.
const OUTBIDS: u8 = 3;

/// One node of the cluster: a pure state machine.
///
/// The host passes in what happens ([`Node::handle`]) and carries out what follows: it drains
/// [`Node::poll_transmit`] and [`Node::poll_event`] to `None` after every input, and sends a
/// [`Input::Tick`] at [`Node::poll_timeout`]. The node has no clock, no socket and no randomness
/// but its seed: one seed and one sequence of inputs give one sequence of outputs, on every
/// platform.
///
/// ```
/// use telemetry_gossip_core::{Config, Event, Identity, Input, Instant, Node, Status};
///
/// let now = Instant::ORIGIN;
/// let node = |name: &str, port: u32, seed: u8| {
///     Node::new(Config::default(), Identity::new(name.parse().unwrap(), port), [seed; 32], now)
/// };
/// let (mut a, mut b) = (node("a", 1, 1)?, node("b", 2, 2)?);
/// a.handle(now, Input::Join { seeds: vec![2].into() })?;
///
/// // A network of two: whatever one sends, the other gets.
/// let mut buf = [0; 1_400];
/// loop {
///     if let Some(datagram) = a.poll_transmit(&mut buf) {
///         b.handle(now, Input::Datagram { from: 1, bytes: buf[..datagram.len].into() })?;
///     } else if let Some(datagram) = b.poll_transmit(&mut buf) {
///         a.handle(now, Input::Datagram { from: 2, bytes: buf[..datagram.len].into() })?;
///     } else {
///         break;
///     }
/// }
/// assert_eq!(a.member("b").unwrap().status(), Status::Alive);
/// assert_eq!(b.member("a").unwrap().status(), Status::Alive);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Node<A> {
    config: Config,
    id: NodeId,
    address: A,
    id_hash: IdHash,
    instance: Instance,
    me: Slot,
    activity: Activity,
    now: Instant,
    /// Nothing was under way but probes when that was last looked at: after whatever can begin
    /// something else.
    quiet: bool,
    rng: Random,

    table: Membership<A>,
    /// The table is the host's, lent for a while: rows may have come without this node's knowledge.
    lent: bool,
    cluster: ClusterConfig,
    suspicions: Suspicions,
    tombstones: Tombstones,
    news: Dissemination,
    gossiped_at: Option<Instant>,
    trees: Trees,
    /// When this node's telemetry is told to those who did not know it before.
    debut: Option<Instant>,
    budget: Budget,

    cycle: Cycle,
    probe: Option<Probe<A>>,
    probe_at: Instant,
    /// When the last probe began that no host asked for.
    probed_at: Instant,
    /// The round of the next.
    round: u64,
    rounds: Rounds,
    pacer: Pacer,
    /// This node's rank among the live members, at this version of the roster.
    rank: (u32, usize),
    probes_wanted: VecDeque<NodeId>,
    relays: Relays<A>,
    local_health: LocalHealth,
    contact: Contact,
    /// Members whose probes failed, and that are accused once a roll call succeeds.
    charges: Vec<Probe<A>>,
    patience: Patience<A>,
    history: History,
    /// A cluster config removed members while the node was isolated.
    config_may_reconnect: bool,
    reconnect_at: Instant,
    /// The key of the challenges.
    secret: u64,
    rival: Option<Rival>,
    /// Who accuses this node in the datagram at hand, and is to be told that it is wrong.
    wrong: Accusers,

    join: Option<Joining<A>>,
    pages: Pages,
    session: Option<Session<A>>,
    catch_up: Option<CatchUp<A>>,
    exchange: Option<Exchange>,
    exchanges_wanted: usize,
    pace: Pace,
    telemetry_pace: TelemetryPace,
    partners: Partners,
    plans: Plans,

    outbox: Outbox<A>,
    events: VecDeque<Event<A>>,
    /// Telemetry that changed: frequent, so kept small until the host polls.
    changed: VecDeque<(Slot, u64, u64)>,
    stats: Stats,
}

/// The earlier of two times, where there are any.
fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (Some(at), None) | (None, Some(at)) => Some(at),
        (None, None) => None,
    }
}

/// Whether the node takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Activity {
    Active,
    /// It has said that it leaves, and stays until that is told or this time comes.
    Leaving(Instant),
    /// It has left, or lost its id to another process.
    Inactive,
}

/// Another process with this node's id.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Rival {
    instance: Instance,
    outbids: u8,
    /// The next one that counts comes no sooner: what claims itself again and again at once is no
    /// process.
    not_before: Instant,
}

/// A newcomer compares its table with others until it finds no difference: where many join at once,
/// each was told only of those who came before.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct CatchUp<A> {
    at: Instant,
    left: u8,
    /// The seed has enough to do.
    seed: A,
}

/// The parts that invariants relate.
pub(crate) struct Parts<'a, A> {
    pub(crate) table: &'a Membership<A>,
    pub(crate) news: &'a Dissemination,
    pub(crate) trees: &'a Trees,
    pub(crate) suspicions: &'a Suspicions,
    pub(crate) tombstones: &'a Tombstones,
    /// Without a common schedule, how many it has in SWIM's order.
    pub(crate) cycle: Option<usize>,
    pub(crate) relays: usize,
    pub(crate) flaps: usize,
    pub(crate) history: &'a History,
    pub(crate) lent: bool,
    pub(crate) active: bool,
}

/// An exchange that the host asked for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Exchange {
    attempts_left: u8,
}

impl<A: Address> Node<A> {
    /// A node that knows only itself. `seed` decides all its random choices; take it from the
    /// system's entropy in production, and never twice.
    pub fn new(
        config: Config,
        identity: Identity<A>,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let Identity { id, address, generation, instance } = identity;
        if generation > Generation::PLAUSIBLE_START {
            return Err(ConfigError::Generation { generation: generation.0 });
        }
        let mut buf = [0; MAX_ADDRESS_LEN];
        let len = address.encode(&mut buf);
        if buf.get(..len).filter(|bytes| !bytes.is_empty()).and_then(A::decode) != Some(address) {
            return Err(ConfigError::Address { len });
        }
        let mut rng = Random::new(seed);
        let drawn = Instance(rng.word().max(1));
        let instance =
            instance.unwrap_or(if config.mode == Mode::ProbeOnly { Instance(0) } else { drawn });
        let secret = u64::from(rng.word()) << 32 | u64::from(rng.word());
        let mut node = Self {
            id,
            address,
            id_hash: id_hash_of(full_id_hash(id.as_str().as_bytes())),
            instance,
            me: Slot(0),
            activity: Activity::Active,
            now,
            quiet: false,
            table: Membership::new(config.max_members),
            lent: false,
            cluster: ClusterConfig::default(),
            suspicions: Suspicions::default(),
            tombstones: Tombstones::default(),
            news: Dissemination::default(),
            gossiped_at: None,
            trees: Trees::default(),
            debut: None,
            budget: Budget::new(config.byte_budget, now),
            cycle: Cycle::default(),
            probe: None,
            // Nodes that start together do not probe together.
            probe_at: now + config.probe_interval,
            probed_at: now,
            round: 0,
            rounds: Rounds::new(now, config.probe_interval),
            pacer: Pacer::new(config.probe_interval),
            rank: (0, 0),
            probes_wanted: VecDeque::new(),
            relays: Relays::new(),
            local_health: LocalHealth::new(config.detector.local_health),
            contact: Contact::default(),
            charges: Vec::new(),
            patience: Patience::new(),
            history: History::default(),
            config_may_reconnect: false,
            reconnect_at: now,
            secret,
            rival: None,
            wrong: Accusers::new(),
            join: None,
            pages: Pages::default(),
            session: None,
            catch_up: None,
            exchange: None,
            exchanges_wanted: 0,
            pace: Pace::default(),
            telemetry_pace: TelemetryPace::default(),
            partners: Partners::default(),
            plans: Plans::new(),
            outbox: Outbox::new(),
            events: VecDeque::new(),
            changed: VecDeque::with_capacity(CHANGES),
            stats: Stats::default(),
            rng,
            config,
        };
        node.probe_at = now + node.jitter(node.config.probe_interval);
        node.reconnect_at = now + node.jitter(node.config.reconnect_interval);
        node.enter_table(generation);
        Ok(node)
    }

    /// Makes sure that the table has this node's own row.
    fn enter_table(&mut self, generation: Generation) {
        let claim = Claim {
            id: self.id.as_str(),
            address: Some(self.address),
            instance: self.instance,
            generation,
            status: Status::Alive,
            accusers: Accusers::new(),
            age_secs: 0,
        };
        let (_, slot) = self.table.merge_at(self.now, &claim);
        // A valid config admits one member at least, and the table is empty or has this row.
        self.me = slot.unwrap_or(Slot(0));
        self.table.set_me(self.me);
        self.table.heard(self.me, self.now, true);
        self.news.push(self.me);
        self.emit(Event::Joined { id: self.id, address: Some(self.address), generation });
    }

    /// Something happened at `now`; a `now` earlier than the latest is taken for the latest.
    ///
    /// An error changes nothing but a counter: [`InputError::Datagram`] is the peer's fault,
    /// [`InputError::Command`] the host's.
    pub fn handle(&mut self, now: Instant, input: Input<'_, A>) -> Result<(), InputError> {
        let now = now.max(self.now);
        self.notice_pause(now);
        self.now = now;
        let result = match input {
            Input::Tick => {
                self.tick();
                Ok(())
            }
            Input::Datagram { from, bytes } => self.receive(from, &bytes).map_err(InputError::from),
            command => {
                let result = self.command(command).map_err(InputError::from);
                if result.is_ok() {
                    self.quiet = self.is_quiet();
                }
                result
            }
        };
        debug_assert_eq!(self.check_invariants(), Ok(()), "after {now}");
        result
    }

    /// The next thing to tell the host.
    pub fn poll_event(&mut self) -> Option<Event<A>> {
        let waiting = !self.events.is_empty() || !self.changed.is_empty();
        if waiting || self.events.capacity() > EVENTS_KEPT { self.next_event() } else { None }
    }

    #[inline(never)]
    fn next_event(&mut self) -> Option<Event<A>> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if self.events.capacity() > EVENTS_KEPT {
            // The burst of a join or a partition is over.
            self.events.shrink_to(0);
        }
        let (slot, since, version) = self.changed.pop_front()?;
        Some(Event::Telemetry { id: self.table.id(slot), since, version })
    }

    /// When to send the next [`Input::Tick`]; `None` if nothing is due before the next datagram or
    /// command.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.activity == Activity::Inactive {
            return None;
        }
        let autonomous = self.config.mode == Mode::Autonomous;
        let probing = match &self.probe {
            Some(probe) => Some(probe.deadline),
            None if !self.probes_wanted.is_empty() => Some(self.now),
            None => (autonomous && self.has_others()).then_some(self.probe_at),
        };
        debug_assert!(!self.quiet || self.other_deadlines().is_none());
        if self.quiet { probing } else { sooner(probing, self.other_deadlines()) }
    }

    /// Whether nothing is under way but probes, as in most nodes at most times.
    #[inline(never)]
    pub(super) fn is_quiet(&self) -> bool {
        self.news.is_idle()
            && self.trees.is_idle()
            && self.session.is_none()
            && self.suspicions.deadline().is_none()
            && self.tombstones.is_empty()
            && self.contact.is_quiet()
            && self.relays.len() == 0
            && self.patience.is_quiet()
            && self.charges.is_empty()
            && self.debut.is_none()
            && self.join.is_none()
            && self.catch_up.is_none()
            && self.activity == Activity::Active
    }

    /// What is due besides probes.
    #[inline(never)]
    fn other_deadlines(&self) -> Option<Instant> {
        let autonomous = self.config.mode == Mode::Autonomous;
        let leaving = match self.activity {
            Activity::Leaving(until) if self.news.is_news(self.me) => Some(until),
            // All is told: some time for the last datagrams to be sent.
            Activity::Leaving(until) => self
                .gossiped_at
                .map(|at| until.min(at + self.config.gossip_interval))
                .or(Some(until)),
            Activity::Active | Activity::Inactive => None,
        };
        let reconnecting = (autonomous && !self.tombstones.is_empty()).then_some(self.reconnect_at);
        let mut due = sooner(leaving, reconnecting);
        due = sooner(due, self.gossip_deadline());
        due = sooner(due, self.flight_deadline());
        due = sooner(due, self.debut);
        due = sooner(due, self.suspicion_deadline());
        due = sooner(due, self.patience.deadline());
        due = sooner(due, self.contact.deadline(self.config.isolation_limit));
        due = sooner(
            due,
            (!self.charges.is_empty() && !self.contact.is_calling()).then_some(self.now),
        );
        due = sooner(due, self.relays.deadline());
        due = sooner(due, self.tombstones.deadline());
        due = sooner(due, self.join.as_ref().map(Joining::deadline));
        due = sooner(due, self.session.as_ref().map(|session| session.deadline));
        let catch_up = self.catch_up.as_ref().filter(|_| self.session.is_none());
        sooner(due, catch_up.map(|catch_up| catch_up.at))
    }

    /// All members, this node and the remembered dead included, in an order that is the same on
    /// every node.
    pub fn members(&self) -> impl Iterator<Item = Member<'_, A>> {
        self.table.iter()
    }

    /// The member called `id`.
    #[must_use]
    pub fn member(&self, id: &str) -> Option<Member<'_, A>> {
        self.table.get(id)
    }

    /// Why the member called `id` is held to be what it is: who accuses it, what this node's own
    /// probes of it found, how it refuted, and when; `None` if it is not known.
    ///
    /// ```
    /// # use telemetry_gossip_core::{Config, Identity, Input, Instant, Node, NodeId};
    /// # let identity = Identity::new("a".parse()?, 1_u32);
    /// # let mut node = Node::new(Config::default(), identity, [0; 32], Instant::ORIGIN)?;
    /// # let (id, generation) = ("b".parse::<NodeId>()?, Default::default());
    /// # node.handle(Instant::ORIGIN, Input::Introduce { id, address: Some(2), instance: None, generation })?;
    /// // `node` knows b at an address where nobody listens.
    /// while node.member("b").is_some_and(|member| member.status().is_live()) {
    ///     let at = node.poll_timeout().unwrap();
    ///     node.handle(at, Input::Tick)?;
    ///     # while node.poll_transmit(&mut [0; 1_400]).is_some() {}
    /// }
    /// let why = node.explain("b").unwrap().to_string();
    /// assert!(why.contains("did not answer this node's probe"), "{why}");
    /// assert!(why.contains("declared dead by this node"), "{why}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn explain(&self, id: &str) -> Option<Explanation> {
        let slot = self.table.find(id)?;
        let row = self.table.row(slot);
        let suspicion = self.suspicions.get(slot).map(|suspected| OpenSuspicion {
            since: suspected.started,
            until: suspected.deadline,
            accusers: suspected.accusers.to_vec(),
        });
        let mut explanation = Explanation {
            id: self.table.id(slot),
            status: row.status,
            generation: row.generation,
            now: self.now,
            last_observed: row.observed(),
            round_trip: row.round_trip.longest(),
            flaps: self.patience.flaps(slot, self.now),
            suspicion,
            isolated: self.contact.is_isolated(),
            history: self.history.of(slot).copied().collect(),
            names: Vec::new(),
        };
        let mut id_hashes: Vec<IdHash> = explanation.id_hashes().collect();
        id_hashes.sort_unstable();
        id_hashes.dedup();
        let name = |id_hash: IdHash| {
            Some((id_hash, self.table.id(self.table.with_id_hash(id_hash).next()?)))
        };
        explanation.names = id_hashes.into_iter().filter_map(name).collect();
        Some(explanation)
    }

    /// This node itself.
    #[must_use]
    pub fn me(&self) -> Member<'_, A> {
        self.table.member(self.me)
    }

    /// Where the others reach this node.
    #[must_use]
    pub fn address(&self) -> A {
        self.address
    }

    /// The table.
    #[must_use]
    pub fn membership(&self) -> &Membership<A> {
        &self.table
    }

    /// How the node is.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            local_health: self.local_health.score(),
            isolated_since: self.contact.isolated_since(),
            alive: self.table.count_of(Status::Alive),
            suspected: self.table.count_of(Status::Suspected),
            dead: self.table.count_of(Status::Dead) + self.table.count_of(Status::Left),
            active: self.activity != Activity::Inactive,
        }
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The latest time that the node was told.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Lends the node another table for the time of `f`: it handles inputs and encodes datagrams on
    /// that one. This node's own row is entered first if it is missing, beyond the table's limit if
    /// need be.
    ///
    /// For hosts whose table is shared with others; the node should be in [`Mode::OnDemand`], as it
    /// cannot know what else happens to the table.
    pub fn with_table<T>(
        &mut self,
        table: &mut Membership<A>,
        f: impl FnOnce(&mut Self) -> T,
    ) -> T {
        core::mem::swap(&mut self.table, table);
        let (lent, me, instance) = (self.lent, self.me, self.instance);
        self.lent = true;
        match self.table.find(self.id.as_str()) {
            Some(slot) => {
                self.me = slot;
                self.instance = self.table.row(slot).instance;
                self.table.set_me(slot);
                self.correct_me();
            }
            None => {
                self.table.make_room();
                self.enter_table(Generation(0));
            }
        }
        let result = f(self);
        (self.lent, self.me, self.instance) = (lent, me, instance);
        core::mem::swap(&mut self.table, table);
        result
    }

    /// The host may have entered this node's row itself, without its address or in doubt.
    fn correct_me(&mut self) {
        let generation = self.table.row(self.me).generation;
        for generation in [generation, generation.next()] {
            let held = self.table.claim(self.me);
            if held.status != Status::Alive || held.address != Some(self.address) {
                self.state_of_me(generation, Status::Alive);
            }
        }
    }

    /// Bytes of heap memory that the node holds; queues whose entries are few and fixed in size
    /// aside.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.table.heap_bytes()
            + self.cycle.heap_bytes()
            + self.news.heap_bytes()
            + self.trees.heap_bytes()
            + self.outbox.heap_bytes()
            + self.plans.heap_bytes()
            + self.contact.heap_bytes()
            + self.history.heap_bytes()
            + self.events.capacity() * size_of::<Event<A>>()
            + self.changed.capacity() * size_of::<(Slot, u64, u64)>()
    }

    /// What the invariants are about.
    pub(crate) fn parts(&self) -> Parts<'_, A> {
        Parts {
            table: &self.table,
            news: &self.news,
            trees: &self.trees,
            suspicions: &self.suspicions,
            tombstones: &self.tombstones,
            cycle: (!self.config.detector.shared_schedule).then(|| self.cycle.len()),
            relays: self.relays.len(),
            flaps: self.patience.len(),
            history: &self.history,
            lent: self.lent,
            active: self.activity == Activity::Active,
        }
    }

    /// A new member takes its place in SWIM's order of probing. The common schedule has the
    /// roster's.
    fn enter_cycle(&mut self, slot: Slot) {
        if !self.config.detector.shared_schedule {
            self.cycle.insert(slot, &mut self.rng);
        }
    }

    fn emit(&mut self, event: Event<A>) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        } else {
            self.stats.events_shed += 1;
        }
    }

    /// The telemetry of `slot` changed; it was known to `since`.
    fn note_change(&mut self, slot: Slot, since: u64) {
        if self.changed.len() < MAX_EVENTS {
            self.changed.push_back((slot, since, self.table.row(slot).telemetry_version()));
        } else {
            self.stats.events_shed += 1;
        }
    }

    /// A number that nobody can guess: whoever repeats it has got the datagram.
    fn number(&mut self) -> RequestId {
        RequestId(self.rng.word())
    }

    /// The number of a ping by which whoever listens at `address` proves it: a keyed hash, so that
    /// nothing has to be kept for it. Good in the span of time it is made in, and the next.
    fn challenge(&self, address: A, spans_ago: u64) -> Option<RequestId> {
        let micros = u64::try_from(CHALLENGE_SPAN.as_micros()).unwrap_or(u64::MAX);
        let span = (self.now.as_micros() / micros).checked_sub(spans_ago)?;
        let mut bytes = [0; MAX_ADDRESS_LEN];
        let len = address.encode(&mut bytes).min(MAX_ADDRESS_LEN);
        Some(RequestId(keyed_hash([self.secret, span], &bytes[..len])))
    }

    fn jitter(&mut self, span: core::time::Duration) -> core::time::Duration {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        core::time::Duration::from_micros(self.rng.micros_below(micros))
    }

    /// Live members besides this node.
    fn others(&self) -> u32 {
        self.table.live().saturating_sub(u32::from(self.table.is_live(self.me)))
    }

    fn has_others(&self) -> bool {
        self.table.live() > 1 || self.others() > 0
    }

    fn send_limit(&self) -> u8 {
        send_limit(self.config.retransmit_multiplier, self.table.live())
    }

    fn mtu(&self) -> usize {
        self.config.mtu.into()
    }

    fn ask(&mut self, intent: Intent<A>) {
        if !self.outbox.question(intent) {
            self.stats.outbox_shed += 1;
        }
    }

    fn reply(&mut self, intent: Intent<A>) -> bool {
        let queued = self.outbox.reply(intent);
        if !queued {
            self.stats.outbox_shed += 1;
        }
        queued
    }
}
