//! The settings of a node, their defaults, and the rules that they must keep.

use core::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::detector::DetectorFeatures;
use crate::id::Label;
use crate::suspicion::scaled;
use crate::telemetry::MAX_LOG;

/// The smallest datagram size that a node can be held to: any one record or telemetry entry of
/// default limits fits.
pub const MIN_MTU: u16 = 512;

/// The largest payload of a UDP datagram over IPv4.
pub const MAX_MTU: u16 = 65_507;

/// The most members that a table can be set to hold.
pub(crate) const MAX_MEMBERS: u32 = 1 << 24;

/// Bytes of a telemetry datagram that are not the entry itself: header, frame, and the owner's
/// name.
pub(crate) const TELEMETRY_OVERHEAD: usize = 64;

/// Settings of a [`Node`](crate::Node). The defaults suit a LAN of a few to a few thousand nodes.
///
/// A shorter `probe_interval` finds crashes sooner for proportionally more traffic.
/// [`Config::local`] and [`Config::wan`] suit other networks, [`Config::plan`] finds the settings
/// for a target.
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
#[non_exhaustive]
pub struct Config {
    /// Whose datagrams to listen to. Nodes with different labels ignore each other.
    pub label: Label,
    /// Whether the node acts by its own timers or only when told.
    pub mode: Mode,
    /// The most bytes in one datagram's payload; [`MIN_MTU`] to [`MAX_MTU`]. Default 1,400. A
    /// driver that seals datagrams takes its part of them from it. It has to fit the path: where
    /// long datagrams are lost without a word, members find each other's crashes as always, but
    /// long telemetry and the tables of large clusters do not arrive.
    pub mtu: u16,

    /// One member is probed each interval. Default 1 s. Local trouble stretches it up to nine
    /// times.
    pub probe_interval: Duration,
    /// How long a direct ping may take, and then again how long the indirect ones; twice this is at
    /// most the interval. Default 300 ms. Where most answers take longer than twice this, nodes
    /// doubt themselves instead of others: nobody is wronged, and no crash found.
    pub probe_timeout: Duration,
    /// How many members are asked to ping on the prober's behalf (the K of SWIM). 0 to 16, default
    /// 3.
    pub indirect_probes: u8,
    /// How long a suspected member has to refute.
    pub suspicion: SuspicionTimeout,
    /// Which parts the failure detector has; all by default.
    pub detector: DetectorFeatures,

    /// While there is news, some members are told it each interval. Default 200 ms.
    pub gossip_interval: Duration,
    /// How many members are told at each interval. 1 to 16, default 3.
    pub gossip_fanout: u8,
    /// A piece of news is sent `retransmit_multiplier * ceil(log10(n + 1))` times by each member
    /// that learns it. 1 to 32, default 4.
    pub retransmit_multiplier: u8,

    /// A member passes on telemetry to each of its partners once in this time, so that updates
    /// travel together; at once if the last time is longer ago or a datagram is full. Default 100
    /// ms.
    pub telemetry_interval: Duration,

    /// The most bytes a second that this node sends on average, payloads of UDP without what seals
    /// them; `None`, the default, for no cap. Telemetry waits for it, and what is replaced while it
    /// waits is never sent. Membership does not wait, nor what is urgent, nor answers. 1,000 at
    /// least.
    pub byte_budget: Option<u32>,

    /// One dead member is contacted each interval, so that a healed partition merges. Default 5 s.
    pub reconnect_interval: Duration,
    /// How long a dead member is remembered, and contacted. Default 24 h.
    pub tombstone_ttl: Duration,
    /// How long a join tries its seeds before it is reported as failed (and then goes on). Default
    /// 5 s.
    pub join_timeout: Duration,
    /// After this long the side cut off takes its losses for real and declares them dead; `None`,
    /// the default, waits for the partition to heal, the host's word or a cluster config.
    pub isolation_limit: Option<Duration>,

    /// The most members in the table, the dead included. Default 16,384.
    pub max_members: u32,
    /// The longest telemetry key that this node publishes, in bytes. 1 to 255, default 64.
    pub max_key: u8,
    /// The longest telemetry value that this node publishes, in bytes; key and value must fit one
    /// datagram. Default 512.
    pub max_value: u16,
    /// The most bytes of telemetry that this node publishes, 14 an entry added for its version and
    /// time. At most 65,536, default 4,096. What others publish is held whatever their settings
    /// are, up to twice the 65,536: while a reader goes from one state of an owner to another it
    /// has parts of both.
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
pub enum Mode {
    /// Probes, gossips and reconnects by its own timers.
    #[default]
    Autonomous,
    /// Answers what it is asked, and probes or exchanges only on
    /// [`Input::Probe`](crate::Input::Probe) and [`Input::Exchange`](crate::Input::Exchange).
    /// Suspicions still run out.
    OnDemand,
    /// Only probes, on [`Input::Probe`](crate::Input::Probe), and answers and relays the probes of
    /// others: it takes in no claims and makes none, so that it may share its name with a node that
    /// does.
    ProbeOnly,
}

/// How long a suspected member has to refute before it is declared dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SuspicionTimeout {
    /// At least `multiplier_percent / 100 * probe_interval * max(1, log10(n))`, growing with the
    /// live members n as news takes longer to reach them all; `max_multiplier` times as long while
    /// nobody but the first accuser accuses, and less with each of the next three:
    /// `longest - (longest - shortest) * log(c + 1) / log(4)` with c further accusers (Lifeguard).
    Scaled {
        /// Hundredths of a probe interval; 10 to 10,000.
        multiplier_percent: u16,
        /// How many times as long a lone accuser waits; 1 to 16, and 1 makes it constant.
        max_multiplier: u8,
    },
    /// Always this long; at least two gossip intervals.
    Fixed(Duration),
}

impl Default for SuspicionTimeout {
    /// Scaled by 70 percent, constant: 0.7 s for up to 10 members, 1.7 s for 250.
    fn default() -> Self {
        Self::Scaled { multiplier_percent: 70, max_multiplier: 1 }
    }
}

impl Config {
    /// For nodes on one machine or a wire away: round trips up to 10 ms, little loss. A quarter of
    /// the times of [`lan`](Self::lan), for four times its traffic. A crash among 250 is known to
    /// all in 0.8 s (median) and 0.95 s (99th percentile), measured with a round trip of 1 ms and
    /// no loss.
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

    /// The defaults: for a data centre or several near each other, round trips up to 50 ms. A crash
    /// among 250 is known to all in 3.2 s (median) and 3.9 s (99th percentile), measured with 2 ms
    /// and 1 % loss.
    pub fn lan() -> Self {
        Self::default()
    }

    /// For nodes all over the world: round trips up to some 150 ms, and loss of some percent. A
    /// third of the traffic of [`lan`](Self::lan). A crash among 250 is known to all in 10.5 s
    /// (median) and 12.6 s (99th percentile), measured with 150 ms and 2 % loss.
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

    /// How long a suspicion lasts in a cluster of so many live members: with four accusers, and
    /// with one.
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
    /// The rules between two spans of time. They are about suspicions, news and the dead: a node
    /// that only probes has none, and may wait as long as it likes.
    fn validate_times(&self) -> Result<(), ConfigError> {
        if self.mode == Mode::ProbeOnly {
            return Ok(());
        }
        // In clusters of any size.
        let ((shortest, _), (_, longest)) =
            (self.suspicion_spans(1), self.suspicion_spans(self.max_members));
        let calls = if self.detector.status_pings { self.probe_timeout } else { Duration::ZERO };
        let limit = self.isolation_limit.unwrap_or(LONGEST);
        for (field, span, least, rule) in [
            (
                "probe_timeout",
                self.probe_timeout,
                PLAUSIBLE_ROUND_TRIP,
                "no answer of a busy process comes sooner",
            ),
            (
                "suspicion",
                shortest,
                calls,
                "a suspect is called every half probe_timeout and must be able to answer",
            ),
            (
                "probe_interval",
                self.probe_interval,
                self.gossip_interval,
                "news must not be slower than what makes it",
            ),
            (
                "tombstone_ttl",
                self.tombstone_ttl,
                longest,
                "who still suspects a member would bring back a death forgotten",
            ),
            (
                "tombstone_ttl",
                self.tombstone_ttl,
                self.reconnect_interval,
                "the dead would be forgotten before they are contacted",
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

/// Sooner than this, an answer is late as often as lost.
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

/// A setting, or two settings together, that no node can run with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A number is outside its range.
    #[error("{field} is {value}, it must be {min} to {max}")]
    Range {
        /// The setting.
        field: &'static str,
        /// What it was set to.
        value: u64,
        /// The least allowed.
        min: u64,
        /// The most allowed.
        max: u64,
    },
    /// A time span is shorter than 1 ms or longer than a year.
    #[error("{field} is {span:?}, it must be 1 ms to 366 days")]
    Span {
        /// The setting.
        field: &'static str,
        /// What it was set to.
        span: Duration,
    },
    /// The direct and the indirect part of a probe do not fit its interval.
    #[error(
        "probe_timeout {timeout:?} is more than half of probe_interval {interval:?}: a probe takes two timeouts"
    )]
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
    Suspicion {
        /// The timeout.
        span: Duration,
        /// The gossip interval.
        gossip: Duration,
    },
    /// A time span is too short beside another setting.
    #[error("{field} is {span:?}, it must be {least:?} or more: {rule}")]
    TooShort {
        /// The setting.
        field: &'static str,
        /// What it was set to, or comes to.
        span: Duration,
        /// The least allowed.
        least: Duration,
        /// Why.
        rule: &'static str,
    },
    /// News would be done before one round of gossip has told it.
    #[error(
        "retransmit_multiplier {multiplier} is less than gossip_fanout {fanout}: in a small cluster some would be told nothing"
    )]
    Retransmit {
        /// The multiplier.
        multiplier: u8,
        /// The fanout.
        fanout: u8,
    },
    /// The longest telemetry entry does not fit the datagram.
    #[error(
        "max_key + max_value is {entry} bytes, which does not fit mtu {mtu} beside a node id and headers (191 bytes)"
    )]
    TelemetryEntry {
        /// Key and value together.
        entry: usize,
        /// The datagram size.
        mtu: u16,
    },
    /// The initial generation leaves no room above it.
    #[error("initial generation {generation} is above the plausible start of 2^56")]
    Generation {
        /// The generation.
        generation: u64,
    },
    /// The address has an empty or over-long compact form.
    #[error("the address encodes to {len} bytes, it must be 1 to 128 and decode to itself")]
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
    fn times_that_contradict_each_other_are_refused_and_those_at_the_bound_are_not() {
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
    fn a_suspicion_is_no_shorter_than_the_calls_if_there_are_any() {
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
    fn news_is_no_slower_than_probes() {
        let slow = Config { gossip_interval: MILLI * 1_001, ..Config::default() };
        assert!(matches!(
            slow.validate(),
            Err(ConfigError::TooShort { field: "probe_interval", .. })
        ));
        assert_eq!(Config { gossip_interval: MILLI * 1_000, ..slow }.validate(), Ok(()));
    }

    #[test]
    fn news_is_told_to_as_many_as_one_round_of_gossip_has() {
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
