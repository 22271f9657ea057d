//! State version 1, which records of earlier builds hold: all fields in one list.
//!
//! It is only read. Nothing here changes any more, except that fields follow renamed types.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use serde::Deserialize;

use crate::address::Address;
use crate::anti_entropy::join::{BootstrapSync, Joining, Pages};
use crate::anti_entropy::session::{Exchange, Session};
use crate::anti_entropy::{AntiEntropy, Partners, SyncTrigger, TelemetrySyncTrigger};
use crate::config::Config;
use crate::cx::{Activity, Cx, Events, ThisNode};
use crate::detector::{
    Detector, FlapDamping, History, LocalHealth, Pacer, PingReqs, Probe, RollCalls, RoundClock,
    RoundRobin, Suspicions,
};
use crate::dissemination::{Budget, Dissemination, Trees};
use crate::id::{IdHash, Instance, NodeId};
use crate::membership::admission::Admission;
use crate::membership::claim::Accusers;
use crate::membership::proof::Proof;
use crate::membership::rumors::Rumors;
use crate::membership::tombstone::Tombstones;
use crate::membership::{Membership, Slot};
use crate::node::Node;
use crate::node::apply::IdConflict;
use crate::node::freshness::Freshness;
use crate::outbox::Outbox;
use crate::rng::Random;
use crate::stats::Stats;
use crate::time::Instant;

pub(super) const STATE_VERSION: u32 = 1;

/// The state of a node in version 1.
#[derive(Deserialize)]
#[serde(bound(deserialize = "A: Address + Deserialize<'de>"))]
pub(super) struct State<A> {
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
        // Use the constructors, so that a field added later begins as in a new node.
        let mut detector = Detector::new(&old.config, old.now);
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
        let mut dissemination = Dissemination::new(&old.config, old.now);
        dissemination.gossiped_at = old.gossiped_at;
        dissemination.trees = old.trees;
        dissemination.first_publish_at = old.first_publish_at;
        dissemination.budget = old.budget;
        Self {
            cx: Cx {
                now: old.now,
                config: old.config,
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
            freshness: Freshness::new(),
            id_conflict: old.id_conflict,
            wrong_accusers: old.wrong_accusers,
            quiet: old.quiet,
            lent: old.lent,
        }
    }
}
