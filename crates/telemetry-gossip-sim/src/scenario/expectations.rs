//! What a scenario expects of a run.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{is_default, words};
use crate::units::{maybe_span, span};

/// The conditions under which a run passes, besides that no rule of the protocol is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Expectations {
    /// At the end at least one node takes part, and each participant holds exactly the participants
    /// Alive.
    #[serde(skip_serializing_if = "is_default")]
    pub views_complete: bool,
    /// No node that runs and can be reached is declared Dead.
    #[serde(skip_serializing_if = "is_default")]
    pub no_false_dead: bool,
    /// Every crash, leave and return is known to all nodes within this time. The run must last at
    /// least this long after its last step.
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub known_within: Option<Duration>,
    /// When the calm phase begins, after all faults. `no_false_dead` and the time limits count only
    /// what happens from then on.
    #[serde(with = "span", skip_serializing_if = "Duration::is_zero")]
    pub calm_from: Duration,
    /// Every publication reaches all nodes within this time.
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub telemetry_within: Option<Duration>,
    /// This long after the last step `stop-lying`, all nodes that take part hold each other Alive;
    /// and at the end each running process that has not left is a member, unless another process of
    /// its id is. So no lie lasts, and none ends a process.
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub alive_within: Option<Duration>,
    /// In the last 10 s a node sends on average at most this many bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet_below: Option<u64>,
    /// Whether steps without an effect are allowed, such as a restart of `down` nodes when all run.
    /// Otherwise such a step fails the run, because it tested nothing.
    #[serde(skip_serializing_if = "is_default")]
    pub idle_steps: bool,
}

impl Expectations {
    /// Whether nothing is expected of the run as a whole.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            views_complete,
            no_false_dead,
            known_within,
            telemetry_within,
            alive_within,
            quiet_below,
            ..
        } = self;
        !views_complete
            && !no_false_dead
            && known_within.is_none()
            && telemetry_within.is_none()
            && alive_within.is_none()
            && quiet_below.is_none()
    }
}

impl fmt::Display for Expectations {
    /// Writes what makes a run fail, besides a broken rule of the protocol and a step without an
    /// effect.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known_within.map(|limit| {
            format!("a crash, leave or return is not known to all nodes within {}", words(limit))
        });
        let telemetry = self
            .telemetry_within
            .map(|limit| format!("a publication does not reach all nodes within {}", words(limit)));
        let alive = self.alive_within.map(|limit| {
            format!("a node is not Alive at all others {} after the last lie", words(limit))
        });
        let quiet =
            self.quiet_below.map(|bytes| format!("nodes send more than {bytes} B/s at the end"));
        let reasons = [
            self.views_complete.then_some("views differ at the end"),
            self.no_false_dead.then_some("a running node within reach is declared dead"),
            known.as_deref(),
            telemetry.as_deref(),
            alive.as_deref(),
            alive.as_ref().map(|_| "a running process is no member at the end"),
            quiet.as_deref(),
        ];
        for (place, reason) in reasons.into_iter().flatten().enumerate() {
            let or = if place == 0 { "" } else { ", or " };
            write!(f, "{or}{reason}")?;
        }
        Ok(())
    }
}
