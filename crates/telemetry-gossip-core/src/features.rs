//! The switches of the parts that the failure detector has beyond plain SWIM.

use serde::{Deserialize, Serialize};

/// The parts of the failure detector beyond plain SWIM.
///
/// All are on by default. Each can be switched off to measure its effect, or to reproduce published
/// results.
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
    /// A node that has reason to doubt itself probes less often and waits longer (LHA-Probe of
    /// Lifeguard).
    pub local_health: bool,
    /// A helper sends a nack if the target does not answer it, which distinguishes a dead target
    /// from a prober that receives nothing (Lifeguard).
    pub nacks: bool,
    /// A ping to a suspected member carries the accusation (the buddy system of Lifeguard).
    pub buddy: bool,
    /// All nodes probe along one common schedule, so that each member is probed once per interval.
    /// Otherwise each node probes in a random order of its own (SWIM).
    pub shared_schedule: bool,
    /// A prober pings its target again while helpers ping it, and asks further helpers before it
    /// gives up. The known round-trip time of the member decides when.
    pub retries: bool,
    /// A node accuses a member, or declares it dead, only once it has proved that it is in touch
    /// with at least half of the members.
    pub roll_calls: bool,
    /// An accuser sends its suspect status pings while the suspicion runs, and a refutation is also
    /// sent to the accusers directly.
    pub status_pings: bool,
    /// A member that has refuted before is pinged more often before it is accused again.
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

    /// SWIM with the parts that Lifeguard adds (Dadgar, Phillips, Currey 2018). Lifeguard's
    /// suspicions that shrink are
    /// [`SuspicionTimeout::Scaled`](crate::SuspicionTimeout::Scaled).
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
