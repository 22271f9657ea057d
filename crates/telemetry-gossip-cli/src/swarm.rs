//! `tgossip swarm`: runs a band of seeds, shrinks what fails into files, prints what happened.

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
use crate::sim::Bar;
use crate::text;

/// No more seeds are begun, no plainer scenarios tried.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Everything that a sweep has shown, as it is printed.
#[derive(Serialize)]
struct Outcome {
    passed: bool,
    #[serde(flatten)]
    swept: Swept,
    /// What should have happened in so many runs, and never did.
    missing: Vec<&'static str>,
    shrunk: Vec<Written>,
}

/// A shrunk scenario, and the file it is in.
#[derive(Serialize)]
struct Written {
    fault: Fault,
    file: PathBuf,
    replay: String,
    nodes: usize,
    steps: usize,
    runs: u32,
    least: bool,
}

pub(crate) fn run(args: &SwarmArgs) -> Result<(), Error> {
    // Said before an hour has gone by.
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
        on_or_break()
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

/// The first ctrl-c lets runs under way end, the second does not.
fn stop_on_interrupt() {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        // Without a handler the system ends the process at the first.
        let Ok(runtime) = runtime else { return };
        while runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            if INTERRUPTED.swap(true, Ordering::Relaxed) {
                eprintln!("\ntgossip: {}", Error::Interrupted);
                std::process::exit(Error::Interrupted.exit_code().into());
            }
            eprintln!("\ntgossip: no more seeds are begun; ctrl-c again ends at once");
        }
    });
}

fn on_or_break() -> ControlFlow<()> {
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
    format!("{} of {} seeds{failed}, {} a minute", swept.runs, swept.of, swept.seeds_per_minute())
}

/// Writes the least scenario that shows the fault; nothing if the run does not fail a second time,
/// which is a fault of its own.
fn shrink_into(dir: &Path, seed: u64, fault: Fault) -> Result<Option<Written>, Error> {
    let mut bar = Bar::new();
    // Each run that panics would say so; why the first did has been said.
    let panics = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let shrunk = shrink(&Scenario::swarm(seed), seed, fault, |shrinking| {
        bar.advance(shrinking.runs.into(), MAX_RUNS.into(), || {
            format!("seed {seed}: {} steps and {} nodes are left", shrinking.steps, shrinking.nodes)
        });
        on_or_break()
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
        least,
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
            "{seeds}: {} of virtual time in {} ({} seeds a minute), {twice} of them run twice",
            whole_seconds(*simulated),
            whole_seconds(*elapsed),
            self.swept.seeds_per_minute(),
        )?;
        match end {
            End::Complete => {}
            End::Failures => writeln!(out, "ended before seed {} for its failures", first + of)?,
            End::Limit => writeln!(out, "ended before seed {} as its time was up", first + of)?,
            End::Stopped => writeln!(out, "ended before seed {} by ctrl-c", first + of)?,
            _ => writeln!(out, "ended before seed {}", first + of)?,
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
            let Written { fault, replay, nodes, steps, runs, least, .. } = written;
            let least = if *least { "nothing plainer does" } else { "something plainer may" };
            writeln!(
                out,
                "\n{fault}: {nodes} nodes and {steps} steps fail so, too; {least} ({runs} runs):\n  {replay}"
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
                format!(", nor did {}", more.join(", "))
            };
            Err(Error::Swarm(format!("{first} never happened in {} runs{more}", self.swept.runs)))
        } else if self.swept.end == End::Stopped {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }
}
