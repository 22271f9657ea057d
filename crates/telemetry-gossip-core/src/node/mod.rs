//! The node: routes inputs to the parts that decide, and their decisions to outbox, events and
//! timers.
//!
//! - `command`: carries out the commands of the host
//! - `receive`: reads the frames of a datagram
//! - `reply`: collects what they ask for in return, and sends the one reply to it
//! - `answers`: tells which datagrams answer a question of this node, and who was asked
//! - `sync`: reads the frames of sync sessions
//! - `claims`: decides which claims of a datagram are applied at once
//! - `apply`: merges claims and telemetry of peers into this node's state
//! - `outsider`: answers nodes that do not belong to the cluster
//! - `freshness`: keeps recordings of sealed datagrams out
//! - `leaving`: announces the leave of this node, and ends it
//! - `transmit`, `encode`: encode intents as datagrams
//! - `view`: shows the state to the host
//! - `lend`: works on a table that the host shares with the node
//! - `snapshot`: saves the whole state as bytes, and restores it
//! - `invariants`: checks the state after every input
//!
//! A rule of the protocol lives here only if it concerns several parts; any other belongs to the
//! folder of its part: `detector`, `dissemination`, `anti_entropy` or `membership`.

mod answers;
mod apply;
mod claims;
mod command;
mod encode;
mod freshness;
mod invariants;
mod leaving;
mod lend;
mod outsider;
mod ranges;
mod receive;
mod reply;
pub(crate) mod snapshot;
mod sync;
#[cfg(test)]
mod tests;
mod transmit;
mod view;

use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::anti_entropy::AntiEntropy;
use crate::config::{Config, ConfigError, Mode};
use crate::cx::{Activity, Cx, Events, Part, ThisNode, sooner};
use crate::detector::Detector;
use crate::dissemination::Dissemination;
use crate::error::InputError;
use crate::event::{Event, RemovalReason};
use crate::evidence::Evidence;
use crate::id::{Generation, Instance, full_id_hash, id_hash_of};
use crate::input::{Identity, Input};
use crate::membership::admission::Admission;
use crate::membership::claim::{Accusers, Claim};
use crate::membership::newcomers::Newcomers;
use crate::membership::proof::Proof;
use crate::membership::rumors::Rumors;
use crate::membership::tombstone::Tombstones;
use crate::membership::{Membership, Slot};
use crate::network::Networks;
use crate::outbox::Outbox;
use crate::rng::Random;
use crate::stats::Stats;
use crate::status::Status;
use crate::time::Instant;
use apply::IdConflict;
use freshness::Freshness;
use leaving::Farewell;

pub use transmit::Transmit;

/// One node of the cluster: a pure state machine.
///
/// The host passes inputs in with [`Node::handle`]. After every input it drains
/// [`Node::poll_transmit`] and [`Node::poll_event`] to `None`, and it passes an [`Input::Tick`] at
/// [`Node::poll_timeout`]. The node has no clock, no socket and no randomness except its seed: the
/// same seed and the same sequence of inputs give the same sequence of outputs on every platform.
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
/// // A network of two: each gets the datagrams that the other sends.
/// let mut buf = [0; 1_232];
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
    cx: Cx<A>,
    detector: Detector<A>,
    anti_entropy: AntiEntropy<A>,
    dissemination: Dissemination,
    freshness: Freshness<A>,
    /// What this node knows of other processes with its id.
    id_conflict: IdConflict<A>,
    /// Claims that wait until their member has answered.
    newcomers: Newcomers<A>,
    /// The members that this node has told of its leave.
    farewell: Farewell,
    /// The members that accuse this node in the present datagram. Each gets the refutation.
    wrong_accusers: Accusers,
    /// Whether nothing but probes is under way, as found after the last input that could begin
    /// anything else.
    quiet: bool,
    /// Whether the table is lent by the host. It may hold rows that the parts do not know.
    lent: bool,
}

impl<A: Address> Node<A> {
    /// Creates a node that knows only itself.
    ///
    /// `seed` decides all its random choices. In production, take it from the entropy of the
    /// system, and never use one twice.
    ///
    /// Fails if a setting breaks its rule, if the generation is too high to start with, or if the
    /// address does not survive being encoded and decoded.
    pub fn new(
        config: Config,
        identity: Identity<A>,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let Identity { id, address, generation, instance } = identity;
        if generation > Generation::MAX_START {
            return Err(ConfigError::Generation { generation: generation.0 });
        }
        let mut buf = [0; MAX_ADDRESS_LEN];
        let len = address.encode(&mut buf);
        if buf.get(..len).filter(|bytes| !bytes.is_empty()).and_then(A::decode) != Some(address) {
            return Err(ConfigError::Address { len });
        }
        let mut rng = Random::new(seed);
        // Instance 0 stands for an unknown instance.
        let drawn = Instance(rng.word().max(1));
        let unless_given = if config.mode == Mode::ProbeOnly { Instance(0) } else { drawn };
        let secret = rng.secret();
        let this = ThisNode {
            id,
            address,
            id_hash: id_hash_of(full_id_hash(id.as_str().as_bytes())),
            instance: instance.unwrap_or(unless_given),
            slot: Slot(0),
        };
        let id_conflict = IdConflict::new(now, config.probe_interval);
        let mut node = Self {
            detector: Detector::new(&config, now),
            anti_entropy: AntiEntropy::new(),
            dissemination: Dissemination::new(&config, now),
            cx: Cx {
                now,
                this,
                activity: Activity::Active,
                allowed_networks: Networks::default(),
                table: Membership::new(config.max_members),
                config,
                admission: Admission::default(),
                tombstones: Tombstones::default(),
                rumors: Rumors::default(),
                proof: Proof::new(secret),
                rng,
                outbox: Outbox::new(),
                events: Events::new(),
                stats: Stats::default(),
            },
            freshness: Freshness::new(),
            id_conflict,
            newcomers: Newcomers::new(now),
            farewell: Farewell::default(),
            wrong_accusers: Accusers::new(),
            quiet: false,
            lent: false,
        };
        let config = &node.cx.config;
        node.cx.table.bound_telemetry(config.max_telemetry_held, config.max_members);
        node.detector.start(&mut node.cx);
        node.enter_table(generation);
        Ok(node)
    }

    /// Enters this node's own row into the table, if it is missing.
    fn enter_table(&mut self, generation: Generation) {
        let cx = &mut self.cx;
        let ThisNode { id, address, instance, .. } = cx.this;
        let claim = Claim {
            id: id.as_str(),
            address: Some(address),
            instance,
            generation,
            status: Status::Alive,
            accusers: Accusers::new(),
            age_secs: 0,
        };
        let (_, slot) = cx.table.merge_at(cx.now, &claim);
        // A valid config admits at least one member, and the table is empty or has this row.
        let slot = slot.unwrap_or(Slot(0));
        cx.this.slot = slot;
        cx.table.set_me(slot);
        cx.table.heard(slot, cx.now, true);
        cx.rumors.push_grounded(slot);
        cx.emit(Event::Joined { id, address: Some(address), generation });
    }

    /// Handles one input at time `now`. A `now` earlier than the latest one counts as the latest.
    ///
    /// An input that fails changes nothing except a counter, and what the host is told of it.
    /// [`InputError::Datagram`] is the fault of the peer, [`InputError::Command`] that of the host.
    pub fn handle(&mut self, now: Instant, input: Input<'_, A>) -> Result<(), InputError> {
        let now = now.max(self.cx.now);
        self.detect_pause(now);
        self.cx.now = now;
        let result = match input {
            Input::Tick => {
                self.tick();
                Ok(())
            }
            Input::Datagram { from, bytes } => self.receive(from, &bytes).map_err(InputError::from),
            Input::Sealed { from, stamp, proof_age, bytes } => {
                self.receive_sealed(from, stamp, proof_age, &bytes).map_err(InputError::from)
            }
            Input::Reseed { entropy } => {
                self.reseed(&entropy);
                Ok(())
            }
            command => {
                let result = self.command(command).map_err(InputError::from);
                if result.is_ok() {
                    self.settle();
                }
                result
            }
        };
        #[cfg(any(test, feature = "check-invariants"))]
        assert_eq!(self.check_invariants(), Ok(()), "after {now}");
        result
    }

    /// Does what is due, in a fixed order, since the order decides which part draws which random
    /// number.
    #[inline(never)]
    fn tick(&mut self) {
        match self.cx.activity {
            Activity::Active | Activity::Leaving(_) => {}
            Activity::Inactive => return,
            Activity::Waiting(_) => {
                self.tick_waiting();
                if self.cx.activity != Activity::Active {
                    return;
                }
                // A member again: what was due meanwhile is done now.
                self.quiet = false;
            }
        }
        if let Some(rival) = self.detector.rival_at_own_address(&self.cx) {
            self.yield_own_address(rival);
            return;
        }
        let seeds_due_at = self.anti_entropy.seeds_due_at(&self.cx);
        let asks_seed = seeds_due_at.is_some_and(|at| at <= self.cx.now);
        if self.detector.advance_probe(&mut self.cx) && self.quiet && !asks_seed {
            // Most ticks of most nodes end here.
            self.detector.start_probe(&mut self.cx);
            return;
        }
        // Forget expired members first: that ends their probe and gives up a roll call that asked
        // them, and the detector then begins anew in the same tick.
        self.forget_expired();
        self.remove_unproved();
        self.advance_newcomers();
        self.advance_contest();
        if self.cx.activity != Activity::Active && self.waiting_deadline().is_some() {
            return;
        }
        let Self {
            cx,
            detector,
            anti_entropy,
            dissemination,
            freshness: _,
            id_conflict: _,
            newcomers: _,
            farewell: _,
            wrong_accusers: _,
            quiet: _,
            lent: _,
        } = self;
        detector.on_timeout(cx);
        anti_entropy.on_timeout(cx);
        dissemination.on_timeout(cx);
        self.finish_leaving();
        self.ask_seeds();
        self.settle();
    }

    /// Does what follows from an input for other parts than those that handled it.
    #[inline]
    fn settle(&mut self) {
        if core::mem::take(&mut self.detector.reconnected) {
            self.anti_entropy.catch_up(&self.cx);
        }
        self.quiet = self.is_quiet();
    }

    /// When to pass the next [`Input::Tick`]; `None` if nothing is due before the next datagram or
    /// command.
    #[must_use]
    #[inline]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.cx.activity {
            Activity::Active | Activity::Leaving(_) => {}
            Activity::Inactive => return None,
            Activity::Waiting(_) => return self.waiting_deadline(),
        }
        let probing = self.detector.probe_deadline(&self.cx);
        debug_assert!(!self.quiet || self.other_deadlines().is_none());
        if self.quiet { probing } else { sooner(probing, self.other_deadlines()) }
    }

    /// Whether nothing but probes is under way, as is the case most of the time.
    #[inline(never)]
    fn is_quiet(&self) -> bool {
        let Self {
            cx,
            detector,
            anti_entropy,
            dissemination,
            freshness: _,
            id_conflict,
            newcomers,
            farewell: _,
            wrong_accusers: _,
            quiet: _,
            lent: _,
        } = self;
        cx.rumors.is_idle()
            && cx.tombstones.is_empty()
            && Part::<A>::is_idle(dissemination)
            && newcomers.len() == 0
            && anti_entropy.is_idle()
            && detector.is_idle()
            && id_conflict.deadline().is_none()
            && (cx.has_others() || anti_entropy.seeds_due_at(cx).is_none())
            && cx.activity == Activity::Active
    }

    /// The earliest deadline except that of the probe.
    #[inline(never)]
    fn other_deadlines(&self) -> Option<Instant> {
        let Self {
            cx,
            detector,
            anti_entropy,
            dissemination,
            freshness: _,
            id_conflict,
            newcomers,
            farewell: _,
            wrong_accusers: _,
            quiet: _,
            lent: _,
        } = self;
        let mut due = sooner(self.leave_deadline(), cx.tombstones.deadline());
        due = sooner(due, newcomers.deadline());
        due = sooner(due, id_conflict.deadline());
        due = sooner(due, detector.deadline(cx));
        due = sooner(due, anti_entropy.deadline(cx));
        sooner(due, dissemination.deadline(cx))
    }

    /// Detects that the node slept: it was called more than a timeout later than it had asked for.
    fn detect_pause(&mut self, now: Instant) {
        // A node cannot be later than the time that has passed, and for most inputs that is short.
        // Only for the others are the deadlines worth computing.
        // A host that is always late doubts itself, and is not taken to pause each time.
        let timeout = self.detector.probe_timeout(&self.cx.config);
        if now.since(self.cx.now) > timeout
            && let Some(deadline) = self.poll_timeout()
        {
            let late = now.since(deadline.max(self.cx.now));
            if late > timeout {
                self.id_conflict.slept(now, late, self.cx.config.probe_interval);
                self.detector.add_own_incident(now, Evidence::Paused { late }, &self.cx);
                self.detector.on_pause(now, late, &mut self.cx);
            }
        }
    }

    /// Removes the members whose tombstones have expired.
    fn forget_expired(&mut self) {
        while let Some(slot) = self.cx.tombstones.due(self.cx.now) {
            if slot == self.cx.this.slot {
                self.cx.tombstones.clear(slot);
            } else {
                // The halves of a long split would lose each other for good.
                let row = self.cx.table.row(slot);
                let was_there = row.status == Status::Dead && row.answered.directly();
                if let Some(address) = row.address().filter(|_| was_there) {
                    self.anti_entropy.seeds.keep_former(address, &mut self.cx);
                }
                self.remove(slot, RemovalReason::Expired);
            }
        }
    }

    /// Removes a member from every structure.
    fn remove(&mut self, slot: Slot, reason: RemovalReason) {
        let Self {
            cx,
            detector,
            anti_entropy,
            dissemination,
            freshness: _,
            id_conflict: _,
            newcomers: _,
            farewell: _,
            wrong_accusers: _,
            quiet,
            lent: _,
        } = self;
        *quiet = false;
        cx.tombstones.clear(slot);
        cx.rumors.forget(slot);
        cx.events.forget(slot);
        cx.outbox.forget(slot);
        detector.forget(slot, cx);
        anti_entropy.forget(slot, cx);
        dissemination.forget(slot, cx);
        if let Some(id) = cx.table.remove(slot) {
            cx.emit(Event::Removed { id, reason });
            anti_entropy.forget_partner(slot, id, cx);
        }
    }

    /// Takes the next event for the host.
    pub fn poll_event(&mut self) -> Option<Event<A>> {
        if self.cx.events.wants_poll() { self.next_event() } else { None }
    }

    #[inline(never)]
    fn next_event(&mut self) -> Option<Event<A>> {
        if let Some(event) = self.cx.events.pop() {
            return Some(event);
        }
        let (slot, since, version) = self.cx.events.pop_change()?;
        Some(Event::Telemetry { id: self.cx.table.id(slot), since, version })
    }

    /// The bytes of heap memory that the node holds, without queues of few entries of fixed size.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let Self {
            cx,
            detector,
            anti_entropy,
            dissemination,
            freshness,
            id_conflict: _,
            newcomers,
            farewell: _,
            wrong_accusers: _,
            quiet: _,
            lent: _,
        } = self;
        cx.table.heap_bytes()
            + cx.admission.heap_bytes()
            + cx.rumors.heap_bytes()
            + cx.outbox.heap_bytes()
            + cx.events.heap_bytes()
            + newcomers.heap_bytes()
            + detector.heap_bytes()
            + anti_entropy.heap_bytes()
            + Part::<A>::heap_bytes(dissemination)
            + freshness.heap_bytes()
    }
}
