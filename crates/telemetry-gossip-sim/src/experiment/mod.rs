//! Experiments: the published measurements of SWIM and Lifeguard, repeated with this
//! implementation, and the incident that it was made for.
//!
//! The results stand beside the published figures. An experiment is a function of its plan: equal
//! plans give equal results, on every machine and with any number of threads. Each run is a
//! [`Cluster`](crate::Cluster) of its own in virtual time.
//!
//! | experiment | shows | source |
//! |---|---|---|
//! | [`swim`] | load, time to the first probe of a dead member, false suspicions | Das et al. 2002 |
//! | [`telemetry`] | bytes and ages of telemetry under constant load | the floor (n-1) s / T |
//! | [`lifeguard`] | false positives and detection with slow members | Dadgar et al. 2018 |
//! | [`incident`] | what a fleet knows while its registry is down, and what the registry of old told | |
//!
//! The papers: A. Das, I. Gupta, A. Motivala, *SWIM: Scalable Weakly-consistent Infection-style
//! Process Group Membership Protocol* (DSN 2002); A. Dadgar, J. Phillips, J. Currey, *Lifeguard:
//! Local Health Awareness for More Accurate Failure Detection* (DSN 2018).

mod incident;
mod lifeguard;
mod measure;
mod plot;
mod schemes;
mod statistics;
mod swim;
mod table;
mod telemetry;

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::parallel;

pub use incident::{Happening, Incident, IncidentPlan, IncidentRow, ViewSample, incident};
pub use lifeguard::{Lifeguard, LifeguardPlan, LifeguardRow, Published, Variant, lifeguard};
pub use measure::{Alarms, Detection};
pub use plot::{
    PlotError, detection_times, false_positives, telemetry_schemes, views_during_incident,
};
pub use schemes::{Scheme, SchemeRow};
pub use statistics::{Latencies, Proportion};
pub use swim::{FalseSuspicion, Protocol, Swim, SwimPlan, SwimRow, swim};
pub use telemetry::{Telemetry, TelemetryPlan, TelemetryRow, telemetry};

/// The progress of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Runs {
    /// The number of runs that are done.
    pub done: usize,
    /// The number of all runs.
    pub of: usize,
}

/// Calls `run` for every item, on all cores, and `progress` after each.
fn on_all_cores<T: Sync, R: Send>(
    items: &[T],
    run: impl Fn(&T) -> R + Sync,
    mut progress: impl FnMut(Runs),
) -> Vec<R> {
    let mut results = Vec::with_capacity(items.len());
    let one = |place| usize::try_from(place).ok().and_then(|place| items.get(place)).map(&run);
    parallel::in_order(items.len() as u64, parallel::all_cores(), one, |result| {
        results.extend(result);
        progress(Runs { done: results.len(), of: items.len() });
        ControlFlow::Continue(())
    });
    results
}

/// A bound on a figure of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Goal {
    /// The name of the figure.
    pub figure: String,
    /// The lower bound.
    pub least: f64,
    /// The upper bound.
    pub most: f64,
    /// The measured value.
    pub measured: f64,
}

impl Goal {
    fn new(
        figure: impl Into<String>,
        bounds: std::ops::RangeInclusive<f64>,
        measured: f64,
    ) -> Self {
        Self { figure: figure.into(), least: *bounds.start(), most: *bounds.end(), measured }
    }

    /// Whether the measured value is within the bounds. A value that could not be measured is not.
    #[must_use]
    pub fn is_met(&self) -> bool {
        (self.least..=self.most).contains(&self.measured)
    }
}
