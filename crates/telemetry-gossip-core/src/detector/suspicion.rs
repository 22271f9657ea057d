//! Suspicions: the suspected members, their accusers, and when the time to refute runs out.
//!
//! ```text
//!   accused ---> suspicion --- the time is up, this node is in touch ---> Dead
//!                    |
//!                    +------- refuted, left, or dead by another's word ---> no suspicion
//! ```
//!
//! A suspicion lasts as long as its row is Suspected at the same generation. An accuser declares
//! the suspect Dead when the time is up; the more accusers, the sooner. A node that has not accused
//! waits twice as long, so that one death costs one roll call, not one per node.
//!
//! Meanwhile an accuser sends the suspect *status pings* again and again, and every other node does
//! so shortly before the end. A status ping tells the suspect of the accusation, so that a
//! refutation that got lost is sent again.

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
use crate::time::{Instant, TimeRules};
use crate::violation::{Unsound, Violation, check_rules};

/// How long suspicions last in the present cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// With [`MAX_ACCUSERS`] accusers, or as many as there can be.
    pub(crate) shortest: Duration,
    /// With one accuser.
    pub(crate) longest: Duration,
    /// How many members can accuse one: in a cluster of two there is no third that could confirm an
    /// accusation.
    pub(crate) accusers: usize,
    /// How many times as long a node waits that has not accused.
    pub(crate) others: u32,
    /// The time between status pings; `None` if there are none.
    pub(crate) status_ping: Option<Duration>,
}

impl Timing {
    /// How long a suspicion with `accusers` accusers lasts; `mine` if this node is one of them.
    pub(crate) fn span(&self, accusers: usize, mine: bool) -> Duration {
        /// Thousandths of log(accusers) / log(4).
        const FEWER: [u32; MAX_ACCUSERS] = [0, 500, 792, 1_000];
        let all = accusers >= self.accusers;
        let fewer = if all { 1_000 } else { FEWER[accusers.clamp(1, MAX_ACCUSERS) - 1] };
        let span = self.longest - (self.longest.saturating_sub(self.shortest)) * fewer / 1_000;
        span * if mine { 1 } else { self.others }
    }
}

/// The suspicion of one member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suspected {
    pub(crate) generation: Generation,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    /// When the suspect gets the next status ping.
    pub(crate) status_ping_at: Option<Instant>,
    pub(crate) accusers: Accusers,
    /// Whether this node is one of the accusers.
    pub(crate) mine: bool,
    /// Whether it has begun anew because a roll call was doubtful. That happens only once, so that
    /// a dead member is declared Dead even on a lossy network.
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

    /// Sets the times of a suspicion that begins, or begins anew, at `now`.
    fn begin(&mut self, now: Instant, timing: &Timing) {
        let span = timing.span(self.accusers.len(), self.mine);
        self.started = now;
        self.deadline = now + span;
        // A node that has not accused pings at the last moment only: usually an accuser has given
        // its verdict by then.
        self.status_ping_at = timing
            .status_ping
            .map(|gap| if self.mine { now + gap } else { self.deadline - gap * 2 });
    }

    /// The earlier of the next status ping and the deadline.
    fn next(&self) -> Instant {
        self.status_ping_at.map_or(self.deadline, |at| at.min(self.deadline))
    }
}

/// The suspicions of all suspected members.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Suspicions {
    rows: BTreeMap<Slot, Suspected>,
    /// A lower bound of the time at which something is due; exact after
    /// [`refresh_deadline`](Self::refresh_deadline).
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

    /// Adds an accuser, this node or another one, which shortens the time that is left. False if
    /// it is named already or the list is full.
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

    /// Ends the time of a suspicion now, or as soon as the shortest one would end: another node has
    /// found the suspect dead.
    pub(crate) fn hasten(&mut self, slot: Slot, now: Instant, timing: &Timing) {
        let Some(row) = self.rows.get_mut(&slot) else { return };
        let end = now.max(row.started + timing.shortest);
        if end < row.deadline {
            row.deadline = end;
            row.status_ping_at = timing.status_ping.map(|gap| end - gap * 2);
            self.refresh_deadline();
        }
    }

    /// When something is due next, or earlier.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Takes a status ping that is due, as the suspect and the time that is left. The next one is
    /// due after `again`; the last, `again` before the end.
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
            // If the last status ping is late, leave the suspect the time to answer it.
            row.deadline = row.deadline.max(now + again);
        }
        Some((slot, row.deadline.since(now)))
    }

    /// A suspicion whose time is up, if there is one.
    pub(crate) fn due(&self, now: Instant) -> Option<(Slot, &Suspected)> {
        self.next.filter(|&next| next <= now)?;
        self.rows.iter().find(|(_, row)| row.deadline <= now).map(|(&slot, row)| (slot, row))
    }

    /// Makes the deadline exact.
    pub(crate) fn refresh_deadline(&mut self) {
        self.next = self.rows.values().map(Suspected::next).min();
    }

    /// Gives every suspicion `span` more time, as long as the node slept.
    pub(crate) fn postpone(&mut self, span: Duration) {
        for row in self.rows.values_mut() {
            row.started = row.started + span;
            row.deadline = row.deadline + span;
            row.status_ping_at = row.status_ping_at.map(|at| at + span);
        }
        self.refresh_deadline();
    }

    /// Begins every suspicion anew, but each only once: a roll call was doubtful.
    pub(crate) fn doubt(&mut self, now: Instant, timing: &Timing) {
        for row in self.rows.values_mut().filter(|row| !row.doubted) {
            row.doubted = true;
            row.begin(now, timing);
        }
        self.refresh_deadline();
    }

    /// Begins every suspicion anew: an isolation is over.
    pub(crate) fn restart(&mut self, now: Instant, timing: &Timing) {
        for row in self.rows.values_mut() {
            row.begin(now, timing);
        }
        self.refresh_deadline();
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Checks the suspicions of a restored node. That each is of a suspected member is an
    /// invariant.
    pub(super) fn check_restored(&self, times: TimeRules) -> Result<(), Unsound> {
        let Self { rows, next } = self;
        let is_sound = |suspected: &Suspected| {
            let Suspected {
                generation: _,
                started,
                deadline,
                status_ping_at,
                accusers: _,
                mine: _,
                doubted: _,
            } = suspected;
            times.is_past(*started) && times.are_deadlines(&[Some(*deadline), *status_ping_at])
        };
        let first = rows.values().map(Suspected::next).min();
        check_rules(
            "suspicions",
            &[
                // Otherwise no roll call would ever be late enough to verify it.
                (rows.values().all(is_sound), "a suspicion began in the past and ends"),
                (
                    next.is_some() == first.is_some() && *next <= first,
                    "the next thing due is not later than that of any suspicion",
                ),
            ],
        )
    }
}

/// The time between two pings of one suspect, or of one member that is rechecked.
pub(super) fn status_ping_gap(config: &Config) -> Duration {
    config.probe_timeout / 2
}

impl<A: Address> Detector<A> {
    /// When a suspicion has something due; `None` while a roll call or an isolation holds them all.
    pub(super) fn suspicion_deadline(&self) -> Option<Instant> {
        if self.roll_calls.is_calling() || self.roll_calls.is_isolated() {
            None
        } else {
            self.suspicions.deadline()
        }
    }

    /// Sends the status pings that are due, and declares the suspects Dead whose time is up, once
    /// a roll call has shown that this node is in touch.
    pub(super) fn expire_suspicions(&mut self, cx: &mut Cx<A>) {
        while !self.roll_calls.is_calling() && !self.roll_calls.is_isolated() {
            let gap = status_ping_gap(&cx.config);
            if let Some((slot, left)) = self.suspicions.status_ping(cx.now, gap) {
                cx.status_ping(slot);
                // Call the roll near the end of the suspicion, so that its finding is known when
                // the time is up.
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
                // A death takes the generation of the suspicion that was not refuted.
                let generation = cx.table.row(slot).generation;
                self.pronounce(slot, Status::Dead, generation, cx);
                // The suspicion is over even if the table refused the verdict.
                self.suspicions.clear(slot);
            }
        }
    }

    /// Whether a roll call must succeed before a suspicion that began at `started` becomes a death.
    fn must_call_roll(&self, started: Instant, cx: &Cx<A>) -> bool {
        cx.config.detector.roll_calls && !self.roll_calls.is_verified_since(started)
    }

    /// How long suspicions last in a cluster of the present size.
    pub(crate) fn timing(&self, cx: &Cx<A>) -> Timing {
        let (shortest, longest) = cx.config.suspicion_spans(cx.table.live());
        let features = &cx.config.detector;
        Timing {
            shortest,
            longest,
            accusers: (cx.table.live() as usize).saturating_sub(1),
            others: if features.roll_calls { 2 } else { 1 },
            status_ping: features.status_pings.then(|| status_ping_gap(&cx.config)),
        }
    }

    /// Checks that a row is Suspected if and only if there is a suspicion of its generation.
    pub(super) fn check_suspicions(&self, cx: &Cx<A>) -> Result<(), Violation> {
        for slot in cx.table.slots() {
            let row = cx.table.row(slot);
            let suspected = self.suspicions.get(slot).map(|suspected| suspected.generation);
            let expected = (row.status == Status::Suspected).then_some(row.generation);
            if suspected != expected {
                let (id, status) = (row.id(), row.status);
                let detail = alloc::format!(
                    "{id} is {status}, but the generation of its suspicion is {suspected:?}"
                );
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
    fn more_accusers_shorten_the_time_and_a_node_that_has_not_accused_waits_longer() {
        let millis = Duration::from_millis;
        let timing = Timing {
            shortest: millis(1_000),
            longest: millis(6_000),
            accusers: 8,
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

    /// 6 s with one accuser down to 1 s with four, twice as long for other nodes, and a status ping
    /// every second.
    const TIMING: Timing = Timing {
        shortest: Duration::from_secs(1),
        longest: Duration::from_secs(6),
        accusers: 8,
        others: 2,
        status_ping: Some(Duration::from_secs(1)),
    };

    /// Suspicions of slots 1 and 2, begun at 10 s, with id hash 1 as the accuser; only for slot 1
    /// that is this node.
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
    fn an_accuser_sends_status_pings_from_the_start_and_others_near_the_end() {
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
        // The last status ping leaves the time to answer it.
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
    fn a_late_last_status_ping_leaves_the_time_to_answer_it() {
        let mut suspicions = two();
        assert_eq!(suspicions.status_ping(at(15_990), AGAIN), Some((Slot(1), AGAIN)));
        assert_eq!(times(&suspicions, 1), (None, at(16_140)));
    }

    #[test]
    fn another_accuser_shortens_the_time_and_counts_once() {
        let mut suspicions = two();
        assert!(!suspicions.confirm(Slot(3), IdHash(2), false, &TIMING), "it is not suspected");
        assert!(!suspicions.confirm(Slot(2), IdHash(1), true, &TIMING), "it is named already");
        assert!(!suspicions.get(Slot(2)).unwrap().mine);
        assert!(suspicions.confirm(Slot(1), IdHash(2), false, &TIMING));
        assert_eq!(times(&suspicions, 1), (Some(at(11_000)), at(13_500)));
        assert!(suspicions.get(Slot(1)).unwrap().mine);
        // This node becomes an accuser, too.
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
    fn another_accuser_never_extends_the_time() {
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
    fn a_suspect_that_is_dead_at_another_node_keeps_the_shortest_time_to_refute() {
        let mut suspicions = two();
        suspicions.hasten(Slot(3), at(10_100), &TIMING);
        suspicions.hasten(Slot(2), at(10_100), &TIMING);
        assert_eq!(times(&suspicions, 2).1, at(11_000), "it began at 10 s");
        suspicions.hasten(Slot(1), at(15_000), &TIMING);
        assert_eq!(times(&suspicions, 1).1, at(15_000), "it has had more than that");
        suspicions.hasten(Slot(1), at(15_500), &TIMING);
        assert_eq!(times(&suspicions, 1).1, at(15_000), "no word extends it");
    }

    #[test]
    fn a_pause_extends_each_suspicion_by_its_length() {
        let mut suspicions = two();
        suspicions.postpone(Duration::from_secs(5));
        assert_eq!(times(&suspicions, 1), (Some(at(16_000)), at(21_000)));
        assert_eq!(suspicions.get(Slot(1)).unwrap().started, at(15_000));
        assert_eq!(suspicions.deadline(), Some(at(16_000)));
    }

    #[test]
    fn suspicions_begin_anew_once_in_doubt_and_after_every_isolation() {
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

    #[test]
    fn where_nobody_can_confirm_an_accusation_it_takes_the_shortest_time() {
        let two = Timing { accusers: 1, ..TIMING };
        assert_eq!(two.span(1, true), TIMING.shortest);
        let three = Timing { accusers: 2, ..TIMING };
        assert_eq!(three.span(1, true), TIMING.longest);
        assert_eq!(three.span(2, true), TIMING.shortest);
    }
}
