//! What settings lead to: how soon a crash is known to all, how seldom anybody is wronged, what it costs; and the settings
//! for a wish. Arithmetic of integers alone, and of no consequence for a running node.
//!
//! Shares are in parts of 2^60. With loss l a datagram arrives with p = 1 - l, a ping is answered with q = p^2, and through
//! a helper with p^4. T is the probe timeout, I the interval, G the gossip interval, K the helpers of a stage.
//!
//! **Detection**, from the crash until all hold it Dead:
//!
//! | part | median | 99th percentile |
//! |---|---|---|
//! | wait for the next probe, one in each interval | I / 2 | I |
//! | the same without the shared schedule: exponential (SWIM: Das, Gupta, Motivala 2002) | I ln 2 | I ln 100 |
//! | probe | 2 T | 2 T |
//! | trial, if the member has refuted lately | pings T / 2 | pings T / 2 |
//! | roll call: a round trip, and a T for each round before | answers on average | 2.33 deviations fewer |
//! | suspicion, and by how much the roll call before the death outlasts it | the span | the span |
//! | dissemination: until so many have not heard | ln 2 | 0.01 |
//!
//! Dissemination counts the share x that has not heard, hop by hop: all who hear tell `gossip_fanout` of n - 2 others at once
//! and again each G, so that x' = x (1 - p fanout / (n - 2))^tellers.
//!
//! **False suspicions.** A probe of a live member fails with (1 - q)^3 (1 - p^4)^(2 K): three pings of its own and two sets of
//! helpers (one ping and one set without `retries`, as in SWIM). In the 11 of 20 views that see the accusation before the
//! refutation it is a strike: the next probe that fails means a trial of 4, 24, 72 pings instead. The rate is the one at
//! which suspicions and strikes agree.
//!
//! **False deaths.** Of a suspicion, the accuser's calls are all unanswered with (1 - q)^calls, half a T apart over its span; or
//! a member that holds it suspected misses every telling of the refutation, exp(-p sends), and its own two calls are
//! unanswered, too. Neither counts what fingerprints make good.
//!
//! **Idle bytes.** A ping and an ack an interval, the further stages as often as they are needed, and the news of false
//! suspicions.

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::{Config, MAX_MEMBERS, Mode, Suspicion};
use crate::dissemination::send_limit;
use crate::member::MAX_ACCUSERS;
use crate::suspicion::scaled;

/// What a cluster with some settings is like, by a model of the protocol; see [`Config::predict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prediction {
    /// From a crash until all hold the member Dead; half of the crashes are known sooner.
    pub detection_median: Duration,
    /// From a crash until all hold the member Dead; 99 of 100 are known sooner. The sum of the longest times of each part.
    pub detection_p99: Duration,
    /// Suspicions of a live member in 10^9 hours.
    pub false_suspicions: u64,
    /// Of these, those that any member takes for a death.
    pub false_deaths: u64,
    /// Payload that a node sends in a second in which nothing happens.
    pub idle_bytes: u64,
}

/// Settings, and what they lead to; see [`Config::plan`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Valid settings.
    pub config: Config,
    /// What to expect of them.
    pub predicted: Prediction,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// A cluster too small to watch anybody, or larger than any table.
    #[error("a plan is for 2 to {MAX_MEMBERS} members, not {members}")]
    Members {
        /// How many were asked for.
        members: u32,
    },
    /// Answers take longer than any plan waits.
    #[error("a plan is for round trips of at most {LONGEST_ROUND_TRIP:?}, not {round_trip:?}")]
    RoundTrip {
        /// The round trip asked for.
        round_trip: Duration,
    },
    /// More is lost than probes can make good.
    #[error("a plan is for a loss of at most {MOST_LOSS} %, not {loss_percent} %")]
    Loss {
        /// The loss asked for.
        loss_percent: u8,
    },
    /// No settings are as quick as that.
    #[error("a crash cannot be known to all within {target:?}: {rule}, so that it takes {least:?} at least")]
    Target {
        /// The target asked for.
        target: Duration,
        /// The least that can be met.
        least: Duration,
        /// What it follows from.
        rule: PlanRule,
    },
}

/// What keeps a plan from being quicker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanRule {
    /// A probe timeout is five round trips: a helper's answer takes two, in half of the timeout left.
    #[error("a probe timeout is five round trips at least")]
    FiveRoundTrips,
    /// Timers of a busy process come late.
    #[error("a probe timeout is 20 ms at least, as timers of a busy process come late")]
    LateTimers,
}

/// The longest round trip that is planned for.
const LONGEST_ROUND_TRIP: Duration = Duration::from_secs(5);
/// The most loss that is planned for, in percent.
const MOST_LOSS: u8 = 50;
/// The shortest probe timeout of a plan.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(20);
/// The longest probe interval of a plan, in milliseconds.
const LONGEST_INTERVAL: u64 = 60_000;
/// The most helpers that a plan asks at a time.
const MOST_HELPERS: u8 = 8;

impl Config {
    /// The settings that cost least under which a crash is known to all within `target` in 99 of 100 cases, in a cluster of
    /// so many members, where an answer takes `round_trip` and so many percent of the datagrams are lost.
    ///
    /// The proportions are those of the defaults. More loss gives more helpers (at most one of 10,000 probes of live members
    /// fails, as far as 8 helpers can do that) and a longer suspicion (at most one of 100,000 passes with all its calls
    /// unanswered). Everything else is as by default.
    ///
    /// ```
    /// use core::time::Duration;
    /// use telemetry_gossip_core::Config;
    ///
    /// let plan = Config::plan(250, Duration::from_millis(2), 1, Duration::from_secs(5))?;
    /// assert!(plan.predicted.detection_p99 <= Duration::from_secs(5));
    /// assert!(plan.config.probe_interval >= Duration::from_secs(1));
    ///
    /// let error = Config::plan(250, Duration::from_millis(150), 1, Duration::from_secs(1)).unwrap_err();
    /// assert!(error.to_string().contains("a probe timeout is five round trips at least"));
    /// # Ok::<(), telemetry_gossip_core::PlanError>(())
    /// ```
    pub fn plan(
        members: u32,
        round_trip: Duration,
        loss_percent: u8,
        target: Duration,
    ) -> Result<Plan, PlanError> {
        if !(2..=MAX_MEMBERS).contains(&members) {
            return Err(PlanError::Members { members });
        }
        if round_trip > LONGEST_ROUND_TRIP {
            return Err(PlanError::RoundTrip { round_trip });
        }
        if loss_percent > MOST_LOSS {
            return Err(PlanError::Loss { loss_percent });
        }
        let loss = Loss::percent(loss_percent);
        let shortest = SHORTEST_TIMEOUT.max(whole_millis(round_trip * 5));
        let at = |interval: u64| {
            let config = proposal(members, round_trip, loss, shortest, Duration::from_millis(interval));
            Plan { predicted: config.predict(members, round_trip, loss_percent), config }
        };
        let meets = |plan: &Plan| plan.predicted.detection_p99 <= target;
        let mut low = millis(shortest) * 2;
        let mut best = at(low);
        if !meets(&best) {
            let rule =
                if shortest > SHORTEST_TIMEOUT { PlanRule::FiveRoundTrips } else { PlanRule::LateTimers };
            return Err(PlanError::Target {
                target,
                least: whole_millis(best.predicted.detection_p99),
                rule,
            });
        }
        let mut high = LONGEST_INTERVAL.max(low) + 1;
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let plan = at(middle);
            if meets(&plan) {
                (low, best) = (middle, plan);
            } else {
                high = middle;
            }
        }
        Ok(best)
    }

    /// What a cluster of so many members is like under these settings, where an answer takes `round_trip` and so many percent
    /// of the datagrams are lost, evenly and independently: nodes keep up, and one member crashes at a time.
    ///
    /// The 99th percentile adds the longest times of each part, so that it is late rather than soon. The rates of wrongs are
    /// orders of magnitude, as losses on real networks come in bursts. For settings that
    /// [`validate`](Self::validate) refuses the answer means nothing; the same holds where nodes act
    /// [on demand](Mode::OnDemand).
    ///
    /// ```
    /// use core::time::Duration;
    /// use telemetry_gossip_core::Config;
    ///
    /// let predicted = Config::default().predict(250, Duration::from_millis(1), 1);
    /// assert!(predicted.detection_p99 < Duration::from_secs(5));
    /// assert_eq!(predicted.false_deaths, 0);
    /// ```
    #[must_use]
    pub fn predict(&self, members: u32, round_trip: Duration, loss_percent: u8) -> Prediction {
        let members = members.clamp(1, MAX_MEMBERS);
        let model = Model {
            config: self,
            members,
            round_trip: micros(round_trip),
            interval: micros(self.probe_interval).max(1),
            timeout: micros(self.probe_timeout).max(2),
            gossip: micros(self.gossip_interval).max(1),
            loss: Loss::percent(loss_percent),
        };
        model.predict()
    }
}

/// Settings with this interval and the proportions of the defaults, as far as the shortest timeout allows.
fn proposal(
    members: u32,
    round_trip: Duration,
    loss: Loss,
    shortest: Duration,
    interval: Duration,
) -> Config {
    let standard = Config::default();
    let timeout = shortest.max(interval * 3 / 10);
    let failure = |helpers: &u8| {
        let helpers = u32::from(*helpers).min(members.saturating_sub(2));
        mul(power(ONE - loss.answered(), 3), power(ONE - loss.relayed(), 2 * helpers))
    };
    let indirect_probes = (standard.indirect_probes..=MOST_HELPERS)
        .find(|helpers| failure(helpers) <= ONE / 10_000)
        .unwrap_or(MOST_HELPERS);
    let calls = (3..64).find(|&calls| power(ONE - loss.answered(), calls) <= ONE / 100_000).unwrap_or(64);
    let needed = timeout / 2 * (calls + 1) + round_trip;
    let hundredth = scaled(100, interval, members).max(Duration::from_millis(1));
    let percent = (micros(needed) * 100).div_ceil(micros(hundredth)).clamp(70, 10_000);
    let percent = u16::try_from(percent).unwrap_or(u16::MAX);
    let missed = |multiplier: &u8| {
        let sends = send_limit(*multiplier, members - 1);
        u128::from(members) * u128::from(exp_minus(u128::from(loss.arrives) * u128::from(sends)))
    };
    let retransmit_multiplier = (standard.retransmit_multiplier..=32)
        .find(|multiplier| missed(multiplier) <= u128::from(ONE / 500))
        .unwrap_or(32);
    Config {
        probe_interval: interval,
        probe_timeout: timeout,
        indirect_probes,
        suspicion: Suspicion::Scaled { percent, stretch: 1 },
        gossip_interval: (interval / 5).max(Duration::from_millis(5)),
        retransmit_multiplier,
        reconnect_interval: (interval * 5).max(Duration::from_secs(1)),
        join_timeout: standard.join_timeout.max(interval * 5),
        max_members: standard.max_members.max(members.saturating_mul(2).min(MAX_MEMBERS)),
        ..standard
    }
}

/// The whole, of which shares are parts.
const ONE: u64 = 1 << 60;

/// 1 / e.
const INVERSE_OF_E: u64 = 424_136_118_829_305_329;

fn mul(a: u64, b: u64) -> u64 {
    u64::try_from((u128::from(a) * u128::from(b)) >> 60).unwrap_or(u64::MAX)
}

fn power(base: u64, exponent: u32) -> u64 {
    let (mut result, mut square, mut left) = (ONE, base, exponent);
    while left > 0 {
        if left & 1 == 1 {
            result = mul(result, square);
        }
        square = mul(square, square);
        left >>= 1;
    }
    result
}

/// e to the power of -`x`, of any number of wholes.
fn exp_minus(x: u128) -> u64 {
    let whole = u32::try_from(x >> 60).unwrap_or(u32::MAX);
    let fraction = u64::try_from(x & u128::from(ONE - 1)).unwrap_or(0);
    // The series of the exponential function; the 20th term is below 2^-60.
    let series = (1..=20).rev().fold(ONE, |sum, term| ONE - mul(fraction, sum) / term);
    mul(series, power(INVERSE_OF_E, whole))
}

/// The logarithm of 1 / (1 - `x`), of a share; at most that of 64.
fn minus_log(x: u64) -> u128 {
    let mut power = ONE;
    (1..=64).fold(0, |sum, term| {
        power = mul(power, x);
        sum + u128::from(power / term)
    })
}

/// The chance that fewer than `least` of `count` answer, at most 32, each silent with this share.
fn fewer(least: u64, count: u64, silent: u64) -> u64 {
    let mut ways: u128 = 1;
    let mut sum: u128 = 0;
    for answers in 0..least.min(count + 1) {
        let exponent = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let each = mul(power(ONE - silent, exponent(answers)), power(silent, exponent(count - answers)));
        sum += ways * u128::from(each);
        ways = ways * u128::from(count - answers) / u128::from(answers + 1);
    }
    u64::try_from(sum).unwrap_or(ONE).min(ONE)
}

fn micros(span: Duration) -> u64 {
    /// No span is longer than 1,000 years, so that sums of some do not overflow.
    const MOST: u64 = 1_000 * 366 * 24 * 3_600 * 1_000_000;
    u64::try_from(span.as_micros()).unwrap_or(MOST).min(MOST)
}

fn millis(span: Duration) -> u64 {
    micros(span).div_ceil(1_000)
}

/// Rounded up.
fn whole_millis(span: Duration) -> Duration {
    Duration::from_millis(millis(span))
}

/// How datagrams fare.
#[derive(Clone, Copy, Debug)]
struct Loss {
    /// p, the share of datagrams that arrive.
    arrives: u64,
}

impl Loss {
    fn percent(percent: u8) -> Self {
        Self { arrives: ONE / 100 * u64::from(100 - percent.min(100)) }
    }

    /// q, the share of pings that are answered.
    fn answered(self) -> u64 {
        mul(self.arrives, self.arrives)
    }

    /// The share of helpers that bring an answer.
    fn relayed(self) -> u64 {
        mul(self.answered(), self.answered())
    }
}

/// The two points of a distribution that are predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quantile {
    Median,
    P99,
}

/// Pings of a trial by strikes, as in `patience`.
const TRIAL_PINGS: [u32; 4] = [0, 4, 24, 72];

/// Strikes fade one in ten minutes: so many in 10^9 hours.
const FADED: u128 = 6_000_000_000;

/// Of all members, those that hear of a false accusation before its refutation, by simulation.
const SEEN: u64 = ONE / 20 * 11;

/// 10^9 hours in microseconds.
const BILLION_HOURS: u128 = 3_600_000_000_000_000_000;

/// The most hops of one wave of gossip that are told apart.
const HOPS: u64 = 32;

/// Bytes of the datagrams, with a relay's address of 7 bytes.
const PING: u64 = 30;
const ACK: u64 = 30;
const NACK: u64 = 26;
const RELAY: u64 = 38;
/// One telling of one claim, its share of the header included.
const CLAIM: u64 = 50;

/// Times in microseconds.
struct Model<'c> {
    config: &'c Config,
    members: u32,
    round_trip: u64,
    interval: u64,
    timeout: u64,
    gossip: u64,
    loss: Loss,
}

impl Model<'_> {
    fn predict(&self) -> Prediction {
        if self.members < 2 || self.config.mode != Mode::Autonomous {
            return Prediction {
                detection_median: Duration::ZERO,
                detection_p99: Duration::ZERO,
                false_suspicions: 0,
                false_deaths: 0,
                idle_bytes: 0,
            };
        }
        let strikes = self.strikes();
        let false_suspicions = strikes.rate;
        let deaths = (u128::from(false_suspicions) * u128::from(self.death_of_suspicion())) >> 60;
        Prediction {
            detection_median: self.detection(Quantile::Median, &strikes),
            detection_p99: self.detection(Quantile::P99, &strikes),
            false_suspicions,
            false_deaths: u64::try_from(deaths).unwrap_or(u64::MAX),
            idle_bytes: self.idle_bytes(false_suspicions),
        }
    }

    fn detection(&self, quantile: Quantile, strikes: &Strikes) -> Duration {
        let wait = match (quantile, self.config.detector.shared_schedule) {
            (Quantile::Median, true) => self.interval / 2,
            (Quantile::P99, true) => self.interval,
            (Quantile::Median, false) => self.interval / 1_000 * 693,
            (Quantile::P99, false) => self.interval / 1_000 * 4_605,
        };
        let trial = u64::from(strikes.pings(quantile)) * (self.timeout / 2);
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

    /// How long a suspicion lasts with so many accusers; as in `suspicion`.
    fn span(&self, accusers: usize) -> u64 {
        const FEWER: [u64; MAX_ACCUSERS] = [0, 500, 792, 1_000];
        let (shortest, longest) = match self.config.suspicion {
            Suspicion::Fixed(span) => (micros(span), micros(span)),
            Suspicion::Scaled { percent, stretch } => {
                let span = scaled(percent, self.config.probe_interval, self.members);
                let span = micros(span).max(2 * self.gossip);
                (span, span.saturating_mul(stretch.into()))
            }
        };
        let fewer = FEWER[accusers.clamp(1, MAX_ACCUSERS) - 1];
        longest - (longest.saturating_sub(shortest)) / 1_000 * fewer
    }

    /// How long the suspicion of a crashed member lasts: one more accuser each interval shortens it.
    fn suspicion(&self) -> u64 {
        let others = (1..MAX_ACCUSERS.min(self.members as usize)).zip(1..);
        let shortened =
            others.map(|(others, intervals)| self.span(1 + others).max(intervals * self.interval));
        shortened.fold(self.span(1), u64::min)
    }

    /// Rounds of a roll call take a timeout each but for the last, which takes a round trip. If half are silent in one of
    /// them, nothing is held against the suspect, until the next probe.
    fn roll_call(&self, quantile: Quantile) -> u64 {
        /// What a round adds to the sample, as in `contact`.
        const ADDED: [u64; 4] = [32, 64, 128, 192];
        /// Thousandths.
        const DEVIATIONS: u64 = 2_330;
        if !self.config.detector.roll_calls {
            return 0;
        }
        let others = u64::from(self.members - 1);
        let silent = ONE - self.loss.answered();
        if others <= ADDED[0] {
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
            sample.push(ADDED.get(round).copied().unwrap_or(192).min(others - asked));
            let (mut answers, mut variance) = (0_u64, 0_u64);
            for (first, &size) in sample.iter().enumerate() {
                let times = u32::try_from(round - first + 1).unwrap_or(u32::MAX);
                // Thousandths, so that squares of them fit.
                let silent = mul(power(silent, times), 1_000);
                answers += size * (1_000 - silent.min(1_000));
                variance += size * silent * (1_000 - silent.min(1_000));
            }
            let asked: u64 = sample.iter().sum();
            let deviation = if quantile == Quantile::P99 { variance.isqrt() * DEVIATIONS / 1_000 } else { 0 };
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

    /// By how much the roll call before a death outlasts the suspicion. It begins with the first call that leaves no more
    /// than a timeout; the last call is delayed by it, and leaves half a timeout.
    fn second_roll_call(&self, suspicion: u64, roll_call: u64) -> u64 {
        if !self.config.detector.last_calls {
            return roll_call;
        }
        if roll_call == 0 {
            return 0;
        }
        let gap = self.timeout / 2;
        // Who probes next has called the roll since the suspicion began, if it has had the time.
        let next =
            if self.config.detector.shared_schedule && self.members > 2 { self.interval } else { u64::MAX };
        let begins = suspicion.saturating_sub(2 * gap).div_ceil(gap).max(1) * gap;
        let outlasts = (roll_call + gap).saturating_sub(suspicion.saturating_sub(begins));
        outlasts.min(next.saturating_sub(suspicion))
    }

    /// How long it takes until all have heard.
    fn dissemination(&self, quantile: Quantile) -> u64 {
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
        // Within one interval news takes some hops; their number is bounded, as it has reached whom it can by then.
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
                let then = step.checked_sub(time * hops).and_then(|then| usize::try_from(then).ok());
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
            // Who missed all of it finds by the fingerprints of its probes that tables differ, or waits for as long again as
            // the accuser did.
            let settle = self.gossip.saturating_mul(u64::from(3 + self.members.ilog10()));
            let probes = self.interval * if quantile == Quantile::P99 { 2 } else { 1 };
            settle.saturating_add(probes).min(self.span(1) + self.roll_call(quantile))
        } else {
            0
        };
        at(step).saturating_add(again).saturating_add(missed)
    }

    /// How often each member that learns of a death tells it.
    fn sends(&self) -> u64 {
        send_limit(self.config.retransmit_multiplier, self.members - 1).into()
    }

    fn helpers(&self) -> u32 {
        u32::from(self.config.indirect_probes).min(self.members.saturating_sub(2))
    }

    /// The share of probes of live members that fail.
    fn probe_fails(&self) -> u64 {
        let (pings, sets) = if self.config.detector.retries { (3, 2) } else { (1, 1) };
        // Helpers are not asked twice.
        let helpers =
            (sets * u32::from(self.config.indirect_probes)).min(self.members.saturating_sub(2)).min(16);
        mul(power(ONE - self.loss.answered(), pings), power(ONE - self.loss.relayed(), helpers))
    }

    fn strikes(&self) -> Strikes {
        let failing = self.probe_fails();
        let all = (BILLION_HOURS / u128::from(self.interval) * u128::from(failing)) >> 60;
        let mut strikes = Strikes { rate: u64::try_from(all).unwrap_or(u64::MAX), shares: [ONE, 0, 0, 0] };
        if !self.config.detector.patience {
            return strikes;
        }
        let silent = ONE - self.loss.answered();
        let trials = TRIAL_PINGS.map(|pings| power(silent, pings));
        // The more suspicions, the more strikes, the fewer suspicions: what is between is found by halving.
        let (mut low, mut high) = (0, strikes.rate);
        while high - low > 1 {
            strikes.rate = low + (high - low) / 2;
            strikes.shares = shares_of_strikes(strikes.rate);
            let accused = strikes.shares.iter().zip(trials).map(|(&share, trial)| mul(share, trial)).sum();
            let (rate, all) = (u128::from(strikes.rate), (all * u128::from(u64::min(accused, ONE))) >> 60);
            if rate < all {
                low = strikes.rate;
            } else {
                high = strikes.rate;
            }
        }
        strikes
    }

    /// The share of false suspicions that somebody takes for a death.
    fn death_of_suspicion(&self) -> u64 {
        let detector = &self.config.detector;
        let sends = self.sends();
        let missed = exp_minus(u128::from(self.loss.arrives) * u128::from(sends));
        if !detector.last_calls {
            // The suspect or the accuser misses the news.
            return missed.saturating_mul(2).min(ONE);
        }
        let silent = ONE - self.loss.answered();
        let gap = self.timeout / 2;
        let in_time = self.span(1).saturating_sub(self.round_trip.max(gap));
        let calls = u32::try_from(in_time / gap).unwrap_or(u32::MAX).max(1);
        let last = if self.round_trip > gap { 1 } else { 2 };
        let elsewhere = mul(mul(missed, SEEN), power(silent, last)).saturating_mul(u64::from(self.members));
        power(silent, calls).saturating_add(elsewhere).min(ONE)
    }

    fn idle_bytes(&self, false_suspicions: u64) -> u64 {
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
        let stage = helped * u128::from(helpers) + if self.config.detector.retries { pinged } else { 0 };
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
            u128::from(false_suspicions) * u128::from(self.members) * sends * u128::from(CLAIM) * 3 / 2;
        let news = news / (BILLION_HOURS / 1_000_000);
        u64::try_from(((probes + (1 << 29)) >> 30) + news).unwrap_or(u64::MAX)
    }
}

/// How live members fare under false suspicions.
struct Strikes {
    /// False suspicions of a member in 10^9 hours.
    rate: u64,
    /// The shares of the views in which a member has so many strikes.
    shares: [u64; 4],
}

impl Strikes {
    /// The pings of the trial of a crashed member.
    fn pings(&self, quantile: Quantile) -> u32 {
        let rest = match quantile {
            Quantile::Median => ONE / 2,
            Quantile::P99 => ONE / 100,
        };
        let more = |strikes: usize| self.shares.iter().skip(strikes + 1).sum::<u64>();
        let strikes = (0..TRIAL_PINGS.len()).find(|&strikes| more(strikes) <= rest);
        strikes.and_then(|strikes| TRIAL_PINGS.get(strikes)).copied().unwrap_or(0)
    }
}

/// The shares of the views with so many strikes, where so many suspicions come in 10^9 hours. A strike adds one to what is
/// left of the earlier ones, up to three, and all that a view has fade one in ten minutes since the last.
fn shares_of_strikes(rate: u64) -> [u64; 4] {
    let seen = u128::from(rate) * u128::from(SEEN) / FADED;
    // The share of pauses between strikes that are longer than ten minutes.
    let longer = exp_minus(seen);
    let shorter = ONE - longer;
    let mut before = [ONE, 0, 0, 0];
    for _ in 0..64 {
        let mut now = [0; 4];
        for (strikes, share) in before.into_iter().enumerate() {
            let mut share = share;
            for left in (1..=(strikes + 1).min(3)).rev() {
                now[left] += mul(share, shorter);
                share = mul(share, longer);
            }
            now[0] += share;
        }
        before = now;
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn the_exponential_and_the_logarithm_are_what_they_are_called() {
        let exact = |thousandths: u64| thousandths as f64 / 1_000.0;
        for x in [0, 1, 100, 693, 1_000, 2_500, 12_000, 40_000] {
            let ours = exp_minus(u128::from(ONE) * u128::from(x) / 1_000) as f64 / ONE as f64;
            assert!((ours - f64::exp(-exact(x))).abs() < 1e-14, "{x}: {ours}");
        }
        for x in [0, 10, 500, 900] {
            let ours = minus_log(ONE / 1_000 * x) as f64 / ONE as f64;
            assert!((ours + f64::ln(1.0 - exact(x))).abs() < 1e-3, "{x}: {ours}");
        }
        assert_eq!((power(ONE, 5), power(ONE / 2, 3), exp_minus(u128::MAX)), (ONE, ONE / 8, 0));
    }

    #[test]
    fn few_answers_are_as_likely_as_coins() {
        assert_eq!(fewer(0, 0, ONE), 0);
        assert_eq!(fewer(1, 1, ONE / 4), ONE / 4);
        assert_eq!(fewer(2, 3, ONE / 2), ONE / 2);
        assert!(fewer(16, 31, ONE / 2).abs_diff(ONE / 2) < 1 << 34);
    }

    #[test]
    fn strikes_that_are_rare_are_few_and_those_that_are_frequent_are_three() {
        assert_eq!(shares_of_strikes(0), [ONE, 0, 0, 0]);
        let [none, .., most] = shares_of_strikes(1_000_000_000_000);
        assert!(none == 0 && most > ONE - 10);
        let shares = shares_of_strikes(5_000_000_000);
        assert!(shares.iter().sum::<u64>().abs_diff(ONE) < 1_000, "{shares:?}");
    }

    #[test]
    fn the_defaults_detect_a_crash_in_some_three_seconds_and_a_lossless_network_wrongs_nobody() {
        let predicted = Config::lan().predict(250, MILLI, 0);
        assert!((3_000..3_400).contains(&predicted.detection_median.as_millis()), "{predicted:?}");
        assert!((3_500..4_500).contains(&predicted.detection_p99.as_millis()), "{predicted:?}");
        assert_eq!((predicted.false_suspicions, predicted.false_deaths, predicted.idle_bytes), (0, 0, 60));
    }

    #[test]
    fn plain_swim_is_slower_for_its_random_targets() {
        let swim = Config { detector: crate::Detector::SWIM, ..Config::default() };
        let (swim, ours) = (swim.predict(250, MILLI, 5), Config::default().predict(250, MILLI, 5));
        assert!(swim.detection_p99 > ours.detection_p99 + Duration::from_secs(3), "{swim:?} {ours:?}");
        assert!(swim.false_suspicions > ours.false_suspicions * 10);
    }

    #[test]
    fn what_cannot_be_planned_is_named() {
        let second = Duration::from_secs(1);
        assert_eq!(Config::plan(1, MILLI, 0, second), Err(PlanError::Members { members: 1 }));
        assert_eq!(Config::plan(9, MILLI, 51, second), Err(PlanError::Loss { loss_percent: 51 }));
        let round_trip = second * 6;
        assert_eq!(Config::plan(9, round_trip, 0, second), Err(PlanError::RoundTrip { round_trip }));
        for (round_trip, expected) in [(MILLI, PlanRule::LateTimers), (MILLI * 80, PlanRule::FiveRoundTrips)]
        {
            let error = Config::plan(250, round_trip, 2, MILLI).unwrap_err();
            let PlanError::Target { least, rule, .. } = error else { panic!("{error}") };
            assert_eq!(rule, expected);
            assert!(Config::plan(250, round_trip, 2, least).is_ok(), "the least target can be met");
            assert!(Config::plan(250, round_trip, 2, least - MILLI).is_err(), "and no less");
        }
    }

    proptest! {
        #[test]
        fn a_plan_is_valid_and_meets_its_target(
            members in 2_u32..20_000, round_trip in 0_u64..300, loss in 0_u8..=50, target in 100_u64..60_000,
        ) {
            let (round_trip, target) = (Duration::from_millis(round_trip), Duration::from_millis(target));
            match Config::plan(members, round_trip, loss, target) {
                Ok(plan) => {
                    prop_assert_eq!(plan.config.validate(), Ok(()));
                    prop_assert!(plan.predicted.detection_p99 <= target);
                    prop_assert!(plan.predicted.detection_median <= plan.predicted.detection_p99);
                    prop_assert!(plan.predicted.false_deaths <= plan.predicted.false_suspicions);
                }
                Err(PlanError::Target { least, .. }) => prop_assert!(least > target),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }

        /// Nothing overflows or panics, whatever the settings.
        #[test]
        fn anything_can_be_predicted(
            members: u32, round_trip: u64, loss: u8, spans: [u64; 4], counts: [u8; 3], percent: u16, stretch: u8,
        ) {
            let [interval, timeout, gossip, fixed] = spans.map(Duration::from_micros);
            let [indirect_probes, gossip_fanout, retransmit_multiplier] = counts;
            let scaled = Suspicion::Scaled { percent, stretch };
            for suspicion in [scaled, Suspicion::Fixed(fixed), Suspicion::Fixed(Duration::MAX)] {
                for detector in [crate::Detector::default(), crate::Detector::SWIM] {
                    let config = Config {
                        probe_interval: interval,
                        probe_timeout: timeout,
                        gossip_interval: gossip,
                        indirect_probes,
                        gossip_fanout,
                        retransmit_multiplier,
                        suspicion,
                        detector,
                        ..Config::default()
                    };
                    let predicted = config.predict(members, Duration::from_micros(round_trip), loss);
                    prop_assert!(predicted.detection_median <= predicted.detection_p99);
                }
            }
        }
    }
}
