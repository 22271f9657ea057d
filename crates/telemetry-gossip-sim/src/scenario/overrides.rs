//! The settings of a scenario that differ from the defaults.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Config, Suspicion};

use crate::units::maybe_span;

/// Settings to replace; see [`Config`] for what they mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[expect(missing_docs, reason = "named after the fields of Config")]
pub struct Overrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub probe_interval: Option<Duration>,
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub probe_timeout: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indirect_probes: Option<u8>,
    /// A fixed time to refute, instead of one that grows with the cluster.
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<Duration>,
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub gossip_interval: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gossip_fanout: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmit_multiplier: Option<u8>,
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub reconnect_interval: Option<Duration>,
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub tombstone_ttl: Option<Duration>,
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub isolation_limit: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_members: Option<u32>,
}

impl Overrides {
    /// The defaults with these settings replaced.
    #[must_use]
    pub fn config(&self) -> Config {
        let config = Config::default();
        Config {
            mtu: self.mtu.unwrap_or(config.mtu),
            probe_interval: self.probe_interval.unwrap_or(config.probe_interval),
            probe_timeout: self.probe_timeout.unwrap_or(config.probe_timeout),
            indirect_probes: self.indirect_probes.unwrap_or(config.indirect_probes),
            suspicion: self.suspicion.map_or(config.suspicion, Suspicion::Fixed),
            gossip_interval: self.gossip_interval.unwrap_or(config.gossip_interval),
            gossip_fanout: self.gossip_fanout.unwrap_or(config.gossip_fanout),
            retransmit_multiplier: self.retransmit_multiplier.unwrap_or(config.retransmit_multiplier),
            reconnect_interval: self.reconnect_interval.unwrap_or(config.reconnect_interval),
            tombstone_ttl: self.tombstone_ttl.unwrap_or(config.tombstone_ttl),
            isolation_limit: self.isolation_limit.or(config.isolation_limit),
            max_members: self.max_members.unwrap_or(config.max_members),
            ..config
        }
    }
}
