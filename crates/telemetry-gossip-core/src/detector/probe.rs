//! One probe round: ping, then ask others to ping, then give a verdict; and the order in which
//! members are probed.
//!
//! ```text
//!           start         no answer in time: ask K helpers, ping again     half of what is left: ask K others, ping again
//!   idle ---------> Direct -------------------------------> Indirect --------------------------------> Last ---> failed
//!                     | ack of the target                      | ack of the target or a helper           | (two timeouts
//!                     v                                        v                                         v  after start)
//!                  answered                                 answered                                  answered
//! ```
//!
//! The time of the first stage is one timeout, or four times the longest of the member's recent
//! round trips if that is less: the rest is better spent on other paths.
//!
//! The verdict is about the (id, instance, address) that was probed: an answer of another life of
//! the member, or a record that changed meanwhile, ends the round without one.

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::{Acked, Detector, report};
use crate::address::Address;
use crate::config::Mode;
use crate::cx::Cx;
use crate::error::CommandError;
use crate::event::{Event, ProbeOutcome};
use crate::evidence::{Evidence, HelperReport, HelperReports};
use crate::id::{Generation, IdHash, Instance, NodeId, RequestId};
use crate::membership::Slot;
use crate::outbox::{Intent, Signal};
use crate::status::Status;
use crate::time::Instant;

/// The most probes of the host's that wait for their turn.
const MAX_WANTED: usize = 1_024;

/// The most helpers of one probe.
pub(crate) const MAX_HELPERS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Direct,
    Indirect,
    Last,
}

/// The probe under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Probe<A> {
    pub(crate) number: RequestId,
    pub(crate) target: Slot,
    pub(crate) address: A,
    pub(crate) instance: Instance,
    /// What was held of it when the probe began.
    pub(crate) generation: Generation,
    pub(crate) stage: Stage,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    /// When it has failed.
    pub(crate) ends: Instant,
    pub(crate) helpers: ArrayVec<Helper<A>, MAX_HELPERS>,
    /// How many of the helpers were asked early enough to be judged by their nacks.
    pub(crate) judged: usize,
    /// The host asked for it and awaits the outcome.
    pub(crate) commanded: bool,
}

/// Who was asked to ping the target.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Helper<A> {
    pub(crate) address: A,
    pub(crate) id_hash: IdHash,
    /// It said that it is there and the target silent.
    pub(crate) nacked: bool,
}

/// What an ack says about the probe under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The target answered.
    Direct,
    /// The target answered to this helper.
    Indirect(IdHash),
    /// Another instance of the target answered, itself or to a helper.
    Renewed,
    /// The ack is not for this probe: another number, or not from the target or a chosen helper.
    Unrelated,
}

impl<A: Copy + PartialEq> Probe<A> {
    pub(crate) fn judge(&self, from: A, number: RequestId, instance: Instance) -> Answer {
        let direct = from == self.address;
        let helper = self.helpers.iter().find(|helper| helper.address == from);
        if number != self.number || !(direct || helper.is_some()) {
            Answer::Unrelated
        } else if self.instance != Instance(0)
            && instance != Instance(0)
            && instance != self.instance
        {
            // Instance 0 is that of whoever does not tell its lives apart.
            Answer::Renewed
        } else {
            helper
                .filter(|_| !direct)
                .map_or(Answer::Direct, |helper| Answer::Indirect(helper.id_hash))
        }
    }

    /// Notes a helper's nack; false if it is none.
    pub(crate) fn nack(&mut self, from: A, number: RequestId) -> bool {
        let helper =
            self.helpers.iter_mut().find(|helper| helper.address == from && !helper.nacked);
        helper.filter(|_| number == self.number).is_some_and(|helper| {
            helper.nacked = true;
            true
        })
    }

    /// The helpers as evidence.
    pub(crate) fn reports(&self) -> HelperReports {
        let mut reports = HelperReports::default();
        for (place, helper) in reports.iter_mut().zip(&self.helpers) {
            *place = Some(HelperReport { helper: helper.id_hash, nacked: helper.nacked });
        }
        reports
    }

    /// What the failure says about this node: one point for each helper that was silent too, or one
    /// if there was no helper to judge by (Lifeguard).
    pub(crate) fn blame(&self, nacks: bool) -> usize {
        if self.judged == 0 || !nacks {
            return 1;
        }
        self.helpers.iter().take(self.judged).filter(|helper| !helper.nacked).count()
    }
}

impl<A: Address> Detector<A> {
    /// A stage of the probe may have run out; false if that was the last and the probe has failed.
    pub(crate) fn advance_probe(&mut self, cx: &mut Cx<A>) -> bool {
        let Some(probe) = self.probe.as_mut().filter(|probe| probe.deadline <= cx.now) else {
            return true;
        };
        // A late tick takes no time from what comes.
        probe.ends = probe.ends + cx.now.since(probe.deadline);
        let retries = cx.config.detector.retries;
        let next = match probe.stage {
            Stage::Direct if retries => {
                Some((Stage::Indirect, cx.now + probe.ends.since(cx.now) / 2))
            }
            Stage::Direct => Some((Stage::Indirect, probe.ends)),
            Stage::Indirect if retries => Some((Stage::Last, probe.ends)),
            Stage::Indirect | Stage::Last => None,
        };
        if let Some((stage, deadline)) = next {
            (probe.stage, probe.deadline) = (stage, deadline);
            let (number, target) = (probe.number, probe.target);
            self.ask_helpers(target, cx);
            if retries {
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
        self.accuse_later(probe, cx);
        false
    }

    fn ask_helpers(&mut self, target: Slot, cx: &mut Cx<A>) {
        let Some(mut probe) = self.probe.take() else { return };
        let wanted = usize::from(cx.config.indirect_probes).min(probe.helpers.remaining_capacity());
        let id_hash = cx.table.id_hash(target);
        for _ in 0..wanted {
            let (table, helpers) = (&cx.table, &probe.helpers);
            let helper = table.random(&mut cx.rng, |slot| {
                let helps =
                    slot != target && table.can_probe(slot) && table.status(slot) == Status::Alive;
                helps && !helpers.iter().any(|helper| table.address(slot) == Some(helper.address))
            });
            let Some((helper, to)) = helper.and_then(|slot| Some((slot, table.address(slot)?)))
            else {
                break;
            };
            let asked = Helper { address: to, id_hash: table.id_hash(helper), nacked: false };
            probe.helpers.push(asked);
            let signal = Signal::PingReq(probe.number, id_hash, probe.address);
            cx.ask(Intent::new(to, Some(helper), cx.mtu()).with_signal(signal));
        }
        if probe.stage == Stage::Indirect {
            probe.judged = probe.helpers.len();
        }
        self.probe = Some(probe);
    }

    /// Begins the next probe: the scheduled one if its time has come, or one that the host wants.
    /// They do not starve each other: a probe takes two timeouts at most, which is less than the
    /// interval.
    pub(crate) fn start_probe(&mut self, cx: &mut Cx<A>) {
        if self.probe.is_some() {
            return;
        }
        if cx.config.mode == Mode::Autonomous && self.schedule.probe_at <= cx.now {
            let target = self.schedule.next_target(self.local_health, cx);
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

    /// The host wants this member probed.
    pub(crate) fn want_probe(&mut self, id: NodeId, cx: &mut Cx<A>) -> Result<(), CommandError> {
        if self.probes_wanted.len() >= MAX_WANTED {
            return Err(CommandError::TooMany { max: MAX_WANTED });
        }
        self.probes_wanted.push_back(id);
        self.start_probe(cx);
        Ok(())
    }

    /// False if the member's address is not known.
    fn probe(&mut self, target: Slot, commanded: bool, cx: &mut Cx<A>) -> bool {
        let Some(address) = cx.table.address(target) else { return false };
        let number = cx.request_id();
        cx.stats.probes += 1;
        let timeout = self.probe_timeout(&cx.config);
        let row = cx.table.row(target);
        let direct =
            if cx.config.detector.retries { row.round_trip.timeout(timeout) } else { timeout };
        self.probe = Some(Probe {
            number,
            target,
            address,
            instance: row.instance,
            generation: row.generation,
            stage: Stage::Direct,
            started: cx.now,
            deadline: cx.now + direct,
            ends: cx.now + timeout * 2,
            helpers: Default::default(),
            judged: 0,
            commanded,
        });
        cx.ping(target, number);
        true
    }

    /// An ack came: what it says about the probe under way; `None` if it is not for the probe.
    pub(super) fn on_probe_ack(
        &mut self,
        from: A,
        number: RequestId,
        instance: Instance,
        cx: &mut Cx<A>,
    ) -> Option<Acked> {
        let probe = self.probe.as_ref()?;
        let target = probe.target;
        match probe.judge(from, number, instance) {
            Answer::Direct => {
                self.end_probe(ProbeOutcome::Direct, cx);
                Some(Acked::Compare(target))
            }
            Answer::Indirect(helper) => {
                self.add_evidence(target, Evidence::AnsweredThrough { helper }, cx);
                self.end_probe(ProbeOutcome::Indirect, cx);
                Some(Acked::Matched)
            }
            Answer::Renewed => {
                // Another instance of the target answers. The claim on its ack loses where a higher
                // generation or instance is held, and nothing else would correct a record that says
                // Alive. So the tables are compared: the new instance learns of that record and
                // moves above it.
                let direct = probe.address == from;
                if let Some(probe) = self.probe.take() {
                    report(probe.target, probe.commanded, ProbeOutcome::Direct, cx);
                    self.start_probe(cx);
                }
                // Through a helper, the fingerprints are the helper's.
                Some(if direct { Acked::Compare(target) } else { Acked::Matched })
            }
            Answer::Unrelated => None,
        }
    }

    /// A helper's nack came.
    pub(crate) fn on_nack(&mut self, from: A, number: RequestId) {
        if let Some(probe) = &mut self.probe {
            probe.nack(from, number);
        }
    }

    /// The probe under way got an answer of this kind.
    fn end_probe(&mut self, outcome: ProbeOutcome, cx: &mut Cx<A>) {
        let Some(probe) = &self.probe else { return };
        let Probe { target, address, instance, stage, started, commanded, .. } = *probe;
        self.probe = None;
        self.local_health.better();
        if outcome == ProbeOutcome::Indirect {
            cx.stats.probes_indirect += 1;
        }
        if cx.table.row(target).is_at(&address) {
            let direct = outcome == ProbeOutcome::Direct;
            if direct && stage == Stage::Direct {
                // Later it would not be known which ping was answered.
                cx.table.add_rtt_sample(target, cx.now.since(started));
            }
            cx.table.heard(target, cx.now, direct && instance != Instance(0));
        }
        report(target, commanded, outcome, cx);
        self.start_probe(cx);
    }

    /// This node was itself cut off for a while: what went unanswered meanwhile is held against no
    /// member.
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

    /// The probe of the member at address 1, instance 7, with helpers at 2 and 3, of which the
    /// first was asked early enough.
    fn probe() -> Probe<u32> {
        let helper = |n: u32| Helper { address: n, id_hash: IdHash(n), nacked: false };
        Probe {
            number: RequestId(9),
            target: Slot(1),
            address: 1,
            instance: Instance(7),
            generation: Generation(0),
            stage: Stage::Indirect,
            started: Instant::ORIGIN,
            deadline: Instant::ORIGIN,
            ends: Instant::ORIGIN,
            helpers: [2, 3].map(helper).into_iter().collect(),
            judged: 1,
            commanded: false,
        }
    }

    #[test]
    fn an_ack_counts_by_number_source_and_instance() {
        for (from, number, instance, expected) in [
            (1, 9, 7, Answer::Direct),
            (2, 9, 7, Answer::Indirect(IdHash(2))),
            (1, 9, 0, Answer::Direct), // from a node that does not tell its instances apart
            (1, 9, 8, Answer::Renewed),
            (3, 9, 8, Answer::Renewed),
            (4, 9, 7, Answer::Unrelated),
            (1, 8, 7, Answer::Unrelated),
            (2, 8, 7, Answer::Unrelated),
            (4, 9, 8, Answer::Unrelated),
        ] {
            let answer = probe().judge(from, RequestId(number), Instance(instance));
            assert_eq!(answer, expected, "{number} from {from}, instance {instance}");
        }
        let unknown = Probe { instance: Instance(0), ..probe() };
        assert_eq!(unknown.judge(1, RequestId(9), Instance(8)), Answer::Direct);
    }

    #[test]
    fn a_nack_counts_once_and_spares_this_node_the_blame() {
        let mut probe = probe();
        assert_eq!((probe.blame(true), probe.blame(false)), (1, 1));
        assert!(!probe.nack(4, RequestId(9)) && !probe.nack(2, RequestId(8)));
        assert!(probe.nack(2, RequestId(9)) && !probe.nack(2, RequestId(9)));
        assert_eq!(
            (probe.blame(true), probe.blame(false)),
            (0, 1),
            "the other was asked too late to be judged by"
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
