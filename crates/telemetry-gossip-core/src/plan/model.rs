//! The model of the protocol: the parts of the time from a crash until all members know of it, and
//! the rates of false suspicions and deaths.
//!
//! The formulas are in the documentation of the parent module.

use alloc::vec::Vec;
use core::time::Duration;

use super::Prediction;
use super::fixed::{ONE, exp_minus, fewer, minus_log, mul, power};
use crate::config::{Config, Mode};
use crate::detector::flap_damping::PINGS;
use crate::detector::roll_call::added;
use crate::detector::suspicion::Timing;
use crate::membership::claim::MAX_ACCUSERS;
use crate::membership::rumors::send_limit;

/// Returns a duration in microseconds, at most 1,000 years.
pub(super) fn micros(span: Duration) -> u64 {
    /// 1,000 years, so that sums of some durations do not overflow.
    const MAX_MICROS: u64 = 1_000 * 366 * 24 * 3_600 * 1_000_000;
    u64::try_from(span.as_micros()).unwrap_or(MAX_MICROS).min(MAX_MICROS)
}

/// Returns a duration in milliseconds, rounded up.
pub(super) fn millis(span: Duration) -> u64 {
    micros(span).div_ceil(1_000)
}

/// Returns a duration rounded up to whole milliseconds.
pub(super) fn whole_millis(span: Duration) -> Duration {
    Duration::from_millis(millis(span))
}

/// The loss of datagrams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// p, the share of datagrams that arrive.
    pub(super) arrives: u64,
}

impl Loss {
    pub(super) fn percent(percent: u8) -> Self {
        Self { arrives: ONE / 100 * u64::from(100 - percent.min(100)) }
    }

    /// Returns q, the share of pings that are answered.
    pub(super) fn answered(self) -> u64 {
        mul(self.arrives, self.arrives)
    }

    /// Returns the share of pings through a helper that are answered.
    pub(super) fn through_helper(self) -> u64 {
        mul(self.answered(), self.answered())
    }
}

/// The points of a distribution that are predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantile {
    Median,
    P99,
}

/// The number of flaps that fade in 10^9 hours: one per ten minutes.
pub(super) const FADED_PER_BILLION_HOURS: u128 = 6_000_000_000;

/// The share of the members that see a false accusation before its refutation, measured by
/// simulation.
pub(super) const SEEN: u64 = ONE / 20 * 11;

/// 10^9 hours in microseconds.
pub(super) const BILLION_HOURS_MICROS: u128 = 3_600_000_000_000_000_000;

/// The most hops of gossip that are distinguished within one gossip interval.
pub(super) const MAX_HOPS: u64 = 32;

/// The bytes of a datagram with a ping.
pub(super) const PING_BYTES: u64 = 30;
/// The bytes of a datagram with an ack.
pub(super) const ACK_BYTES: u64 = 30;
/// The bytes of a datagram with a nack.
pub(super) const NACK_BYTES: u64 = 26;
/// The bytes of a datagram with a ping-req, whose address takes 7 bytes.
pub(super) const PING_REQ_BYTES: u64 = 38;
/// The bytes of one claim in one datagram, with its share of the header.
pub(super) const CLAIM_BYTES: u64 = 50;

/// The settings and the network for which a prediction is made. Times are in microseconds.
pub(super) struct Model<'c> {
    pub(super) config: &'c Config,
    pub(super) members: u32,
    pub(super) round_trip: u64,
    pub(super) interval: u64,
    pub(super) timeout: u64,
    pub(super) gossip: u64,
    pub(super) loss: Loss,
}

impl Model<'_> {
    pub(super) fn predict(&self) -> Prediction {
        if self.members < 2 || self.config.mode != Mode::Autonomous {
            return Prediction {
                detection_median: Duration::ZERO,
                detection_p99: Duration::ZERO,
                false_suspicions: 0,
                false_deaths: 0,
                idle_bytes: 0,
            };
        }
        let flaps = self.flaps();
        let false_suspicions = flaps.suspicions;
        let deaths = (u128::from(false_suspicions) * u128::from(self.death_of_suspicion())) >> 60;
        Prediction {
            detection_median: self.detection(Quantile::Median, &flaps),
            detection_p99: self.detection(Quantile::P99, &flaps),
            false_suspicions,
            false_deaths: u64::try_from(deaths).unwrap_or(u64::MAX),
            idle_bytes: self.idle_bytes(false_suspicions),
        }
    }

    /// Returns the time from a crash until all members hold the crashed one Dead.
    pub(super) fn detection(&self, quantile: Quantile, flaps: &Flaps) -> Duration {
        let wait = match (quantile, self.config.detector.shared_schedule) {
            (Quantile::Median, true) => self.interval / 2,
            (Quantile::P99, true) => self.interval,
            (Quantile::Median, false) => self.interval / 1_000 * 693,
            (Quantile::P99, false) => self.interval / 1_000 * 4_605,
        };
        let recheck = u64::from(flaps.pings(quantile)) * (self.timeout / 2);
        let roll_call = self.roll_call(quantile);
        let suspicion = self.suspicion();
        let parts = [
            wait,
            2 * self.timeout,
            recheck,
            roll_call,
            suspicion,
            self.second_roll_call(suspicion, roll_call),
            self.dissemination(quantile),
        ];
        Duration::from_micros(parts.iter().fold(0_u64, |sum, &part| sum.saturating_add(part)))
    }

    /// Returns how long a suspicion with this number of accusers lasts.
    pub(super) fn span(&self, accusers: usize) -> u64 {
        let (shortest, longest) = self.config.suspicion_spans(self.members);
        let most = (self.members as usize).saturating_sub(1);
        let timing = Timing { shortest, longest, accusers: most, others: 1, status_ping: None };
        micros(timing.span(accusers, true))
    }

    /// Returns how long the suspicion of a crashed member lasts. Each interval brings one more
    /// accuser, which shortens it.
    pub(super) fn suspicion(&self) -> u64 {
        let others = (1..MAX_ACCUSERS.min(self.members as usize)).zip(1..);
        let shortened =
            others.map(|(others, intervals)| self.span(1 + others).max(intervals * self.interval));
        shortened.fold(self.span(1), u64::min)
    }

    /// Returns how long a roll call takes. Each round takes a timeout, except the last, which takes
    /// a round trip. If half of the members are silent in one round, the suspect is not accused
    /// until the next probe.
    pub(super) fn roll_call(&self, quantile: Quantile) -> u64 {
        /// How many standard deviations the 99th percentile is off the mean, in thousandths.
        const DEVIATIONS: u64 = 2_330;
        if !self.config.detector.roll_calls {
            return 0;
        }
        let others = u64::from(self.members - 1);
        let silent = ONE - self.loss.answered();
        if others <= added(0) as u64 {
            // The first round asks all members, the suspect included, which does not answer.
            let enough = if quantile == Quantile::P99 { ONE / 100 } else { ONE / 2 };
            let fails = |round: u32| fewer(others / 2, others - 1, power(silent, round));
            let rounds = (1..8).find(|&round| fails(round) <= enough).unwrap_or(8);
            let doubt = if rounds > 1 { self.interval } else { 0 };
            return u64::from(rounds - 1) * self.timeout + self.round_trip + doubt;
        }
        let mut sample: Vec<u64> = Vec::new();
        let mut doubt = 0;
        for round in 0..8_usize {
            let asked: u64 = sample.iter().sum();
            sample.push((added(round) as u64).min(others - asked));
            let (mut answers, mut variance) = (0_u64, 0_u64);
            for (first, &size) in sample.iter().enumerate() {
                let times = u32::try_from(round - first + 1).unwrap_or(u32::MAX);
                // In thousandths, so that squares fit.
                let silent = mul(power(silent, times), 1_000);
                answers += size * (1_000 - silent.min(1_000));
                variance += size * silent * (1_000 - silent.min(1_000));
            }
            let asked: u64 = sample.iter().sum();
            let deviation =
                if quantile == Quantile::P99 { variance.isqrt() * DEVIATIONS / 1_000 } else { 0 };
            let answers = answers.saturating_sub(deviation);
            let clear = if asked >= others {
                2 * (answers + 1_000) > others * 1_000
            } else {
                // A lead of five deviations of a fair coin.
                2 * answers >= asked * 1_000 + (asked * 25_000_000).isqrt()
            };
            if clear {
                return round as u64 * self.timeout + self.round_trip + doubt;
            }
            if 2 * (answers + 1_000) <= asked * 1_000 {
                doubt = self.interval;
            }
        }
        8 * self.timeout + self.round_trip + doubt
    }

    /// Returns by how much the roll call before a death outlasts the suspicion. The roll call
    /// begins with the first status ping after which no more than a timeout is left. It delays the
    /// last status ping, after which half a timeout is left.
    pub(super) fn second_roll_call(&self, suspicion: u64, roll_call: u64) -> u64 {
        if !self.config.detector.status_pings {
            return roll_call;
        }
        if roll_call == 0 {
            return 0;
        }
        let gap = self.timeout / 2;
        // The next member to probe has called the roll since the suspicion began, if it had the
        // time.
        let next = if self.config.detector.shared_schedule && self.members > 2 {
            self.interval
        } else {
            u64::MAX
        };
        let begins = suspicion.saturating_sub(2 * gap).div_ceil(gap).max(1) * gap;
        let outlasts = (roll_call + gap).saturating_sub(suspicion.saturating_sub(begins));
        outlasts.min(next.saturating_sub(suspicion))
    }

    /// Returns how long it takes until all members know of a death.
    pub(super) fn dissemination(&self, quantile: Quantile) -> u64 {
        // All but the accuser and the dead member itself have to learn of it.
        let unaware = u64::from(self.members.saturating_sub(2));
        if unaware == 0 {
            return 0;
        }
        let enough = match quantile {
            Quantile::Median => ONE / 1_000 * 693,
            Quantile::P99 => ONE / 100,
        } / unaware;
        let limit = self.sends();
        let fanout = u64::from(self.config.gossip_fanout.max(1)).min(unaware);
        let times = limit.div_ceil(fanout);
        // A rumor makes some hops within one gossip interval. Their number is bounded, since by
        // then it has reached all members that it can reach within the interval.
        let hop = (self.round_trip / 2).max(1);
        let hops = (self.gossip / hop).clamp(1, MAX_HOPS);
        let at = |step: u64| (step / hops).saturating_mul(self.gossip.max(hop)) + step % hops * hop;
        // The shares of the members that learn it at each step. The first is that of the accuser,
        // which counts as one member beside them.
        let mut learned = alloc::vec![ONE / unaware];
        let mut left = ONE;
        let mut step = 0;
        let end = hops * (times + 2) + 2 * MAX_HOPS;
        while left > enough && step < end {
            let mut reached: u128 = 0;
            for time in 0..times {
                let then =
                    step.checked_sub(time * hops).and_then(|then| usize::try_from(then).ok());
                let Some(then) = then else { break };
                let senders = u128::from(learned.get(then).copied().unwrap_or(0));
                let sends = fanout.min(limit - time * fanout);
                let missed = minus_log(mul(self.loss.arrives, ONE / unaware * sends));
                reached += (senders * u128::from(unaware) * (missed >> 8)) >> 52;
            }
            let now = mul(left, exp_minus(reached));
            learned.push(left - now);
            left = now;
            step += 1;
        }
        // All of the accuser's first sends may be lost.
        let lost = power(ONE - self.loss.arrives, u32::try_from(fanout).unwrap_or(1));
        let again = if quantile == Quantile::P99 && lost > ONE / 100 { self.gossip } else { 0 };
        let missed = if left > enough {
            // A member that missed every send finds by the fingerprints in its probes that the
            // tables differ, or waits for as long as the accuser did.
            let spread = self.gossip.saturating_mul(u64::from(3 + self.members.ilog10()));
            let probes = self.interval * if quantile == Quantile::P99 { 2 } else { 1 };
            spread.saturating_add(probes).min(self.span(1) + self.roll_call(quantile))
        } else {
            0
        };
        at(step).saturating_add(again).saturating_add(missed)
    }

    /// Returns how often each member that learns of a death sends it.
    pub(super) fn sends(&self) -> u64 {
        send_limit(self.config.retransmit_multiplier, self.members - 1).into()
    }

    pub(super) fn helpers(&self) -> u32 {
        u32::from(self.config.indirect_probes).min(self.members.saturating_sub(2))
    }

    /// Returns the share of probes of live members that fail.
    pub(super) fn probe_fails(&self) -> u64 {
        let (pings, sets) = if self.config.detector.retries { (3, 2) } else { (1, 1) };
        // No helper is asked twice.
        let helpers = (sets * u32::from(self.config.indirect_probes))
            .min(self.members.saturating_sub(2))
            .min(16);
        mul(
            power(ONE - self.loss.answered(), pings),
            power(ONE - self.loss.through_helper(), helpers),
        )
    }

    /// Returns the rate of false suspicions, and the flaps that they cause.
    pub(super) fn flaps(&self) -> Flaps {
        let failing = self.probe_fails();
        let all = (BILLION_HOURS_MICROS / u128::from(self.interval) * u128::from(failing)) >> 60;
        let mut flaps =
            Flaps { suspicions: u64::try_from(all).unwrap_or(u64::MAX), shares: [ONE, 0, 0, 0] };
        if !self.config.detector.flap_damping {
            return flaps;
        }
        let silent = ONE - self.loss.answered();
        let rechecks_fail = PINGS.map(|pings| power(silent, pings.into()));
        // More suspicions cause more flaps, and more flaps prevent more suspicions. The rate at
        // which the two agree is found by halving.
        let (mut low, mut high) = (0, flaps.suspicions);
        while high - low > 1 {
            flaps.suspicions = low + (high - low) / 2;
            flaps.shares = shares_of_flaps(flaps.suspicions);
            let accused = flaps
                .shares
                .iter()
                .zip(rechecks_fail)
                .map(|(&share, fails)| mul(share, fails))
                .sum();
            let (rate, all) =
                (u128::from(flaps.suspicions), (all * u128::from(u64::min(accused, ONE))) >> 60);
            if rate < all {
                low = flaps.suspicions;
            } else {
                high = flaps.suspicions;
            }
        }
        flaps
    }

    /// Returns the share of false suspicions after which any member declares the live one Dead.
    pub(super) fn death_of_suspicion(&self) -> u64 {
        let detector = &self.config.detector;
        let sends = self.sends();
        let missed = exp_minus(u128::from(self.loss.arrives) * u128::from(sends));
        if !detector.status_pings {
            // The suspect misses the accusation, or the accuser the refutation.
            return missed.saturating_mul(2).min(ONE);
        }
        let silent = ONE - self.loss.answered();
        let gap = self.timeout / 2;
        let in_time = self.span(1).saturating_sub(self.round_trip.max(gap));
        let status_pings = u32::try_from(in_time / gap).unwrap_or(u32::MAX).max(1);
        let last = if self.round_trip > gap { 1 } else { 2 };
        let elsewhere =
            mul(mul(missed, SEEN), power(silent, last)).saturating_mul(u64::from(self.members));
        power(silent, status_pings).saturating_add(elsewhere).min(ONE)
    }

    /// Returns the bytes that a node sends per second while nothing happens.
    pub(super) fn idle_bytes(&self, false_suspicions: u64) -> u64 {
        let p = self.loss.arrives;
        let q = self.loss.answered();
        // In units of 2^-60 bytes.
        let bytes = |bytes: u64, share: u64| u128::from(bytes) * u128::from(share);
        let pinged = bytes(PING_BYTES, ONE) + bytes(ACK_BYTES, p);
        let helped = bytes(PING_REQ_BYTES, ONE)
            + bytes(PING_BYTES, p)
            + bytes(ACK_BYTES, mul(p, p))
            + bytes(ACK_BYTES, mul(p, q))
            + bytes(NACK_BYTES, mul(p, ONE - q));
        let helpers = self.helpers();
        let stage =
            helped * u128::from(helpers) + if self.config.detector.retries { pinged } else { 0 };
        let second = ONE - q;
        let third = if self.config.detector.retries {
            mul(mul(second, second), power(ONE - self.loss.through_helper(), helpers))
        } else {
            0
        };
        let probe = pinged + (stage >> 30) * u128::from((second + third) >> 30);
        let probes = (probe >> 30) * 1_000_000 / u128::from(self.interval);
        // All members send each refutation, and the half that see the accusation send that, too.
        let sends = u128::from(self.sends());
        let rumors = u128::from(false_suspicions)
            * u128::from(self.members)
            * sends
            * u128::from(CLAIM_BYTES)
            * 3
            / 2;
        let rumors = rumors / (BILLION_HOURS_MICROS / 1_000_000);
        u64::try_from(((probes + (1 << 29)) >> 30) + rumors).unwrap_or(u64::MAX)
    }
}

/// The false suspicions of live members, and the flaps that they leave.
pub(super) struct Flaps {
    /// The false suspicions of one member per 10^9 hours.
    suspicions: u64,
    /// The shares of the views in which a member has 0, 1, 2 and 3 flaps.
    shares: [u64; 4],
}

impl Flaps {
    /// Returns the number of pings of the recheck of a crashed member.
    pub(super) fn pings(&self, quantile: Quantile) -> u32 {
        let rest = match quantile {
            Quantile::Median => ONE / 2,
            Quantile::P99 => ONE / 100,
        };
        let more = |flaps: usize| self.shares.iter().skip(flaps + 1).sum::<u64>();
        let flaps = (0..PINGS.len()).find(|&flaps| more(flaps) <= rest);
        flaps.and_then(|flaps| PINGS.get(flaps)).map(|&pings| pings.into()).unwrap_or(0)
    }
}

/// Returns the shares of the views with 0, 1, 2 and 3 flaps, where a member is suspected
/// `suspicions` times per 10^9 hours. A flap adds one to those that are left, up to three, and one
/// of them fades per ten minutes since the last flap.
pub(super) fn shares_of_flaps(suspicions: u64) -> [u64; 4] {
    let seen = u128::from(suspicions) * u128::from(SEEN) / FADED_PER_BILLION_HOURS;
    // The share of pauses between flaps that are longer than ten minutes.
    let longer = exp_minus(seen);
    let shorter = ONE - longer;
    let mut before = [ONE, 0, 0, 0];
    for _ in 0..64 {
        let mut now = [0; 4];
        for (flaps, share) in before.into_iter().enumerate() {
            let mut share = share;
            for left in (1..=(flaps + 1).min(3)).rev() {
                now[left] += mul(share, shorter);
                share = mul(share, longer);
            }
            now[0] += share;
        }
        before = now;
    }
    before
}
