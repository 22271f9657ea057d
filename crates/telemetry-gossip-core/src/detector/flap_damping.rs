//! Flap damping: a member that has refuted before is pinged again before it is accused once more.
//!
//! ```text
//!   probe failed --- no flaps ----------------------> pending accusation
//!        |                                                  ^
//!        +--- flaps ---> recheck --- no ping answered ------+
//!                           |
//!                           +--- a ping answered ---> no accusation
//! ```
//!
//! A member that receives one datagram in ten is neither dead nor healthy. If each failed probe led
//! to an accusation, every node would see it suspected and refuting again and again, for ever. So
//! each refutation counts as a *flap*, which fades after ten minutes. When a probe of a member with
//! flaps fails, the member is *rechecked*: it is accused only if a number of further pings get no
//! answer. The price is that a crash of such a member is found later by the time of the recheck.
//!
//! This module decides only whether and how long to wait; `accusation` decides what follows.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::suspicion::status_ping_gap;
use super::{Detector, Probe};
use crate::address::Address;
use crate::bounded::list;
use crate::cx::Cx;
use crate::evidence::Evidence;
use crate::id::RequestId;
use crate::membership::Slot;
use crate::time::{Instant, TimeRules};
use crate::violation::{Unsound, check_rules};

/// The number of pings of a recheck, by flaps. One flap may be bad luck, and must not delay the
/// detection of a crash by much. After three, nineteen of twenty probes of a member that receives
/// one datagram in ten still succeed.
pub(crate) const PINGS: [u8; 4] = [0, 4, 24, 72];

/// The largest number of flaps that count.
const MAX_FLAPS: u8 = 3;

/// How long a flap counts.
const FLAP_FADES_AFTER: Duration = Duration::from_secs(600);

/// The largest number of rechecks at once; further members are accused without a recheck.
const MAX_RECHECKS: usize = 16;

/// A recheck under way.
#[derive(Debug, Serialize, Deserialize)]
struct Recheck<A> {
    /// The failed probe that led to the recheck.
    probe: Probe<A>,
    pings_left: u8,
    next_at: Instant,
}

/// The next action of a recheck.
#[derive(Debug)]
pub(crate) enum Due<A> {
    /// Ping this member with this request id.
    Ping(Slot, RequestId),
    /// The recheck failed: no ping was answered.
    Failed(Probe<A>),
}

/// The flaps of all members, and the rechecks under way.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "A: Serialize", deserialize = "A: Deserialize<'de>"))]
pub(crate) struct FlapDamping<A> {
    /// The number of flaps per member, and the time of the last.
    flaps: BTreeMap<Slot, (u8, Instant)>,
    /// At most [`MAX_RECHECKS`], and rarely any.
    #[serde(deserialize_with = "list::<_, _, _, MAX_RECHECKS>")]
    rechecks: Vec<Recheck<A>>,
}

impl<A: Copy + PartialEq> FlapDamping<A> {
    pub(crate) fn new() -> Self {
        Self { flaps: BTreeMap::new(), rechecks: Vec::new() }
    }

    /// Counts a refutation of a member.
    pub(crate) fn add_flap(&mut self, slot: Slot, now: Instant) {
        let flaps = self.flaps(slot, now).saturating_add(1).min(MAX_FLAPS);
        self.flaps.insert(slot, (flaps, now));
    }

    /// The number of flaps of a member that have not faded.
    pub(crate) fn flaps(&self, slot: Slot, now: Instant) -> u8 {
        self.flaps.get(&slot).map_or(0, |&(flaps, since)| {
            let faded = now.since(since).as_secs() / FLAP_FADES_AFTER.as_secs();
            flaps.saturating_sub(u8::try_from(faded).unwrap_or(u8::MAX))
        })
    }

    /// Begins a recheck of the target of a failed probe, and returns the number of its pings. Gives
    /// the probe back if the target has no flaps, or too many rechecks are under way.
    pub(crate) fn begin_recheck(&mut self, probe: Probe<A>, now: Instant) -> Result<u8, Probe<A>> {
        let flaps = self.flaps(probe.target, now);
        if flaps == 0 || self.rechecks.len() >= MAX_RECHECKS {
            if flaps == 0 {
                self.flaps.remove(&probe.target);
            }
            return Err(probe);
        }
        let pings = PINGS.get(usize::from(flaps)).copied().unwrap_or(0);
        self.rechecks.push(Recheck { probe, pings_left: pings, next_at: now });
        Ok(pings)
    }

    /// Whether a member is being rechecked.
    pub(crate) fn is_rechecking(&self, slot: Slot) -> bool {
        self.rechecks.iter().any(|recheck| recheck.probe.target == slot)
    }

    /// The address that a recheck has pinged under this request id.
    pub(crate) fn address_asked(&self, request_id: RequestId) -> Option<A> {
        let mut probes = self.rechecks.iter().map(|recheck| &recheck.probe);
        probes.find(|probe| probe.pings.sent_at(request_id).is_some()).map(|probe| probe.address)
    }

    /// Ends the recheck that an ack answers, and returns its member.
    pub(crate) fn answered(&mut self, request_id: RequestId) -> Option<Slot> {
        let is_asked = |recheck: &Recheck<A>| recheck.probe.pings.sent_at(request_id).is_some();
        let at = self.rechecks.iter().position(is_asked)?;
        Some(self.rechecks.remove(at).probe.target)
    }

    /// Takes an action that is due at `now`. The pings of a recheck are `gap` apart.
    pub(crate) fn due(&mut self, now: Instant, gap: Duration) -> Option<Due<A>> {
        let at = self.rechecks.iter().position(|recheck| recheck.next_at <= now)?;
        let recheck = &mut self.rechecks[at];
        if recheck.pings_left == 0 {
            return Some(Due::Failed(self.rechecks.remove(at).probe));
        }
        recheck.pings_left -= 1;
        recheck.next_at = now + gap;
        Some(Due::Ping(recheck.probe.target, recheck.probe.pings.number()))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.rechecks.iter().map(|recheck| recheck.next_at).min()
    }

    /// Whether no recheck is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.rechecks.is_empty()
    }

    /// Gives up all rechecks: this node is or was cut off, so silence proves nothing.
    pub(crate) fn clear_rechecks(&mut self) {
        self.rechecks.clear();
    }

    /// Forgets the flaps and the recheck of a member.
    pub(crate) fn forget(&mut self, slot: Slot) {
        self.flaps.remove(&slot);
        self.rechecks.retain(|recheck| recheck.probe.target != slot);
    }

    /// The number of members with flaps.
    pub(crate) fn len(&self) -> usize {
        self.flaps.len()
    }
}

impl<A: Copy + PartialEq> FlapDamping<A> {
    /// Checks the flaps and rechecks of a restored node.
    pub(super) fn check_restored(&self, me: Slot, times: TimeRules) -> Result<(), Unsound> {
        let Self { flaps, rechecks } = self;
        let most = PINGS.last().copied().unwrap_or(0);
        let recheck_is_sound = |recheck: &Recheck<A>| {
            let Recheck { probe, pings_left, next_at } = recheck;
            probe.is_sound(me, times)
                && *pings_left <= most
                && times.are_deadlines(&[Some(*next_at)])
        };
        check_rules(
            "flap damping",
            &[
                (
                    flaps.values().all(|&(count, at)| count <= MAX_FLAPS && times.is_past(at)),
                    "a member has few flaps, all of them in the past",
                ),
                (
                    rechecks.iter().all(recheck_is_sound),
                    "a recheck is of another member and has few pings left",
                ),
            ],
        )
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

    /// Sends the pings of rechecks that are due, and accuses the members whose recheck failed.
    pub(super) fn advance_rechecks(&mut self, cx: &mut Cx<A>) {
        while let Some(due) = self.flap_damping.due(cx.now, status_ping_gap(&cx.config)) {
            match due {
                Due::Ping(slot, request_id) => cx.ping(slot, request_id),
                Due::Failed(probe) => self.accuse_after_roll_call(probe, cx),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::pings::Pings;
    use crate::detector::probe::Stage;
    use crate::id::{Generation, Instance};

    const GAP: Duration = Duration::from_millis(150);

    fn at(secs: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(secs)
    }

    /// The probe of slot `n` at address n with request id n.
    fn probe(n: u32) -> Probe<u32> {
        Probe {
            pings: Pings::first(RequestId(n), at(0)),
            target: Slot(n),
            address: n,
            instance: Instance(0),
            generation: Generation(0),
            stage: Stage::Last,
            deadline: at(0),
            ends: at(0),
            helpers: Default::default(),
            judged: 0,
            commanded: false,
        }
    }

    fn with_flaps(n: u32, flaps: u8) -> FlapDamping<u32> {
        let mut damping = FlapDamping::new();
        for _ in 0..flaps {
            damping.add_flap(Slot(n), at(0));
        }
        damping
    }

    #[test]
    fn flaps_count_up_to_three_and_one_fades_every_ten_minutes() {
        let damping = with_flaps(1, 5);
        let flaps = [0, 599, 600, 1_199, 1_200, 1_800, 1_000_000]
            .map(|secs| damping.flaps(Slot(1), at(secs)));
        assert_eq!(flaps, [3, 3, 2, 2, 1, 0, 0]);
        assert_eq!(damping.flaps(Slot(2), at(0)), 0);
        // A further flap adds to those that have not faded.
        let mut damping = with_flaps(1, 2);
        damping.add_flap(Slot(1), at(600));
        assert_eq!(damping.flaps(Slot(1), at(600)), 2);
    }

    #[test]
    fn a_recheck_has_more_pings_with_more_flaps_and_fails_after_the_last() {
        for (flaps, pings) in [(1, 4), (2, 24), (3, 72)] {
            let mut damping = with_flaps(1, flaps);
            assert_eq!(damping.begin_recheck(probe(1), at(0)).ok(), Some(pings));
            assert!(
                damping.is_rechecking(Slot(1))
                    && !damping.is_rechecking(Slot(2))
                    && !damping.is_quiet()
            );
            let mut now = at(0);
            for _ in 0..pings {
                assert_eq!(damping.deadline(), Some(now));
                assert!(matches!(damping.due(now, GAP), Some(Due::Ping(Slot(1), RequestId(1)))));
                assert!(damping.due(now, GAP).is_none(), "one at a time");
                now = now + GAP;
            }
            let failed = match damping.due(now, GAP) {
                Some(Due::Failed(probe)) => Some(probe.target),
                _ => None,
            };
            assert_eq!(failed, Some(Slot(1)));
            assert!(damping.due(now, GAP).is_none() && damping.is_quiet());
        }
    }

    #[test]
    fn an_answer_ends_the_recheck_of_its_sender() {
        let mut damping = with_flaps(1, 1);
        assert!(damping.begin_recheck(probe(1), at(0)).is_ok());
        assert_eq!(damping.answered(RequestId(2)), None, "with another request id");
        assert_eq!(damping.answered(RequestId(1)), Some(Slot(1)));
        assert!(damping.is_quiet());
    }

    #[test]
    fn a_member_without_flaps_is_not_rechecked_and_faded_flaps_are_forgotten() {
        let mut damping = with_flaps(1, 1);
        assert_eq!(
            damping.begin_recheck(probe(2), at(0)).map_err(|probe| probe.target),
            Err(Slot(2))
        );
        assert_eq!(damping.len(), 1);
        assert!(damping.begin_recheck(probe(1), at(600)).is_err());
        assert_eq!(damping.len(), 0);
    }

    #[test]
    fn at_most_16_members_are_rechecked_at_once() {
        let mut damping = FlapDamping::new();
        for n in 1..=17 {
            damping.add_flap(Slot(n), at(0));
            assert_eq!(damping.begin_recheck(probe(n), at(0)).is_ok(), n <= 16, "{n}");
        }
        assert_eq!(damping.flaps(Slot(17), at(0)), 1, "its flaps stay");
        damping.clear_rechecks();
        assert!(damping.is_quiet());
    }

    #[test]
    fn forgetting_a_member_ends_its_recheck_and_no_other() {
        let mut damping = with_flaps(1, 1);
        damping.add_flap(Slot(2), at(0));
        assert!(
            damping.begin_recheck(probe(1), at(0)).is_ok()
                && damping.begin_recheck(probe(2), at(0)).is_ok()
        );
        damping.forget(Slot(1));
        assert!(!damping.is_rechecking(Slot(1)) && damping.is_rechecking(Slot(2)));
        assert_eq!((damping.flaps(Slot(1), at(0)), damping.flaps(Slot(2), at(0))), (0, 1));
    }
}
