//! The common probe schedule: which node probes which member in which round, and when.
//!
//! Where each node follows a random order of its own, a share of 1/e of the members (37 %) is not
//! probed at all in any one interval, and a crash may wait for several intervals. Here the nodes
//! share a *round clock*, a count of probe intervals that travels in every datagram; a node that
//! hears a later time takes it over (Lamport 1978). In round r the node of rank i among the live
//! members, in the order of their id hashes, probes the member of rank `i + shift(r)`. A shift is a
//! permutation, so each member is probed once per round. The time within the round depends on the
//! rank of the target, not on the prober, so the probes of one member are one interval apart.
//!
//! The shifts follow the golden ratio: its multiples, modulo 1, fall into the largest gap that is
//! left. So each node probes every other within two rounds per member, as in SWIM, and a node whose
//! roster has one member more computes nearly the same shift. Nodes that disagree about the roster
//! or the time choose targets that are as unrelated to each other's as SWIM's random ones.
//!
//! The clock is taken from answers to this node's own requests only: the source of any other
//! datagram may be forged. A member that answers may lie about its clock, too, so a clock leaps by
//! more than a round only now and then.
//!
//! This module decides only which member this node probes next, and when; `probe` runs the probe.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{LocalHealth, RoundRobin};
use crate::address::Address;
use crate::config::Config;
use crate::cx::Cx;
use crate::membership::Slot;
use crate::time::{Instant, TimeRules};
use crate::violation::{Unsound, check_rules};

/// Ticks of the round clock per probe interval.
const TICKS_PER_ROUND: u64 = 256;

/// The bits of the round clock on the wire, of which 8 count ticks within the round.
const WIRE_CLOCK_BITS: u32 = 24;
const WIRE_CLOCK_MASK: u64 = (1 << WIRE_CLOCK_BITS) - 1;

/// The fewest rounds between two leaps of the clock by more than a round. A node that slept catches
/// up in one.
const ROUNDS_BETWEEN_LEAPS: u32 = 16;

/// The fractional part of the golden ratio, in units of 2^-32.
const GOLDEN_FRACTION: u32 = 0x9E37_79B9;

/// The round clock of one node: its own time, plus the lead that it has heard of from others.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RoundClock {
    /// The length of a round, in microseconds.
    interval: u64,
    /// When the clock showed `base` ticks.
    since: Instant,
    base: u64,
    /// Whether no other clock was heard yet. The first one is taken over whatever it shows.
    fresh: bool,
}

impl RoundClock {
    pub(crate) fn new(now: Instant, interval: Duration) -> Self {
        let interval = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX).max(1);
        Self { interval, since: now, base: 0, fresh: true }
    }

    fn ticks(&self, now: Instant) -> u64 {
        let passed = u64::try_from(now.since(self.since).as_micros()).unwrap_or(u64::MAX);
        self.base.saturating_add(passed.saturating_mul(TICKS_PER_ROUND) / self.interval)
    }

    /// The time of the clock as it stands in datagrams.
    pub(crate) fn on_wire(&self, now: Instant) -> u32 {
        u32::try_from(self.ticks(now) & WIRE_CLOCK_MASK).unwrap_or(0)
    }

    /// The current round.
    pub(crate) fn round(&self, now: Instant) -> u64 {
        self.ticks(now) / TICKS_PER_ROUND
    }

    /// When `part` of `of` equal parts of `round` have passed.
    pub(crate) fn time_in(&self, round: u64, part: u64, of: u64) -> Instant {
        let micros = |ticks: u64| {
            u64::try_from(
                u128::from(ticks) * u128::from(self.interval) / u128::from(TICKS_PER_ROUND),
            )
            .unwrap_or(u64::MAX)
        };
        let phase = u128::from(self.interval) * u128::from(part) / u128::from(of.max(1));
        let ahead = micros(round.saturating_mul(TICKS_PER_ROUND).saturating_sub(self.base));
        let behind = micros(self.base.saturating_sub(round.saturating_mul(TICKS_PER_ROUND)));
        let span =
            Duration::from_micros(ahead.saturating_add(u64::try_from(phase).unwrap_or(u64::MAX)));
        self.since + span - Duration::from_micros(behind)
    }

    /// Takes over the clock of another node if it is ahead; true if it was.
    ///
    /// The wire carries the clock modulo 2^24: a lead of up to half of that counts as ahead. No
    /// leap by more than a round happens before `no_leap_before`, which a leap sets anew.
    pub(crate) fn hear(&mut self, theirs: u32, now: Instant, no_leap_before: &mut Instant) -> bool {
        let mine = self.ticks(now);
        let lead = u64::from(theirs).wrapping_sub(mine) & WIRE_CLOCK_MASK;
        let later = lead != 0 && (lead <= WIRE_CLOCK_MASK / 2 || self.fresh);
        self.fresh = false;
        if later && lead > TICKS_PER_ROUND {
            if now < *no_leap_before {
                return false;
            }
            let pause = Duration::from_micros(self.interval) * ROUNDS_BETWEEN_LEAPS;
            *no_leap_before = now + pause;
        }
        if later {
            // The tick begins now, not when it began at the sender: less than a tick is lost.
            (self.since, self.base) = (now, mine.saturating_add(lead));
        }
        later
    }

    /// Whether a round is as long as the probe interval of `config`, and the clock was set in the
    /// past.
    fn is_sound(&self, config: &Config, times: TimeRules) -> bool {
        let Self { interval, since, base: _, fresh: _ } = self;
        *interval == Self::new(Instant::ORIGIN, config.probe_interval).interval
            && times.is_past(*since)
    }
}

/// Limits how often a node probes, whatever time the round clocks of others show.
///
/// The probes of one node are not evenly spaced, since the target decides the time of each. But in
/// an undisturbed schedule, the first and the last of any eight lie at least seven intervals apart.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pacer {
    interval: Duration,
    /// The latest probes, in a ring.
    probes: [Option<Instant>; Self::WINDOW],
    next: usize,
}

impl Pacer {
    /// The number of latest probes that are remembered.
    /// The number of latest probes that are remembered.
    const WINDOW: usize = 8;

    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, probes: [None; Self::WINDOW], next: 0 }
    }

    /// Whether the pace is that of the probe interval of `config`, and the probes are of the past.
    fn is_sound(&self, config: &Config, times: TimeRules) -> bool {
        let Self { interval, probes, next } = self;
        *interval == config.probe_interval && *next < Self::WINDOW && times.are_past(probes)
    }

    /// Remembers that a probe began at `now`.
    pub(crate) fn probed(&mut self, now: Instant) {
        self.probes[self.next % Self::WINDOW] = Some(now);
        self.next = (self.next + 1) % Self::WINDOW;
    }

    /// The earliest time at which the next probe may begin.
    pub(crate) fn earliest(&self) -> Instant {
        let at = |place: usize| self.probes.get(place % Self::WINDOW).copied().flatten();
        let last = at(self.next + Self::WINDOW - 1).map(|last| last + self.interval / 4);
        let first = at(self.next).map(|first| first + self.interval * 7);
        last.max(first).unwrap_or(Instant::ORIGIN)
    }
}

/// The distance in ranks from a node to its target in this round: 1 to `members - 1`, or 0 if
/// there is no other member.
pub(crate) fn shift(round: u64, members: usize) -> usize {
    let Some(others) = members.checked_sub(1).filter(|&others| others > 0) else { return 0 };
    // Use only the bits of the round that the wire carries, so that all nodes agree.
    let fraction = u32::try_from(round & (WIRE_CLOCK_MASK / TICKS_PER_ROUND))
        .unwrap_or(0)
        .wrapping_mul(GOLDEN_FRACTION);
    1 + usize::try_from((u128::from(fraction) * others as u128) >> u32::BITS).unwrap_or(0)
}

/// The state of the schedule: when this node probes next, and in which round.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Schedule {
    /// SWIM's order; empty unless the common schedule is switched off.
    pub(crate) round_robin: RoundRobin,
    /// When the next probe is due.
    pub(crate) probe_at: Instant,
    /// When the last scheduled probe began. Probes that the host asked for do not count.
    pub(crate) probed_at: Instant,
    /// The round of the next probe.
    pub(crate) round: u64,
    pub(crate) clock: RoundClock,
    /// The earliest time of the next leap of the clock by more than a round.
    pub(crate) no_leap_before: Instant,
    pub(crate) pacer: Pacer,
    /// The version of the roster, and this node's rank among the live members in it.
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
            no_leap_before: now,
            pacer: Pacer::new(config.probe_interval),
            rank: (0, 0),
        }
    }

    /// Checks the schedule of a restored node.
    pub(super) fn check_restored<A: Address>(&self, cx: &Cx<A>) -> Result<(), Unsound> {
        /// A later round than any clock shows.
        const MAX_ROUND: u64 = 1 << 60;
        let Self { round_robin, probe_at, probed_at, round, clock, no_leap_before, pacer, rank } =
            self;
        let times = cx.time_rules();
        let shared = cx.config.detector.shared_schedule;
        check_rules(
            "schedule",
            &[
                (clock.is_sound(&cx.config, times), "the round clock has the pace of the settings"),
                (pacer.is_sound(&cx.config, times), "the pacer has the pace of the settings"),
                (round_robin.is_sound(), "each member has one place in the order of probing"),
                (
                    !round_robin.contains(cx.this.slot),
                    "this node has no place in the order of probing",
                ),
                (!shared || round_robin.len() == 0, "the common schedule has no order of its own"),
                (times.is_past(*probed_at), "the last probe began in the past"),
                (
                    times.are_deadlines(&[Some(*probe_at), Some(*no_leap_before)]),
                    "the next probe is not ages away",
                ),
                (*round <= MAX_ROUND, "the round is one that a clock can show"),
                (rank.1 <= cx.table.rows(), "the rank of this node is one of the table"),
            ],
        )
    }

    /// Gives a new member a place in SWIM's order. The common schedule uses the roster instead.
    pub(crate) fn add_member<A: Address>(&mut self, slot: Slot, cx: &mut Cx<A>) {
        if !cx.config.detector.shared_schedule {
            self.round_robin.insert(slot, &mut cx.rng);
        }
    }

    /// The member to probe now, if there is one; sets the time of the next probe.
    pub(crate) fn next_target<A: Address>(
        &mut self,
        local_health: LocalHealth,
        cx: &mut Cx<A>,
    ) -> Option<Slot> {
        let scheduled = self.scheduled_target(cx);
        self.probed_at = cx.now;
        self.pacer.probed(cx.now);
        self.schedule_probe(self.round + u64::from(local_health.score()) + 1, local_health, cx);
        let table = &cx.table;
        if cx.config.detector.shared_schedule {
            // The schedule may name a member that cannot be probed, as one without an address.
            // Probe a random member instead.
            scheduled.or_else(|| table.random(&mut cx.rng, |slot| table.can_probe(slot)))
        } else {
            self.round_robin.draw(&mut cx.rng, |slot| table.can_probe(slot))
        }
    }

    /// The member that the common schedule names for this node in this round.
    fn scheduled_target<A: Address>(&mut self, cx: &Cx<A>) -> Option<Slot> {
        if !cx.config.detector.shared_schedule {
            return None;
        }
        let rank = self.target_rank(self.round, cx);
        cx.table.at_live_rank(rank).filter(|&slot| cx.table.can_probe(slot))
    }

    /// The rank of this node's target in `round`.
    fn target_rank<A: Address>(&mut self, round: u64, cx: &Cx<A>) -> usize {
        let members = cx.table.live() as usize;
        if self.rank.0 != cx.table.roster_version() {
            self.rank = (cx.table.roster_version(), cx.table.live_rank(cx.this.slot));
        }
        (self.rank.1 + shift(round, members)) % members.max(1)
    }

    /// Sets the time of the next probe: its time in `round`, but neither earlier than the pacer
    /// allows, whatever time other clocks show, nor later than two intervals after the last probe.
    pub(crate) fn schedule_probe<A: Address>(
        &mut self,
        round: u64,
        local_health: LocalHealth,
        cx: &Cx<A>,
    ) {
        let interval = cx.config.probe_interval;
        if !cx.config.detector.shared_schedule {
            self.probe_at = self.probed_at + local_health.stretch(interval);
            return;
        }
        let on = self.clock.round(cx.now);
        // Missed rounds are not made up for.
        self.round = round.max(on);
        let rank = self.target_rank(self.round, cx) as u64;
        let members = u64::from(cx.table.live());
        // Each target has a slice of the round of its own; probe in the middle of the slice.
        // Each target has a slice of the round of its own; probe in the middle of the slice.
        let at = self.clock.time_in(self.round, 2 * rank + 1, 2 * members);
        let latest = self.probed_at + local_health.stretch(interval) * 2;
        self.probe_at = at.min(latest).max(self.pacer.earliest());
    }

    /// Hears the round clock of a live member; if it is ahead, sets the next probe anew.
    pub(crate) fn hear_clock<A: Address>(
        &mut self,
        slot: Slot,
        clock: u32,
        local_health: LocalHealth,
        cx: &Cx<A>,
    ) {
        if cx.table.is_live(slot)
            && cx.config.detector.shared_schedule
            && self.clock.hear(clock, cx.now, &mut self.no_leap_before)
        {
            self.schedule_probe(self.round, local_health, cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    const SECOND: Duration = Duration::from_secs(1);

    fn at_origin() -> Instant {
        Instant::ORIGIN
    }

    #[test]
    fn in_every_round_each_member_is_probed_once_and_none_probes_itself() {
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
    fn each_node_probes_every_other_within_two_rounds_per_member() {
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
    fn the_pacer_never_delays_an_undisturbed_schedule_and_bounds_any_other() {
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
        let leap = &mut at_origin();
        assert!(early.hear(10 * 256 + 128, at(500), leap), "the first clock heard is taken over");
        assert_eq!(early.time_in(11, 1, 4), at(1_250));
        assert!(late.hear(early.on_wire(at(700)), at(701), &mut at_origin()));
        assert!(!early.hear(late.on_wire(at(702)), at(703), leap));
        // Equal up to one tick and the time on the way.
        assert_eq!((early.round(at(1_006)), late.round(at(1_006))), (11, 11));
        // After that, an earlier clock changes nothing, and half of the circle counts as earlier.
        assert!(!late.hear(5, at(2_000), leap));
        assert!(!late.hear(late.on_wire(at(2_000)).wrapping_sub(1) & 0xFF_FFFF, at(2_000), leap));
    }

    #[test]
    fn a_clock_leaps_by_more_than_a_round_once_in_sixteen_rounds() {
        let start = Instant::from_millis(5_000);
        let mut clock = RoundClock::new(start, SECOND);
        let leap = &mut at_origin();
        let ahead = |clock: &RoundClock, now, by| (clock.on_wire(now) + by) & 0xFF_FFFF;
        let later = ahead(&clock, start, 100_000);
        assert!(clock.hear(later, start, leap), "the first is taken");
        let mut leaps = 0;
        for second in 1..=160 {
            let now = start + SECOND * second;
            leaps += u32::from(clock.hear(ahead(&clock, now, 100_000), now, leap));
            assert!(
                clock.hear(ahead(&clock, now, 200), now, leap),
                "a clock a little ahead is taken"
            );
        }
        assert_eq!(leaps, 10);
    }
}
