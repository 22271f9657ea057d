//! Experiments: the set-ups by which SWIM and Lifeguard were measured, run on this implementation,
//! and the results beside the published figures.
//!
//! An experiment is a function of its plan: equal plans give equal results, on every machine and
//! however many threads share the runs. A run itself is one [`Cluster`](crate::Cluster) in virtual
//! time, and knows nothing of the others.
//!
//! | experiment | shows | source |
//! |---|---|---|
//! | [`swim`] | load, time to the first probe of a dead member, rate of false suspicions | Das, Gupta, Motivala 2002 |
//! | [`telemetry`] | bytes and ages of telemetry that all publish all the time | the floor (n-1) s / T |
//! | [`lifeguard`] | false positives, detection and dissemination while some members are slow | Dadgar, Phillips, Currey 2018 |

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

pub use lifeguard::{Lifeguard, LifeguardPlan, LifeguardRow, Published, Variant, lifeguard};
pub use measure::{Alarms, Detection};
pub use plot::{PlotError, detection_times, false_positives, telemetry_schemes};
pub use schemes::{Scheme, SchemeRow};
pub use statistics::{Latencies, Proportion};
pub use swim::{FalseSuspicion, Protocol, Swim, SwimPlan, SwimRow, swim};
pub use telemetry::{Telemetry, TelemetryPlan, TelemetryRow, telemetry};

/// How many runs of an experiment are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs {
    /// So many.
    pub done: usize,
    /// Of so many.
    pub of: usize,
}

/// Runs `run` on every item, on all cores, and says after each how many are done.
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
pub struct Goal {
    /// Which figure, in words.
    pub figure: String,
    /// The least that it may be.
    pub least: f64,
    /// The most.
    pub most: f64,
    /// What it is.
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

    /// Whether it is within the bounds; a figure that could not be measured is not.
    #[must_use]
    pub fn is_met(&self) -> bool {
        (self.least..=self.most).contains(&self.measured)
    }
}
