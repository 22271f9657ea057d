//! One run and its findings.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::checker::Rule;
use crate::report::{Expectation, Report};
use crate::scenario::{Scenario, ScenarioError, run, run_traced};
use crate::trace::Moment;

/// A kind of fault of a run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Error,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fault {
    /// The scenario is invalid and was not run.
    #[error("the scenario can be run")]
    Refused,
    /// A node or the simulator panicked.
    #[error("S16: no input panics")]
    Panicked,
    /// A second run with the same seed was different.
    #[error("S19: two runs of one seed are the same")]
    Diverged,
    /// A rule of the protocol was broken.
    #[error(transparent)]
    Rule(Rule),
    /// An expectation of the scenario was not met.
    #[error(transparent)]
    Unmet(Expectation),
}

impl Fault {
    /// A short name that fits file names: `s3`, `views`.
    #[must_use]
    pub fn word(self) -> String {
        match self {
            Self::Rule(rule) => format!("{rule:?}"),
            Self::Unmet(expectation) => format!("{expectation:?}"),
            other => format!("{other:?}"),
        }
        .to_lowercase()
    }

    /// Whether the fault is about liveness: something that must happen once the network is calm,
    /// rather than something that must never happen. `calm_from` is the time from which the
    /// scenario expects it.
    pub(super) fn is_about_liveness(self, calm_from: Duration) -> bool {
        match self {
            Self::Unmet(Expectation::NoFalseDead) => !calm_from.is_zero(),
            Self::Unmet(expectation) => {
                !matches!(expectation, Expectation::Steps | Expectation::Audience)
            }
            _ => false,
        }
    }
}

/// The first occurrence of a kind of fault in a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{fault}: {what}")]
#[non_exhaustive]
pub struct Finding {
    /// The kind of fault.
    pub fault: Fault,
    /// What happened instead.
    pub what: String,
}

/// A function that runs a scenario: `(scenario, seed, whether to keep the trace)`.
pub(super) type Run<'a> = &'a (dyn Fn(&Scenario, u64, bool) -> Ran + Sync);

/// The result of such a function; the trace is empty unless it is kept.
pub(super) type Ran = Result<(Report, Vec<Moment>), ScenarioError>;

/// Runs a scenario in the simulator.
pub(super) fn simulate(scenario: &Scenario, seed: u64, traced: bool) -> Ran {
    if traced {
        run_traced(scenario, seed)
    } else {
        run(scenario, seed).map(|report| (report, Vec::new()))
    }
}

/// One run, or two runs that must be equal.
pub(super) struct Attempt {
    /// The report; `None` if the run was refused or panicked.
    pub(super) report: Option<Report>,
    /// The findings, one per kind of fault.
    pub(super) findings: Vec<Finding>,
}

impl Attempt {
    pub(super) fn new(run: Run<'_>, scenario: &Scenario, seed: u64, twice: bool) -> Self {
        let (report, trace) = match caught(run, scenario, seed, twice) {
            Ok(ran) => ran,
            Err(finding) => return Self { report: None, findings: vec![finding] },
        };
        let mut attempt = Self { report: None, findings: Vec::new() };
        if twice {
            match caught(run, scenario, seed, true) {
                Ok(second) => attempt.compare((&report, &trace), (&second.0, &second.1)),
                Err(finding) => {
                    attempt.add(Fault::Diverged, format!("only the second run fails: {finding}"))
                }
            }
        }
        for violation in &report.violations {
            attempt.add(Fault::Rule(violation.rule), violation.to_string());
        }
        for unmet in &report.failures {
            attempt.add(Fault::Unmet(unmet.expectation), unmet.what.clone());
        }
        attempt.report = Some(report);
        attempt
    }

    pub(super) fn shows(&self, fault: Fault) -> bool {
        self.findings.iter().any(|finding| finding.fault == fault)
    }

    fn add(&mut self, fault: Fault, what: String) {
        if !self.shows(fault) {
            self.findings.push(Finding { fault, what });
        }
    }

    fn compare(&mut self, first: (&Report, &[Moment]), second: (&Report, &[Moment])) {
        if let Some(difference) = difference(first.1, second.1) {
            self.add(Fault::Diverged, difference);
        } else if first.0 != second.0 {
            self.add(
                Fault::Diverged,
                "all inputs and outputs are equal, but the reports differ".to_owned(),
            );
        }
    }
}

fn caught(
    run: Run<'_>,
    scenario: &Scenario,
    seed: u64,
    traced: bool,
) -> Result<(Report, Vec<Moment>), Finding> {
    // A run shares no state with others, so whatever a panic leaves behind is dropped with it.
    match catch_unwind(AssertUnwindSafe(|| run(scenario, seed, traced))) {
        Ok(Ok(ran)) => Ok(ran),
        Ok(Err(error)) => Err(Finding { fault: Fault::Refused, what: error.to_string() }),
        Err(panic) => Err(Finding { fault: Fault::Panicked, what: words(&*panic) }),
    }
}

/// The message of a panic.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
        .to_owned()
}

/// Describes the first entry in which two traces differ.
fn difference(first: &[Moment], second: &[Moment]) -> Option<String> {
    let same =
        first.iter().zip(second).take_while(|(first, second)| first.hash == second.hash).count();
    let did = |run: &[Moment]| {
        run.get(same).map_or_else(|| "ends".to_owned(), |moment| moment.to_string())
    };
    (same < first.len().max(second.len())).then(|| {
        format!(
            "after {same} equal events the first run {}, the second {}",
            did(first),
            did(second)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_event_in_which_two_runs_differ_is_named() {
        let quiet = Scenario::named("quiet").unwrap().with_nodes(3);
        let [(_, first), (_, second), (_, other)] =
            [1, 1, 2].map(|seed| run_traced(&quiet, seed).unwrap());
        assert_eq!(difference(&first, &second), None);
        let said = difference(&first, &other).unwrap();
        assert!(
            said.starts_with("after ")
                && said.contains("the first run [t=0.")
                && said.contains("] n"),
            "{said}"
        );
        let shorter = &first[..first.len() - 1];
        let said = difference(&first, shorter).unwrap();
        assert!(
            said.contains(&format!("after {} equal events", shorter.len()))
                && said.ends_with("the second ends")
        );
    }

    #[test]
    fn a_panic_and_a_refusal_are_findings() {
        let quiet = Scenario::named("quiet").unwrap();
        let panics: Run<'_> = &|_, seed, _| panic!("seed {seed} is too much");
        let attempt = Attempt::new(panics, &quiet, 7, false);
        assert_eq!(
            attempt.findings,
            [Finding { fault: Fault::Panicked, what: "seed 7 is too much".to_owned() }]
        );
        let attempt = Attempt::new(&simulate, &quiet.with_nodes(0), 7, true);
        assert!(attempt.shows(Fault::Refused) && attempt.report.is_none());
    }
}
