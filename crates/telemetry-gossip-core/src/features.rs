//! Which parts the failure detector has beyond plain SWIM.

use serde::{Deserialize, Serialize};

/// The parts of the failure detector beyond plain SWIM. All are on by default; each can be switched
/// off to measure what it does, or to reproduce what was published.
///
/// ```
/// use telemetry_gossip_core::{Config, DetectorFeatures};
///
/// let swim = Config::lan().detector(DetectorFeatures::SWIM);
/// let without_roll_calls = swim.detector(DetectorFeatures::default().roll_calls(false));
/// assert!(without_roll_calls.detector.local_health);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct DetectorFeatures {
    /// A node that doubts itself probes less often and waits longer (LHA-Probe of Lifeguard).
    pub local_health: bool,
    /// A helper says so if the target is silent, which tells a dead target from a deaf prober
    /// (Lifeguard).
    pub nacks: bool,
    /// A ping to a suspected member carries the accusation (the buddy system of Lifeguard).
    pub buddy: bool,
    /// All nodes probe along one common schedule, so that each member is probed once in each
    /// interval; otherwise each goes round in a random order of its own (SWIM).
    pub shared_schedule: bool,
    /// A probe pings its target again while helpers do, and asks others before it gives up; what is
    /// known of a member's round-trip time decides when.
    pub retries: bool,
    /// A node accuses, and declares dead, only once it has proved that it is in touch with at least
    /// half of the members.
    pub roll_calls: bool,
    /// An accuser tells its suspect again and again, while its time runs, and a refutation goes to
    /// the accusers, too.
    pub status_pings: bool,
    /// A member that has refuted again and again is asked more often before it is accused once
    /// more.
    pub flap_damping: bool,
}

impl DetectorFeatures {
    /// SWIM as it was published (Das, Gupta, Motivala 2002).
    pub const SWIM: Self = Self {
        local_health: false,
        nacks: false,
        buddy: false,
        shared_schedule: false,
        retries: false,
        roll_calls: false,
        status_pings: false,
        flap_damping: false,
    };

    /// SWIM with the parts that Lifeguard adds (Dadgar, Phillips, Currey 2018); its suspicions that
    /// shrink are [`SuspicionTimeout::Scaled`](crate::SuspicionTimeout::Scaled).
    pub const LIFEGUARD: Self = Self { local_health: true, nacks: true, buddy: true, ..Self::SWIM };
}

impl Default for DetectorFeatures {
    fn default() -> Self {
        Self {
            local_health: true,
            nacks: true,
            buddy: true,
            shared_schedule: true,
            retries: true,
            roll_calls: true,
            status_pings: true,
            flap_damping: true,
        }
    }
}

crate::setters::setters! {
    DetectorFeatures {
        local_health: bool,
        nacks: bool,
        buddy: bool,
        shared_schedule: bool,
        retries: bool,
        roll_calls: bool,
        status_pings: bool,
        flap_damping: bool,
    }
}
