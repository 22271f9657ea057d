//! What a scenario expects of a run.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{is_default, words};
use crate::units::{maybe_span, span};

/// What must be so for a run to pass, beside that no rule of the protocol breaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Expectations {
    /// At the end somebody takes part, and everybody who does holds everybody who does Alive, and
    /// nobody else.
    #[serde(skip_serializing_if = "is_default")]
    pub views_complete: bool,
    /// Nobody is declared Dead who runs within reach.
    #[serde(skip_serializing_if = "is_default")]
    pub no_false_dead: bool,
    /// Every crash, leave and return is known to everybody within this time. The run goes on for
    /// that long after its last step.
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub known_within: Option<Duration>,
    /// When the calm begins, if there are faults before: the two expectations above are about what
    /// happens from then on.
    #[serde(with = "span", skip_serializing_if = "Duration::is_zero")]
    pub calm_from: Duration,
    /// Every publication is known to everybody within this time.
    #[serde(with = "maybe_span", skip_serializing_if = "Option::is_none")]
    pub telemetry_within: Option<Duration>,
    /// In the last 10 s the nodes send at most so many bytes a second, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet_below: Option<u64>,
    /// Steps may find nothing to do, such as to restart those who are down when nobody is.
    /// Otherwise such a step fails the run: what did not happen was not tested.
    #[serde(skip_serializing_if = "is_default")]
    pub idle_steps: bool,
}

impl Expectations {
    /// Whether nothing is expected of the run as a whole.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            views_complete, no_false_dead, known_within, telemetry_within, quiet_below, ..
        } = self;
        !views_complete
            && !no_false_dead
            && known_within.is_none()
            && telemetry_within.is_none()
            && quiet_below.is_none()
    }
}

impl fmt::Display for Expectations {
    /// What makes a run fail, beside that a rule of the protocol breaks or a step finds nothing to
    /// do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.known_within.map(|limit| {
            format!("a crash, leave or return is not known to all within {}", words(limit))
        });
        let telemetry = self
            .telemetry_within
            .map(|limit| format!("a publication is not known to all within {}", words(limit)));
        let quiet =
            self.quiet_below.map(|bytes| format!("nodes send more than {bytes} B/s at the end"));
        let reasons = [
            self.views_complete.then_some("views differ at the end"),
            self.no_false_dead.then_some("a running node within reach is declared dead"),
            known.as_deref(),
            telemetry.as_deref(),
            quiet.as_deref(),
        ];
        for (place, reason) in reasons.into_iter().flatten().enumerate() {
            let or = if place == 0 { "" } else { ", or " };
            write!(f, "{or}{reason}")?;
        }
        Ok(())
    }
}
