//! State version 1, which records of earlier builds hold: all fields in one list.
//!
//! It is only read. Nothing here changes any more, except that fields follow renamed types.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use serde::Deserialize;

use crate::address::Address;
use crate::anti_entropy::join::{BootstrapSync, Joining, Pages};
use crate::anti_entropy::session::{Exchange, Session};
use crate::anti_entropy::{AntiEntropy, Partners, SyncTrigger, TelemetrySyncTrigger};
use crate::config::{Config, Mode, SuspicionTimeout};
use crate::cx::{Activity, Cx, Events, ThisNode};
use crate::detector::{
    Detector, FlapDamping, History, LocalHealth, Pacer, PingReqs, Probe, RollCalls, RoundClock,
    RoundRobin, Suspicions,
};
use crate::dissemination::{Budget, Dissemination, Trees};
use crate::features::DetectorFeatures;
use crate::id::{IdHash, Instance, Label, NodeId};
use crate::membership::admission::Admission;
use crate::membership::claim::Accusers;
use crate::membership::proof::Proof;
use crate::membership::rumors::Rumors;
use crate::membership::tombstone::Tombstones;
use crate::membership::{Membership, Slot};
use crate::node::Node;
use crate::node::apply::IdConflict;
use crate::outbox::Outbox;
use crate::rng::Random;
use crate::stats::Stats;
use crate::time::Instant;

pub(super) const STATE_VERSION: u32 = 1;

/// The settings of a node in version 1.
#[derive(Deserialize)]
struct OldConfig {
    label: Label,
    mode: Mode,
    mtu: u16,
    probe_interval: Duration,
    probe_timeout: Duration,
    indirect_probes: u8,
    suspicion: SuspicionTimeout,
    detector: DetectorFeatures,
    gossip_interval: Duration,
    gossip_fanout: u8,
    retransmit_multiplier: u8,
    telemetry_interval: Duration,
    byte_budget: Option<u32>,
    reconnect_interval: Duration,
    tombstone_ttl: Duration,
    join_timeout: Duration,
    isolation_limit: Option<Duration>,
    max_members: u32,
    max_key: u8,
    max_value: u16,
    max_telemetry: u32,
}

impl From<OldConfig> for Config {
    fn from(old: OldConfig) -> Self {
        Self {
            label: old.label,
            mode: old.mode,
            mtu: old.mtu,
            probe_interval: old.probe_interval,
            probe_timeout: old.probe_timeout,
            indirect_probes: old.indirect_probes,
            suspicion: old.suspicion,
            detector: old.detector,
            gossip_interval: old.gossip_interval,
            gossip_fanout: old.gossip_fanout,
            retransmit_multiplier: old.retransmit_multiplier,
            telemetry_interval: old.telemetry_interval,
            byte_budget: old.byte_budget,
            reconnect_interval: old.reconnect_interval,
            tombstone_ttl: old.tombstone_ttl,
            join_timeout: old.join_timeout,
            isolation_limit: old.isolation_limit,
            max_members: old.max_members,
            max_key: old.max_key,
            max_value: old.max_value,
            max_telemetry: old.max_telemetry,
            ..Self::default()
        }
    }
}

/// The state of a node in version 1.
#[derive(Deserialize)]
#[serde(bound(deserialize = "A: Address + Deserialize<'de>"))]
pub(super) struct State<A> {
    config: OldConfig,
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
    admission: Admission,
    suspicions: Suspicions,
    tombstones: Tombstones,
    rumors: Rumors,
    gossiped_at: Option<Instant>,
    trees: Trees,
    first_publish_at: Option<Instant>,
    budget: Budget,
    round_robin: RoundRobin,
    probe: Option<Probe<A>>,
    probe_at: Instant,
    probed_at: Instant,
    round: u64,
    clock: RoundClock,
    pacer: Pacer,
    rank: (u32, usize),
    probes_wanted: VecDeque<NodeId>,
    ping_reqs: PingReqs<A>,
    local_health: LocalHealth,
    roll_calls: RollCalls,
    pending_accusations: Vec<Probe<A>>,
    flap_damping: FlapDamping<A>,
    history: History,
    config_may_reconnect: bool,
    reconnect_at: Instant,
    proof: Proof,
    id_conflict: Option<IdConflict>,
    wrong_accusers: Accusers,
    join: Option<Joining<A>>,
    pages: Pages,
    session: Option<Session<A>>,
    bootstrap: Option<BootstrapSync<A>>,
    exchange: Option<Exchange>,
    exchanges_wanted: usize,
    trigger: SyncTrigger,
    telemetry_trigger: TelemetrySyncTrigger,
    partners: Partners,
    /// The diffs of waiting replies. A snapshot has none.
    _diffs: (Vec<OldItem>, Vec<OldWant>),
    stats: Stats,
}

/// Something to send in a session.
#[derive(Deserialize)]
struct OldItem {
    _slot: Slot,
    _claim: bool,
    _since: Option<u64>,
}

/// Something to ask for in a session.
#[derive(Deserialize)]
struct OldWant {
    _id_hash: IdHash,
    _claim: bool,
    _since: u64,
}

impl<A: Address> From<State<A>> for Node<A> {
    fn from(old: State<A>) -> Self {
        let config = Config::from(old.config);
        // Use the constructors, so that a field added later begins as in a new node.
        let mut detector = Detector::new(&config, old.now);
        detector.schedule.round_robin = old.round_robin;
        detector.schedule.probe_at = old.probe_at;
        detector.schedule.probed_at = old.probed_at;
        detector.schedule.round = old.round;
        detector.schedule.clock = old.clock;
        detector.schedule.pacer = old.pacer;
        detector.schedule.rank = old.rank;
        detector.probe = old.probe;
        detector.probes_wanted = old.probes_wanted;
        detector.ping_reqs = old.ping_reqs;
        detector.local_health = old.local_health;
        detector.roll_calls = old.roll_calls;
        detector.config_may_reconnect = old.config_may_reconnect;
        detector.pending_accusations = old.pending_accusations;
        detector.flap_damping = old.flap_damping;
        detector.suspicions = old.suspicions;
        detector.history = old.history;
        detector.reconnect_at = old.reconnect_at;
        let mut anti_entropy = AntiEntropy::new();
        anti_entropy.join = old.join;
        anti_entropy.pages = old.pages;
        anti_entropy.session = old.session;
        anti_entropy.bootstrap = old.bootstrap;
        anti_entropy.exchange = old.exchange;
        anti_entropy.exchanges_wanted = old.exchanges_wanted;
        anti_entropy.trigger = old.trigger;
        anti_entropy.telemetry_trigger = old.telemetry_trigger;
        anti_entropy.partners = old.partners;
        let mut dissemination = Dissemination::new(&config, old.now);
        dissemination.gossiped_at = old.gossiped_at;
        dissemination.trees = old.trees;
        dissemination.first_publish_at = old.first_publish_at;
        dissemination.budget = old.budget;
        Self {
            cx: Cx {
                now: old.now,
                config,
                this: ThisNode {
                    id: old.id,
                    address: old.address,
                    id_hash: old.id_hash,
                    instance: old.instance,
                    slot: old.me,
                },
                activity: old.activity,
                table: old.table,
                admission: old.admission,
                tombstones: old.tombstones,
                rumors: old.rumors,
                proof: old.proof,
                rng: old.rng,
                outbox: Outbox::new(),
                events: Events::new(),
                stats: old.stats,
            },
            detector,
            anti_entropy,
            dissemination,
            id_conflict: old.id_conflict,
            wrong_accusers: old.wrong_accusers,
            quiet: old.quiet,
            lent: old.lent,
        }
    }
}
