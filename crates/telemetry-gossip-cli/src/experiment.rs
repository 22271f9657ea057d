//! `tgossip sim swim`, `lifeguard`, `telemetry` and `incident`: runs an experiment, prints its
//! tables and writes its figures.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use telemetry_gossip_sim::experiment::{
    Goal, IncidentPlan, Lifeguard, LifeguardPlan, PlotError, SwimPlan, TelemetryPlan, Variant,
    detection_times, false_positives, incident, lifeguard, swim, telemetry, telemetry_schemes,
    views_during_incident,
};

use crate::args::{Check, SimArgs};
use crate::error::Error;
use crate::progress::Bar;

/// An experiment, by the name that `tgossip sim` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Experiment {
    Swim,
    Lifeguard,
    Telemetry,
    Incident,
}

impl Experiment {
    pub(crate) const ALL: [Self; 4] =
        [Self::Swim, Self::Lifeguard, Self::Telemetry, Self::Incident];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Swim => "swim",
            Self::Lifeguard => "lifeguard",
            Self::Telemetry => "telemetry",
            Self::Incident => "incident",
        }
    }

    /// What it measures, and how long it takes.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Swim => {
                "Load, time to the first probe of a dead member and false suspicions, beside \
                 SWIM's figures (2 minutes)"
            }
            Self::Lifeguard => {
                "False positives and detection times while members are slow, beside Lifeguard's \
                 figures (2 minutes, hours with --full)"
            }
            Self::Telemetry => {
                "Bytes received and ages of values while all nodes publish all the time, beside \
                 the lowest possible values (3 minutes)"
            }
            Self::Incident => {
                "What a fleet of 240 knows while its registry is down for 47 minutes, beside the \
                 frozen view of a central health registry (1 minute)"
            }
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|experiment| experiment.name() == name)
    }
}

/// Refuses arguments that do not apply to an experiment.
fn check(experiment: Experiment, args: &SimArgs) -> Result<(), Error> {
    let name = experiment.name();
    let plain = experiment != Experiment::Lifeguard;
    let swim = experiment == Experiment::Swim;
    let typed = [
        (args.nodes.is_some(), "--nodes"),
        (args.loss.is_some(), "--loss"),
        (args.duration.is_some(), "--duration"),
        (args.check != Check::Sampled, "--check"),
        (plain && args.experiment.full, "--full"),
        (plain && args.experiment.ours, "--ours"),
        (swim && args.experiment.plots.is_some(), "--plots"),
        (experiment == Experiment::Incident && args.experiment.repeats.is_some(), "--repeats"),
    ];
    match typed.into_iter().find(|(typed, _)| *typed) {
        Some((_, argument)) => Err(Error::Usage(format!(
            "{argument} does not apply to the experiment {name}: leave {argument} out"
        ))),
        None => Ok(()),
    }
}

pub(crate) fn run(experiment: Experiment, args: &SimArgs) -> Result<(), Error> {
    check(experiment, args)?;
    let mut bar = Bar::new();
    let show = |runs: telemetry_gossip_sim::experiment::Runs| {
        bar.advance(runs.done as u64, runs.of as u64, || {
            format!("{} of {} runs", runs.done, runs.of)
        });
    };
    match experiment {
        Experiment::Swim => {
            let plan = SwimPlan::default().seed(args.seed);
            let repeats = args.experiment.repeats.unwrap_or(1);
            let plan = plan.runs(plan.runs * repeats).kiloprobes(plan.kiloprobes * repeats);
            let result = swim(&plan, show);
            bar.clear();
            print(&result, args.json)?;
            verdict(&result.goals())
        }
        Experiment::Telemetry => {
            let plan = TelemetryPlan::default().seed(args.seed);
            let runs = args.experiment.repeats.unwrap_or(plan.runs);
            let result = telemetry(&plan.runs(runs), show);
            bar.clear();
            print(&result, args.json)?;
            if let Some(folder) = &args.experiment.plots {
                for &period in &result.plan.periods_s {
                    write(
                        folder,
                        &format!("schemes-{period}s.svg"),
                        telemetry_schemes(&result, period),
                    )?;
                }
            }
            verdict(&result.goals())
        }
        Experiment::Incident => {
            let result = incident(&IncidentPlan::default().seed(args.seed), show);
            bar.clear();
            print(&result, args.json)?;
            if let Some(folder) = &args.experiment.plots {
                write(folder, "incident.svg", views_during_incident(&result))?;
            }
            verdict(&result.goals())
        }
        Experiment::Lifeguard => {
            let plan =
                if args.experiment.full { LifeguardPlan::full() } else { LifeguardPlan::default() };
            let variants =
                if args.experiment.ours { vec![Variant::Default] } else { plan.variants.clone() };
            let repeats = args.experiment.repeats.unwrap_or(plan.repeats);
            let result = lifeguard(&plan.variants(variants).repeats(repeats).seed(args.seed), show);
            bar.clear();
            print(&result, args.json)?;
            if let Some(folder) = &args.experiment.plots {
                plot(folder, &result)?;
            }
            verdict(&result.goals())
        }
    }
}

fn print(result: &(impl Serialize + Display), json: bool) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, result).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{result}")?;
    }
    Ok(out.flush()?)
}

fn plot(folder: &Path, result: &Lifeguard) -> Result<(), Error> {
    for (name, figure) in [
        ("detection.svg", detection_times(result)),
        ("false-positives.svg", false_positives(result)),
    ] {
        write(folder, name, figure)?;
    }
    Ok(())
}

fn write(folder: &Path, name: &str, figure: Result<String, PlotError>) -> Result<(), Error> {
    let path = folder.join(name);
    let svg = figure.map_err(|error| Error::Step(error.to_string()))?;
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, svg))
        .map_err(|error| Error::Unwritable { path, error })
}

fn verdict(goals: &[Goal]) -> Result<(), Error> {
    let missed: Vec<&str> =
        goals.iter().filter(|goal| !goal.is_met()).map(|goal| goal.figure.as_str()).collect();
    if missed.is_empty() {
        return Ok(());
    }
    Err(Error::Step(format!("the experiment missed goals: {}", missed.join("; "))))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn arguments_that_do_not_apply_are_refused() {
        for (line, argument) in [
            ("tgossip sim swim --nodes 9", "--nodes"),
            ("tgossip sim swim --full", "--full"),
            ("tgossip sim lifeguard --loss 5%", "--loss"),
            ("tgossip sim lifeguard --check off", "--check"),
            ("tgossip sim swim --plots x", "--plots"),
        ] {
            let Command::Sim(args) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
                panic!("{line}")
            };
            let experiment = Experiment::named(&args.scenario).expect(line);
            let error = run(experiment, &args).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}: {error}");
            assert!(
                error.to_string().contains(&format!("leave {argument} out")),
                "{line}: {error}"
            );
        }
    }
}
