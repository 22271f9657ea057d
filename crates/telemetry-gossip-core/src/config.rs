//! The settings of a node, their defaults, and the rules between them.

use core::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::detector::DetectorFeatures;
use crate::id::Label;
use crate::suspicion::scaled;
use crate::telemetry::MAX_LOG;

/// The smallest MTU that can be set. Any record, and any telemetry entry within the default limits,
/// fits.
pub const MIN_MTU: u16 = 512;

/// The largest payload of a UDP datagram over IPv4.
pub const MAX_MTU: u16 = 65_507;

/// The largest [`Config::max_members`].
pub(crate) const MAX_MEMBERS: u32 = 1 << 24;

/// Bytes of a telemetry datagram beside the entry and the id of its owner: header and frame.
pub(crate) const TELEMETRY_OVERHEAD: usize = 64;

/// Settings of a [`Node`](crate::Node). The defaults suit a LAN of a few to a few thousand nodes.
///
/// A shorter `probe_interval` detects crashes sooner, for proportionally more traffic.
/// [`Config::local`] and [`Config::wan`] suit other networks, and [`Config::plan`] finds the
/// settings for a target. Fields that are missing in a serialised config have their defaults.
///
/// ```
/// use core::time::Duration;
/// use telemetry_gossip_core::{Config, ConfigError, Label};
///
/// let config = Config::lan().label(Label::of("production"));
/// assert_eq!(config.validate(), Ok(()));
///
/// let hasty = config.probe_timeout(Duration::from_secs(2));
/// assert!(matches!(hasty.validate(), Err(ConfigError::ProbeTimeout { .. })));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Config {
    /// The label of the cluster. Nodes with different labels ignore each other.
    pub label: Label,
    /// Whether the node acts by its own timers or only on command.
    pub mode: Mode,
    /// The most bytes in the payload of one datagram; [`MIN_MTU`] to [`MAX_MTU`], default 1,400. A
    /// driver that seals datagrams takes the bytes of the seal from it. It must fit the network
    /// path: where long datagrams are lost silently, crashes are still detected, but long telemetry
    /// and the tables of large clusters do not arrive.
    pub mtu: u16,

    /// One member is probed per interval. Default 1 s. Poor local health stretches it up to nine
    /// times.
    pub probe_interval: Duration,
    /// The timeout of the direct ping, and then again of the indirect pings; at most half of
    /// `probe_interval`. Default 300 ms. Where most answers take longer than twice this, nodes
    /// doubt themselves instead of others: no live member is accused, and no crash is detected.
    pub probe_timeout: Duration,
    /// How many helpers are asked to ping on behalf of the prober (the K of SWIM). 0 to 16, default
    /// 3.
    pub indirect_probes: u8,
    /// The time that a suspected member has to refute.
    pub suspicion: SuspicionTimeout,
    /// The parts of the failure detector that are switched on; all by default.
    pub detector: DetectorFeatures,

    /// While there are rumors, they are sent to some members once per interval. Default 200 ms.
    pub gossip_interval: Duration,
    /// The number of members that get the rumors in each interval. 1 to 16, default 3.
    pub gossip_fanout: u8,
    /// Each member sends a rumor `retransmit_multiplier * ceil(log10(n + 1))` times. 1 to 32,
    /// default 4.
    pub retransmit_multiplier: u8,

    /// A member forwards telemetry to each of its partners at most once per interval, so that
    /// updates travel together; at once if the last datagram is longer ago, or if a datagram is
    /// full. Default 100 ms.
    pub telemetry_interval: Duration,

    /// The most bytes per second that this node sends on average, counted as UDP payload without
    /// the seal; at least 1,000. `None`, the default, for no limit. Telemetry waits for it, and a
    /// value that is replaced while it waits is never sent. Membership, urgent telemetry and
    /// answers do not wait.
    pub byte_budget: Option<u32>,

    /// One dead member is contacted per interval, so that a healed partition merges. Default 5 s.
    pub reconnect_interval: Duration,
    /// How long a dead member is remembered and contacted. Default 24 h.
    pub tombstone_ttl: Duration,
    /// How long a join tries its seeds before it is reported as failed. It goes on after that.
    /// Default 5 s.
    pub join_timeout: Duration,
    /// How long an isolated node waits before it takes the loss for real and declares the lost
    /// members dead. `None`, the default, waits until the partition heals, the host accepts the
    /// loss, or a cluster config is applied.
    pub isolation_limit: Option<Duration>,

    /// The most members in the table, dead members included. Default 16,384.
    pub max_members: u32,
    /// The longest telemetry key that this node publishes, in bytes. 1 to 255, default 64.
    pub max_key: u8,
    /// The longest telemetry value that this node publishes, in bytes; key and value must fit one
    /// datagram. Default 512.
    pub max_value: u16,
    /// The most bytes of telemetry that this node publishes, counting 14 per entry for its version
    /// and time. At most 65,536, default 4,096. The telemetry of other members is held regardless
    /// of their settings, up to twice 65,536 bytes per member: between two states of an owner a
    /// reader has parts of both.
    pub max_telemetry: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            label: Label::of(""),
            mode: Mode::Autonomous,
            mtu: 1_400,
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(300),
            indirect_probes: 3,
            suspicion: SuspicionTimeout::default(),
            detector: DetectorFeatures::default(),
            gossip_interval: Duration::from_millis(200),
            gossip_fanout: 3,
            retransmit_multiplier: 4,
            telemetry_interval: Duration::from_millis(100),
            byte_budget: None,
            reconnect_interval: Duration::from_secs(5),
            tombstone_ttl: Duration::from_secs(24 * 3_600),
            join_timeout: Duration::from_secs(5),
            isolation_limit: None,
            max_members: 16_384,
            max_key: 64,
            max_value: 512,
            max_telemetry: 4_096,
        }
    }
}

/// One setter per field, so that a program names only what it changes and still compiles when a
/// later version adds a field.
macro_rules! setters {
    ($owner:ident { $($field:ident: $type:ty,)* }) => {
        impl $owner {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
                #[must_use]
                pub const fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}
pub(crate) use setters;

setters! {
    Config {
        label: Label,
        mode: Mode,
        mtu: u16,
        probe_interval: Duration,
        probe_timeout: Duration,
        indirect_probes: u8,
        suspicion: SuspicionTimeout,
        detector: DetectorFeatures,
        gossip_interval: Duration,
        gossip_fanout: u8,
        retransmit_multiplier: u8,
        telemetry_interval: Duration,
        byte_budget: Option<u32>,
        reconnect_interval: Duration,
        tombstone_ttl: Duration,
        join_timeout: Duration,
        isolation_limit: Option<Duration>,
        max_members: u32,
        max_key: u8,
        max_value: u16,
        max_telemetry: u32,
    }
}

/// Whether a node acts by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Mode {
    /// Probes, gossips and reconnects by its own timers.
    #[default]
    Autonomous,
    /// Answers requests, and probes or exchanges only on [`Input::Probe`](crate::Input::Probe) and
    /// [`Input::Exchange`](crate::Input::Exchange). Suspicions still run out.
    OnDemand,
    /// Only probes, on [`Input::Probe`](crate::Input::Probe), answers pings and helps the probes of
    /// others. It accepts no claims and makes none, so that it may share its id with a node that
    /// does.
    ProbeOnly,
}

/// The time that a suspected member has to refute before it is declared dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SuspicionTimeout {
    /// At least `multiplier_percent / 100 * probe_interval * max(1, log10(n))`. It grows with the
    /// number n of live members, as rumors take longer to reach them all.
    ///
    /// With only one accuser it is `max_multiplier` times as long, and it is shortened by each of
    /// the next three: `longest - (longest - shortest) * log(c + 1) / log(4)` with c further
    /// accusers (Lifeguard).
    Scaled {
        /// Hundredths of a probe interval; 10 to 10,000.
        multiplier_percent: u16,
        /// How many times as long a single accuser waits; 1 to 16. With 1 the timeout does not
        /// depend on the number of accusers.
        max_multiplier: u8,
    },
    /// A fixed time, of at least two gossip intervals.
    Fixed(Duration),
}

impl Default for SuspicionTimeout {
    /// Scaled by 70 percent, whatever the number of accusers: 0.7 s for up to 10 members, 1.7 s for
    /// 250.
    fn default() -> Self {
        Self::Scaled { multiplier_percent: 70, max_multiplier: 1 }
    }
}

impl Config {
    /// Settings for nodes on one machine or in one rack: round trips up to 10 ms, little loss. All
    /// times are a quarter of those of [`lan`](Self::lan), for four times its traffic. A crash
    /// among 250 nodes is known to all in 0.8 s (median) and 0.95 s (99th percentile), measured
    /// with a round trip of 1 ms and no loss.
    pub fn local() -> Self {
        Self {
            probe_interval: Duration::from_millis(250),
            probe_timeout: Duration::from_millis(75),
            gossip_interval: Duration::from_millis(50),
            telemetry_interval: Duration::from_millis(25),
            reconnect_interval: Duration::from_secs(2),
            ..Self::default()
        }
    }

    /// The defaults, for one data centre or several near each other: round trips up to 50 ms. A
    /// crash among 250 nodes is known to all in 3.2 s (median) and 3.9 s (99th percentile),
    /// measured with a round trip of 2 ms and 1 % loss.
    pub fn lan() -> Self {
        Self::default()
    }

    /// Settings for nodes all over the world: round trips up to about 150 ms, and some percent of
    /// loss. A third of the traffic of [`lan`](Self::lan). A crash among 250 nodes is known to all
    /// in 10.5 s (median) and 12.6 s (99th percentile), measured with a round trip of 150 ms and
    /// 2 % loss.
    pub fn wan() -> Self {
        Self {
            probe_interval: Duration::from_secs(3),
            probe_timeout: Duration::from_millis(900),
            indirect_probes: 4,
            gossip_interval: Duration::from_millis(500),
            telemetry_interval: Duration::from_millis(250),
            reconnect_interval: Duration::from_secs(15),
            join_timeout: Duration::from_secs(15),
            ..Self::default()
        }
    }

    /// The suspicion timeout in a cluster with `live` live members: with four accusers, and with
    /// one.
    pub(crate) fn suspicion_spans(&self, live: u32) -> (Duration, Duration) {
        match self.suspicion {
            SuspicionTimeout::Fixed(span) => (span, span),
            SuspicionTimeout::Scaled { multiplier_percent, max_multiplier } => {
                let span = scaled(multiplier_percent, self.probe_interval, live)
                    .max(self.gossip_interval * 2);
                (span, span.saturating_mul(max_multiplier.into()))
            }
        }
    }

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
        if entry + crate::id::MAX_ID_LEN > usize::from(self.mtu) {
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
                "a node that still suspects a member would bring back a death that others have forgotten",
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
        "probe_timeout {timeout:?} is more than half of probe_interval {interval:?}: a probe takes two timeouts"
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
        "suspicion of {span:?} is shorter than two gossip intervals of {gossip:?}, or longer than 366 days"
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
        "retransmit_multiplier {multiplier} is less than gossip_fanout {fanout}: in a small cluster some members would not get the rumor"
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
        "max_key + max_value is {entry} bytes, which does not fit mtu {mtu} beside a node id and headers (191 bytes)"
    )]
    #[non_exhaustive]
    TelemetryEntry {
        /// Key and value together.
        entry: usize,
        /// The datagram size.
        mtu: u16,
    },
    /// The initial generation leaves no room above it.
    #[error("initial generation {generation} is above the plausible start of 2^56")]
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
                matches!(refused, Err(ConfigError::TooShort { field, least: bound, .. }) if field == name
                && bound.as_millis() == u128::from(least)),
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
        assert!(
            matches!(calls.validate(), Err(ConfigError::TooShort { field: name, .. }) if name == field)
        );
        let scaled = Config {
            suspicion: SuspicionTimeout::Scaled { multiplier_percent: 29, max_multiplier: 9 },
            gossip_interval: MILLI * 50,
            ..calls.clone()
        };
        assert!(
            matches!(scaled.validate(), Err(ConfigError::TooShort { field: name, .. }) if name == field)
        );
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
