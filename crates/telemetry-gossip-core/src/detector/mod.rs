//! The failure detector: decides which members are alive, by probes and what follows from them.
//!
//! ```text
//!   schedule             each member is probed once per round
//!      |
//!      v
//!   probe                a ping; then helpers and a ping; then other helpers and a ping
//!      |  no answer
//!      v
//!   recheck              further pings, only for a member that has refuted before
//!      |  no answer
//!      v
//!   pending accusation   a roll call: is this node the one that is cut off?
//!      |  in touch
//!      v
//!   suspicion            an accuser pings the suspect until its time is up; a node that has
//!      |                 not accused waits twice as long
//!      |  no refutation
//!      v
//!   death                declared after another roll call
//! ```
//!
//! An answer or a refutation ends the sequence at any stage. Each stage is one file: `schedule`
//! (and `round_robin`, SWIM's order), `probe`, `flap_damping`, `accusation` with `roll_call`, and
//! `suspicion`. Beside them, `ping_req` pings on behalf of other nodes, `reconnect` contacts dead
//! members, `unproved` asks those that this node knows only from the pages of its join,
//! `local_health` measures how far this node trusts itself, `hearsay` asks accusers whether they
//! accuse, and `history` keeps the evidence found on the way.
//!
//! [`Detector::set_status`] is the one place where a status becomes timers, flaps, history and
//! events: a claim of another member, an accusation and an expired suspicion all end there.
//!
//! The detector does not decide how a change spreads (it only queues rumors), and knows nothing of
//! telemetry or sync sessions.

mod accusation;
mod asked;
mod awaited;
mod distant;
mod elsewhere;
pub(crate) mod flap_damping;
mod hearsay;
mod history;
mod isolation;
mod local_health;
mod ping_req;
pub(crate) mod pings;
pub(crate) mod probe;
mod reach;
mod reconnect;
pub(crate) mod roll_call;
mod round_robin;
mod schedule;
pub(crate) mod suspicion;
pub(crate) mod unproved;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::bounded::list;
use crate::config::{Config, Mode};
use crate::cx::{Cx, Part, sooner};
use crate::event::{Event, ProbeOutcome};
use crate::evidence::{Evidence, Incident};
use crate::id::{IdHash, NodeId};
use crate::membership::Slot;
use crate::membership::claim::{Accusers, Claim};
use crate::membership::rtt::RttBound;
use crate::status::Status;
use crate::time::Instant;
use crate::violation::{Unsound, Violation, check_bounds, check_rules};
pub(crate) use accusation::MAX_PENDING_ACCUSATIONS;
pub(crate) use awaited::Acked;
use distant::Distant;
use elsewhere::Elsewhere;
pub(crate) use flap_damping::FlapDamping;
pub(crate) use hearsay::Hearsay;
pub(crate) use history::History;
pub(crate) use local_health::LocalHealth;
pub(crate) use ping_req::PingReqs;
pub(crate) use probe::{MAX_PROBES_WANTED, Probe};
use reach::Reach;
pub(crate) use reconnect::Reconnects;
pub(crate) use roll_call::RollCalls;
pub(crate) use round_robin::RoundRobin;
pub(crate) use schedule::Schedule;
use suspicion::Suspected;
pub(crate) use suspicion::Suspicions;
pub(crate) use unproved::Unproved;

/// The version of the serialised shape of [`Detector`]; increase it with each change of the shape.
pub(crate) const SHAPE: u32 = 7;

/// The state of the failure detector.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "A: Serialize", deserialize = "A: Deserialize<'de>"))]
pub(crate) struct Detector<A> {
    pub(crate) schedule: Schedule,
    /// The probe under way.
    pub(crate) probe: Option<Probe<A>>,
    /// The members that the host has asked to probe, in order.
    #[serde(deserialize_with = "list::<_, _, _, MAX_PROBES_WANTED>")]
    pub(crate) probes_wanted: VecDeque<NodeId>,
    pub(crate) ping_reqs: PingReqs<A>,
    pub(crate) local_health: LocalHealth,
    /// The longest round trip of the members probed last.
    usual_round_trip: RttBound,
    pub(crate) roll_calls: RollCalls,
    /// Whether a cluster config removed members while the node was isolated. If the next roll call
    /// succeeds, the config is reported as the end of the isolation.
    pub(crate) config_may_reconnect: bool,
    /// Failed probes whose targets are accused once a roll call succeeds.
    #[serde(deserialize_with = "list::<_, _, _, MAX_PENDING_ACCUSATIONS>")]
    pub(crate) pending_accusations: Vec<Probe<A>>,
    pub(crate) flap_damping: FlapDamping<A>,
    pub(crate) suspicions: Suspicions,
    pub(crate) hearsay: Hearsay<A>,
    reach: Reach<A>,
    elsewhere: Elsewhere,
    distant: Distant<A>,
    /// Whether an isolation has just ended, until the node takes note.
    #[serde(skip)]
    pub(crate) reconnected: bool,
    pub(crate) history: History,
    /// The members from the pages of a join that have to answer.
    pub(crate) unproved: Unproved,
    pub(crate) reconnects: Reconnects,
}

impl<A: Address> Detector<A> {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            schedule: Schedule::new(config, now),
            probe: None,
            probes_wanted: VecDeque::new(),
            ping_reqs: PingReqs::new(),
            local_health: LocalHealth::new(config.detector.local_health),
            usual_round_trip: RttBound::default(),
            roll_calls: RollCalls::default(),
            config_may_reconnect: false,
            pending_accusations: Vec::new(),
            flap_damping: FlapDamping::new(),
            suspicions: Suspicions::default(),
            hearsay: Hearsay::new(),
            reach: Reach::new(now),
            elsewhere: Elsewhere::default(),
            distant: Distant::new(),
            reconnected: false,
            history: History::default(),
            unproved: Unproved::default(),
            reconnects: Reconnects::new(now),
        }
    }

    /// Draws the first deadlines at random, so that nodes that start together do not probe
    /// together.
    pub(crate) fn start(&mut self, cx: &mut Cx<A>) {
        self.schedule.probe_at = cx.now + cx.jitter(cx.config.probe_interval);
        self.reconnects.start(cx);
    }

    /// Carries out what follows from the new status of a member: timers, flaps, history, events.
    ///
    /// The table already holds `claim`; `was` is the status that it held before, `None` for a new
    /// member.
    pub(crate) fn set_status(
        &mut self,
        slot: Slot,
        claim: &Claim<'_, A>,
        was: Option<Status>,
        cx: &mut Cx<A>,
    ) {
        let (id, generation) = (cx.table.id(slot), claim.generation);
        self.end_outdated_probe(slot, claim, cx);
        match claim.status {
            Status::Alive => {
                self.suspicions.clear(slot);
                cx.tombstones.clear(slot);
                // A member that returns after a leave, or refutes a lie, has not flapped; nor has
                // one of which only others say that it is back, and goes on refuting.
                let is_its_own = cx.is_proved_alive(slot) || was == Some(Status::Dead);
                if self.hearsay.end(slot) && is_its_own {
                    self.flap_damping.add_flap(slot, cx.now);
                    cx.rumors.push_grounded(slot);
                }
                if let Some(was) = was.filter(|&was| was != Status::Alive) {
                    self.add_evidence(slot, Evidence::Alive { generation, was }, cx);
                }
                if was.is_some() {
                    cx.emit(Event::Alive { id, generation });
                }
            }
            Status::Suspected => {
                // A member that was dead can be suspected again at a higher generation.
                cx.tombstones.clear(slot);
                self.suspect(slot, claim, cx);
            }
            Status::Dead | Status::Left => {
                self.suspicions.clear(slot);
                let age = Duration::from_secs(claim.age_secs.into());
                // Remember even an old death for as long as another node may still suspect the
                // member: its claim would otherwise bring the member back.
                let least = cx.config.suspicion_spans(cx.table.live()).1 + cx.spread_time();
                let rest = cx.config.tombstone_ttl.saturating_sub(age).max(least);
                cx.tombstones.set(slot, cx.now + rest);
                self.on_death_heard(cx);
                if claim.status == Status::Left {
                    self.hearsay.end(slot);
                }
                if claim.status == Status::Dead {
                    cx.emit(Event::Dead { id, generation });
                    let here = claim.accusers.contains(&cx.this.id_hash);
                    self.add_evidence(slot, Evidence::Dead { generation, here }, cx);
                } else {
                    cx.emit(Event::Left { id, generation });
                    self.add_evidence(slot, Evidence::Left { generation }, cx);
                }
            }
        }
    }

    /// Begins the suspicion that `claim` states.
    fn suspect(&mut self, slot: Slot, claim: &Claim<'_, A>, cx: &mut Cx<A>) {
        let (id, generation) = (cx.table.id(slot), claim.generation);
        let mine = claim.accusers.contains(&cx.this.id_hash);
        let mut accusers = Accusers::new();
        for &accuser in &claim.accusers {
            if is_other_member(accuser, slot, cx) && !accusers.contains(&accuser) {
                accusers.push(accuser);
            }
        }
        let first = accusers.first().copied();
        let accuser = first.and_then(|accuser| cx.table.with_id_hash(accuser).next());
        let by = accuser.map(|slot| cx.table.id(slot));
        let suspected = Suspected::new(generation, accusers, mine, cx.now, &self.timing(cx));
        self.suspicions.start(slot, suspected);
        self.add_evidence(slot, Evidence::Suspected { by: first, generation }, cx);
        cx.emit(Event::Suspected { id, generation, by });
    }

    /// Adds the accusers of a claim that repeats a suspicion. That this node accuses is a rumor.
    pub(crate) fn confirm(&mut self, slot: Slot, accusers: &Accusers, cx: &mut Cx<A>) {
        let timing = self.timing(cx);
        let mut is_rumor = false;
        for &accuser in accusers {
            if is_other_member(accuser, slot, cx) {
                let mine = accuser == cx.this.id_hash;
                let new = self.suspicions.confirm(slot, accuser, mine, &timing);
                if new {
                    self.add_evidence(slot, Evidence::Confirmed { by: accuser }, cx);
                }
                is_rumor |= new && mine;
            }
        }
        if is_rumor {
            cx.rumors.push_grounded(slot);
        }
    }

    /// Adds `evidence` to the member's history and, if no other event covers it, emits
    /// [`Event::Evidence`].
    pub(crate) fn add_evidence(&mut self, slot: Slot, evidence: Evidence, cx: &mut Cx<A>) {
        if cx.config.mode == Mode::ProbeOnly {
            return;
        }
        self.history.add(slot, Incident { at: cx.now, evidence });
        let covered = match evidence {
            Evidence::Suspected { .. }
            | Evidence::Alive { .. }
            | Evidence::Left { .. }
            | Evidence::Moved => true,
            Evidence::Dead { here, .. } => !here,
            _ => false,
        };
        if !covered {
            cx.emit(Event::Evidence { id: cx.table.id(slot), evidence });
        }
    }

    /// When the probe under way, or the next one, needs a tick. Most of the time this is the only
    /// deadline of a node.
    #[inline]
    pub(crate) fn probe_deadline(&self, cx: &Cx<A>) -> Option<Instant> {
        let autonomous = cx.config.mode == Mode::Autonomous;
        match &self.probe {
            Some(probe) => Some(probe.deadline),
            None if !self.probes_wanted.is_empty() => Some(cx.now),
            None => (autonomous && cx.has_others()).then_some(self.schedule.probe_at),
        }
    }

    /// Makes up for a pause: the node was called `late` later than it had asked for.
    ///
    /// The node slept, and the answers that it awaited may have been lost meanwhile. No deadline
    /// that passed in the pause is held against a member.
    pub(crate) fn on_pause(&mut self, now: Instant, late: Duration, cx: &mut Cx<A>) {
        cx.stats.pauses += 1;
        self.local_health.worse(1);
        self.roll_calls.abort(now);
        self.roll_calls.postpone(late);
        self.drop_pending_accusations(cx);
        self.flap_damping.clear_rechecks();
        self.suspicions.postpone(late);
        if let Some(probe) = self.probe.take()
            && probe.commanded
        {
            self.probes_wanted.push_front(cx.table.id(probe.target));
        }
        self.schedule.probe_at = self.schedule.probe_at.max(now);
    }

    /// Reports every probe that the host awaits as not made: the node leaves.
    pub(crate) fn abandon(&mut self, cx: &mut Cx<A>) {
        if let Some(probe) = self.probe.take() {
            report(probe.target, probe.commanded, ProbeOutcome::NotProbed, cx);
        }
        while let Some(id) = self.probes_wanted.pop_front() {
            cx.emit(Event::ProbeCompleted { id, outcome: ProbeOutcome::NotProbed });
        }
    }

    /// How long one stage of a probe lasts, stretched by the local health.
    pub(crate) fn probe_timeout(&self, config: &Config) -> Duration {
        self.local_health.stretch(config.probe_timeout)
    }
}

impl<A: Address> Part<A> for Detector<A> {
    /// The earliest deadline except that of the probe, for which see
    /// [`Detector::probe_deadline`].
    fn deadline(&self, cx: &Cx<A>) -> Option<Instant> {
        let mut due = self.reconnect_deadline(cx);
        due = sooner(due, self.suspicion_deadline());
        due = sooner(due, self.flap_damping.deadline());
        due = sooner(due, self.roll_calls.deadline(cx.config.isolation_limit));
        due = sooner(due, self.accusation_deadline(cx));
        due = sooner(due, self.unproved.deadline());
        sooner(due, self.ping_reqs.deadline())
    }

    fn is_idle(&self) -> bool {
        self.suspicions.deadline().is_none()
            && self.roll_calls.is_quiet()
            && self.ping_reqs.len() == 0
            && self.flap_damping.is_quiet()
            && self.pending_accusations.is_empty()
            && self.unproved.deadline().is_none()
    }

    /// Does what is due, except that the node advances the probe before: see
    /// [`Detector::advance_probe`].
    fn on_timeout(&mut self, cx: &mut Cx<A>) {
        self.advance_rechecks(cx);
        self.resume_accusations(cx);
        self.call_roll(cx);
        self.review_isolation(cx);
        self.expire_suspicions(cx);
        self.send_nacks(cx);
        self.ask_unproved(cx);
        self.start_probe(cx);
        self.reconnect(cx);
    }

    fn forget(&mut self, slot: Slot, cx: &mut Cx<A>) {
        self.suspicions.clear(slot);
        self.schedule.round_robin.remove(slot);
        if let Some(probe) = self.probe.take_if(|probe| probe.target == slot) {
            report(probe.target, probe.commanded, ProbeOutcome::NotProbed, cx);
        }
        self.pending_accusations.retain(|pending| pending.target != slot);
        self.flap_damping.forget(slot);
        self.hearsay.forget(slot);
        self.history.forget(slot);
        self.elsewhere.forget(slot);
        self.distant.forget(slot);
        self.unproved.forget(slot);
        self.roll_calls.forget(slot, cx.now);
    }

    fn heap_bytes(&self) -> usize {
        self.schedule.round_robin.heap_bytes()
            + self.roll_calls.heap_bytes()
            + self.hearsay.heap_bytes()
            + self.history.heap_bytes()
            + self.unproved.heap_bytes()
            + self.elsewhere.heap_bytes()
    }

    fn check(&self, cx: &Cx<A>) -> Result<(), Violation> {
        self.check_suspicions(cx)?;
        check_bounds(&[
            ("suspicions", self.suspicions.len(), cx.table.len()),
            ("ping-reqs", self.ping_reqs.len(), ping_req::MAX_PING_REQS),
            ("flaps", self.flap_damping.len(), cx.table.len()),
            ("members elsewhere", self.elsewhere.len(), cx.table.len()),
            ("unproved members", self.unproved.len(), cx.table.len()),
        ])?;
        let bounds = Hearsay::<A>::bounds(cx.table.len());
        if self.hearsay.lens().iter().zip(bounds).any(|(&len, bound)| len > bound) {
            return Err(Violation::new("S14", "more accusations are remembered than the bound"));
        }
        if !self.history.is_bounded() {
            return Err(Violation::new("S14", "a member's history is longer than its bound"));
        }
        if !cx.config.detector.shared_schedule
            && self.schedule.round_robin.len() + 1 != cx.table.len()
        {
            return Err(Violation::new(
                "sums",
                "the probe order does not hold every member except this node",
            ));
        }
        Ok(())
    }

    fn check_restored(&self, cx: &Cx<A>) -> Result<(), Unsound> {
        let Self {
            schedule,
            probe,
            probes_wanted: _,
            ping_reqs,
            local_health,
            usual_round_trip: _,
            roll_calls,
            config_may_reconnect: _,
            pending_accusations,
            flap_damping,
            suspicions,
            hearsay,
            reach,
            elsewhere,
            distant,
            reconnected: _,
            history,
            unproved,
            reconnects,
        } = self;
        let (me, times) = (cx.this.slot, cx.time_rules());
        schedule.check_restored(cx)?;
        ping_reqs.check_restored(cx.now, cx.config.probe_timeout)?;
        roll_calls.check_restored(cx)?;
        flap_damping.check_restored(me, times)?;
        suspicions.check_restored(times)?;
        hearsay.check_restored(cx)?;
        let is_sound = |probe: &Probe<A>| probe.is_sound(me, times);
        check_rules(
            "detector",
            &[
                (
                    probe.iter().chain(pending_accusations).all(is_sound),
                    "a probe is of another member, began in the past and ends",
                ),
                (
                    local_health.is_sound(cx.config.detector.local_health),
                    "the local health is within its bounds",
                ),
                (history.is_past(times), "the history is of the past"),
                (
                    reach.is_sound(times) && elsewhere.is_past(times),
                    "pings reached this node, and answers came, in the past",
                ),
                (
                    distant.is_sound(me, times),
                    "a probe that is over was of another member, and began in the past",
                ),
                (
                    unproved.is_sound(me, times),
                    "the members that have to answer are others, and are asked before long",
                ),
                (
                    times.are_deadlines(&[Some(reconnects.next_at)]),
                    "the next contact of a dead member is not ages away",
                ),
            ],
        )
    }
}

/// Emits the outcome of a probe if the host asked for it.
fn report<A: Address>(target: Slot, commanded: bool, outcome: ProbeOutcome, cx: &mut Cx<A>) {
    if commanded {
        let id = cx.table.id(target);
        cx.emit(Event::ProbeCompleted { id, outcome });
    }
}

/// Whether a member other than `slot` has this id hash: only such a member can accuse `slot`.
fn is_other_member<A: Address>(id_hash: IdHash, slot: Slot, cx: &Cx<A>) -> bool {
    cx.table.with_id_hash(id_hash).any(|accuser| accuser != slot)
}
