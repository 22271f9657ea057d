//! A node as bytes, and a node from them: whatever a log of inputs goes on from.
//!
//! The state is that of [`Node`], field by field, and so of one version of this crate:
//! [`STATE_VERSION`] counts its shapes. Bytes that came to harm are refused. Those that were made
//! up by somebody who knows the shape are checked as far as memory goes (every row that is named
//! exists, every queue has an end), not for sense: a snapshot is trusted like the memory that it
//! was taken from.

mod slots;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use postcard::ser_flavors::{ExtendFlavor, Flavor as _};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Activity, CatchUp, Exchange, Node, Rival};
use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::budget::Budget;
use crate::cluster::ClusterConfig;
use crate::config::{Config, ConfigError};
use crate::contact::Contact;
use crate::dissemination::Dissemination;
use crate::event::Event;
use crate::history::History;
use crate::id::{IdHash, Instance, NodeId};
use crate::invariants::Violation;
use crate::join::{Joining, Pages};
use crate::local_health::LocalHealth;
use crate::member::Accusers;
use crate::membership::{Membership, Slot};
use crate::outbox::Outbox;
use crate::patience::Patience;
use crate::probe::{Cycle, Probe};
use crate::relay::Relays;
use crate::rng::Random;
use crate::schedule::{Pacer, Rounds};
use crate::stats::Stats;
use crate::suspicion::Suspicions;
use crate::sync::{Pace, Partners, Plans, Session, TelemetryPace};
use crate::time::Instant;
use crate::tombstone::Tombstones;
use crate::tree::Trees;

/// The shape of the state in a [snapshot](Node::snapshot). It counts up with each change of it; a
/// node is restored by a version of this crate that has the same.
pub const STATE_VERSION: u32 = 1;

/// Why a snapshot cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// Datagrams or events wait to be polled: they are no part of a snapshot.
    #[error("a snapshot is taken of a node whose transmits and events have been polled to the end")]
    NotDrained,
    /// The node's table is the host's: what happens to it is not known here.
    #[error("a node cannot be saved while it works on a table that is not its own")]
    TableLent,
    /// An address has no serialised form.
    #[error("the address type of this node cannot be serialised")]
    Address,
}

/// Why bytes are no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// The snapshot has another shape.
    #[error("the snapshot has state version {found}, this build reads {STATE_VERSION}")]
    Version {
        /// The shape of the snapshot.
        found: u32,
    },
    /// The bytes are cut off, too many, or name values that there are not.
    #[error("the bytes are no state of a node")]
    Malformed,
    /// A setting breaks its rule.
    #[error("the snapshot's settings break a rule: {0}")]
    Config(#[from] ConfigError),
    /// A part names a row that the table has not, or has a value beyond its bound.
    #[error("the snapshot's {part} is not sound")]
    Unsound {
        /// The part.
        part: &'static str,
    },
    /// Two parts contradict each other.
    #[error("the snapshot contradicts itself: {0}")]
    Contradiction(#[from] Violation),
}

/// The fields of [`Node`], which the compiler holds to be all of them. Outbox and events are empty.
#[derive(Serialize, Deserialize)]
#[serde(
    remote = "Node",
    bound(serialize = "A: Address + Serialize", deserialize = "A: Address + Deserialize<'de>")
)]
struct State<A> {
    config: Config,
    id: NodeId,
    address: A,
    id_hash: IdHash,
    instance: Instance,
    me: Slot,
    activity: Activity,
    now: Instant,
    quiet: bool,
    rng: Random,
    #[serde(with = "crate::membership::snapshot")]
    table: Membership<A>,
    lent: bool,
    cluster: ClusterConfig,
    suspicions: Suspicions,
    tombstones: Tombstones,
    news: Dissemination,
    gossiped_at: Option<Instant>,
    trees: Trees,
    debut: Option<Instant>,
    budget: Budget,
    cycle: Cycle,
    probe: Option<Probe<A>>,
    probe_at: Instant,
    probed_at: Instant,
    round: u64,
    rounds: Rounds,
    pacer: Pacer,
    rank: (u32, usize),
    probes_wanted: VecDeque<NodeId>,
    relays: Relays<A>,
    local_health: LocalHealth,
    contact: Contact,
    charges: Vec<Probe<A>>,
    patience: Patience<A>,
    history: History,
    config_may_reconnect: bool,
    reconnect_at: Instant,
    secret: u64,
    rival: Option<Rival>,
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
    #[serde(skip, default = "Outbox::new")]
    outbox: Outbox<A>,
    #[serde(skip)]
    events: VecDeque<Event<A>>,
    #[serde(skip)]
    changed: VecDeque<(Slot, u64, u64)>,
    stats: Stats,
}

impl<A: Address + Serialize> Node<A> {
    /// The node's whole state, its random numbers to come included: [`Node::restore`] makes a node
    /// of it that goes on as this one does, bit for bit. Taken after transmits and events have been
    /// polled to the end.
    ///
    /// Its size is that of the table, about 50 bytes a member and its telemetry, and some
    /// kilobytes.
    ///
    /// ```
    /// # use telemetry_gossip_core::{Config, Identity, Input, Instant, Node};
    /// # let identity = Identity::new("a".parse()?, 1_u32);
    /// # let mut node = Node::new(Config::default(), identity, [0; 32], Instant::ORIGIN)?;
    /// # while node.poll_event().is_some() {}
    /// let saved = node.snapshot()?;
    /// let mut twin = Node::<u32>::restore(&saved)?;
    ///
    /// // What happens to both has the same outcome.
    /// let seeds = Input::Join { seeds: vec![2].into() };
    /// let (mut one, mut other) = ([0; 1_400], [0; 1_400]);
    /// node.handle(Instant::from_millis(5), seeds.clone())?;
    /// twin.handle(Instant::from_millis(5), seeds)?;
    /// assert_eq!(node.poll_transmit(&mut one), twin.poll_transmit(&mut other));
    /// assert_eq!(one, other);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn snapshot(&self) -> Result<Vec<u8>, SnapshotError> {
        if self.lent {
            return Err(SnapshotError::TableLent);
        }
        if !self.outbox.is_empty() || !self.events.is_empty() || !self.changed.is_empty() {
            return Err(SnapshotError::NotDrained);
        }
        let mut serializer = postcard::Serializer { output: ExtendFlavor::new(Vec::new()) };
        // Nothing but the host's address type can refuse.
        STATE_VERSION.serialize(&mut serializer).map_err(|_| SnapshotError::Address)?;
        State::serialize(self, &mut serializer).map_err(|_| SnapshotError::Address)?;
        serializer.output.finalize().map_err(|_| SnapshotError::Address)
    }
}

impl<A: Address + Serialize + for<'de> Deserialize<'de>> Node<A> {
    /// The node that [`Node::snapshot`] was taken of. Bytes that came to harm are refused with an
    /// error, or make, seldom, another state that keeps all rules: whoever stores snapshots adds a
    /// checksum.
    pub fn restore(bytes: &[u8]) -> Result<Self, RestoreError> {
        let mut deserializer = postcard::Deserializer::from_bytes(bytes);
        let found = u32::deserialize(&mut deserializer).map_err(|_| RestoreError::Malformed)?;
        if found != STATE_VERSION {
            return Err(RestoreError::Version { found });
        }
        let node: Self =
            State::deserialize(&mut deserializer).map_err(|_| RestoreError::Malformed)?;
        if deserializer.finalize() != Ok(&[]) {
            return Err(RestoreError::Malformed);
        }
        node.check_restored()?;
        Ok(node)
    }

    fn check_restored(&self) -> Result<(), RestoreError> {
        self.config.validate()?;
        if !slots::are_below(self.table.rows(), |walker| State::serialize(self, walker)) {
            return Err(RestoreError::Unsound { part: "name of a row" });
        }
        let mut buf = [0; MAX_ADDRESS_LEN];
        let len = self.address.encode(&mut buf);
        let same_address = buf.get(..len).and_then(A::decode) == Some(self.address);
        let myself = self.table.id(self.me) == self.id && self.table.me() == Some(self.me);
        for (part, sound) in [
            ("own row", myself && self.id_hash == self.id.id_hash() && same_address && !self.lent),
            ("cluster config", self.cluster.is_sound()),
            ("schedule", self.rounds.is_sound(&self.config) && self.pacer.is_sound(&self.config)),
            ("order of probing", self.cycle.is_sound()),
            ("local health", self.local_health.is_sound()),
            ("roll call", self.contact.is_sound()),
            ("list of the dead", self.tombstones.is_sound()),
            ("pace", self.telemetry_pace.is_sound()),
            ("deadline", !self.quiet || self.is_quiet()),
            ("exchange", self.exchange.is_none_or(|exchange| exchange.attempts_left > 0)),
        ] {
            if !sound {
                return Err(RestoreError::Unsound { part });
            }
        }
        Ok(self.check_invariants()?)
    }
}
