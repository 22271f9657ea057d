//! Predictions: how soon a crash is known to all members, how often a live member is suspected or
//! declared dead, and how much traffic that costs under given settings; and the settings for a
//! target.
//!
//! All arithmetic is on integers. A running node never uses this module.
//!
//! Shares are in units of 2^-60. With loss l a datagram arrives with probability p = 1 - l, a ping
//! is answered with q = p^2, and through a helper with p^4. T is the probe timeout, I the probe
//! interval, G the gossip interval, K the number of helpers of a stage, n the number of members.
//!
//! **Detection**, from the crash until all members hold the crashed one Dead, is the sum of:
//!
//! | part | median | 99th percentile |
//! |---|---|---|
//! | wait for the next probe, one per interval | I / 2 | I |
//! | the same without the shared schedule, exponential \[SWIM\] | I ln 2 | I ln 100 |
//! | probe | 2 T | 2 T |
//! | recheck, if the member has refuted lately | pings T / 2 | pings T / 2 |
//! | roll call: one round trip, plus T per earlier round | mean answers | 2.33 deviations fewer |
//! | suspicion, plus the time by which the second roll call outlasts it | its span | its span |
//! | dissemination, until so many members are uninformed | ln 2 | 0.01 |
//!
//! \[SWIM\]: Das, Gupta, Motivala 2002. The second roll call is the one before the death.
//!
//! Dissemination follows the share x of uninformed members hop by hop: every informed member sends
//! to `gossip_fanout` of n - 2 others at once, and again after each G, so that
//! x' = x (1 - p fanout / (n - 2))^senders.
//!
//! **False suspicions.** A probe of a live member fails with probability (1 - q)^3 (1 - p^4)^(2 K):
//! three pings of its own and two sets of helpers (one ping and one set without `retries`, as in
//! SWIM). In the 11 of 20 views that see the accusation before the refutation, it counts as a flap:
//! there the next failed probe starts a recheck of 4, 24 or 72 pings instead. The predicted rate is
//! the one at which suspicions and flaps agree.
//!
//! **False deaths.** A suspicion ends in a death if all status pings of the accuser, half a T apart
//! over its span, are unanswered: (1 - q)^pings. Or it does if a member that holds the suspicion
//! misses every send of the refutation, exp(-p sends), and its own two status pings are unanswered,
//! too. Neither counts the repairs by fingerprints.
//!
//! **Idle bytes.** One ping and one ack per interval, the further stages as often as they are
//! needed, and the rumors of false suspicions.

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

/// The predicted behaviour of a cluster under some settings, by a model of the protocol; see
/// [`Config::predict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Prediction {
    /// The time from a crash until all members hold the crashed one Dead; half of the crashes are
    /// known sooner.
    pub detection_median: Duration,
    /// The time from a crash until all members hold the crashed one Dead; 99 of 100 crashes are
    /// known sooner. It is the sum of the longest times of each part.
    pub detection_p99: Duration,
    /// The number of suspicions of one live member per 10^9 hours.
    pub false_suspicions: u64,
    /// The number of these suspicions after which any member declares the live one Dead.
    pub false_deaths: u64,
    /// The bytes of payload that a node sends per second while nothing happens.
    pub idle_bytes: u64,
}

/// Settings and their predicted behaviour; see [`Config::plan`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The settings, which are valid.
    pub config: Config,
    /// Their predicted behaviour.
    pub predicted: Prediction,
}

/// The reason why [`Config::plan`] found no settings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The cluster is too small to have a member to watch, or larger than any table.
    #[error(
        "cannot plan for a cluster of {members} members; the number must be 2 to {MAX_MEMBERS}"
    )]
    Members {
        /// The number of members asked for.
        members: u32,
    },
    /// Answers take longer than any plan waits.
    #[error("cannot plan for round trips of {round_trip:?}; the longest may be {MAX_ROUND_TRIP:?}")]
    RoundTrip {
        /// The round trip asked for.
        round_trip: Duration,
    },
    /// More datagrams are lost than probes can make up for.
    #[error("cannot plan for a loss of {loss_percent} %; the highest may be {MAX_LOSS_PERCENT} %")]
    Loss {
        /// The loss asked for, in percent.
        loss_percent: u8,
    },
    /// No settings detect a crash within the target.
    #[error(
        "a crash cannot be known to all members within {target:?}, because {rule}; \
         the shortest possible target is {least:?}"
    )]
    Target {
        /// The target asked for.
        target: Duration,
        /// The shortest target that settings can meet.
        least: Duration,
        /// The rule that rules out a shorter one.
        rule: PlanRule,
    },
}

/// A rule that keeps a plan from detecting crashes sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanRule {
    /// A probe timeout is at least five round trips: an answer through a helper takes two of them,
    /// and has half of the timeout left.
    #[error("a probe timeout is at least five round trips")]
    FiveRoundTrips,
    /// A probe timeout is at least 20 ms, because the timers of a busy process fire late.
    #[error("a probe timeout is at least 20 ms, as the timers of a busy process fire late")]
    LateTimers,
}

/// The longest round trip that a plan is made for.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(5);
/// The highest loss that a plan is made for, in percent.
const MAX_LOSS_PERCENT: u8 = 50;
/// The shortest probe timeout of a plan.
const MIN_PROBE_TIMEOUT: Duration = Duration::from_millis(20);
/// The longest probe interval of a plan, in milliseconds.
const MAX_PROBE_INTERVAL_MS: u64 = 60_000;
/// The most helpers that a plan asks at a time.
const MAX_HELPERS: u8 = 8;

impl Config {
    /// Finds the settings with the least traffic under which 99 of 100 crashes are known to all
    /// members within `target`.
    ///
    /// The cluster has `members` members, an answer takes `round_trip`, and `loss_percent` of the
    /// datagrams are lost.
    ///
    /// The proportions of the settings are those of the defaults. More loss gives more helpers (at
    /// most one of 10,000 probes of live members fails, as far as 8 helpers can do that) and a
    /// longer suspicion (at most one of 100,000 passes with all its status pings unanswered). All
    /// other settings are the defaults.
    ///
    /// # Errors
    ///
    /// Returns a [`PlanError`] if no settings meet the target, or if the cluster is out of the
    /// bounds that a plan is made for.
    ///
    /// ```
    /// use core::time::Duration;
    /// use telemetry_gossip_core::Config;
    ///
    /// let plan = Config::plan(250, Duration::from_millis(2), 1, Duration::from_secs(5))?;
    /// assert!(plan.predicted.detection_p99 <= Duration::from_secs(5));
    /// assert!(plan.config.probe_interval >= Duration::from_secs(1));
    ///
    /// let round_trip = Duration::from_millis(150);
    /// let error = Config::plan(250, round_trip, 1, Duration::from_secs(1)).unwrap_err();
    /// assert!(error.to_string().contains("a probe timeout is at least five round trips"));
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
        if round_trip > MAX_ROUND_TRIP {
            return Err(PlanError::RoundTrip { round_trip });
        }
        if loss_percent > MAX_LOSS_PERCENT {
            return Err(PlanError::Loss { loss_percent });
        }
        let loss = Loss::percent(loss_percent);
        let shortest = MIN_PROBE_TIMEOUT.max(whole_millis(round_trip * 5));
        let at = |interval: u64| {
            let config =
                proposal(members, round_trip, loss, shortest, Duration::from_millis(interval));
            Plan { predicted: config.predict(members, round_trip, loss_percent), config }
        };
        let meets = |plan: &Plan| plan.predicted.detection_p99 <= target;
        // Two probe timeouts fit one interval, so no interval is shorter than that.
        let mut low = millis(shortest) * 2;
        let mut best = at(low);
        if !meets(&best) {
            let rule = if shortest > MIN_PROBE_TIMEOUT {
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
        // A longer interval costs less and detects crashes later: halve down to the longest one
        // that meets the target.
        let mut high = MAX_PROBE_INTERVAL_MS.max(low) + 1;
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

    /// Predicts how a cluster of `members` members behaves under these settings.
    ///
    /// An answer takes `round_trip`, and `loss_percent` of the datagrams are lost, evenly and
    /// independently. Nodes keep up with their load, and one member crashes at a time.
    ///
    /// The 99th percentile adds the longest times of each part, so that it is too long rather than
    /// too short. The rates of false suspicions and deaths are orders of magnitude, as losses on
    /// real networks come in bursts. For settings that [`validate`](Self::validate) refuses, and
    /// where nodes act [on demand](crate::Mode::OnDemand), the prediction means nothing.
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

/// Returns settings with this probe interval and the proportions of the defaults, as far as the
/// shortest probe timeout allows.
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
        mul(power(ONE - loss.answered(), 3), power(ONE - loss.through_helper(), 2 * helpers))
    };
    let indirect_probes = (standard.indirect_probes..=MAX_HELPERS)
        .find(|helpers| failure(helpers) <= ONE / 10_000)
        .unwrap_or(MAX_HELPERS);
    let status_pings =
        (3..64).find(|&pings| power(ONE - loss.answered(), pings) <= ONE / 100_000).unwrap_or(64);
    // The span of a suspicion with time for so many status pings, half a timeout apart.
    let needed = timeout / 2 * (status_pings + 1) + round_trip;
    let hundredth = scaled(100, interval, members).max(Duration::from_millis(1));
    let percent = (micros(needed) * 100).div_ceil(micros(hundredth)).clamp(70, 10_000);
    let percent = u16::try_from(percent).unwrap_or(u16::MAX);
    // The expected number of members that miss every send of a rumor, which may be 1/500.
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
