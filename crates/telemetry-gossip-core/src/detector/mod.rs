//! Who is alive: probes, and what follows from their outcome.
//!
//! ```text
//!  schedule ---> probe ------------------> recheck ------------> pending ------------> suspicion ---------> death
//!  each member   ping; then helpers and    only a member that    accusation            the accuser pings    a roll call again;
//!  once a round  a ping; then others       has refuted before    a roll call: am I     the suspect until    a node that only heard
//!                and a ping                                      the one cut off?      the time is up       of it waits twice as long
//! ```
//!
//! Each arrow is one file: `schedule` (and `round_robin`, SWIM's order), `probe`, `flap_damping`,
//! `accusation` and `roll_call`, `suspicion`. An answer ends the way at any place. `ping_req` pings
//! for others, `reconnect` contacts the dead, `local_health` doubts this node, and `history` keeps
//! what happened on the way.
//!
//! [`Detector::set_status`] is the one place where a status becomes timers, flaps, history and
//! events: a claim of another member, an accusation and a suspicion that ran out all end there.

mod accusation;
pub(crate) mod flap_damping;
mod history;
mod local_health;
mod ping_req;
pub(crate) mod probe;
mod reconnect;
pub(crate) mod roll_call;
mod round_robin;
mod schedule;
pub(crate) mod suspicion;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::config::{Config, Mode};
use crate::cx::{Cx, Part, sooner};
use crate::event::{Event, ProbeOutcome};
use crate::evidence::{Evidence, Incident};
use crate::id::{IdHash, Instance, NodeId, RequestId};
use crate::membership::Slot;
use crate::membership::claim::{Accusers, Claim};
use crate::outbox::Signal;
use crate::status::Status;
use crate::time::Instant;
use crate::violation::{Violation, check_bounds};
pub(crate) use flap_damping::FlapDamping;
pub(crate) use history::History;
pub(crate) use local_health::LocalHealth;
pub(crate) use ping_req::PingReqs;
pub(crate) use probe::Probe;
pub(crate) use roll_call::RollCalls;
pub(crate) use round_robin::RoundRobin;
pub(crate) use schedule::{Pacer, RoundClock, Schedule};
use suspicion::Suspected;
pub(crate) use suspicion::Suspicions;

/// Counts up with each change of the serialised shape of [`Detector`].
pub(crate) const SHAPE: u32 = 0;

#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "A: Serialize", deserialize = "A: Deserialize<'de>"))]
pub(crate) struct Detector<A> {
    pub(crate) schedule: Schedule,
    /// The probe under way.
    pub(crate) probe: Option<Probe<A>>,
    /// The probes that the host wants.
    pub(crate) probes_wanted: VecDeque<NodeId>,
    pub(crate) ping_reqs: PingReqs<A>,
    pub(crate) local_health: LocalHealth,
    pub(crate) roll_calls: RollCalls,
    /// A cluster config removed members while the node was isolated: if the next roll call
    /// succeeds, that is why.
    pub(crate) config_may_reconnect: bool,
    /// Failed probes, whose targets are accused once a roll call succeeds.
    pub(crate) pending_accusations: Vec<Probe<A>>,
    pub(crate) flap_damping: FlapDamping<A>,
    pub(crate) suspicions: Suspicions,
    pub(crate) history: History,
    /// When one of the dead is contacted next.
    pub(crate) reconnect_at: Instant,
}

impl<A: Address> Detector<A> {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            schedule: Schedule::new(config, now),
            probe: None,
            probes_wanted: VecDeque::new(),
            ping_reqs: PingReqs::new(),
            local_health: LocalHealth::new(config.detector.local_health),
            roll_calls: RollCalls::default(),
            config_may_reconnect: false,
            pending_accusations: Vec::new(),
            flap_damping: FlapDamping::new(),
            suspicions: Suspicions::default(),
            history: History::default(),
            reconnect_at: now,
        }
    }

    /// Spreads the first deadlines: nodes that start together do not probe together.
    pub(crate) fn start(&mut self, cx: &mut Cx<A>) {
        self.schedule.probe_at = cx.now + cx.jitter(cx.config.probe_interval);
        self.reconnect_at = cx.now + cx.jitter(cx.config.reconnect_interval);
    }

    /// What follows from a member's new status, as `claim` says it; `was` is what it was held to be
    /// before, `None` for a member that is new.
    pub(crate) fn set_status(
        &mut self,
        slot: Slot,
        claim: &Claim<'_, A>,
        was: Option<Status>,
        cx: &mut Cx<A>,
    ) {
        let (id, generation) = (cx.table.id(slot), claim.generation);
        match claim.status {
            Status::Alive => {
                self.suspicions.clear(slot);
                cx.tombstones.clear(slot);
                if let Some(was) = was.filter(|&was| was != Status::Alive) {
                    // Back after a leave is no flap.
                    if was != Status::Left {
                        self.flap_damping.add_flap(slot, cx.now);
                    }
                    self.add_evidence(slot, Evidence::Alive { generation, was }, cx);
                }
                if was.is_some() {
                    cx.emit(Event::Alive { id, generation });
                }
            }
            Status::Suspected => {
                cx.tombstones.clear(slot);
                self.suspect(slot, claim, cx);
            }
            Status::Dead | Status::Left => {
                self.suspicions.clear(slot);
                let age = Duration::from_secs(claim.age_secs.into());
                // However old the death is, a node that still suspects the member must not bring it
                // back.
                let least = cx.config.suspicion_spans(cx.table.live()).1 + cx.spread_time();
                let rest = cx.config.tombstone_ttl.saturating_sub(age).max(least);
                cx.tombstones.set(slot, cx.now + rest);
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

    /// The same suspicion came again. A member that it names for the first time is one more
    /// accuser, and worth telling.
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
                is_rumor |= new;
            }
        }
        if is_rumor {
            cx.rumors.push(slot);
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

    /// An ack came. It answers the probe under way, a recheck, a ping-req or a roll call.
    pub(crate) fn on_ack(
        &mut self,
        from: A,
        number: RequestId,
        instance: Instance,
        cx: &mut Cx<A>,
    ) -> Acked {
        if let Some(acked) = self.on_probe_ack(from, number, instance, cx) {
            return acked;
        }
        if let Some(slot) = self.flap_damping.answered(from, number) {
            cx.table.heard(slot, cx.now, true);
            self.add_evidence(slot, Evidence::RecheckAnswered, cx);
            return Acked::Matched;
        }
        if let Some((asker, number)) = self.ping_reqs.answered(from, number) {
            ping_req::answer_asker(asker, Signal::Ack(number, instance), cx);
            return Acked::Matched;
        }
        let table = &cx.table;
        let answered = self.roll_calls.answered(number, |slot| table.address(slot) == Some(from));
        if let Some(slot) = answered {
            cx.table.heard(slot, cx.now, true);
            self.call_roll(cx);
            return Acked::Matched;
        }
        Acked::Unmatched
    }

    /// When the probe needs a tick: in most nodes at most times, all that is due.
    pub(crate) fn probe_deadline(&self, cx: &Cx<A>) -> Option<Instant> {
        let autonomous = cx.config.mode == Mode::Autonomous;
        match &self.probe {
            Some(probe) => Some(probe.deadline),
            None if !self.probes_wanted.is_empty() => Some(cx.now),
            None => (autonomous && cx.has_others()).then_some(self.schedule.probe_at),
        }
    }

    /// The node was not called for `late` longer than it asked for: it slept, and what it awaited
    /// may have come and gone. Nothing that ran out meanwhile is held against any member.
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

    /// The node leaves: the host is told that the probes it awaits will not come.
    pub(crate) fn abandon(&mut self, cx: &mut Cx<A>) {
        if let Some(probe) = self.probe.take() {
            report(probe.target, probe.commanded, ProbeOutcome::NotProbed, cx);
        }
        while let Some(id) = self.probes_wanted.pop_front() {
            cx.emit(Event::ProbeCompleted { id, outcome: ProbeOutcome::NotProbed });
        }
    }

    /// How long one stage of a probe lasts.
    pub(crate) fn probe_timeout(&self, config: &Config) -> Duration {
        self.local_health.stretch(config.probe_timeout)
    }

    /// Names what a restored state must not be like, if it is.
    pub(crate) fn unsound(&self, config: &Config) -> Option<&'static str> {
        [
            ("schedule", self.schedule.is_sound(config)),
            ("local health", self.local_health.is_sound()),
            ("roll call", self.roll_calls.is_sound()),
        ]
        .into_iter()
        .find_map(|(part, sound)| (!sound).then_some(part))
    }
}

impl<A: Address> Part<A> for Detector<A> {
    /// The probe aside: see [`Detector::probe_deadline`].
    fn deadline(&self, cx: &Cx<A>) -> Option<Instant> {
        let mut due = self.reconnect_deadline(cx);
        due = sooner(due, self.suspicion_deadline());
        due = sooner(due, self.flap_damping.deadline());
        due = sooner(due, self.roll_calls.deadline(cx.config.isolation_limit));
        due = sooner(due, self.accusation_deadline(cx));
        sooner(due, self.ping_reqs.deadline())
    }

    fn is_idle(&self) -> bool {
        self.suspicions.deadline().is_none()
            && self.roll_calls.is_quiet()
            && self.ping_reqs.len() == 0
            && self.flap_damping.is_quiet()
            && self.pending_accusations.is_empty()
    }

    /// The stage of the probe that ran out was looked at before: see
    /// [`Detector::advance_probe`].
    fn on_timeout(&mut self, cx: &mut Cx<A>) {
        self.advance_rechecks(cx);
        self.resume_accusations(cx);
        self.call_roll(cx);
        self.review_isolation(cx);
        self.expire_suspicions(cx);
        self.send_nacks(cx);
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
        self.history.forget(slot);
        self.roll_calls.forget(slot, cx.now);
    }

    fn heap_bytes(&self) -> usize {
        self.schedule.round_robin.heap_bytes()
            + self.roll_calls.heap_bytes()
            + self.history.heap_bytes()
    }

    fn check(&self, cx: &Cx<A>) -> Result<(), Violation> {
        self.check_suspicions(cx)?;
        check_bounds(&[
            ("suspicions", self.suspicions.len(), cx.table.len()),
            ("ping-reqs", self.ping_reqs.len(), ping_req::LIMIT),
            ("flaps", self.flap_damping.len(), cx.table.len()),
        ])?;
        if !self.history.is_bounded() {
            return Err(Violation::new("S14", "a history is longer than its bound"));
        }
        if !cx.config.detector.shared_schedule
            && self.schedule.round_robin.len() + 1 != cx.table.len()
        {
            return Err(Violation::new(
                "sums",
                "the probe order is not the table without the node itself",
            ));
        }
        Ok(())
    }
}

/// What an ack was to the detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acked {
    /// It answered the probe: the target's fingerprints are worth comparing.
    Compare(Slot),
    /// It answered a question of the detector's.
    Matched,
    /// The detector did not ask for it.
    Unmatched,
}

/// Tells the host how a probe ended, if it asked for it.
fn report<A: Address>(target: Slot, commanded: bool, outcome: ProbeOutcome, cx: &mut Cx<A>) {
    if commanded {
        let id = cx.table.id(target);
        cx.emit(Event::ProbeCompleted { id, outcome });
    }
}

/// Whether a member other than `slot` has this id hash: no other can accuse it.
fn is_other_member<A: Address>(id_hash: IdHash, slot: Slot, cx: &Cx<A>) -> bool {
    cx.table.with_id_hash(id_hash).any(|accuser| accuser != slot)
}
