//! One probe: ping the target, then ask helpers to ping it, then give a verdict.
//!
//! ```text
//!   idle
//!     |  start: ping the target
//!     v
//!   Direct ------------- ack of the target ------------------> answered
//!     |  no answer in time: ask K helpers, ping again
//!     v
//!   Indirect ----------- ack of the target or a helper ------> answered
//!     |  half of the remaining time is over: ask K other helpers, ping again
//!     v
//!   Last --------------- ack of the target or a helper ------> answered
//!     |  two timeouts after the start
//!     v
//!   failed
//! ```
//!
//! The first stage lasts one timeout, or four times the longest of the member's recent round trips
//! if that is less: the remaining time is better spent on other paths. A distant member has longer,
//! and no middle stage: the answers to the last questions would come too late.
//!
//! The verdict is about the (id, instance, address) that was probed. An answer of another instance
//! of the member, or a record that changed meanwhile, ends the probe without a verdict.
//!
//! This module does not decide what follows from a failed probe (see `accusation`), nor which
//! member is probed next (see `schedule`).

use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::pings::Pings;
use super::{Acked, Detector, report};
use crate::address::Address;
use crate::config::Mode;
use crate::cx::Cx;
use crate::error::CommandError;
use crate::event::{Event, ProbeOutcome};
use crate::evidence::{Evidence, HelperReport, HelperReports};
use crate::id::{Generation, IdHash, Instance, NodeId, RequestId};
use crate::membership::Slot;
use crate::membership::claim::Claim;
use crate::status::Status;
use crate::time::{Instant, TimeRules};

/// The largest number of probes that the host has asked for and that wait for their turn.
pub(crate) const MAX_PROBES_WANTED: usize = 1_024;

/// The largest number of helpers per probe.
pub(crate) const MAX_HELPERS: usize = 16;

/// The stage of a probe; see the module's diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Only the target was pinged.
    Direct,
    /// Helpers were asked.
    Indirect,
    /// More helpers were asked; no further stage follows.
    Last,
}

/// The probe under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Probe<A> {
    pub(crate) pings: Pings,
    pub(crate) target: Slot,
    pub(crate) address: A,
    pub(crate) instance: Instance,
    /// The generation at which the target was held when the probe began.
    pub(crate) generation: Generation,
    pub(crate) stage: Stage,
    /// When the stage ends.
    pub(crate) deadline: Instant,
    /// When the probe has failed.
    pub(crate) ends: Instant,
    pub(crate) helpers: ArrayVec<Helper<A>, MAX_HELPERS>,
    /// How many of the helpers, from the first on, were asked early enough for a missing nack to
    /// count against this node.
    pub(crate) judged: usize,
    /// Whether the host asked for the probe and awaits its outcome.
    pub(crate) commanded: bool,
}

/// A member that was asked to ping the target.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Helper<A> {
    pub(crate) address: A,
    pub(crate) id_hash: IdHash,
    /// The request id of the question to it. Each has its own, or the answer of a helper would read
    /// as the target's.
    pub(crate) request_id: RequestId,
    /// Whether it reported that the target was silent.
    pub(crate) nacked: bool,
}

/// What an ack says about the probe under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The target answered.
    Direct,
    /// The target answered through this helper.
    Indirect(IdHash),
    /// Another instance of the target answered, itself or to a helper.
    Renewed { directly: bool },
    /// The ack is not for this probe: it has another request id.
    Unrelated,
}

impl<A: Copy + PartialEq> Probe<A> {
    /// Whether a restored probe is one that could have begun here. Its target is another member.
    pub(super) fn is_sound(&self, me: Slot, times: TimeRules) -> bool {
        let Self {
            pings,
            target,
            address: _,
            instance: _,
            generation: _,
            stage: _,
            deadline,
            ends,
            helpers,
            judged,
            commanded: _,
        } = self;
        *target != me
            && pings.is_past(times)
            && deadline <= ends
            && times.are_deadlines(&[Some(*ends)])
            && *judged <= helpers.len()
    }

    /// Compares an ack with the probe. The request id says who was asked; the source of an ack says
    /// nothing, since a host may send from another address than the one at which it is reached.
    pub(crate) fn judge(&self, request_id: RequestId, instance: Instance) -> Answer {
        let directly = self.pings.sent_at(request_id).is_some();
        let helper = self.helper(request_id);
        if !directly && helper.is_none() {
            Answer::Unrelated
        } else if !self.instance.is_same_process(instance) {
            Answer::Renewed { directly }
        } else {
            helper
                .filter(|_| !directly)
                .map_or(Answer::Direct, |helper| Answer::Indirect(helper.id_hash))
        }
    }

    fn helper(&self, request_id: RequestId) -> Option<&Helper<A>> {
        self.helpers.iter().find(|helper| helper.request_id == request_id)
    }

    /// The address of the helper that was asked under this request id.
    pub(super) fn helper_asked(&self, request_id: RequestId) -> Option<A> {
        self.helper(request_id).map(|helper| helper.address)
    }

    /// The address that was asked under this request id.
    pub(super) fn address_asked(&self, request_id: RequestId) -> Option<A> {
        if self.pings.sent_at(request_id).is_some() {
            Some(self.address)
        } else {
            self.helper_asked(request_id)
        }
    }

    /// Marks a helper as having sent a nack; false if the nack is not for this probe or came
    /// before.
    pub(crate) fn nack(&mut self, request_id: RequestId) -> bool {
        let mut helpers = self.helpers.iter_mut();
        helpers.find(|helper| helper.request_id == request_id && !helper.nacked).is_some_and(
            |helper| {
                helper.nacked = true;
                true
            },
        )
    }

    /// The helpers as evidence.
    pub(crate) fn reports(&self) -> HelperReports {
        let mut reports = HelperReports::default();
        for (place, helper) in reports.iter_mut().zip(&self.helpers) {
            *place = Some(HelperReport { helper: helper.id_hash, nacked: helper.nacked });
        }
        reports
    }

    /// By how much the failure worsens the local health: by one per helper that was silent, too, or
    /// by one if no helper could be judged (Lifeguard).
    pub(crate) fn blame(&self, nacks: bool) -> usize {
        if self.judged == 0 || !nacks {
            return 1;
        }
        self.helpers.iter().take(self.judged).filter(|helper| !helper.nacked).count()
    }
}

impl<A: Address> Detector<A> {
    /// Moves the probe to its next stage if its deadline has passed. Returns false if the probe has
    /// failed.
    pub(crate) fn advance_probe(&mut self, cx: &mut Cx<A>) -> bool {
        let Some(probe) = self.probe.as_mut().filter(|probe| probe.deadline <= cx.now) else {
            return true;
        };
        // A late tick does not shorten the stages that follow.
        probe.ends = probe.ends + cx.now.since(probe.deadline);
        let retries = cx.config.detector.retries;
        let half = probe.ends.since(cx.now) / 2;
        let round_trip = cx.table.row(probe.target).round_trip.or(self.usual_round_trip);
        let next = match probe.stage {
            // No answer of a distant member would come in time for a question of the last stage.
            Stage::Direct if retries && round_trip.longest() <= Some(half) => {
                Some((Stage::Indirect, cx.now + half))
            }
            Stage::Direct => Some((Stage::Last, probe.ends)),
            Stage::Indirect => Some((Stage::Last, probe.ends)),
            Stage::Last => None,
        };
        if let Some((stage, deadline)) = next {
            let (target, first) = (probe.target, probe.stage == Stage::Direct);
            (probe.stage, probe.deadline) = (stage, deadline);
            let again = retries.then(|| probe.pings.add(cx.now));
            self.ask_helpers(target, first, cx);
            if let Some(number) = again {
                // A lost ping must not cost a suspicion where no helper is at hand.
                cx.ping(target, number);
            }
            return true;
        }
        let Some(probe) = self.probe.take() else { return true };
        cx.stats.probes_failed += 1;
        self.local_health.worse(probe.blame(cx.config.detector.nacks));
        self.add_evidence(probe.target, Evidence::ProbeFailed { helpers: probe.reports() }, cx);
        report(probe.target, probe.commanded, ProbeOutcome::Failed, cx);
        self.distant.was_unanswered(&probe);
        self.accuse_later(probe, cx);
        false
    }

    /// Asks random members that were not asked before to ping the target. The `first` ones are
    /// asked early enough to be judged.
    fn ask_helpers(&mut self, target: Slot, first: bool, cx: &mut Cx<A>) {
        let Some(mut probe) = self.probe.take() else { return };
        let wanted = usize::from(cx.config.indirect_probes).min(probe.helpers.remaining_capacity());
        let id_hash = cx.table.id_hash(target);
        let proved = cx.asks_for_proof();
        for _ in 0..wanted {
            let (table, helpers, me) = (&cx.table, &probe.helpers, cx.this.address);
            let helper = table.random(&mut cx.rng, |slot| {
                let helps = slot != target && table.is_helper(slot, proved, &probe.address, &me);
                helps && !helpers.iter().any(|helper| table.address(slot) == Some(helper.address))
            });
            let Some((helper, to)) = helper.and_then(|slot| Some((slot, table.address(slot)?)))
            else {
                break;
            };
            let (helper_hash, request_id) = (table.id_hash(helper), cx.request_id());
            let asked = Helper { address: to, id_hash: helper_hash, request_id, nacked: false };
            probe.helpers.push(asked);
            cx.ask_through(helper, request_id, id_hash, probe.address);
        }
        if first {
            probe.judged = probe.helpers.len();
        }
        self.probe = Some(probe);
    }

    /// Begins the next probe: the scheduled one if it is due, or one that the host has asked for.
    ///
    /// Neither kind starves the other, because a probe takes at most two timeouts, which is less
    /// than the interval.
    pub(crate) fn start_probe(&mut self, cx: &mut Cx<A>) {
        if self.probe.is_some() {
            return;
        }
        if cx.config.mode == Mode::Autonomous && self.schedule.probe_at <= cx.now {
            self.look_for_rival(cx);
            let target = self.schedule.next_target(self.local_health, cx);
            // A member that still has to answer is asked seldom, since its address may be that of
            // a victim. A probe and its helpers would send a dozen pings.
            let target = target.filter(|&slot| !self.unproved.asks(slot, cx));
            if target.is_some_and(|slot| self.probe(slot, false, cx)) {
                return;
            }
        }
        while let Some(id) = self.probes_wanted.pop_front() {
            let slot = cx.table.find(id.as_str()).filter(|&slot| slot != cx.this.slot);
            let slot = slot.filter(|&slot| cx.table.status(slot) != Status::Left);
            if let Some(slot) = slot
                && self.probe(slot, true, cx)
            {
                return;
            }
            cx.emit(Event::ProbeCompleted { id, outcome: ProbeOutcome::NotProbed });
        }
    }

    /// Queues a probe for the host, and begins it if no other is under way.
    pub(crate) fn want_probe(&mut self, id: NodeId, cx: &mut Cx<A>) -> Result<(), CommandError> {
        if self.probes_wanted.len() >= MAX_PROBES_WANTED {
            return Err(CommandError::TooMany { max: MAX_PROBES_WANTED });
        }
        self.probes_wanted.push_back(id);
        self.start_probe(cx);
        Ok(())
    }

    /// Begins a probe; false if the address of the member is not known.
    fn probe(&mut self, target: Slot, commanded: bool, cx: &mut Cx<A>) -> bool {
        let Some(address) = cx.table.address(target) else { return false };
        let request_id = cx.request_id();
        cx.stats.probes += 1;
        let timeout = self.probe_timeout(&cx.config);
        let row = cx.table.row(target);
        let direct = if cx.config.detector.retries {
            row.round_trip.patience(self.usual_round_trip, timeout)
        } else {
            timeout
        };
        // A distant member has time to answer the second ping, too, if the first one was lost.
        let whole = (direct * 2).min(cx.config.probe_interval).max(timeout * 2);
        self.probe = Some(Probe {
            pings: Pings::first(request_id, cx.now),
            target,
            address,
            instance: row.instance,
            generation: row.generation,
            stage: Stage::Direct,
            deadline: cx.now + direct,
            ends: cx.now + whole,
            helpers: Default::default(),
            judged: 0,
            commanded,
        });
        cx.ping(target, request_id);
        true
    }

    /// Handles an ack for the probe under way; `None` if the ack is not for it.
    pub(super) fn on_probe_ack(
        &mut self,
        request_id: RequestId,
        instance: Instance,
        cx: &mut Cx<A>,
    ) -> Option<Acked> {
        let probe = self.probe.as_ref()?;
        let target = probe.target;
        match probe.judge(request_id, instance) {
            Answer::Direct => {
                let took = probe.pings.sent_at(request_id).map(|at| cx.now.since(at));
                self.end_probe(ProbeOutcome::Direct, took, cx);
                Some(Acked::Compare(target))
            }
            Answer::Indirect(helper) => {
                let row = cx.table.row(target);
                let same = probe.instance == instance && row.is_at(&probe.address);
                if same && cx.table.with_id_hash(helper).any(|helper| cx.is_proved(helper)) {
                    cx.table.heard_through(target, cx.now, helper);
                }
                self.add_evidence(target, Evidence::AnsweredThrough { helper }, cx);
                self.end_probe(ProbeOutcome::Indirect, None, cx);
                Some(Acked::Matched)
            }
            Answer::Renewed { directly } => {
                // Another instance of the target answers. Its claim loses where a higher generation
                // or instance is held, and nothing else would correct a record that says Alive. So
                // it learns of that record, and moves above it.
                if let Some(probe) = self.probe.take() {
                    report(probe.target, probe.commanded, ProbeOutcome::Direct, cx);
                    self.start_probe(cx);
                }
                // Through a helper, the fingerprints are the helper's.
                Some(if directly { Acked::Rival(target) } else { Acked::Matched })
            }
            Answer::Unrelated => None,
        }
    }

    /// Handles the nack of a helper.
    pub(crate) fn on_nack(&mut self, request_id: RequestId) {
        if let Some(probe) = &mut self.probe {
            probe.nack(request_id);
        }
    }

    /// Ends the probe under way with an answer, direct or indirect. A direct one has taken `took`.
    fn end_probe(&mut self, outcome: ProbeOutcome, took: Option<Duration>, cx: &mut Cx<A>) {
        let Some(probe) = self.probe.take() else { return };
        if outcome == ProbeOutcome::Indirect {
            self.distant.was_unanswered(&probe);
        }
        let Probe { target, address, instance, commanded, .. } = probe;
        self.local_health.better();
        if outcome == ProbeOutcome::Indirect {
            cx.stats.probes_indirect += 1;
        }
        if cx.table.row(target).is_at(&address) {
            if let Some(took) = took {
                self.usual_round_trip.add_sample(took);
                cx.table.add_probe_rtt_sample(target, took, cx.config.probe_timeout);
                self.answered_within(target, took, cx);
            }
            cx.table.heard(target, cx.now, took.is_some() && instance != Instance(0));
        }
        report(target, commanded, outcome, cx);
        self.start_probe(cx);
    }

    /// Ends the probe under way if what it was to find out is decided: its target is gone, or
    /// another process runs in its place. Its silence is no failure then.
    pub(super) fn end_outdated_probe(&mut self, slot: Slot, claim: &Claim<'_, A>, cx: &mut Cx<A>) {
        let is_outdated = |probe: &mut Probe<A>| {
            let same = probe.instance == claim.instance && Some(probe.address) == claim.address;
            probe.target == slot && !(claim.status.is_live() && same)
        };
        if let Some(probe) = self.probe.take_if(is_outdated) {
            report(slot, probe.commanded, ProbeOutcome::NotProbed, cx);
        }
    }

    /// Gives up the scheduled probe under way: this node was cut off for a while, and silence from
    /// that time must not count against the target.
    pub(super) fn drop_probe(&mut self) {
        if let Some(probe) = self.probe.take_if(|probe| !probe.commanded) {
            self.schedule.probe_at = self.schedule.probe_at.min(probe.deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// The probe of the member at address 1, instance 7, under request id 9, with helpers at 2 and
    /// 3 under 20 and 30, of which the first was asked early enough.
    fn probe() -> Probe<u32> {
        let helper = |n: u32| Helper {
            address: n,
            id_hash: IdHash(n),
            request_id: RequestId(10 * n),
            nacked: false,
        };
        Probe {
            pings: Pings::first(RequestId(9), Instant::ORIGIN),
            target: Slot(1),
            address: 1,
            instance: Instance(7),
            generation: Generation(0),
            stage: Stage::Indirect,
            deadline: Instant::ORIGIN,
            ends: Instant::ORIGIN,
            helpers: [2, 3].map(helper).into_iter().collect(),
            judged: 1,
            commanded: false,
        }
    }

    #[test]
    fn an_ack_is_judged_by_request_id_and_instance() {
        for (request_id, instance, expected) in [
            (9, 7, Answer::Direct),
            (20, 7, Answer::Indirect(IdHash(2))),
            (9, 0, Answer::Direct), // from a node that does not tell its instances apart
            (9, 8, Answer::Renewed { directly: true }),
            (30, 8, Answer::Renewed { directly: false }),
            (8, 7, Answer::Unrelated),
            (8, 8, Answer::Unrelated),
        ] {
            let answer = probe().judge(RequestId(request_id), Instance(instance));
            assert_eq!(answer, expected, "{request_id}, instance {instance}");
        }
        let unknown = Probe { instance: Instance(0), ..probe() };
        assert_eq!(unknown.judge(RequestId(9), Instance(8)), Answer::Direct);
    }

    #[test]
    fn a_nack_counts_once_and_lowers_the_blame_on_this_node() {
        let mut probe = probe();
        assert_eq!((probe.blame(true), probe.blame(false)), (1, 1));
        assert!(!probe.nack(RequestId(9)) && !probe.nack(RequestId(8)));
        assert!(probe.nack(RequestId(20)) && !probe.nack(RequestId(20)));
        assert_eq!(
            (probe.blame(true), probe.blame(false)),
            (0, 1),
            "the other helper was asked too late to be judged"
        );
        let nacked: Vec<_> =
            probe.reports().iter().flatten().map(|w| (w.helper, w.nacked)).collect();
        assert_eq!(nacked, [(IdHash(2), true), (IdHash(3), false)]);
        let both = Probe { judged: 2, ..super::tests::probe() };
        assert_eq!(both.blame(true), 2);
        let alone = Probe { judged: 0, ..probe };
        assert_eq!(alone.blame(true), 1, "there was no helper to judge by");
    }
}
