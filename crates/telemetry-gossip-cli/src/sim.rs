//! `tgossip sim`: finds the scenario, applies the arguments, runs it, prints the report.

use std::io::{self, IsTerminal, Write};
use std::path::{MAIN_SEPARATOR, Path};
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use telemetry_gossip_sim::{Checking, Options, Progress, Report, Scenario, run_with};

use crate::args::{Check, SimArgs};
use crate::error::Error;

/// A run that is done before this needs no progress bar.
const LONG_RUN: Duration = Duration::from_millis(600);

pub(crate) fn run(args: &SimArgs) -> Result<(), Error> {
    if args.list {
        return list();
    }
    let scenario = scenario(args)?;
    let options = Options {
        checking: match args.check {
            Check::Every => Checking::Every,
            Check::Sampled => Checking::Sampled,
            Check::Off => Checking::Off,
        },
    };
    let mut bar = Bar::new();
    let report = run_with(&scenario, args.seed, options, |progress| bar.show(progress));
    bar.clear();
    let report = report.map_err(|error| Error::Usage(error.to_string()))?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{report}")?;
    }
    out.flush()?;
    verdict(&report)
}

fn verdict(report: &Report) -> Result<(), Error> {
    if report.passed() {
        return Ok(());
    }
    let what = match (report.violations_found, report.failures.len()) {
        (0, unmet) => format!("{unmet} of the scenario's expectations not met"),
        (broken, 0) => format!("{broken} violations of the protocol's rules"),
        (broken, unmet) => {
            format!("{broken} violations of the protocol's rules, {unmet} expectations not met")
        }
    };
    Err(Error::Simulation { what, replay: report.replay.clone() })
}

/// The scenario named, with what the arguments replace.
fn scenario(args: &SimArgs) -> Result<Scenario, Error> {
    let name = &args.scenario;
    let usage = |error: telemetry_gossip_sim::ScenarioError| Error::Usage(format!("{name}: {error}"));
    let path = Path::new(name);
    let is_file =
        name.contains(MAIN_SEPARATOR) || path.extension().is_some_and(|extension| extension == "toml");
    let mut scenario = if is_file {
        let text = std::fs::read_to_string(path).map_err(|error| Error::File { path: path.into(), error })?;
        Scenario { file: Some(name.clone()), ..Scenario::from_toml(&text).map_err(usage)? }
    } else {
        Scenario::named(name).map_err(|error| {
            Error::Usage(format!(
                "{error}; a file is a path such as ./{name}.toml, and --list describes them"
            ))
        })?
    };
    if let Some(nodes) = args.nodes {
        scenario = scenario.with_nodes(nodes);
    }
    if let Some(loss) = args.loss {
        scenario = scenario.with_loss(loss);
    }
    if let Some(duration) = args.duration {
        scenario = scenario.with_duration(duration);
    }
    scenario.validate().map_err(usage)?;
    Ok(scenario)
}

fn list() -> Result<(), Error> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["NAME", "NODES", "TIME", "WHAT IT SHOWS"]);
    for name in Scenario::names() {
        let scenario = Scenario::named(name).map_err(|error| Error::Usage(error.to_string()))?;
        let duration = humantime::format_duration(scenario.duration).to_string();
        table.add_row([name.to_owned(), scenario.nodes.to_string(), duration, scenario.about]);
    }
    writeln!(io::stdout(), "{}", table.trim_fmt())?;
    Ok(())
}

/// A bar on standard error, on terminals only, once a run turns out to be long.
struct Bar {
    started: Instant,
    bar: Option<ProgressBar>,
    wanted: bool,
}

impl Bar {
    fn new() -> Self {
        Self { started: Instant::now(), bar: None, wanted: io::stderr().is_terminal() }
    }

    fn show(&mut self, progress: Progress) {
        if !self.wanted || (self.bar.is_none() && self.started.elapsed() < LONG_RUN) {
            return;
        }
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let bar = self.bar.get_or_insert_with(|| {
            let style =
                ProgressStyle::with_template("{bar:40} {percent:>3}% {msg} of virtual time, {eta} to go");
            let bar = ProgressBar::with_draw_target(Some(millis(progress.of)), ProgressDrawTarget::stderr());
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_position(millis(progress.at));
        bar.set_message(format!("{:.1}s of {:.0}s", progress.at.as_secs_f64(), progress.of.as_secs_f64()));
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn parsed(line: &str) -> SimArgs {
        match crate::args::Cli::try_parse_from(line.split(' ')).unwrap().command {
            crate::args::Command::Sim(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn arguments_replace_the_scenarios_own_numbers() {
        let scenario = scenario(&parsed("tgossip sim crash --nodes 7 --loss 5% --duration 20s")).unwrap();
        assert_eq!((scenario.nodes, scenario.network.loss.to_string().as_str()), (7, "5%"));
        assert_eq!(scenario.duration, Duration::from_secs(20));
    }

    #[test]
    fn the_replay_command_is_one_that_this_binary_takes() {
        let args = parsed("tgossip sim churn --nodes 9 --loss 0.5% --duration 90s --seed 12");
        let scenario = scenario(&args).unwrap();
        let again = parsed(&scenario.replay_command(args.seed));
        assert_eq!(super::scenario(&again).unwrap(), scenario);
        assert_eq!(again.seed, 12);
    }

    #[test]
    fn an_unknown_scenario_is_answered_with_the_known_ones() {
        let error = scenario(&parsed("tgossip sim crsh")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let said = error.to_string();
        assert!(said.contains("crsh") && said.contains("crash") && said.contains("--list"), "{said}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = scenario(&parsed("tgossip sim ./no-such.toml")).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("no-such.toml"), "{error}");
    }
}
