//! Patience with members whose links are bad: whoever has refuted before is asked more often before
//! it is accused again.
//!
//! A member that gets one of ten datagrams is neither dead nor well. Accused at each failed probe
//! it would be suspected and back for ever, at every node. Here each refutation is a *strike*,
//! which fades after ten minutes; a member with flaps is put *on trial* when a probe fails, and
//! accused only if a number of further pings get no answer. Who has crashed after all is found
//! later by the time of the trial.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::suspicion::status_ping_gap;
use super::{Detector, Probe};
use crate::address::Address;
use crate::cx::Cx;
use crate::evidence::Evidence;
use crate::id::RequestId;
use crate::membership::Slot;
use crate::time::Instant;

/// Pings of a trial, by flaps. One strike may be bad luck, and must not delay the news of a crash
/// by much; after three, nineteen of twenty probes of a member that gets one datagram of ten still
/// get through.
pub(crate) const PINGS: [u8; 4] = [0, 4, 24, 72];

/// The most flaps that count.
const MOST: u8 = 3;

/// How long a strike lasts.
const FADES_AFTER: Duration = Duration::from_secs(600);

/// The most trials at once; who is more is accused without one.
const RECHECKS: usize = 16;

/// A member on trial.
#[derive(Debug, Serialize, Deserialize)]
struct Recheck<A> {
    probe: Probe<A>,
    pings_left: u8,
    next_at: Instant,
}

/// What is due of a trial.
#[derive(Debug)]
pub(crate) enum Due<A> {
    /// Ping this member under this number.
    Ping(Slot, RequestId),
    /// No ping was answered.
    Failed(Probe<A>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FlapDamping<A> {
    /// How many flaps, and since when.
    flaps: BTreeMap<Slot, (u8, Instant)>,
    /// At most [`TRIALS`]; seldom any.
    rechecks: Vec<Recheck<A>>,
}

impl<A: Copy + PartialEq> FlapDamping<A> {
    pub(crate) fn new() -> Self {
        Self { flaps: BTreeMap::new(), rechecks: Vec::new() }
    }

    /// `slot` has refuted.
    pub(crate) fn add_flap(&mut self, slot: Slot, now: Instant) {
        let flaps = self.flaps(slot, now).saturating_add(1).min(MOST);
        self.flaps.insert(slot, (flaps, now));
    }

    /// How many flaps it has.
    pub(crate) fn flaps(&self, slot: Slot, now: Instant) -> u8 {
        self.flaps.get(&slot).map_or(0, |&(flaps, since)| {
            let faded = now.since(since).as_secs() / FADES_AFTER.as_secs();
            flaps.saturating_sub(u8::try_from(faded).unwrap_or(u8::MAX))
        })
    }

    /// Puts the target of a failed probe on trial of so many pings; gives the probe back if it has
    /// no flaps.
    pub(crate) fn begin_recheck(&mut self, probe: Probe<A>, now: Instant) -> Result<u8, Probe<A>> {
        let flaps = self.flaps(probe.target, now);
        if flaps == 0 || self.rechecks.len() >= RECHECKS {
            if flaps == 0 {
                self.flaps.remove(&probe.target);
            }
            return Err(probe);
        }
        let pings = PINGS.get(usize::from(flaps)).copied().unwrap_or(0);
        self.rechecks.push(Recheck { probe, pings_left: pings, next_at: now });
        Ok(pings)
    }

    /// Whether it is being asked already.
    pub(crate) fn is_rechecking(&self, slot: Slot) -> bool {
        self.rechecks.iter().any(|recheck| recheck.probe.target == slot)
    }

    /// Ends the trial whose ping was answered.
    pub(crate) fn answered(&mut self, from: A, number: RequestId) -> Option<Slot> {
        let at = self
            .rechecks
            .iter()
            .position(|recheck| recheck.probe.number == number && recheck.probe.address == from)?;
        Some(self.rechecks.remove(at).probe.target)
    }

    /// What is due at `now`; pings come `gap` after each other.
    pub(crate) fn due(&mut self, now: Instant, gap: Duration) -> Option<Due<A>> {
        let at = self.rechecks.iter().position(|recheck| recheck.next_at <= now)?;
        let recheck = &mut self.rechecks[at];
        if recheck.pings_left == 0 {
            return Some(Due::Failed(self.rechecks.remove(at).probe));
        }
        recheck.pings_left -= 1;
        recheck.next_at = now + gap;
        Some(Due::Ping(recheck.probe.target, recheck.probe.number))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.rechecks.iter().map(|recheck| recheck.next_at).min()
    }

    /// Whether nobody is on trial.
    pub(crate) fn is_quiet(&self) -> bool {
        self.rechecks.is_empty()
    }

    /// Forgets the trials: this node cannot tell.
    pub(crate) fn clear_rechecks(&mut self) {
        self.rechecks.clear();
    }

    /// Forgets a member.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.flaps.remove(&slot);
        self.rechecks.retain(|recheck| recheck.probe.target != slot);
    }

    /// How many members have flaps.
    pub(crate) fn len(&self) -> usize {
        self.flaps.len()
    }
}

impl<A: Address> Detector<A> {
    /// Rechecks the target of a failed probe if it has refuted before; otherwise gives the probe
    /// back.
    pub(super) fn recheck_first(&mut self, probe: Probe<A>, cx: &mut Cx<A>) -> Option<Probe<A>> {
        let target = probe.target;
        if self.flap_damping.is_rechecking(target) {
            return None;
        }
        match self.flap_damping.begin_recheck(probe, cx.now) {
            Ok(pings) => {
                self.add_evidence(target, Evidence::Recheck { pings }, cx);
                None
            }
            Err(probe) => Some(probe),
        }
    }

    pub(super) fn advance_rechecks(&mut self, cx: &mut Cx<A>) {
        while let Some(due) = self.flap_damping.due(cx.now, status_ping_gap(&cx.config)) {
            match due {
                Due::Ping(slot, number) => cx.ping(slot, number),
                Due::Failed(probe) => self.accuse_after_roll_call(probe, cx),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::probe::Stage;
    use crate::id::{Generation, Instance};

    const GAP: Duration = Duration::from_millis(150);

    fn at(secs: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(secs)
    }

    /// The probe of slot `n` at address n under number n.
    fn probe(n: u32) -> Probe<u32> {
        Probe {
            number: RequestId(n),
            target: Slot(n),
            address: n,
            instance: Instance(0),
            generation: Generation(0),
            stage: Stage::Last,
            started: at(0),
            deadline: at(0),
            ends: at(0),
            helpers: Default::default(),
            judged: 0,
            commanded: false,
        }
    }

    fn with_strikes(n: u32, flaps: u8) -> FlapDamping<u32> {
        let mut patience = FlapDamping::new();
        for _ in 0..flaps {
            patience.add_flap(Slot(n), at(0));
        }
        patience
    }

    #[test]
    fn strikes_count_up_to_three_and_one_fades_every_ten_minutes() {
        let patience = with_strikes(1, 5);
        let flaps = [0, 599, 600, 1_199, 1_200, 1_800, 1_000_000]
            .map(|secs| patience.flaps(Slot(1), at(secs)));
        assert_eq!(flaps, [3, 3, 2, 2, 1, 0, 0]);
        assert_eq!(patience.flaps(Slot(2), at(0)), 0);
        // A further one counts on from what is left.
        let mut patience = with_strikes(1, 2);
        patience.add_flap(Slot(1), at(600));
        assert_eq!(patience.flaps(Slot(1), at(600)), 2);
    }

    #[test]
    fn a_trial_has_the_more_pings_the_more_strikes_and_ends_with_an_answer_or_a_failure() {
        for (flaps, pings) in [(1, 4), (2, 24), (3, 72)] {
            let mut patience = with_strikes(1, flaps);
            assert_eq!(patience.begin_recheck(probe(1), at(0)).ok(), Some(pings));
            assert!(
                patience.is_rechecking(Slot(1))
                    && !patience.is_rechecking(Slot(2))
                    && !patience.is_quiet()
            );
            let mut now = at(0);
            for _ in 0..pings {
                assert_eq!(patience.deadline(), Some(now));
                assert!(matches!(patience.due(now, GAP), Some(Due::Ping(Slot(1), RequestId(1)))));
                assert!(patience.due(now, GAP).is_none(), "one at a time");
                now = now + GAP;
            }
            assert!(
                matches!(patience.due(now, GAP), Some(Due::Failed(failed)) if failed.target == Slot(1))
            );
            assert!(patience.due(now, GAP).is_none() && patience.is_quiet());
        }
    }

    #[test]
    fn an_answer_ends_the_trial_of_whom_it_comes_from() {
        let mut patience = with_strikes(1, 1);
        assert!(patience.begin_recheck(probe(1), at(0)).is_ok());
        assert_eq!(patience.answered(2, RequestId(1)), None, "from elsewhere");
        assert_eq!(patience.answered(1, RequestId(2)), None, "under another number");
        assert_eq!(patience.answered(1, RequestId(1)), Some(Slot(1)));
        assert!(patience.is_quiet());
    }

    #[test]
    fn who_never_refuted_is_accused_at_once_and_faded_strikes_are_forgotten() {
        let mut patience = with_strikes(1, 1);
        assert_eq!(
            patience.begin_recheck(probe(2), at(0)).map_err(|probe| probe.target),
            Err(Slot(2))
        );
        assert_eq!(patience.len(), 1);
        assert!(patience.begin_recheck(probe(1), at(600)).is_err());
        assert_eq!(patience.len(), 0);
    }

    #[test]
    fn at_most_16_are_on_trial() {
        let mut patience = FlapDamping::new();
        for n in 1..=17 {
            patience.add_flap(Slot(n), at(0));
            assert_eq!(patience.begin_recheck(probe(n), at(0)).is_ok(), n <= 16, "{n}");
        }
        assert_eq!(patience.flaps(Slot(17), at(0)), 1, "its flaps stay");
        patience.clear_rechecks();
        assert!(patience.is_quiet());
    }

    #[test]
    fn with_a_member_its_trial_is_forgotten_and_no_other() {
        let mut patience = with_strikes(1, 1);
        patience.add_flap(Slot(2), at(0));
        assert!(
            patience.begin_recheck(probe(1), at(0)).is_ok()
                && patience.begin_recheck(probe(2), at(0)).is_ok()
        );
        patience.forget(Slot(1));
        assert!(!patience.is_rechecking(Slot(1)) && patience.is_rechecking(Slot(2)));
        assert_eq!((patience.flaps(Slot(1), at(0)), patience.flaps(Slot(2), at(0))), (0, 1));
    }
}
