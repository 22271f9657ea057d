//! What settings lead to: how soon a crash is known to all, how seldom anybody is wronged, what it
//! costs; and the settings for a wish. Arithmetic of integers alone, and of no consequence for a
//! running node.
//!
//! Shares are in parts of 2^60. With loss l a datagram arrives with p = 1 - l, a ping is answered
//! with q = p^2, and through a helper with p^4. T is the probe timeout, I the interval, G the
//! gossip interval, K the helpers of a stage.
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
//! Dissemination counts the share x that has not heard, hop by hop: all who hear tell
//! `gossip_fanout` of n - 2 others at once and again each G, so that x' = x (1 - p fanout / (n -
//! 2))^tellers.
//!
//! **False suspicions.** A probe of a live member fails with (1 - q)^3 (1 - p^4)^(2 K): three pings
//! of its own and two sets of helpers (one ping and one set without `retries`, as in SWIM). In the
//! 11 of 20 views that see the accusation before the refutation it is a strike: the next probe that
//! fails means a trial of 4, 24, 72 pings instead. The rate is the one at which suspicions and
//! flaps agree.
//!
//! **False deaths.** Of a suspicion, the accuser's calls are all unanswered with (1 - q)^calls,
//! half a T apart over its span; or a member that holds it suspected misses every telling of the
//! refutation, exp(-p sends), and its own two calls are unanswered, too. Neither counts what
//! fingerprints make good.
//!
//! **Idle bytes.** A ping and an ack an interval, the further stages as often as they are needed,
//! and the news of false suspicions.

mod fixed;
mod model;
#[cfg(test)]
mod tests;

use core::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::scaled;
use crate::config::{Config, MAX_MEMBERS, SuspicionTimeout};
use crate::membership::rumors::send_limit;
use fixed::{ONE, exp_minus, mul, power};
use model::{Loss, Model, micros, millis, whole_millis};

/// What a cluster with some settings is like, by a model of the protocol; see [`Config::predict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Prediction {
    /// From a crash until all hold the member Dead; half of the crashes are known sooner.
    pub detection_median: Duration,
    /// From a crash until all hold the member Dead; 99 of 100 are known sooner. The sum of the
    /// longest times of each part.
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
#[non_exhaustive]
pub struct Plan {
    /// Valid settings.
    pub config: Config,
    /// What to expect of them.
    pub predicted: Prediction,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
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
    #[error(
        "a crash cannot be known to all within {target:?}: {rule}, so that it takes {least:?} at least"
    )]
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
    /// A probe timeout is five round trips: a helper's answer takes two, in half of the timeout
    /// left.
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
    /// The settings that cost least under which a crash is known to all within `target` in 99 of
    /// 100 cases, in a cluster of so many members, where an answer takes `round_trip` and so many
    /// percent of the datagrams are lost.
    ///
    /// The proportions are those of the defaults. More loss gives more helpers (at most one of
    /// 10,000 probes of live members fails, as far as 8 helpers can do that) and a longer suspicion
    /// (at most one of 100,000 passes with all its calls unanswered). Everything else is as by
    /// default.
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
            let config =
                proposal(members, round_trip, loss, shortest, Duration::from_millis(interval));
            Plan { predicted: config.predict(members, round_trip, loss_percent), config }
        };
        let meets = |plan: &Plan| plan.predicted.detection_p99 <= target;
        let mut low = millis(shortest) * 2;
        let mut best = at(low);
        if !meets(&best) {
            let rule = if shortest > SHORTEST_TIMEOUT {
                PlanRule::FiveRoundTrips
            } else {
                PlanRule::LateTimers
            };
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

    /// What a cluster of so many members is like under these settings, where an answer takes
    /// `round_trip` and so many percent of the datagrams are lost, evenly and independently: nodes
    /// keep up, and one member crashes at a time.
    ///
    /// The 99th percentile adds the longest times of each part, so that it is late rather than
    /// soon. The rates of wrongs are orders of magnitude, as losses on real networks come in
    /// bursts. For settings that [`validate`](Self::validate) refuses the answer means nothing; the
    /// same holds where nodes act [on demand](crate::Mode::OnDemand).
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

/// Settings with this interval and the proportions of the defaults, as far as the shortest timeout
/// allows.
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
    let calls =
        (3..64).find(|&calls| power(ONE - loss.answered(), calls) <= ONE / 100_000).unwrap_or(64);
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
        suspicion: SuspicionTimeout::Scaled { multiplier_percent: percent, max_multiplier: 1 },
        gossip_interval: (interval / 5).max(Duration::from_millis(5)),
        telemetry_interval: (interval / 10).max(Duration::from_millis(5)),
        retransmit_multiplier,
        reconnect_interval: (interval * 5).max(Duration::from_secs(1)),
        join_timeout: standard.join_timeout.max(interval * 5),
        max_members: standard.max_members.max(members.saturating_mul(2).min(MAX_MEMBERS)),
        ..standard
    }
}
