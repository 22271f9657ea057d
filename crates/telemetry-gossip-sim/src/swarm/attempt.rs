//! One run, and what is wrong with it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::checker::Rule;
use crate::report::{Expectation, Report};
use crate::scenario::{Scenario, ScenarioError, run, run_traced};
use crate::trace::Moment;

/// A kind of thing that can be wrong with a run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Error,
)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// No run takes place.
    #[error("the scenario can be run")]
    Refused,
    /// A node, or the simulator, panics.
    #[error("S16: no input panics")]
    Panicked,
    /// A second run of the seed did something else.
    #[error("S19: two runs of one seed are the same")]
    Diverged,
    /// A rule of the protocol broke.
    #[error(transparent)]
    Rule(Rule),
    /// An expectation of the scenario was not met.
    #[error(transparent)]
    Unmet(Expectation),
}

impl Fault {
    /// A word for it, fit for a file's name: `s3`, `views`.
    #[must_use]
    pub fn word(self) -> String {
        match self {
            Self::Rule(rule) => format!("{rule:?}"),
            Self::Unmet(expectation) => format!("{expectation:?}"),
            other => format!("{other:?}"),
        }
        .to_lowercase()
    }

    /// Whether it says what has to come about once the network is calm, not what may never happen.
    /// From when on the scenario expects so is `calm_from`.
    pub(super) fn is_about_the_calm(self, calm_from: Duration) -> bool {
        match self {
            Self::Unmet(Expectation::NoFalseDead) => !calm_from.is_zero(),
            Self::Unmet(expectation) => {
                !matches!(expectation, Expectation::Steps | Expectation::Audience)
            }
            _ => false,
        }
    }
}

/// What is wrong with a run: one finding a kind, the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{fault}: {what}")]
pub struct Finding {
    /// The rule or the expectation that did not hold.
    pub fault: Fault,
    /// What was seen instead.
    pub what: String,
}

/// How a scenario is run: `(scenario, seed, whether to keep the trace)`.
pub(super) type Run<'a> = &'a (dyn Fn(&Scenario, u64, bool) -> Ran + Sync);

/// What comes of it; the trace is empty unless it is kept.
pub(super) type Ran = Result<(Report, Vec<Moment>), ScenarioError>;

/// In the simulator.
pub(super) fn simulate(scenario: &Scenario, seed: u64, traced: bool) -> Ran {
    if traced {
        run_traced(scenario, seed)
    } else {
        run(scenario, seed).map(|report| (report, Vec::new()))
    }
}

/// One run, or two of which the second must be as the first.
pub(super) struct Attempt {
    /// Unless it could not be made.
    pub(super) report: Option<Report>,
    /// What is wrong, one finding a kind.
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
                "all inputs and outputs are the same, the reports are not".to_owned(),
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
    // A run is made of nothing but the scenario and the seed: what a panic leaves behind is dropped
    // with it.
    match catch_unwind(AssertUnwindSafe(|| run(scenario, seed, traced))) {
        Ok(Ok(ran)) => Ok(ran),
        Ok(Err(error)) => Err(Finding { fault: Fault::Refused, what: error.to_string() }),
        Err(panic) => Err(Finding { fault: Fault::Panicked, what: words(&*panic) }),
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without words")
        .to_owned()
}

/// The first thing that two runs did differently.
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
