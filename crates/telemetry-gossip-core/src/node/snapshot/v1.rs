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
use crate::id::{IdHash, Instance, NodeId, RequestId};
use crate::membership::admission::Admission;
use crate::membership::claim::Accusers;
use crate::membership::proof::Proof;
use crate::membership::rumors::Rumors;
use crate::membership::tombstone::Tombstones;
use crate::membership::{Membership, Place, Slot};
use crate::network::Networks;
use crate::node::Node;
use crate::node::apply::IdConflict;
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
    admission: OldAdmission,
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
    join: Option<OldJoining<A>>,
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
    stats: OldStats,
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

/// The cluster config in force, by the hashes of its ids.
#[derive(Deserialize)]
struct OldAdmission {
    version: Option<u64>,
    hashes: Vec<u64>,
}

/// A join under way, whose pages begin with the first claim of an id hash.
#[derive(Deserialize)]
struct OldJoining<A> {
    seeds: Vec<A>,
    request_id: RequestId,
    paging: Option<(A, IdHash)>,
    retry_at: Instant,
    fails_at: Instant,
}

impl<A: Address> OldJoining<A> {
    fn into_joining(self) -> Joining<A> {
        let Self { seeds, request_id, paging, retry_at, fails_at } = self;
        let paging = paging.map(|(seed, id_hash)| (seed, Place { id_hash, nth: 0 }));
        Joining::restored(seeds, request_id, paging, (retry_at, fails_at))
    }
}

/// The counters.
#[derive(Deserialize)]
struct OldStats {
    datagrams_sent: u64,
    bytes_sent: u64,
    datagrams_received: u64,
    bytes_received: u64,
    datagrams_malformed: u64,
    datagrams_other_version: u64,
    datagrams_other_label: u64,
    datagrams_while_inactive: u64,
    frames_unknown: u64,
    claims_implausible: u64,
    claims_table_full: u64,
    claims_not_in_config: u64,
    telemetry_ignored: u64,
    telemetry_merged: u64,
    telemetry_resent: u64,
    probes: u64,
    probes_indirect: u64,
    probes_failed: u64,
    acks_unmatched: u64,
    ping_reqs: u64,
    ping_reqs_shed: u64,
    outbox_shed: u64,
    events_shed: u64,
    refutations: u64,
    syncs: u64,
    syncs_failed: u64,
    roll_calls: u64,
    pauses: u64,
}

impl OldStats {
    fn into_stats(self) -> Stats {
        Stats {
            datagrams_sent: self.datagrams_sent,
            bytes_sent: self.bytes_sent,
            datagrams_received: self.datagrams_received,
            bytes_received: self.bytes_received,
            datagrams_malformed: self.datagrams_malformed,
            datagrams_other_version: self.datagrams_other_version,
            datagrams_other_label: self.datagrams_other_label,
            datagrams_while_inactive: self.datagrams_while_inactive,
            frames_unknown: self.frames_unknown,
            claims_implausible: self.claims_implausible,
            claims_table_full: self.claims_table_full,
            claims_not_in_config: self.claims_not_in_config,
            telemetry_ignored: self.telemetry_ignored,
            telemetry_merged: self.telemetry_merged,
            telemetry_resent: self.telemetry_resent,
            probes: self.probes,
            probes_indirect: self.probes_indirect,
            probes_failed: self.probes_failed,
            acks_unmatched: self.acks_unmatched,
            ping_reqs: self.ping_reqs,
            ping_reqs_shed: self.ping_reqs_shed,
            outbox_shed: self.outbox_shed,
            events_shed: self.events_shed,
            refutations: self.refutations,
            syncs: self.syncs,
            syncs_failed: self.syncs_failed,
            roll_calls: self.roll_calls,
            pauses: self.pauses,
            ..Stats::default()
        }
    }
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
        anti_entropy.join = old.join.map(OldJoining::into_joining);
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
                allowed_networks: Networks::default(),
                table: old.table,
                admission: Admission::of_hashes(old.admission.version, old.admission.hashes),
                tombstones: old.tombstones,
                rumors: old.rumors,
                proof: old.proof,
                rng: old.rng,
                outbox: Outbox::new(),
                events: Events::new(),
                stats: old.stats.into_stats(),
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
