//! `tgossip sim`: finds the scenario, applies the arguments, runs it and prints the report.

use std::io::{self, Write};
use std::path::{MAIN_SEPARATOR, Path};
use std::time::Duration;

use telemetry_gossip_sim::{
    Checking, Options, Progress, Report, Scenario, ScenarioError, run_with,
};

use crate::args::{Check, SimArgs};
use crate::error::Error;
use crate::experiment::{self, Experiment};
use crate::progress::Bar;
use crate::text;

pub(crate) fn run(args: &SimArgs) -> Result<(), Error> {
    if args.list {
        return list();
    }
    if let Some(experiment) = Experiment::named(&args.scenario) {
        end_on_interrupt();
        return experiment::run(experiment, args);
    }
    if let Some(argument) = args.experiment.typed() {
        return Err(Error::Usage(format!(
            "{argument} applies to the experiments {}, and {} is a scenario: leave {argument} out",
            experiment_names(),
            args.scenario
        )));
    }
    let scenario = scenario(args)?;
    end_on_interrupt();
    let options = Options::default().checking(match args.check {
        Check::Every => Checking::Every,
        Check::Sampled => Checking::Sampled,
        Check::Off => Checking::Off,
    });
    let mut bar = Bar::new();
    let report = run_with(&scenario, args.seed, options, |progress| show(&mut bar, progress));
    bar.clear();
    let report = report.map_err(|error| Error::Usage(sentence(&error)))?;
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

fn show(bar: &mut Bar, progress: Progress) {
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    bar.advance(millis(progress.at), millis(progress.of), || {
        let [at, of] = [progress.at, progress.of].map(|span| span.as_secs_f64());
        format!("{at:.1}s of {of:.0}s of virtual time")
    });
}

/// Lets ctrl-c end the process during a run, with a message below the bar.
fn end_on_interrupt() {
    std::thread::spawn(|| {
        let runtime = crate::runtime::new();
        // Without a handler the system ends the process too, but without a message.
        if runtime.is_ok_and(|runtime| runtime.block_on(tokio::signal::ctrl_c()).is_ok()) {
            eprintln!("\ntgossip: {}", Error::Interrupted);
            std::process::exit(Error::Interrupted.exit_code().into());
        }
    });
}

fn verdict(report: &Report) -> Result<(), Error> {
    if report.passed() {
        return Ok(());
    }
    let what = match (report.violations_found, report.failures.len()) {
        (0, unmet) => format!("the run missed {unmet} of the scenario's expectations"),
        (broken, 0) => format!("the run violated rules of the protocol {broken} times"),
        (broken, unmet) => format!(
            "the run violated rules of the protocol {broken} times and missed {unmet} expectations"
        ),
    };
    Err(Error::Simulation { what, replay: report.replay.clone() })
}

/// The names of all experiments, with commas between them.
fn experiment_names() -> String {
    Experiment::ALL.map(Experiment::name).join(", ")
}

/// Loads the scenario that the arguments name, and applies the arguments that replace its values.
fn scenario(args: &SimArgs) -> Result<Scenario, Error> {
    let name = &args.scenario;
    let usage = |error| Error::Usage(format!("{name}: {}", sentence(&error)));
    let path = Path::new(name);
    let is_file = name.contains(MAIN_SEPARATOR)
        || path.extension().is_some_and(|extension| extension == "toml");
    let mut scenario = if is_file {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::File { path: path.into(), error })?;
        Scenario::from_toml(&text).map_err(usage)?.with_file(name)
    } else {
        Scenario::for_seed(name, args.seed).map_err(|error| {
            Error::Usage(format!(
                "{error}, and the experiments {}; --list describes them. To run a file, type a \
                 path such as ./{name}.toml",
                experiment_names()
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
    if args.check == Check::Off && scenario.expect.is_empty() {
        return Err(Error::Usage(format!(
            "{name} has no expectations, so with --check off nothing would be checked: type \
             --check sampled"
        )));
    }
    Ok(scenario)
}

/// Describes what is wrong with a scenario, and what to type instead.
fn sentence(error: &ScenarioError) -> String {
    let hint = match error {
        ScenarioError::NoNodes => "type --nodes 2 or more".to_owned(),
        ScenarioError::Nodes { most, .. } => {
            format!("type --nodes {most} or fewer; nodes that join later count, too")
        }
        ScenarioError::Duration { least, most, .. } => {
            format!("type --duration {} to {}", text::span(*least), text::span(*most))
        }
        ScenarioError::Telemetry { most, .. } => {
            format!("type --duration {} or less", text::span(Duration::from_secs(most.as_secs())))
        }
        ScenarioError::TooShort { last, known, .. } => {
            format!(
                "type --duration {} or more",
                text::span(last.saturating_add(known.unwrap_or_default()))
            )
        }
        _ => return error.to_string(),
    };
    format!("{error}; {hint}")
}

/// Prints two lines per scenario: what it does, and what makes it fail.
fn list() -> Result<(), Error> {
    let mut out = io::stdout().lock();
    for name in Scenario::names().chain([Scenario::RANDOM]) {
        let scenario =
            Scenario::for_seed(name, 1).map_err(|error| Error::Usage(error.to_string()))?;
        let (about, expect) = (&scenario.about, &scenario.expect);
        let size = if name == Scenario::RANDOM {
            "--seed chooses its size and faults".to_owned()
        } else {
            format!("{} nodes, {}", scenario.nodes, text::span(scenario.duration))
        };
        writeln!(out, "{name:9}  {about} ({size})")?;
        writeln!(out, "{:9}  fails if {expect}", "")?;
    }
    for experiment in Experiment::ALL {
        writeln!(out, "{:9}  {}", experiment.name(), experiment.about())?;
        writeln!(out, "{:9}  fails if it misses a goal", "")?;
    }
    writeln!(
        out,
        "\nEach scenario also fails if the run violates a rule of the protocol. All but swarm \
         also fail if a step\nhas no effect, for example because there are too few nodes."
    )?;
    Ok(())
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
    fn arguments_replace_the_values_of_the_scenario() {
        let scenario =
            scenario(&parsed("tgossip sim crash --nodes 7 --loss 5% --duration 90s")).unwrap();
        assert_eq!((scenario.nodes, scenario.network.loss.to_string().as_str()), (7, "5%"));
        assert_eq!(scenario.duration, Duration::from_secs(90));
    }

    #[test]
    fn the_replay_command_parses_to_the_same_scenario() {
        for line in [
            "tgossip sim churn --nodes 9 --loss 0.5% --duration 90s --seed 12",
            "tgossip sim swarm --seed 12",
        ] {
            let args = parsed(line);
            let scenario = scenario(&args).unwrap();
            let again = parsed(&scenario.replay_command(args.seed));
            assert_eq!(super::scenario(&again).unwrap(), scenario);
            assert_eq!(again.seed, 12);
        }
    }

    #[test]
    fn a_run_too_large_too_long_or_too_short_is_refused_with_what_to_type() {
        for (line, said) in [
            ("tgossip sim --nodes 100000", "type --nodes 3276 or fewer"),
            ("tgossip sim join --nodes 3270", "type --nodes 3276 or fewer"),
            ("tgossip sim --nodes 18446744073709551615", "type --nodes 3276 or fewer"),
            ("tgossip sim --nodes 0", "type --nodes 2 or more"),
            ("tgossip sim --duration 0s", "type --duration 1s to 30days"),
            ("tgossip sim --duration 10000years", "type --duration 1s to 30days"),
            ("tgossip sim crash --duration 5s", "type --duration 45s or more"),
        ] {
            let error = scenario(&parsed(line)).expect_err(line);
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(said), "{line}: {error}");
        }
    }

    #[test]
    fn a_report_survives_json_and_its_times_are_numbers() {
        let scenario = scenario(&parsed("tgossip sim crash --nodes 6 --duration 45s")).unwrap();
        let report = run_with(&scenario, 3, Options::default(), |_| {}).unwrap();
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["duration_s"], 45.0);
        assert!(
            json["joined_after_s"].is_f64() && json["news"][0]["everyone"]["p99_s"].is_f64(),
            "{json:#}"
        );
        assert_eq!(json["trace_hash"], format!("{:016x}", report.trace_hash));
    }

    #[test]
    fn an_unknown_scenario_is_refused_with_the_known_names() {
        let error = scenario(&parsed("tgossip sim crsh")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let said = error.to_string();
        assert!(
            said.contains("crsh") && said.contains("crash") && said.contains("--list"),
            "{said}"
        );
    }

    #[test]
    fn a_run_in_which_nothing_is_checked_is_refused() {
        let path = std::env::temp_dir()
            .join(format!("tgossip-no-expectations-{}.toml", std::process::id()));
        std::fs::write(&path, "name = \"x\"\nnodes = 2\nduration = \"5s\"\n").unwrap();
        let line = |check: &str| format!("tgossip sim {} --check {check}", path.display());
        let [off, sampled] = ["off", "sampled"].map(|check| scenario(&parsed(&line(check))));
        std::fs::remove_file(&path).unwrap();
        assert!(sampled.is_ok());
        let said = off.unwrap_err().to_string();
        assert!(said.contains("nothing would be checked: type --check sampled"), "{said}");
    }

    #[test]
    fn arguments_of_experiments_are_refused_for_scenarios() {
        let error = run(&parsed("tgossip sim crash --plots x")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().ends_with("leave --plots out"), "{error}");
    }

    #[test]
    fn the_error_names_a_missing_file() {
        let error = scenario(&parsed("tgossip sim ./no-such.toml")).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("no-such.toml"), "{error}");
    }
}
