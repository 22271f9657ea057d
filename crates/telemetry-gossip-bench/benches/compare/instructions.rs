//! Counts instructions with callgrind: the inputs of one node of a cluster are recorded, and
//! replayed under valgrind.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use telemetry_gossip_bench::replay::{Trace, measured_datagram};
use telemetry_gossip_bench::{Arena, Contender, Out, Recorded, Setting, contenders, stale};
use telemetry_gossip_core::Config;

use crate::scenes::{self, SECOND, SEEDS, all_known};
use crate::table::{Better, Row, Table};

/// The first argument of this program under valgrind.
pub(crate) const CHILD: &str = "under-callgrind";

/// The time after which inputs are measured.
const FROM: u64 = 20 * SECOND;
const UNTIL: u64 = 320 * SECOND;

/// How many times a ping with stale updates is handled.
const PINGS: u32 = 200;

pub(crate) fn rows(table: &mut Table) {
    let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        table.note("Instructions are skipped: valgrind is not installed.");
        return;
    }
    if let Err(error) = try_rows(table) {
        table.note(&format!("Instructions are skipped: {error}."));
    }
}

fn try_rows(table: &mut Table) -> Result<(), String> {
    let mut datagrams = Vec::new();
    for nodes in [20, 250, 1_000] {
        let (mut ours, mut foca) = (Vec::new(), Vec::new());
        for seed in SEEDS {
            let setting = Setting { recorded: true, ..Setting::new(nodes, seed) };
            ours.push(steady("ours", setting, contenders::ours(setting))?);
            if nodes > 20 {
                foca.push(steady("foca", setting, contenders::foca(setting))?);
            }
        }
        let name = format!("instructions per ping or ack, steady, N={nodes}");
        let row = Row::new(&name, 0, Better::Less)
            .ours(ours.iter().map(Instructions::per_signal))
            .foca(foca.iter().map(Instructions::per_signal));
        table.add(if nodes == 250 { row.at_most_times_foca(0.5) } else { row });
        table.add(
            Row::new(
                &format!("instructions per datagram, all, steady, N={nodes}"),
                0,
                Better::Less,
            )
            .ours(ours.iter().map(Instructions::per_datagram))
            .foca(foca.iter().map(Instructions::per_datagram)),
        );
        table.add(
            Row::new(
                &format!("instructions per second, timers included, steady, N={nodes}"),
                0,
                Better::Less,
            )
            .ours(ours.iter().map(Instructions::per_second))
            .foca(foca.iter().map(Instructions::per_second)),
        );
        datagrams.push(ours.iter().map(Instructions::per_signal).sum::<f64>() / ours.len() as f64);
    }
    let setting = Setting { recorded: true, ..Setting::new(10_000, 1) };
    let mut few = contenders::few(setting, scenes::FEW_SECONDS);
    few.run_for(u64::from(scenes::FEW_SECONDS) * SECOND);
    let trace = Trace { from: FROM, inputs: few.recorded() };
    let ours = run("ours", setting, &trace)?;
    table.add(
        Row::new("instructions per ping or ack, steady, N=10,000, one node", 0, Better::Less)
            .ours([ours.per_signal()]),
    );
    datagrams.push(ours.per_signal());
    let (least, most) =
        datagrams.iter().fold((f64::MAX, 0.0_f64), |(a, b), &x| (a.min(x), b.max(x)));
    table.add(
        Row::new("the largest of these divided by the smallest", 2, Better::Less)
            .ours([most / least])
            .at_most(1.25),
    );
    for (nodes, times) in [(250, 0.2), (1_000, 0.1)] {
        let run = |library, pings: u32| -> Result<Vec<f64>, String> {
            let (nodes, pings) = (nodes.to_string(), pings.to_string());
            let count = |seed: u64| counted(&["stale", library, &nodes, &seed.to_string(), &pings]);
            SEEDS.into_iter().map(|seed| Ok(count(seed)?.per_signal())).collect()
        };
        let name = format!("instructions per ping with 8 stale updates, N={nodes}");
        table.add(
            Row::new(&name, 0, Better::Less)
                .ours(run("ours", PINGS)?)
                .foca(run("foca", PINGS)?)
                .at_most_times_foca(times),
        );
        table.add(
            Row::new(&format!("{name}, the first time"), 0, Better::Less)
                .ours(run("ours", 1)?)
                .foca(run("foca", 1)?),
        );
    }
    Ok(())
}

/// The counts of callgrind.
#[derive(Clone, Copy, Debug, Default)]
struct Instructions {
    /// Pings and acks: their number and their instructions, answers included.
    signals: (u64, u64),
    long: (u64, u64),
    timers: (u64, u64),
    seconds: f64,
}

impl Instructions {
    fn per_signal(&self) -> f64 {
        self.signals.1 as f64 / self.signals.0 as f64
    }

    fn per_datagram(&self) -> f64 {
        (self.signals.1 + self.long.1) as f64 / (self.signals.0 + self.long.0) as f64
    }

    fn per_second(&self) -> f64 {
        (self.signals.1 + self.long.1 + self.timers.1) as f64 / self.seconds
    }
}

fn steady<C: Contender>(
    library: &str,
    setting: Setting,
    mut arena: Arena<C>,
) -> Result<Instructions, String> {
    arena.run_for(UNTIL);
    all_known(&arena);
    let trace = Trace { from: FROM, inputs: arena.recorded() };
    run(library, setting, &trace)
}

fn run(library: &str, setting: Setting, trace: &Trace) -> Result<Instructions, String> {
    let Setting { nodes, seed, .. } = setting;
    let path = scratch(&format!("{library}-{nodes}-{seed}.trace"));
    trace.save(&path).map_err(|error| format!("the trace cannot be written: {error}"))?;
    let (nodes, seed, file) = (nodes.to_string(), seed.to_string(), path.to_string_lossy());
    let mut counted = counted(&["steady", library, &nodes, &seed, &file])?;
    let until = trace.inputs.last().map_or(0, |input| match input {
        Recorded::Datagram(at, ..) | Recorded::Timer(at, _) => *at,
    });
    counted.seconds = (until - trace.from) as f64 / SECOND as f64;
    Ok(counted)
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Runs this program under callgrind.
fn counted(args: &[&str]) -> Result<Instructions, String> {
    let out = scratch(&format!("callgrind.{}", args[..3].join("-")));
    let program = std::env::current_exe()
        .map_err(|error| format!("the path of this program is unknown: {error}"))?;
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .arg(CHILD)
        .args(args)
        .stdout(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind cannot be started: {error}"))?;
    if !run.status.success() {
        return Err(format!(
            "a run under valgrind failed: {}",
            String::from_utf8_lossy(&run.stderr)
        ));
    }
    let profile = fs::read_to_string(&out)
        .map_err(|error| format!("the output of callgrind cannot be read: {error}"))?;
    Ok(Instructions {
        signals: calls_of(&profile, "measured_datagram"),
        long: calls_of(&profile, "measured_long"),
        timers: calls_of(&profile, "measured_timer"),
        seconds: 0.0,
    })
}

/// Returns the number of calls of a function, and the instructions of it and of its callees.
fn calls_of(profile: &str, name: &str) -> (u64, u64) {
    let mut names = HashMap::new();
    let (mut callee_matches, mut sum) = (false, (0, 0));
    let mut lines = profile.lines();
    while let Some(line) = lines.next() {
        let function = line
            .strip_prefix("cfn=")
            .map(|f| (true, f))
            .or(line.strip_prefix("fn=").map(|f| (false, f)));
        if let Some((called, function)) = function {
            let (number, text) = function.split_once(' ').unwrap_or((function, ""));
            if !text.is_empty() {
                names.insert(number, text.contains(name));
            }
            if called {
                callee_matches = names.get(number).copied().unwrap_or(false);
            }
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let count = calls.split(' ').next().and_then(|count| count.parse::<u64>().ok());
            let cost = lines.next().and_then(|line| line.split(' ').nth(1)?.parse::<u64>().ok());
            if let (true, Some(count), Some(cost)) = (callee_matches, count, cost) {
                sum = (sum.0 + count, sum.1 + cost);
            }
        }
    }
    sum
}

/// Runs the program under valgrind.
pub(crate) fn child(args: &[String]) {
    let number = |at: usize| args.get(at).and_then(|arg| arg.parse::<u32>().ok()).unwrap_or(0);
    let nodes = number(2);
    match (args[0].as_str(), args[1].as_str()) {
        ("steady", library) => {
            let seed = number(3).into();
            let trace = Trace::load(Path::new(&args[4])).expect("the trace was just written");
            let replayed = if library == "ours" {
                trace.replay(|out| contenders::lone(0, nodes, seed, Config::lan(), out))
            } else {
                trace.replay(|out| contenders::lone_foca(0, nodes, seed, 0, out))
            };
            println!("{replayed:?}");
        }
        (_, "ours") => {
            let (mut receiver, ping) = stale::ours(nodes, number(3).into());
            let now = receiver.node.now().as_micros();
            repeat(&mut receiver, now, 0, &ping, number(4));
        }
        _ => {
            let (mut receiver, from, ping) = stale::foca(nodes, number(3).into());
            repeat(&mut receiver, 0, from, &ping, number(4));
        }
    }
}

fn repeat<C: Contender>(receiver: &mut C, now: u64, from: u32, ping: &[u8], pings: u32) {
    let mut out = Out::default();
    let mut answers = 0;
    for _ in 0..pings {
        measured_datagram(receiver, now, from, ping, &mut out);
        out.drain_sends(|to, _| answers += u32::from(to == from));
        out.drain_timers().for_each(drop);
    }
    assert_eq!(answers, pings, "each ping is answered");
}
