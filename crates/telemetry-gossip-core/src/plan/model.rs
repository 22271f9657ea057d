//! The model: each part of the way from a crash to the knowledge of all, and what goes wrong on it.

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

pub(super) fn micros(span: Duration) -> u64 {
    /// No span is longer than 1,000 years, so that sums of some do not overflow.
    const MOST: u64 = 1_000 * 366 * 24 * 3_600 * 1_000_000;
    u64::try_from(span.as_micros()).unwrap_or(MOST).min(MOST)
}

pub(super) fn millis(span: Duration) -> u64 {
    micros(span).div_ceil(1_000)
}

/// Rounded up.
pub(super) fn whole_millis(span: Duration) -> Duration {
    Duration::from_millis(millis(span))
}

/// How datagrams fare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    /// p, the share of datagrams that arrive.
    pub(super) arrives: u64,
}

impl Loss {
    pub(super) fn percent(percent: u8) -> Self {
        Self { arrives: ONE / 100 * u64::from(100 - percent.min(100)) }
    }

    /// q, the share of pings that are answered.
    pub(super) fn answered(self) -> u64 {
        mul(self.arrives, self.arrives)
    }

    /// The share of helpers that bring an answer.
    pub(super) fn relayed(self) -> u64 {
        mul(self.answered(), self.answered())
    }
}

/// The two points of a distribution that are predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantile {
    Median,
    P99,
}

/// Strikes fade one in ten minutes: so many in 10^9 hours.
pub(super) const FADED: u128 = 6_000_000_000;

/// Of all members, those that hear of a false accusation before its refutation, by simulation.
pub(super) const SEEN: u64 = ONE / 20 * 11;

/// 10^9 hours in microseconds.
pub(super) const BILLION_HOURS: u128 = 3_600_000_000_000_000_000;

/// The most hops of one wave of gossip that are told apart.
pub(super) const HOPS: u64 = 32;

/// Bytes of the datagrams, with a relay's address of 7 bytes.
pub(super) const PING: u64 = 30;
pub(super) const ACK: u64 = 30;
pub(super) const NACK: u64 = 26;
pub(super) const RELAY: u64 = 38;
/// One telling of one claim, its share of the header included.
pub(super) const CLAIM: u64 = 50;

/// Times in microseconds.
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
        let false_suspicions = flaps.rate;
        let deaths = (u128::from(false_suspicions) * u128::from(self.death_of_suspicion())) >> 60;
        Prediction {
            detection_median: self.detection(Quantile::Median, &flaps),
            detection_p99: self.detection(Quantile::P99, &flaps),
            false_suspicions,
            false_deaths: u64::try_from(deaths).unwrap_or(u64::MAX),
            idle_bytes: self.idle_bytes(false_suspicions),
        }
    }

    pub(super) fn detection(&self, quantile: Quantile, flaps: &Strikes) -> Duration {
        let wait = match (quantile, self.config.detector.shared_schedule) {
            (Quantile::Median, true) => self.interval / 2,
            (Quantile::P99, true) => self.interval,
            (Quantile::Median, false) => self.interval / 1_000 * 693,
            (Quantile::P99, false) => self.interval / 1_000 * 4_605,
        };
        let trial = u64::from(flaps.pings(quantile)) * (self.timeout / 2);
        let roll_call = self.roll_call(quantile);
        let suspicion = self.suspicion();
        let parts = [
            wait,
            2 * self.timeout,
            trial,
            roll_call,
            suspicion,
            self.second_roll_call(suspicion, roll_call),
            self.dissemination(quantile),
        ];
        Duration::from_micros(parts.iter().fold(0_u64, |sum, &part| sum.saturating_add(part)))
    }

    /// How long a suspicion lasts with so many accusers.
    pub(super) fn span(&self, accusers: usize) -> u64 {
        let (shortest, longest) = self.config.suspicion_spans(self.members);
        micros(Timing { shortest, longest, others: 1, status_ping: None }.span(accusers, true))
    }

    /// How long the suspicion of a crashed member lasts: one more accuser each interval shortens
    /// it.
    pub(super) fn suspicion(&self) -> u64 {
        let others = (1..MAX_ACCUSERS.min(self.members as usize)).zip(1..);
        let shortened =
            others.map(|(others, intervals)| self.span(1 + others).max(intervals * self.interval));
        shortened.fold(self.span(1), u64::min)
    }

    /// Rounds of a roll call take a timeout each but for the last, which takes a round trip. If
    /// half are silent in one of them, nothing is held against the suspect, until the next probe.
    pub(super) fn roll_call(&self, quantile: Quantile) -> u64 {
        /// Thousandths.
        const DEVIATIONS: u64 = 2_330;
        if !self.config.detector.roll_calls {
            return 0;
        }
        let others = u64::from(self.members - 1);
        let silent = ONE - self.loss.answered();
        if others <= added(0) as u64 {
            // All are asked at once, the suspect among them, which does not answer.
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
                // Thousandths, so that squares of them fit.
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
        8 * self.timeout + doubt
    }

    /// By how much the roll call before a death outlasts the suspicion. It begins with the first
    /// call that leaves no more than a timeout; the last call is delayed by it, and leaves half a
    /// timeout.
    pub(super) fn second_roll_call(&self, suspicion: u64, roll_call: u64) -> u64 {
        if !self.config.detector.status_pings {
            return roll_call;
        }
        if roll_call == 0 {
            return 0;
        }
        let gap = self.timeout / 2;
        // Who probes next has called the roll since the suspicion began, if it has had the time.
        let next = if self.config.detector.shared_schedule && self.members > 2 {
            self.interval
        } else {
            u64::MAX
        };
        let begins = suspicion.saturating_sub(2 * gap).div_ceil(gap).max(1) * gap;
        let outlasts = (roll_call + gap).saturating_sub(suspicion.saturating_sub(begins));
        outlasts.min(next.saturating_sub(suspicion))
    }

    /// How long it takes until all have heard.
    pub(super) fn dissemination(&self, quantile: Quantile) -> u64 {
        // The accuser and the dead need not be told.
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
        // Within one interval news takes some hops; their number is bounded, as it has reached whom
        // it can by then.
        let hop = (self.round_trip / 2).max(1);
        let hops = (self.gossip / hop).clamp(1, HOPS);
        let at = |step: u64| (step / hops).saturating_mul(self.gossip.max(hop)) + step % hops * hop;
        // Shares of those to be told; the first who tells is one beside them.
        let mut heard = alloc::vec![ONE / unaware];
        let mut left = ONE;
        let mut step = 0;
        let end = hops * (times + 2) + 2 * HOPS;
        while left > enough && step < end {
            let mut told: u128 = 0;
            for time in 0..times {
                let then =
                    step.checked_sub(time * hops).and_then(|then| usize::try_from(then).ok());
                let Some(then) = then else { break };
                let tellers = u128::from(heard.get(then).copied().unwrap_or(0));
                let sends = fanout.min(limit - time * fanout);
                let missed = minus_log(mul(self.loss.arrives, ONE / unaware * sends));
                told += (tellers * u128::from(unaware) * (missed >> 8)) >> 52;
            }
            let now = mul(left, exp_minus(told));
            heard.push(left - now);
            left = now;
            step += 1;
        }
        // All that was told first may be lost.
        let lost = power(ONE - self.loss.arrives, u32::try_from(fanout).unwrap_or(1));
        let again = if quantile == Quantile::P99 && lost > ONE / 100 { self.gossip } else { 0 };
        let missed = if left > enough {
            // Who missed all of it finds by the fingerprints of its probes that tables differ, or
            // waits for as long again as the accuser did.
            let settle = self.gossip.saturating_mul(u64::from(3 + self.members.ilog10()));
            let probes = self.interval * if quantile == Quantile::P99 { 2 } else { 1 };
            settle.saturating_add(probes).min(self.span(1) + self.roll_call(quantile))
        } else {
            0
        };
        at(step).saturating_add(again).saturating_add(missed)
    }

    /// How often each member that learns of a death tells it.
    pub(super) fn sends(&self) -> u64 {
        send_limit(self.config.retransmit_multiplier, self.members - 1).into()
    }

    pub(super) fn helpers(&self) -> u32 {
        u32::from(self.config.indirect_probes).min(self.members.saturating_sub(2))
    }

    /// The share of probes of live members that fail.
    pub(super) fn probe_fails(&self) -> u64 {
        let (pings, sets) = if self.config.detector.retries { (3, 2) } else { (1, 1) };
        // Helpers are not asked twice.
        let helpers = (sets * u32::from(self.config.indirect_probes))
            .min(self.members.saturating_sub(2))
            .min(16);
        mul(power(ONE - self.loss.answered(), pings), power(ONE - self.loss.relayed(), helpers))
    }

    pub(super) fn flaps(&self) -> Strikes {
        let failing = self.probe_fails();
        let all = (BILLION_HOURS / u128::from(self.interval) * u128::from(failing)) >> 60;
        let mut flaps =
            Strikes { rate: u64::try_from(all).unwrap_or(u64::MAX), shares: [ONE, 0, 0, 0] };
        if !self.config.detector.flap_damping {
            return flaps;
        }
        let silent = ONE - self.loss.answered();
        let trials = PINGS.map(|pings| power(silent, pings.into()));
        // The more suspicions, the more flaps, the fewer suspicions: what is between is found by
        // halving.
        let (mut low, mut high) = (0, flaps.rate);
        while high - low > 1 {
            flaps.rate = low + (high - low) / 2;
            flaps.shares = shares_of_strikes(flaps.rate);
            let accused =
                flaps.shares.iter().zip(trials).map(|(&share, trial)| mul(share, trial)).sum();
            let (rate, all) =
                (u128::from(flaps.rate), (all * u128::from(u64::min(accused, ONE))) >> 60);
            if rate < all {
                low = flaps.rate;
            } else {
                high = flaps.rate;
            }
        }
        flaps
    }

    /// The share of false suspicions that somebody takes for a death.
    pub(super) fn death_of_suspicion(&self) -> u64 {
        let detector = &self.config.detector;
        let sends = self.sends();
        let missed = exp_minus(u128::from(self.loss.arrives) * u128::from(sends));
        if !detector.status_pings {
            // The suspect or the accuser misses the news.
            return missed.saturating_mul(2).min(ONE);
        }
        let silent = ONE - self.loss.answered();
        let gap = self.timeout / 2;
        let in_time = self.span(1).saturating_sub(self.round_trip.max(gap));
        let calls = u32::try_from(in_time / gap).unwrap_or(u32::MAX).max(1);
        let last = if self.round_trip > gap { 1 } else { 2 };
        let elsewhere =
            mul(mul(missed, SEEN), power(silent, last)).saturating_mul(u64::from(self.members));
        power(silent, calls).saturating_add(elsewhere).min(ONE)
    }

    pub(super) fn idle_bytes(&self, false_suspicions: u64) -> u64 {
        let p = self.loss.arrives;
        let q = self.loss.answered();
        // In parts of 2^60 of a byte.
        let bytes = |bytes: u64, share: u64| u128::from(bytes) * u128::from(share);
        let pinged = bytes(PING, ONE) + bytes(ACK, p);
        let helped = bytes(RELAY, ONE)
            + bytes(PING, p)
            + bytes(ACK, mul(p, p))
            + bytes(ACK, mul(p, q))
            + bytes(NACK, mul(p, ONE - q));
        let helpers = self.helpers();
        let stage =
            helped * u128::from(helpers) + if self.config.detector.retries { pinged } else { 0 };
        let second = ONE - q;
        let third = if self.config.detector.retries {
            mul(mul(second, second), power(ONE - self.loss.relayed(), helpers))
        } else {
            0
        };
        let probe = pinged + (stage >> 30) * u128::from((second + third) >> 30);
        let probes = (probe >> 30) * 1_000_000 / u128::from(self.interval);
        // Each is told and refuted, by all of whom half hear of the accusation.
        let sends = u128::from(self.sends());
        let news =
            u128::from(false_suspicions) * u128::from(self.members) * sends * u128::from(CLAIM) * 3
                / 2;
        let news = news / (BILLION_HOURS / 1_000_000);
        u64::try_from(((probes + (1 << 29)) >> 30) + news).unwrap_or(u64::MAX)
    }
}

/// How live members fare under false suspicions.
pub(super) struct Strikes {
    /// False suspicions of a member in 10^9 hours.
    rate: u64,
    /// The shares of the views in which a member has so many flaps.
    shares: [u64; 4],
}

impl Strikes {
    /// The pings of the trial of a crashed member.
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

/// The shares of the views with so many flaps, where so many suspicions come in 10^9 hours. A
/// strike adds one to what is left of the earlier ones, up to three, and all that a view has fade
/// one in ten minutes since the last.
pub(super) fn shares_of_strikes(rate: u64) -> [u64; 4] {
    let seen = u128::from(rate) * u128::from(SEEN) / FADED;
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
