//! The protocols that are compared, and their published results.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{Config, DetectorFeatures, SuspicionTimeout};

/// One of the protocols that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Variant {
    /// SWIM with the settings of memberlist.
    Swim,
    /// SWIM with local health and nacks.
    LhaProbe,
    /// SWIM with suspicions that shrink.
    LhaSuspicion,
    /// SWIM with accusations in pings.
    Buddy,
    /// SWIM with all three extensions.
    Lifeguard,
    /// The defaults of this implementation.
    Default,
}

/// The published results of a variant, with alpha 5 and beta 6.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Published {
    /// False positives, as a percentage of SWIM's.
    pub false_positives: f64,
    /// False positives at healthy members, as a percentage of SWIM's.
    pub at_healthy: f64,
    /// Detection times in seconds: median, 99th and 99.9th percentile.
    pub first_s: [f64; 3],
    /// Dissemination times in seconds: median, 99th and 99.9th percentile.
    pub everyone_s: [f64; 3],
}

impl Variant {
    /// All variants, in the order of the published table.
    pub const ALL: [Self; 6] = [
        Self::Swim,
        Self::LhaProbe,
        Self::LhaSuspicion,
        Self::Buddy,
        Self::Lifeguard,
        Self::Default,
    ];

    /// The configuration of every member.
    #[must_use]
    pub fn config(self) -> Config {
        let (local, buddy) = (
            DetectorFeatures::SWIM.local_health(true).nacks(true),
            DetectorFeatures::SWIM.buddy(true),
        );
        let (detector, max_multiplier) = match self {
            Self::Swim => (DetectorFeatures::SWIM, 1),
            Self::LhaProbe => (local, 1),
            Self::LhaSuspicion => (DetectorFeatures::SWIM, 6),
            Self::Buddy => (buddy, 1),
            Self::Lifeguard => (DetectorFeatures::LIFEGUARD, 6),
            Self::Default => return Config::default(),
        };
        Config::default()
            .detector(detector)
            .suspicion(SuspicionTimeout::Scaled { multiplier_percent: 500, max_multiplier })
            .probe_interval(Duration::from_secs(1))
            .probe_timeout(Duration::from_millis(500))
    }

    /// The published results; `None` for our default.
    #[must_use]
    pub fn published(self) -> Option<Published> {
        let (false_positives, at_healthy, first_s, everyone_s) = match self {
            Self::Swim => (100.0, 100.0, [12.44, 16.96, 19.40], [12.90, 16.93, 20.17]),
            Self::LhaProbe => (67.7, 32.9, [12.42, 17.75, 20.10], [12.90, 17.98, 20.56]),
            Self::LhaSuspicion => (3.00, 6.71, [12.42, 17.47, 25.41], [12.89, 17.33, 23.80]),
            Self::Buddy => (94.1, 44.6, [12.45, 17.12, 19.16], [12.92, 17.18, 19.81]),
            Self::Lifeguard => (1.53, 1.89, [12.45, 17.90, 21.20], [12.91, 18.05, 21.68]),
            Self::Default => return None,
        };
        Some(Published { false_positives, at_healthy, first_s, everyone_s })
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Swim => "SWIM",
            Self::LhaProbe => "+ LHA-Probe",
            Self::LhaSuspicion => "+ LHA-Suspicion",
            Self::Buddy => "+ Buddy",
            Self::Lifeguard => "Lifeguard",
            Self::Default => "our default",
        })
    }
}
