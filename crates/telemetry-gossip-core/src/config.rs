//! The settings of a node, their defaults, and the rules that they must keep.

use core::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::detector::Detector;
use crate::id::Label;
use crate::telemetry::MAX_LOG;

/// The smallest datagram size that a node can be held to: any one record or telemetry entry of default limits fits.
pub const MIN_MTU: u16 = 512;

/// The largest payload of a UDP datagram over IPv4.
pub const MAX_MTU: u16 = 65_507;

/// Bytes of a telemetry datagram that are not the entry itself: header, frame, and the owner's name.
pub(crate) const TELEMETRY_OVERHEAD: usize = 64;

/// Settings of a [`Node`](crate::Node). The defaults suit a LAN of a few to a few thousand nodes.
///
/// A shorter `probe_interval` finds crashes sooner for proportionally more traffic; everything else scales with it.
///
/// ```
/// use core::time::Duration;
/// use telemetry_gossip_core::{Config, ConfigError, Label};
///
/// let config = Config { label: Label::of("production"), ..Config::default() };
/// assert_eq!(config.validate(), Ok(()));
///
/// let hasty = Config { probe_timeout: Duration::from_secs(2), ..config };
/// assert!(matches!(hasty.validate(), Err(ConfigError::ProbeTimeout { .. })));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Whose datagrams to listen to. Nodes with different labels ignore each other.
    pub label: Label,
    /// Whether the node acts by its own timers or only when told.
    pub mode: Mode,
    /// The most bytes in one datagram's payload; [`MIN_MTU`] to [`MAX_MTU`]. Default 1,400.
    pub mtu: u16,

    /// One member is probed each interval. Default 1 s. Local trouble stretches it up to nine times.
    pub probe_interval: Duration,
    /// How long a direct ping may take, and then again how long the indirect ones; twice this is at most the
    /// interval. Default 300 ms.
    pub probe_timeout: Duration,
    /// How many members are asked to ping on the prober's behalf (the K of SWIM). 0 to 16, default 3.
    pub indirect_probes: u8,
    /// How long a suspected member has to refute.
    pub suspicion: Suspicion,
    /// Which parts the failure detector has; all by default.
    pub detector: Detector,

    /// While there is news, some members are told it each interval. Default 200 ms.
    pub gossip_interval: Duration,
    /// How many members are told at each interval. 1 to 16, default 3.
    pub gossip_fanout: u8,
    /// A piece of news is sent `retransmit_multiplier * ceil(log10(n + 1))` times by each member that learns it.
    /// 1 to 32, default 4.
    pub retransmit_multiplier: u8,

    /// One dead member is contacted each interval, so that a healed partition merges. Default 5 s.
    pub reconnect_interval: Duration,
    /// How long a dead member is remembered, and contacted. Default 24 h.
    pub tombstone_ttl: Duration,
    /// How long a join tries its seeds before it is reported as failed (and then goes on). Default 5 s.
    pub join_timeout: Duration,
    /// After this long the side cut off takes its losses for real and declares them dead; `None`, the default,
    /// waits for the partition to heal, the host's word or a cluster config.
    pub isolation_limit: Option<Duration>,

    /// The most members in the table, the dead included. Default 16,384.
    pub max_members: u32,
    /// The longest telemetry key that this node publishes, in bytes. 1 to 255, default 64.
    pub max_key: u8,
    /// The longest telemetry value that this node publishes, in bytes; key and value must fit one datagram. Default 512.
    pub max_value: u16,
    /// The most bytes of telemetry that this node publishes, 17 an entry added for its version and time. At most 65,536,
    /// default 4,096. What others publish is held whatever their settings are, up to the 65,536.
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
            suspicion: Suspicion::default(),
            detector: Detector::default(),
            gossip_interval: Duration::from_millis(200),
            gossip_fanout: 3,
            retransmit_multiplier: 4,
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

/// Whether a node acts by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Probes, gossips and reconnects by its own timers.
    #[default]
    Autonomous,
    /// Answers what it is asked, and probes or exchanges only on [`Input::Probe`](crate::Input::Probe) and
    /// [`Input::Exchange`](crate::Input::Exchange). Suspicions still run out.
    OnDemand,
    /// Only probes, on [`Input::Probe`](crate::Input::Probe), and answers and relays the probes of others: it takes in no
    /// claims and makes none, so that it may share its name with a node that does.
    ProbeOnly,
}

/// How long a suspected member has to refute before it is declared dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Suspicion {
    /// At least `percent / 100 * probe_interval * max(1, log10(n))`, growing with the live members n as news takes longer
    /// to reach them all; `stretch` times as long while nobody but the first accuser accuses, and less with each of the
    /// next three: `longest - (longest - shortest) * log(c + 1) / log(4)` with c further accusers (Lifeguard).
    Scaled {
        /// Hundredths of a probe interval; 10 to 10,000.
        percent: u16,
        /// How many times as long a lone accuser waits; 1 to 16, and 1 makes it constant.
        stretch: u8,
    },
    /// Always this long; at least two gossip intervals.
    Fixed(Duration),
}

impl Default for Suspicion {
    /// Scaled by 70 percent, constant: 0.7 s for up to 10 members, 1.7 s for 250.
    fn default() -> Self {
        Self::Scaled { percent: 70, stretch: 1 }
    }
}

impl Config {
    /// Checks every field and every rule between fields.
    pub fn validate(&self) -> Result<(), ConfigError> {
        in_range("mtu", self.mtu.into(), MIN_MTU.into(), MAX_MTU.into())?;
        in_range("indirect_probes", self.indirect_probes.into(), 0, 16)?;
        in_range("gossip_fanout", self.gossip_fanout.into(), 1, 16)?;
        in_range("retransmit_multiplier", self.retransmit_multiplier.into(), 1, 32)?;
        in_range("max_members", self.max_members.into(), 1, 1 << 24)?;
        in_range("max_key", self.max_key.into(), 1, 255)?;
        in_range("max_telemetry", self.max_telemetry.into(), 0, MAX_LOG as u64)?;
        for (field, span) in [
            ("probe_interval", self.probe_interval),
            ("probe_timeout", self.probe_timeout),
            ("gossip_interval", self.gossip_interval),
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
            Suspicion::Scaled { percent, stretch } => {
                in_range("suspicion percent", percent.into(), 10, 10_000)?;
                in_range("suspicion stretch", stretch.into(), 1, 16)?;
            }
            Suspicion::Fixed(span) if span < self.gossip_interval * 2 || span > LONGEST => {
                return Err(ConfigError::Suspicion { span, gossip: self.gossip_interval });
            }
            Suspicion::Fixed(_) => {}
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

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3_600);

fn in_range(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::Range { field, value, min, max }) }
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
