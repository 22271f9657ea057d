//! The rules that settings must keep, each alone and with each other.

use core::time::Duration;

use thiserror::Error;

use super::{Config, MAX_LOG, MAX_MEMBERS, MAX_MTU, MIN_MTU, Mode, SuspicionTimeout};
use crate::id::MAX_ID_LEN;

/// Bytes of a telemetry datagram beside the entry and the id of its owner: header and frame.
pub(crate) const TELEMETRY_OVERHEAD: usize = 64;

impl Config {
    /// Checks every field and every rule between fields.
    pub fn validate(&self) -> Result<(), ConfigError> {
        in_range("mtu", self.mtu.into(), MIN_MTU.into(), MAX_MTU.into())?;
        in_range("indirect_probes", self.indirect_probes.into(), 0, 16)?;
        in_range("gossip_fanout", self.gossip_fanout.into(), 1, 16)?;
        in_range("retransmit_multiplier", self.retransmit_multiplier.into(), 1, 32)?;
        in_range("max_members", self.max_members.into(), 1, MAX_MEMBERS.into())?;
        in_range(
            "byte_budget",
            self.byte_budget.unwrap_or(u32::MAX).into(),
            1_000,
            u32::MAX.into(),
        )?;
        in_range("max_key", self.max_key.into(), 1, 255)?;
        in_range("max_telemetry", self.max_telemetry.into(), 0, MAX_LOG as u64)?;
        for (field, span) in [
            ("probe_interval", self.probe_interval),
            ("probe_timeout", self.probe_timeout),
            ("gossip_interval", self.gossip_interval),
            ("telemetry_interval", self.telemetry_interval),
            ("reconnect_interval", self.reconnect_interval),
            ("tombstone_ttl", self.tombstone_ttl),
            ("join_timeout", self.join_timeout),
            ("isolation_limit", self.isolation_limit.unwrap_or(LONGEST)),
        ] {
            if span < SHORTEST || span > LONGEST {
                return Err(ConfigError::Span { field, span });
            }
        }
        if self.probe_timeout * 2 > self.probe_interval {
            return Err(ConfigError::ProbeTimeout {
                timeout: self.probe_timeout,
                interval: self.probe_interval,
            });
        }
        match self.suspicion {
            SuspicionTimeout::Scaled { multiplier_percent, max_multiplier } => {
                in_range("suspicion multiplier_percent", multiplier_percent.into(), 10, 10_000)?;
                in_range("suspicion max_multiplier", max_multiplier.into(), 1, 16)?;
            }
            SuspicionTimeout::Fixed(span) if span < self.gossip_interval * 2 || span > LONGEST => {
                return Err(ConfigError::Suspicion { span, gossip: self.gossip_interval });
            }
            SuspicionTimeout::Fixed(_) => {}
        }
        self.validate_times()?;
        if self.retransmit_multiplier < self.gossip_fanout {
            return Err(ConfigError::Retransmit {
                multiplier: self.retransmit_multiplier,
                fanout: self.gossip_fanout,
            });
        }
        let entry = usize::from(self.max_key) + usize::from(self.max_value) + TELEMETRY_OVERHEAD;
        if entry + MAX_ID_LEN > usize::from(self.mtu) {
            return Err(ConfigError::TelemetryEntry {
                entry: usize::from(self.max_key) + usize::from(self.max_value),
                mtu: self.mtu,
            });
        }
        Ok(())
    }
}

impl Config {
    /// Checks the rules between two times. They concern suspicions, rumors and dead members. A node
    /// that only probes has none of these, and may wait for any time.
    fn validate_times(&self) -> Result<(), ConfigError> {
        if self.mode == Mode::ProbeOnly {
            return Ok(());
        }
        // The extremes over all cluster sizes.
        let ((shortest, _), (_, longest)) =
            (self.suspicion_spans(1), self.suspicion_spans(self.max_members));
        let calls = if self.detector.status_pings { self.probe_timeout } else { Duration::ZERO };
        let limit = self.isolation_limit.unwrap_or(LONGEST);
        for (field, span, least, rule) in [
            (
                "probe_timeout",
                self.probe_timeout,
                PLAUSIBLE_ROUND_TRIP,
                "a busy process does not answer sooner",
            ),
            (
                "suspicion",
                shortest,
                calls,
                "a suspected member is pinged every half probe_timeout and needs time to answer",
            ),
            (
                "probe_interval",
                self.probe_interval,
                self.gossip_interval,
                "rumors must not be slower than the probes that start them",
            ),
            (
                "tombstone_ttl",
                self.tombstone_ttl,
                longest,
                "a node that still suspects a member would bring back a death that others have \
                 forgotten",
            ),
            (
                "tombstone_ttl",
                self.tombstone_ttl,
                self.reconnect_interval,
                "dead members would be forgotten before they are contacted",
            ),
            (
                "join_timeout",
                self.join_timeout,
                self.probe_timeout * 2,
                "seeds are asked again after two of probe_timeout",
            ),
            (
                "isolation_limit",
                limit,
                self.probe_interval * 2,
                "an isolated node asks whether it is over every two of probe_interval",
            ),
        ] {
            if span < least {
                return Err(ConfigError::TooShort { field, span, least, rule });
            }
        }
        Ok(())
    }
}

/// The shortest plausible probe timeout: below it, an answer is as often late as it is lost.
const PLAUSIBLE_ROUND_TRIP: Duration = Duration::from_millis(5);

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);

fn in_range(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::Range { field, value, min, max })
    }
}

/// The rule that a setting, or two settings together, breaks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number is outside its range.
    #[error("{field} is {value}, it must be {min} to {max}")]
    #[non_exhaustive]
    Range {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The least allowed.
        min: u64,
        /// The most allowed.
        max: u64,
    },
    /// A time is shorter than 1 ms or longer than 366 days.
    #[error("{field} is {span:?}, it must be 1 ms to 366 days")]
    #[non_exhaustive]
    Span {
        /// The setting.
        field: &'static str,
        /// Its value.
        span: Duration,
    },
    /// The direct and the indirect part of a probe do not fit into its interval.
    #[error(
        "probe_timeout {timeout:?} is more than half of probe_interval {interval:?}: a probe takes \
         two timeouts"
    )]
    #[non_exhaustive]
    ProbeTimeout {
        /// The timeout.
        timeout: Duration,
        /// The interval.
        interval: Duration,
    },
    /// A suspicion would run out before its refutation can arrive.
    #[error(
        "suspicion of {span:?} is shorter than two gossip intervals of {gossip:?}, or longer than \
         366 days"
    )]
    #[non_exhaustive]
    Suspicion {
        /// The timeout.
        span: Duration,
        /// The gossip interval.
        gossip: Duration,
    },
    /// A time is too short beside another setting.
    #[error("{field} is {span:?}, it must be {least:?} or more: {rule}")]
    #[non_exhaustive]
    TooShort {
        /// The setting.
        field: &'static str,
        /// Its value, or what follows from other settings.
        span: Duration,
        /// The least allowed.
        least: Duration,
        /// The reason.
        rule: &'static str,
    },
    /// A rumor would be dropped before one round of gossip has sent it.
    #[error(
        "retransmit_multiplier {multiplier} is less than gossip_fanout {fanout}: in a small \
         cluster some members would not get the rumor"
    )]
    #[non_exhaustive]
    Retransmit {
        /// The multiplier.
        multiplier: u8,
        /// The fanout.
        fanout: u8,
    },
    /// The longest telemetry entry does not fit into a datagram.
    #[error(
        "max_key + max_value is {entry} bytes, which does not fit mtu {mtu} beside a node id and \
         headers (191 bytes)"
    )]
    #[non_exhaustive]
    TelemetryEntry {
        /// Key and value together.
        entry: usize,
        /// The datagram size.
        mtu: u16,
    },
    /// The initial generation leaves no room above it.
    #[error("initial generation {generation} is above 2^62")]
    #[non_exhaustive]
    Generation {
        /// The generation.
        generation: u64,
    },
    /// The compact form of the address is empty or too long, or does not decode to the address.
    #[error("the address encodes to {len} bytes, it must be 1 to 128 and decode to itself")]
    #[non_exhaustive]
    Address {
        /// The length of its compact form.
        len: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DetectorFeatures;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn the_profiles_are_valid() {
        for profile in [Config::local(), Config::lan(), Config::wan()] {
            assert_eq!(profile.validate(), Ok(()), "{profile:?}");
        }
    }

    #[test]
    fn times_that_contradict_each_other_are_refused_and_times_at_the_bound_are_valid() {
        type Change = fn(&mut Config, Duration);
        let cases: [(&str, Change, u64); 5] = [
            ("probe_timeout", |config, span| config.probe_timeout = span, 5),
            ("tombstone_ttl", |config, span| config.tombstone_ttl = span, 5_000),
            (
                "tombstone_ttl",
                |config, span| {
                    (config.suspicion, config.tombstone_ttl) =
                        (SuspicionTimeout::Fixed(MILLI * 9_000), span)
                },
                9_000,
            ),
            ("join_timeout", |config, span| config.join_timeout = span, 600),
            ("isolation_limit", |config, span| config.isolation_limit = Some(span), 2_000),
        ];
        for (name, change, least) in cases {
            let with = |millis: u64| {
                let mut config = Config::default();
                change(&mut config, MILLI * u32::try_from(millis).unwrap());
                config.validate()
            };
            assert_eq!(with(least), Ok(()), "{name} at its bound");
            let refused = with(least - 1);
            assert!(
                matches!(
                    refused,
                    Err(ConfigError::TooShort { field, least: bound, .. })
                        if field == name && bound.as_millis() == u128::from(least)
                ),
                "{name}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_suspicion_is_no_shorter_than_the_status_pings_if_they_are_switched_on() {
        let calls = Config {
            gossip_interval: MILLI * 50,
            suspicion: SuspicionTimeout::Fixed(MILLI * 299),
            ..Config::default()
        };
        let field = "suspicion";
        assert!(matches!(
            calls.validate(),
            Err(ConfigError::TooShort { field: name, .. }) if name == field
        ));
        let scaled = Config {
            suspicion: SuspicionTimeout::Scaled { multiplier_percent: 29, max_multiplier: 9 },
            gossip_interval: MILLI * 50,
            ..calls.clone()
        };
        assert!(matches!(
            scaled.validate(),
            Err(ConfigError::TooShort { field: name, .. }) if name == field
        ));
        assert_eq!(Config { detector: DetectorFeatures::SWIM, ..calls }.validate(), Ok(()));
    }

    #[test]
    fn the_gossip_interval_is_no_longer_than_the_probe_interval() {
        let slow = Config { gossip_interval: MILLI * 1_001, ..Config::default() };
        assert!(matches!(
            slow.validate(),
            Err(ConfigError::TooShort { field: "probe_interval", .. })
        ));
        assert_eq!(Config { gossip_interval: MILLI * 1_000, ..slow }.validate(), Ok(()));
    }

    #[test]
    fn a_rumor_is_sent_at_least_as_often_as_one_round_of_gossip_has_targets() {
        let few = Config { gossip_fanout: 5, ..Config::default() };
        assert_eq!(few.validate(), Err(ConfigError::Retransmit { multiplier: 4, fanout: 5 }));
        assert_eq!(Config { retransmit_multiplier: 5, ..few }.validate(), Ok(()));
    }

    #[test]
    fn a_node_that_only_probes_may_wait_for_any_time() {
        let (timeout, interval) = (Duration::from_secs(86_400), Duration::from_secs(172_800));
        let config = Config {
            mode: Mode::ProbeOnly,
            probe_timeout: timeout,
            probe_interval: interval,
            ..Config::default()
        };
        assert_eq!(config.validate(), Ok(()));
        assert!(Config { mode: Mode::Autonomous, ..config }.validate().is_err());
    }
}
