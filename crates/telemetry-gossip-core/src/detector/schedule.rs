//! The common probe schedule: who probes whom in which round, and when.
//!
//! Where each node goes round in an order of its own, 37 % of the members are probed by nobody in
//! any one interval (1/e of them), and a crash may wait for several. Here the nodes share a *round
//! clock*, a count of probe intervals that travels in every datagram, and the one who hears of a
//! later time takes it over (Lamport 1978). In round r the node of rank i among the live members,
//! in the order of their ids' hashes, probes the one of rank `i + shift(r)`: a shift is a
//! permutation, so each member is probed once in each round. It is probed at a time of the round
//! that depends on its own rank, whoever the prober is: probes of one member are one interval
//! apart.
//!
//! The shifts follow the golden ratio: the multiples of it, modulo 1, fall into the largest gap
//! that is left, so that each node probes every other within two rounds of all members, as in SWIM;
//! and a node whose roster has one member more has nearly the same shift. Nodes that disagree about
//! the roster or the time choose targets as unrelated to those of the others as SWIM's random ones.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{LocalHealth, RoundRobin};
use crate::address::Address;
use crate::config::Config;
use crate::cx::Cx;
use crate::membership::Slot;
use crate::time::Instant;

/// Ticks of the round clock in one interval.
const TICKS: u64 = 256;

/// The round clock on the wire: so many bits, of which 8 are ticks within the round.
const WIRE_BITS: u32 = 24;
const WIRE_MASK: u64 = (1 << WIRE_BITS) - 1;

/// The golden ratio's fraction of 2^32.
const GOLDEN: u32 = 0x9E37_79B9;

/// The round clock of one node: its own time, and what it has heard that others are ahead.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RoundClock {
    interval: u64,
    /// When the clock showed `base` ticks.
    since: Instant,
    base: u64,
    /// No other clock was heard yet: the first is taken over whatever it shows.
    fresh: bool,
}

impl RoundClock {
    pub(crate) fn new(now: Instant, interval: Duration) -> Self {
        let interval = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX).max(1);
        Self { interval, since: now, base: 0, fresh: true }
    }

    fn ticks(&self, now: Instant) -> u64 {
        let passed = u64::try_from(now.since(self.since).as_micros()).unwrap_or(u64::MAX);
        self.base.saturating_add(passed.saturating_mul(TICKS) / self.interval)
    }

    /// What the clock shows, for the wire.
    pub(crate) fn on_wire(&self, now: Instant) -> u32 {
        u32::try_from(self.ticks(now) & WIRE_MASK).unwrap_or(0)
    }

    /// The round that is on.
    pub(crate) fn round(&self, now: Instant) -> u64 {
        self.ticks(now) / TICKS
    }

    /// When this share of a round (in parts of `of`) has passed.
    pub(crate) fn time_in(&self, round: u64, part: u64, of: u64) -> Instant {
        let micros = |ticks: u64| {
            u64::try_from(u128::from(ticks) * u128::from(self.interval) / u128::from(TICKS))
                .unwrap_or(u64::MAX)
        };
        let phase = u128::from(self.interval) * u128::from(part) / u128::from(of.max(1));
        let ahead = micros(round.saturating_mul(TICKS).saturating_sub(self.base));
        let behind = micros(self.base.saturating_sub(round.saturating_mul(TICKS)));
        let span =
            Duration::from_micros(ahead.saturating_add(u64::try_from(phase).unwrap_or(u64::MAX)));
        self.since + span - Duration::from_micros(behind)
    }

    /// Another node's clock; true if this one was behind, and goes on from there.
    pub(crate) fn hear(&mut self, theirs: u32, now: Instant) -> bool {
        let mine = self.ticks(now);
        let lead = u64::from(theirs).wrapping_sub(mine) & WIRE_MASK;
        let later = lead != 0 && (lead <= WIRE_MASK / 2 || self.fresh);
        self.fresh = false;
        if later {
            // Not since the last tick began, but since now: what is lost is a part of a tick.
            (self.since, self.base) = (now, mine.saturating_add(lead));
        }
        later
    }

    /// Whether it counts the rounds that the settings say.
    pub(crate) fn is_sound(&self, config: &Config) -> bool {
        self.interval == Self::new(Instant::ORIGIN, config.probe_interval).interval
    }

    /// Whether no other clock was heard yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }
}

/// Keeps the load what it should be, whatever others say the time is.
///
/// The probes of one node are not evenly spaced, as each is at the time of its target. But of any
/// eight the first and the last lie seven intervals apart at least, in a schedule that is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pacer {
    interval: Duration,
    /// The latest probes, in a ring.
    probes: [Option<Instant>; Self::WINDOW],
    next: usize,
}

impl Pacer {
    const WINDOW: usize = 8;

    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, probes: [None; Self::WINDOW], next: 0 }
    }

    /// Whether it keeps the pace that the settings say.
    pub(crate) fn is_sound(&self, config: &Config) -> bool {
        self.interval == config.probe_interval && self.next < Self::WINDOW
    }

    /// A probe begins.
    pub(crate) fn probed(&mut self, now: Instant) {
        self.probes[self.next % Self::WINDOW] = Some(now);
        self.next = (self.next + 1) % Self::WINDOW;
    }

    /// Before when the next may not begin.
    pub(crate) fn earliest(&self) -> Instant {
        let at = |place: usize| self.probes.get(place % Self::WINDOW).copied().flatten();
        let last = at(self.next + Self::WINDOW - 1).map(|last| last + self.interval / 4);
        let first = at(self.next).map(|first| first + self.interval * 7);
        last.max(first).unwrap_or(Instant::ORIGIN)
    }
}

/// How many ranks on the target of this round is, 1 to `members - 1`; 0 if there is nobody else.
pub(crate) fn shift(round: u64, members: usize) -> usize {
    let Some(others) = members.checked_sub(1).filter(|&others| others > 0) else { return 0 };
    // Of a round no more than the wire carries.
    let fraction = u32::try_from(round & (WIRE_MASK / TICKS)).unwrap_or(0).wrapping_mul(GOLDEN);
    1 + usize::try_from((u128::from(fraction) * others as u128) >> u32::BITS).unwrap_or(0)
}

/// When this node probes next, and in which round.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Schedule {
    /// SWIM's order, for a detector without the common schedule.
    pub(crate) round_robin: RoundRobin,
    /// When the next probe is due.
    pub(crate) probe_at: Instant,
    /// When the last probe began that was not the host's wish.
    pub(crate) probed_at: Instant,
    /// The round of the next.
    pub(crate) round: u64,
    pub(crate) clock: RoundClock,
    pub(crate) pacer: Pacer,
    /// This node's rank among the live members, at this version of the roster.
    pub(crate) rank: (u32, usize),
}

impl Schedule {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            round_robin: RoundRobin::default(),
            probe_at: now + config.probe_interval,
            probed_at: now,
            round: 0,
            clock: RoundClock::new(now, config.probe_interval),
            pacer: Pacer::new(config.probe_interval),
            rank: (0, 0),
        }
    }

    pub(crate) fn is_sound(&self, config: &Config) -> bool {
        self.clock.is_sound(config) && self.pacer.is_sound(config) && self.round_robin.is_sound()
    }

    /// A new member takes its place in SWIM's order. The common schedule has the roster's.
    pub(crate) fn add_member<A: Address>(&mut self, slot: Slot, cx: &mut Cx<A>) {
        if !cx.config.detector.shared_schedule {
            self.round_robin.insert(slot, &mut cx.rng);
        }
    }

    /// The member whose turn it is, if there is one to probe. The next turn is planned.
    pub(crate) fn next_target<A: Address>(
        &mut self,
        local_health: LocalHealth,
        cx: &mut Cx<A>,
    ) -> Option<Slot> {
        let scheduled = self.scheduled_target(cx);
        self.probed_at = cx.now;
        self.pacer.probed(cx.now);
        self.plan(self.round + u64::from(local_health.score()) + 1, local_health, cx);
        let table = &cx.table;
        if cx.config.detector.shared_schedule {
            // The member that the schedule names may have no address, or be this node itself in
            // another's roster.
            scheduled.or_else(|| table.random(&mut cx.rng, |slot| table.can_probe(slot)))
        } else {
            self.round_robin.draw(&mut cx.rng, |slot| table.can_probe(slot))
        }
    }

    /// The member that the common schedule has this node probe in its round.
    fn scheduled_target<A: Address>(&mut self, cx: &Cx<A>) -> Option<Slot> {
        if !cx.config.detector.shared_schedule {
            return None;
        }
        let rank = self.target_rank(self.round, cx);
        cx.table.at_live_rank(rank).filter(|&slot| cx.table.can_probe(slot))
    }

    fn target_rank<A: Address>(&mut self, round: u64, cx: &Cx<A>) -> usize {
        let members = cx.table.live() as usize;
        if self.rank.0 != cx.table.roster_version() {
            self.rank = (cx.table.roster_version(), cx.table.live_rank(cx.this.slot));
        }
        (self.rank.1 + shift(round, members)) % members.max(1)
    }

    /// Sets the time of the next probe: that of its round, but neither sooner than the pace allows,
    /// whatever others say the time is, nor later than two intervals after the last.
    pub(crate) fn plan<A: Address>(&mut self, round: u64, local_health: LocalHealth, cx: &Cx<A>) {
        let interval = cx.config.probe_interval;
        if !cx.config.detector.shared_schedule {
            self.probe_at = self.probed_at + local_health.stretch(interval);
            return;
        }
        let on = self.clock.round(cx.now);
        // Rounds that went by are not made up for.
        self.round = round.max(on);
        let rank = self.target_rank(self.round, cx) as u64;
        let members = u64::from(cx.table.live());
        let at = self.clock.time_in(self.round, 2 * rank + 1, 2 * members);
        let latest = self.probed_at + local_health.stretch(interval) * 2;
        self.probe_at = at.min(latest).max(self.pacer.earliest());
    }

    /// A member's round clock came along; if it is ahead, so is the next probe.
    pub(crate) fn hear_clock<A: Address>(
        &mut self,
        slot: Slot,
        clock: u32,
        local_health: LocalHealth,
        cx: &Cx<A>,
    ) {
        if cx.table.is_live(slot)
            && cx.config.detector.shared_schedule
            && self.clock.hear(clock, cx.now)
        {
            self.plan(self.round, local_health, cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn in_every_round_each_member_is_probed_once_and_nobody_probes_itself() {
        for members in [2, 3, 10, 250, 1_000] {
            for round in 0..50 {
                let shift = shift(round, members);
                assert!((1..members).contains(&shift));
                let targets: BTreeSet<usize> =
                    (0..members).map(|rank| (rank + shift) % members).collect();
                assert_eq!(targets.len(), members);
            }
        }
    }

    #[test]
    fn each_node_probes_every_other_within_two_rounds_of_all() {
        for members in [2, 3, 7, 20, 250, 1_000, 10_000] {
            for start in [0, 1, 777, 30_000] {
                let seen: BTreeSet<usize> = (start..start + 2 * members as u64)
                    .map(|round| shift(round, members))
                    .collect();
                assert_eq!(seen.len(), members - 1, "{members} members from round {start}");
            }
        }
    }

    #[test]
    fn the_pacer_never_holds_up_a_schedule_that_is_kept_and_bounds_one_that_is_not() {
        let rounds = RoundClock::new(Instant::ORIGIN, SECOND);
        for members in [2, 3, 4, 10, 250] {
            let mut pacer = Pacer::new(SECOND);
            for round in 1..500 {
                let target = (1 + shift(round, members)) % members;
                let at = rounds.time_in(round, 2 * target as u64 + 1, 2 * members as u64);
                assert!(pacer.earliest() <= at, "{members} members, round {round}");
                pacer.probed(at);
            }
        }
        let (mut pacer, mut now) = (Pacer::new(SECOND), Instant::ORIGIN);
        for _ in 0..800 {
            now = now.max(pacer.earliest());
            pacer.probed(now);
        }
        assert!(now.since(Instant::ORIGIN) >= SECOND * 690);
    }

    #[test]
    fn one_member_more_hardly_changes_the_shift() {
        for round in 0..1_000 {
            assert!(shift(round, 250).abs_diff(shift(round, 251)) <= 1);
        }
    }

    #[test]
    fn clocks_agree_on_the_latest_and_never_go_back() {
        let at = |millis: u64| Instant::from_millis(5_000 + millis);
        let (mut early, mut late) =
            (RoundClock::new(at(0), SECOND), RoundClock::new(at(0), SECOND));
        assert!(early.hear(10 * 256 + 128, at(500)), "the first is taken over");
        assert_eq!(early.time_in(11, 1, 4), at(1_250));
        assert!(late.hear(early.on_wire(at(700)), at(701)));
        assert!(!early.hear(late.on_wire(at(702)), at(703)));
        // Within a tick and the time on the way.
        assert_eq!((early.round(at(1_006)), late.round(at(1_006))), (11, 11));
        // From then on an earlier one changes nothing, and half of the circle counts as earlier.
        assert!(!late.hear(5, at(2_000)));
        assert!(!late.hear(late.on_wire(at(2_000)).wrapping_sub(1) & 0xFF_FFFF, at(2_000)));
    }
}
