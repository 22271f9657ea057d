//! `tgossip swarm`: runs a range of seeds, shrinks failing scenarios into files, and prints what
//! happened.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use telemetry_gossip_sim::Scenario;
use telemetry_gossip_sim::swarm::{EXCUSED, End, Fault, MAX_RUNS, Shrunk, Sweep, Swept, shrink};

use crate::args::SwarmArgs;
use crate::error::Error;
use crate::progress::Bar;
use crate::text;

/// Set by the first ctrl-c: start no more seeds, and try no more smaller scenarios.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The result of a sweep, as it is printed.
#[derive(Serialize)]
struct Outcome {
    passed: bool,
    #[serde(flatten)]
    swept: Swept,
    /// Counters that must not be zero after this number of runs, and are.
    missing: Vec<&'static str>,
    shrunk: Vec<Written>,
}

/// A shrunk scenario, and the file that contains it.
#[derive(Serialize)]
struct Written {
    fault: Fault,
    file: PathBuf,
    replay: String,
    nodes: usize,
    steps: usize,
    runs: u32,
    /// Whether every smaller scenario that was left to try passes.
    minimal: bool,
}

pub(crate) fn run(args: &SwarmArgs) -> Result<(), Error> {
    // Check the folder now, not after an hour of runs.
    if !args.no_shrink && !args.out.is_dir() {
        let error = io::Error::from(io::ErrorKind::NotADirectory);
        return Err(Error::Unwritable { path: args.out.clone(), error });
    }
    stop_on_interrupt();
    let sweep = Sweep::default()
        .seeds(args.seeds.clone())
        .threads(args.jobs)
        .max_failures(args.failures)
        .limit(args.limit);
    let mut bar = Bar::new();
    let swept = sweep.run(Scenario::swarm, |swept| {
        bar.advance(swept.runs, swept.of, || progress(swept));
        continue_unless_interrupted()
    });
    bar.clear();
    let mut shrunk = Vec::new();
    if !args.no_shrink {
        for failed in &swept.failures {
            for finding in &failed.findings {
                shrunk.extend(shrink_into(&args.out, failed.seed, finding.fault)?);
            }
        }
    }
    let missing: Vec<_> = swept.coverage.missing().collect();
    let outcome = Outcome { passed: swept.passed(), swept, missing, shrunk };
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &outcome).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        outcome.write(&mut out)?;
    }
    out.flush()?;
    outcome.verdict()
}

/// Lets the first ctrl-c stop the command after the present runs, and the second one at once.
fn stop_on_interrupt() {
    std::thread::spawn(|| {
        let runtime = crate::runtime::new();
        // Without a handler, the system ends the process at the first ctrl-c.
        let Ok(runtime) = runtime else { return };
        while runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            if INTERRUPTED.swap(true, Ordering::Relaxed) {
                eprintln!("\ntgossip: {}", Error::Interrupted);
                std::process::exit(Error::Interrupted.exit_code().into());
            }
            eprintln!(
                "\ntgossip: interrupted; waiting for the present runs to end. A second ctrl-c \
                 ends at once"
            );
        }
    });
}

fn continue_unless_interrupted() -> ControlFlow<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

fn progress(swept: &Swept) -> String {
    let failed = match swept.failures.len() {
        0 => String::new(),
        failed => format!(", {failed} failed"),
    };
    let per_minute = swept.seeds_per_minute();
    format!("{} of {} seeds{failed}, {per_minute} per minute", swept.runs, swept.of)
}

/// Shrinks a scenario and writes the smallest one that shows the fault to a file. Writes nothing if
/// the run does not fail a second time, which is a fault of its own.
fn shrink_into(dir: &Path, seed: u64, fault: Fault) -> Result<Option<Written>, Error> {
    let mut bar = Bar::new();
    // Each run that panics would print a message; the message of the first run is enough.
    let panics = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let shrunk = shrink(&Scenario::swarm(seed), seed, fault, |shrinking| {
        bar.advance(shrinking.runs.into(), MAX_RUNS.into(), || {
            format!("seed {seed}: {} steps and {} nodes remain", shrinking.steps, shrinking.nodes)
        });
        continue_unless_interrupted()
    });
    std::panic::set_hook(panics);
    bar.clear();
    let Some(Shrunk { scenario, seed: fails_with, fault, runs, least, .. }) = shrunk else {
        return Ok(None);
    };
    let file = dir.join(format!("swarm-{seed}-{}.toml", fault.word()));
    std::fs::write(&file, scenario.to_toml())
        .map_err(|error| Error::Unwritable { path: file.clone(), error })?;
    let replay = format!("tgossip sim {} --seed {fails_with}", file.display());
    Ok(Some(Written {
        fault,
        file,
        replay,
        nodes: scenario.nodes,
        steps: scenario.steps.len(),
        runs,
        minimal: least,
    }))
}

fn whole_seconds(span: Duration) -> String {
    text::span(Duration::from_secs(span.as_secs().max(1)))
}

impl Outcome {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let Swept { first, runs, of, twice, simulated, elapsed, end, .. } = &self.swept;
        let seeds = match runs {
            0 => "no seeds".to_owned(),
            runs => format!("{runs} seeds, {first} to {}", first + (runs - 1)),
        };
        writeln!(
            out,
            "{seeds}: {} of virtual time in {} ({} seeds per minute); {twice} of them ran twice",
            whole_seconds(*simulated),
            whole_seconds(*elapsed),
            self.swept.seeds_per_minute(),
        )?;
        match end {
            End::Complete => {}
            End::Failures => {
                writeln!(out, "stopped before seed {}: enough seeds have failed", first + of)?;
            }
            End::Limit => {
                writeln!(out, "stopped before seed {}: the time limit has passed", first + of)?;
            }
            End::Stopped => writeln!(out, "stopped before seed {}: interrupted", first + of)?,
            _ => writeln!(out, "stopped before seed {}", first + of)?,
        }
        self.write_coverage(out)?;
        for failed in &self.swept.failures {
            writeln!(
                out,
                "\nseed {} fails; repeat the run with:\n  {}",
                failed.seed, failed.replay
            )?;
            for finding in &failed.findings {
                writeln!(out, "- {finding}")?;
            }
        }
        for written in &self.shrunk {
            let Written { fault, replay, nodes, steps, runs, minimal, .. } = written;
            let minimal = if *minimal {
                "no smaller scenario found does"
            } else {
                "a smaller scenario may, too"
            };
            writeln!(
                out,
                "\n{fault}: a scenario of {nodes} nodes and {steps} steps also fails; {minimal} \
                 ({runs} runs):\n  {replay}"
            )?;
        }
        Ok(())
    }

    fn write_coverage(&self, out: &mut impl Write) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["HAPPENED", "TIMES", "IN RUNS", ""]);
        for (name, count) in self.swept.coverage.counts() {
            let excuse = EXCUSED.iter().find(|(excused, _)| *excused == name).map(|(_, why)| *why);
            let note = match (count.total, excuse) {
                (0, Some(why)) => why,
                (0, None) if self.missing.contains(&name) => "MISSING",
                _ => "",
            };
            table.add_row([
                name.to_owned(),
                count.total.to_string(),
                count.runs.to_string(),
                note.to_owned(),
            ]);
        }
        for column in [1, 2] {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(out, "\n{}", table.trim_fmt())
    }

    fn verdict(&self) -> Result<(), Error> {
        let failed = self.swept.failures.len();
        if failed > 0 {
            Err(Error::Swarm(format!("{failed} of {} seeds failed", self.swept.runs)))
        } else if let Some((first, more)) = self.missing.split_first() {
            let more = if more.is_empty() {
                String::new()
            } else {
                format!(", and neither did {}", more.join(", "))
            };
            Err(Error::Swarm(format!("{first} never happened in {} runs{more}", self.swept.runs)))
        } else if self.swept.end == End::Stopped {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }
}
