//! The settings of a node and their defaults. `rules` has the rules that they must keep, `spans`
//! the times that follow from them.

mod rules;
mod spans;

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::features::DetectorFeatures;
use crate::id::Label;
use crate::setters::setters;
pub use rules::ConfigError;
pub(crate) use spans::scaled;

/// The smallest MTU that can be set. Any record, and any telemetry entry within the default limits,
/// fits.
pub const MIN_MTU: u16 = 512;

/// The largest payload of a UDP datagram over IPv4.
pub const MAX_MTU: u16 = 65_507;

/// The most members that a table can be set to hold.
pub(crate) const MAX_MEMBERS: u32 = 1 << 24;

/// The largest telemetry log of any node, as [`Config::max_telemetry`] may allow its owner.
pub(crate) const MAX_LOG: usize = 65_536;

/// The default of [`Config::max_telemetry_held`].
pub(crate) const MAX_TELEMETRY_HELD: u32 = 128 << 20;

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
    /// The most bytes in the payload of one datagram; [`MIN_MTU`] to [`MAX_MTU`], default 1,232:
    /// what every path of IPv6 carries, tunnels included (1,280 bytes less 48 of headers). A driver
    /// that seals datagrams takes the bytes of the seal from it. It must fit the network path:
    /// where long datagrams are lost silently, crashes are still detected, but long telemetry and
    /// the tables of large clusters do not arrive. Datagrams of up to 1,500 bytes are accepted
    /// whatever it is.
    pub mtu: u16,

    /// One member is probed per interval. Default 1 s. Poor local health stretches it up to nine
    /// times.
    pub probe_interval: Duration,
    /// The timeout of the direct ping, and then again of the indirect pings; at most half of
    /// `probe_interval`. Default 300 ms. Where most answers take longer than twice this, nodes
    /// doubt themselves instead of others: no live member is accused, and no crash is detected.
    pub probe_timeout: Duration,
    /// The number of helpers that are asked at each of the two indirect stages of a probe to ping
    /// on behalf of the prober (the K of SWIM). 0 to 16, default 3. A probe asks at most 16 helpers
    /// in all, so above 8 the second stage asks fewer.
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
    /// the seal; at least 1,000. `None`, the default, for no limit. What this node publishes waits
    /// for it, for up to 10 s, and a value that is replaced while it waits is never sent.
    /// Membership, urgent telemetry, answers, and what other members publish do not wait.
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
    /// and time. At most 65,536, in at most 1,024 entries; default 4,096. The telemetry of other
    /// members is held regardless of their settings, up to twice as many bytes and entries per
    /// member as these limits allow: between two states of an owner a reader has parts of both.
    pub max_telemetry: u32,
    /// The most bytes of telemetry that this node holds of all members together. Default 128 MiB.
    ///
    /// Half of it is divided by `max_members`, and telemetry within this share (4,096 bytes by
    /// default) is always held. Longer telemetry is held as long as all of it together fits the
    /// other half. Beyond that, only the version is known; see
    /// [`Member::telemetry_held`](crate::Member::telemetry_held).
    pub max_telemetry_held: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            label: Label::of(""),
            mode: Mode::Autonomous,
            mtu: 1_232,
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
            max_telemetry_held: MAX_TELEMETRY_HELD,
        }
    }
}

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
        max_telemetry_held: u32,
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
}
