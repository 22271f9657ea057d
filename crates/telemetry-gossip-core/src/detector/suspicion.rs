//! The suspected members, who accuses them, and when their time runs out.
//!
//! A suspicion lives as long as its row is Suspected at its generation. An accuser declares Dead
//! when the time is up, which is the sooner the more accuse; everybody else waits as long again, so
//! that one death costs one roll call and not one of each node. Meanwhile an accuser calls the
//! suspect again and again, and everybody else shortly before the end: pings that tell it of the
//! accusation, so that a refutation that got lost comes again.

use alloc::collections::BTreeMap;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::Detector;
use crate::address::Address;
use crate::config::Config;
use crate::cx::Cx;
use crate::id::{Generation, IdHash};
use crate::membership::Slot;
use crate::membership::claim::{Accusers, MAX_ACCUSERS};
use crate::status::Status;
use crate::time::Instant;
use crate::violation::Violation;

/// How long suspicions last here and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// With as many accusers as are counted.
    pub(crate) shortest: Duration,
    /// With one.
    pub(crate) longest: Duration,
    /// How many times as long who has not accused waits.
    pub(crate) others: u32,
    /// How long after each other the calls are; `None` if there are none.
    pub(crate) status_ping: Option<Duration>,
}

impl Timing {
    /// How long a suspicion by so many lasts, for one of them or for another member.
    pub(crate) fn span(&self, accusers: usize, mine: bool) -> Duration {
        /// Thousandths of log(accusers) / log(4).
        const FEWER: [u32; MAX_ACCUSERS] = [0, 500, 792, 1_000];
        let fewer = FEWER[accusers.clamp(1, MAX_ACCUSERS) - 1];
        let span = self.longest - (self.longest.saturating_sub(self.shortest)) * fewer / 1_000;
        span * if mine { 1 } else { self.others }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suspected {
    pub(crate) generation: Generation,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    /// When the suspect is called next.
    pub(crate) status_ping_at: Option<Instant>,
    pub(crate) accusers: Accusers,
    /// This node accuses.
    pub(crate) mine: bool,
    /// It has begun anew once because the node doubted its own touch; it does not a second time, so
    /// that on a lossy network the dead are declared after all.
    pub(crate) doubted: bool,
}

impl Suspected {
    pub(crate) fn new(
        generation: Generation,
        accusers: Accusers,
        mine: bool,
        now: Instant,
        timing: &Timing,
    ) -> Self {
        let mut suspected = Self {
            generation,
            started: now,
            deadline: now,
            status_ping_at: None,
            accusers,
            mine,
            doubted: false,
        };
        suspected.begin(now, timing);
        suspected
    }

    fn begin(&mut self, now: Instant, timing: &Timing) {
        let span = timing.span(self.accusers.len(), self.mine);
        self.started = now;
        self.deadline = now + span;
        // Who has not accused calls in the last moment only: as a rule there is a verdict by then.
        self.status_ping_at = timing
            .status_ping
            .map(|gap| if self.mine { now + gap } else { self.deadline - gap * 2 });
    }

    fn next(&self) -> Instant {
        self.status_ping_at.map_or(self.deadline, |at| at.min(self.deadline))
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Suspicions {
    rows: BTreeMap<Slot, Suspected>,
    /// The earliest deadline, or earlier.
    next: Option<Instant>,
}

impl Suspicions {
    /// Begins or renews the suspicion of `slot`.
    pub(crate) fn start(&mut self, slot: Slot, suspected: Suspected) {
        self.next = Some(self.next.map_or(suspected.next(), |next| next.min(suspected.next())));
        self.rows.insert(slot, suspected);
    }

    /// Ends the suspicion of `slot`, if there is one.
    pub(crate) fn clear(&mut self, slot: Slot) {
        if self.rows.remove(&slot).is_some() {
            self.refresh_deadline();
        }
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Suspected> {
        self.rows.get(&slot)
    }

    /// One more accuser, this node or another: less time is left. False if it is already named or
    /// the list is full.
    pub(crate) fn confirm(
        &mut self,
        slot: Slot,
        accuser: IdHash,
        mine: bool,
        timing: &Timing,
    ) -> bool {
        let Some(row) = self.rows.get_mut(&slot) else { return false };
        if row.accusers.contains(&accuser) || row.accusers.try_push(accuser).is_err() {
            return false;
        }
        row.mine |= mine;
        if row.started + timing.span(row.accusers.len(), row.mine) < row.deadline {
            row.begin(row.started, timing);
            self.refresh_deadline();
        }
        true
    }

    /// The deadline to wake up at.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// A suspect whose call is due, and how long is left; the next is due after `again`, the last
    /// so long before the end.
    pub(crate) fn status_ping(
        &mut self,
        now: Instant,
        again: Duration,
    ) -> Option<(Slot, Duration)> {
        self.next.filter(|&next| next <= now)?;
        let (&slot, row) =
            self.rows.iter_mut().find(|(_, row)| row.status_ping_at.is_some_and(|at| at <= now))?;
        let last = row.deadline - again;
        row.status_ping_at = (now < last).then(|| last.min(now + again));
        if row.status_ping_at.is_none() {
            // Whoever is called late has the time to answer.
            row.deadline = row.deadline.max(now + again);
        }
        Some((slot, row.deadline.since(now)))
    }

    /// A suspicion whose time is up.
    pub(crate) fn due(&self, now: Instant) -> Option<(Slot, &Suspected)> {
        self.next.filter(|&next| next <= now)?;
        self.rows.iter().find(|(_, row)| row.deadline <= now).map(|(&slot, row)| (slot, row))
    }

    /// Nothing more is due: the next deadline is made exact.
    pub(crate) fn refresh_deadline(&mut self) {
        self.next = self.rows.values().map(Suspected::next).min();
    }

    /// The node slept: every suspicion gets this much more time.
    pub(crate) fn postpone(&mut self, span: Duration) {
        for row in self.rows.values_mut() {
            row.started = row.started + span;
            row.deadline = row.deadline + span;
            row.status_ping_at = row.status_ping_at.map(|at| at + span);
        }
        self.refresh_deadline();
    }

    /// The node's own touch is in doubt: every suspicion begins anew, once.
    pub(crate) fn doubt(&mut self, now: Instant, timing: &Timing) {
        for row in self.rows.values_mut().filter(|row| !row.doubted) {
            row.doubted = true;
            row.begin(now, timing);
        }
        self.refresh_deadline();
    }

    /// Every suspicion begins anew.
    pub(crate) fn restart(&mut self, now: Instant, timing: &Timing) {
        for row in self.rows.values_mut() {
            row.begin(now, timing);
        }
        self.refresh_deadline();
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }
}

/// How long after each other suspects are pinged.
pub(super) fn status_ping_gap(config: &Config) -> Duration {
    config.probe_timeout / 2
}

impl<A: Address> Detector<A> {
    /// When a suspicion runs out; not while a roll call or an isolation holds all of them.
    pub(super) fn suspicion_deadline(&self) -> Option<Instant> {
        if self.roll_calls.is_calling() || self.roll_calls.is_isolated() {
            None
        } else {
            self.suspicions.deadline()
        }
    }

    pub(super) fn expire_suspicions(&mut self, cx: &mut Cx<A>) {
        while !self.roll_calls.is_calling() && !self.roll_calls.is_isolated() {
            let gap = status_ping_gap(&cx.config);
            if let Some((slot, left)) = self.suspicions.status_ping(cx.now, gap) {
                cx.status_ping(slot);
                // By the end it is known, too, whether this node is in touch.
                let started = self.suspicions.get(slot).map(|suspected| suspected.started);
                if left <= cx.config.probe_timeout
                    && started.is_some_and(|started| self.must_call_roll(started, cx))
                {
                    self.begin_roll_call(cx);
                }
                continue;
            }
            let Some((slot, suspected)) = self.suspicions.due(cx.now) else {
                self.suspicions.refresh_deadline();
                return;
            };
            let started = suspected.started;
            if self.must_call_roll(started, cx) {
                self.begin_roll_call(cx);
            } else {
                // At the generation of the suspicion, which was not refuted.
                let generation = cx.table.row(slot).generation;
                self.pronounce(slot, Status::Dead, generation, cx);
                // Whatever the table made of it, this suspicion is over.
                self.suspicions.clear(slot);
            }
        }
    }

    /// Whether a suspicion that began at `started` may not become a death yet.
    fn must_call_roll(&self, started: Instant, cx: &Cx<A>) -> bool {
        cx.config.detector.roll_calls && !self.roll_calls.is_verified_since(started)
    }

    /// How long suspicions last.
    pub(crate) fn timing(&self, cx: &Cx<A>) -> Timing {
        let (shortest, longest) = cx.config.suspicion_spans(cx.table.live());
        let features = &cx.config.detector;
        Timing {
            shortest,
            longest,
            others: if features.roll_calls { 2 } else { 1 },
            status_ping: features.status_pings.then(|| status_ping_gap(&cx.config)),
        }
    }

    /// A row is Suspected if and only if a suspicion of its generation runs.
    pub(super) fn check_suspicions(&self, cx: &Cx<A>) -> Result<(), Violation> {
        for slot in cx.table.slots() {
            let row = cx.table.row(slot);
            let suspected = self.suspicions.get(slot).map(|suspected| suspected.generation);
            let expected = (row.status == Status::Suspected).then_some(row.generation);
            if suspected != expected {
                let (id, status) = (row.id(), row.status);
                let detail = alloc::format!("{id} is {status} but suspected at {suspected:?}");
                return Err(Violation::new("S15", detail));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_further_accuser_shortens_the_time_and_a_mere_hearer_waits_longer() {
        let millis = Duration::from_millis;
        let timing = Timing {
            shortest: millis(1_000),
            longest: millis(6_000),
            others: 2,
            status_ping: None,
        };
        let spans = [1, 2, 3, 4, 5].map(|accusers| timing.span(accusers, true).as_millis());
        // The figures of Lifeguard for K = 3: log(2) / log(4) is a half.
        assert_eq!(spans, [6_000, 3_500, 2_040, 1_000, 1_000]);
        assert_eq!(timing.span(2, false), millis(7_000));
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    const AGAIN: Duration = Duration::from_millis(150);

    /// 6 s of one accuser down to 1 s of four, twice as long for others, calls every second.
    const TIMING: Timing = Timing {
        shortest: Duration::from_secs(1),
        longest: Duration::from_secs(6),
        others: 2,
        status_ping: Some(Duration::from_secs(1)),
    };

    /// Suspicions of slots 1 and 2 by id hash 1, which this node is for the first; begun at 10 s.
    fn two() -> Suspicions {
        let mut suspicions = Suspicions::default();
        for (slot, mine) in [(1, true), (2, false)] {
            let accusers = [IdHash(1)].into_iter().collect();
            suspicions.start(
                Slot(slot),
                Suspected::new(Generation(1), accusers, mine, at(10_000), &TIMING),
            );
        }
        suspicions
    }

    fn times(suspicions: &Suspicions, slot: u32) -> (Option<Instant>, Instant) {
        let suspected = suspicions.get(Slot(slot)).unwrap();
        (suspected.status_ping_at, suspected.deadline)
    }

    #[test]
    fn an_accuser_calls_from_the_start_and_others_near_the_end() {
        let mut suspicions = two();
        assert_eq!(times(&suspicions, 1), (Some(at(11_000)), at(16_000)));
        assert_eq!(times(&suspicions, 2), (Some(at(20_000)), at(22_000)));
        assert_eq!((suspicions.deadline(), suspicions.len()), (Some(at(11_000)), 2));
        assert_eq!(suspicions.status_ping(at(10_999), AGAIN), None);
        let mut now = at(11_000);
        for left in (150..=5_000).rev().step_by(150) {
            assert_eq!(
                suspicions.status_ping(now, AGAIN),
                Some((Slot(1), Duration::from_millis(left)))
            );
            assert_eq!(
                (suspicions.status_ping(now, AGAIN), suspicions.due(now)),
                (None, None),
                "one at a time"
            );
            suspicions.refresh_deadline();
            now = suspicions.deadline().unwrap();
        }
        // The last call leaves the time of an answer.
        assert_eq!(suspicions.status_ping(at(15_850), AGAIN), Some((Slot(1), AGAIN)));
        suspicions.refresh_deadline();
        assert_eq!(
            (times(&suspicions, 1), suspicions.deadline()),
            ((None, at(16_000)), Some(at(16_000)))
        );
        assert_eq!(suspicions.due(at(15_999)), None);
        assert_eq!(suspicions.due(at(16_000)).map(|(slot, _)| slot), Some(Slot(1)));
        suspicions.clear(Slot(1));
        suspicions.clear(Slot(1));
        assert_eq!((suspicions.deadline(), suspicions.len()), (Some(at(20_000)), 1));
    }

    #[test]
    fn whoever_is_called_late_has_the_time_to_answer() {
        let mut suspicions = two();
        assert_eq!(suspicions.status_ping(at(15_990), AGAIN), Some((Slot(1), AGAIN)));
        assert_eq!(times(&suspicions, 1), (None, at(16_140)));
    }

    #[test]
    fn a_further_accuser_leaves_less_time_and_counts_once() {
        let mut suspicions = two();
        assert!(!suspicions.confirm(Slot(3), IdHash(2), false, &TIMING), "nobody suspects it");
        assert!(!suspicions.confirm(Slot(2), IdHash(1), true, &TIMING), "it is named");
        assert!(!suspicions.get(Slot(2)).unwrap().mine);
        assert!(suspicions.confirm(Slot(1), IdHash(2), false, &TIMING));
        assert_eq!(times(&suspicions, 1), (Some(at(11_000)), at(13_500)));
        assert!(suspicions.get(Slot(1)).unwrap().mine);
        // This node becomes one itself.
        assert!(suspicions.confirm(Slot(2), IdHash(2), true, &TIMING));
        assert_eq!(
            (times(&suspicions, 2), suspicions.deadline()),
            ((Some(at(11_000)), at(13_500)), Some(at(11_000)))
        );
        assert!(
            suspicions.confirm(Slot(2), IdHash(3), false, &TIMING)
                && suspicions.confirm(Slot(2), IdHash(4), false, &TIMING)
        );
        assert!(!suspicions.confirm(Slot(2), IdHash(5), false, &TIMING), "four are counted");
        assert_eq!(times(&suspicions, 2), (Some(at(11_000)), at(11_000)));
    }

    #[test]
    fn a_further_accuser_gives_no_more_time() {
        let mut suspicions = two();
        let longer = Timing {
            longest: Duration::from_secs(60),
            shortest: Duration::from_secs(60),
            ..TIMING
        };
        assert!(suspicions.confirm(Slot(1), IdHash(2), false, &longer));
        assert_eq!(times(&suspicions, 1), (Some(at(11_000)), at(16_000)));
    }

    #[test]
    fn sleep_gives_each_suspicion_its_time_back() {
        let mut suspicions = two();
        suspicions.postpone(Duration::from_secs(5));
        assert_eq!(times(&suspicions, 1), (Some(at(16_000)), at(21_000)));
        assert_eq!(suspicions.get(Slot(1)).unwrap().started, at(15_000));
        assert_eq!(suspicions.deadline(), Some(at(16_000)));
    }

    #[test]
    fn in_doubt_each_suspicion_begins_anew_once_and_after_an_isolation_each_time() {
        let mut suspicions = two();
        suspicions.doubt(at(12_000), &TIMING);
        assert_eq!(
            (times(&suspicions, 1).1, suspicions.deadline()),
            (at(18_000), Some(at(13_000)))
        );
        suspicions.doubt(at(14_000), &TIMING);
        assert_eq!(times(&suspicions, 1).1, at(18_000));
        for secs in [20, 30] {
            suspicions.restart(at(secs * 1_000), &TIMING);
            assert_eq!(times(&suspicions, 1).1, at(secs * 1_000 + 6_000));
            assert_eq!(suspicions.deadline(), Some(at(secs * 1_000 + 1_000)));
        }
    }
}
