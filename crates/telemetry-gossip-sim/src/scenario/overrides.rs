//! Settings of the nodes of a scenario that differ from the defaults.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Config, DetectorFeatures, SuspicionTimeout};

use crate::units::maybe_span;

/// Settings to replace; [`Config`] documents them. The label and the mode cannot be replaced, since
/// all nodes of a scenario belong to one cluster and are autonomous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
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
    /// A fixed suspicion timeout, instead of one that scales with the size of the cluster.
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub suspicion: Option<Duration>,
    /// The shortest suspicion timeout, in hundredths of a probe interval for each decimal digit of
    /// the cluster's size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspicion_multiplier_percent: Option<u16>,
    /// The factor by which the timeout is longer while there is only one accuser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspicion_max_multiplier: Option<u8>,
    /// The features of the detector. Those that are not named are on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detector: Option<DetectorFeatures>,
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub gossip_interval: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gossip_fanout: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retransmit_multiplier: Option<u8>,
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub telemetry_interval: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte_budget: Option<u32>,
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub reconnect_interval: Option<Duration>,
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub tombstone_ttl: Option<Duration>,
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub join_timeout: Option<Duration>,
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub isolation_limit: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_members: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_key: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_value: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_telemetry: Option<u32>,
}

impl Overrides {
    /// Returns the default configuration with these settings replaced.
    #[must_use]
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        config.suspicion =
            self.suspicion.map_or_else(|| self.scaled(config.suspicion), SuspicionTimeout::Fixed);
        config.byte_budget = self.byte_budget.or(config.byte_budget);
        config.isolation_limit = self.isolation_limit.or(config.isolation_limit);
        config.mtu = self.mtu.unwrap_or(config.mtu);
        config.probe_interval = self.probe_interval.unwrap_or(config.probe_interval);
        config.probe_timeout = self.probe_timeout.unwrap_or(config.probe_timeout);
        config.indirect_probes = self.indirect_probes.unwrap_or(config.indirect_probes);
        config.detector = self.detector.unwrap_or(config.detector);
        config.gossip_interval = self.gossip_interval.unwrap_or(config.gossip_interval);
        config.gossip_fanout = self.gossip_fanout.unwrap_or(config.gossip_fanout);
        config.retransmit_multiplier =
            self.retransmit_multiplier.unwrap_or(config.retransmit_multiplier);
        config.telemetry_interval = self.telemetry_interval.unwrap_or(config.telemetry_interval);
        config.reconnect_interval = self.reconnect_interval.unwrap_or(config.reconnect_interval);
        config.tombstone_ttl = self.tombstone_ttl.unwrap_or(config.tombstone_ttl);
        config.join_timeout = self.join_timeout.unwrap_or(config.join_timeout);
        config.max_members = self.max_members.unwrap_or(config.max_members);
        config.max_key = self.max_key.unwrap_or(config.max_key);
        config.max_value = self.max_value.unwrap_or(config.max_value);
        config.max_telemetry = self.max_telemetry.unwrap_or(config.max_telemetry);
        config
    }

    /// Whether the suspicion timeout is both fixed and scaled.
    pub(super) fn contradicts_itself(&self) -> bool {
        self.suspicion.is_some()
            && (self.suspicion_multiplier_percent.is_some()
                || self.suspicion_max_multiplier.is_some())
    }

    fn scaled(&self, suspicion: SuspicionTimeout) -> SuspicionTimeout {
        match suspicion {
            SuspicionTimeout::Scaled { multiplier_percent: percent, max_multiplier: stretch } => {
                SuspicionTimeout::Scaled {
                    multiplier_percent: self.suspicion_multiplier_percent.unwrap_or(percent),
                    max_multiplier: self.suspicion_max_multiplier.unwrap_or(stretch),
                }
            }
            other => other,
        }
    }
}
