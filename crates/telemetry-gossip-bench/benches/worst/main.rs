//! Counts what the most expensive datagrams cost, and fails above the bounds that
//! `docs/benchmarks.md` states: `cargo bench -p telemetry-gossip-bench --bench worst`.
//!
//! Each datagram meets a node that was restored for it, in each of the [`scenes`]. Measured is all
//! that the node does at once: handling, encoding what it sends, events, and what is due in the
//! same microsecond. Instructions are counted by callgrind.
//!
//! Arguments after `--` choose sizes of the table, scenes by a part of their name, and `all` to
//! print every datagram. `here` runs without valgrind, and counts everything but instructions.

#[path = "../../../telemetry-gossip-core/tests/wire/costly.rs"]
mod costly;
#[path = "../compare/counting.rs"]
#[allow(dead_code, reason = "the other bench counts more")]
mod counting;
#[path = "../../../telemetry-gossip-core/tests/wire/meaning.rs"]
#[allow(dead_code, reason = "the golden datagrams are for tests")]
mod meaning;
mod measure;
#[path = "../../../telemetry-gossip-core/tests/wire/reader.rs"]
#[allow(dead_code, reason = "the sums of tables are for tests")]
mod reader;
#[path = "../../../telemetry-gossip-core/tests/wire/scenes.rs"]
#[allow(dead_code, reason = "the fuzz target uses more of it")]
mod scenes;
#[path = "../../../telemetry-gossip-core/tests/wire/writer.rs"]
mod writer;

extern crate alloc;

use std::process::ExitCode;

use measure::{CHILD, Cost, Counted};
use scenes::SCENES;
use telemetry_gossip_core::{Config, work};

/// The number of members in the table, and the most instructions that one datagram may cost.
const SIZES: [(u32, u64); 2] = [(250, 6_000_000), (10_000, 30_000_000)];

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == CHILD) {
        measure::child(&args[1..]);
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("A datagram costs more than it may: see the lines that say so.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("The cost of datagrams cannot be counted: {error}.");
            ExitCode::FAILURE
        }
    }
}

/// Measures what the arguments choose. True if everything is within the bounds.
fn run(args: &[String]) -> Result<bool, String> {
    let (mut all, mut here) = (false, false);
    let (mut sizes, mut names) = (Vec::new(), Vec::new());
    for arg in args {
        match (arg.as_str(), arg.parse::<u32>()) {
            ("all", _) => all = true,
            ("here", _) => here = true,
            (_, Ok(size)) => sizes.push(size),
            (name, Err(_)) => names.push(name),
        }
    }
    let mut within = true;
    for (size, most) in SIZES {
        if !(sizes.is_empty() || sizes.contains(&size)) {
            continue;
        }
        let mut measured = Vec::new();
        for scene in SCENES {
            if !names.is_empty() && !names.iter().any(|name| scene.name.contains(name)) {
                continue;
            }
            eprintln!("{size} members, {}", scene.name);
            measured.extend(measure::measure(scene, size, here)?);
        }
        print(size, most, &mut measured, all);
        within &= measured.iter().all(|cost| is_within(cost, (size, most)));
    }
    Ok(within)
}

/// Whether the cost is within the bounds that the core states, and its instructions are few enough.
fn is_within(cost: &Cost, (size, most): (u32, u64)) -> bool {
    let Counted { received, sent, held, rows } = cost.counted;
    cost.instructions <= most
        && sent <= work::max_sent(received, Config::lan().mtu.into())
        && held <= work::max_growth(received, size.into())
        && rows <= work::max_rows(received, sent)
}

/// Prints the ten datagrams of the most instructions, and those of the most of everything else.
fn print(size: u32, most: u64, measured: &mut [Cost], all: bool) {
    println!("\n{size} members: at most {most} instructions per datagram\n");
    println!("| datagram | scene | bytes | instructions | sent | held | rows visited | |");
    println!("|---|---|---|---|---|---|---|---|");
    let shown = if all { measured.len() } else { 10 };
    measured.sort_by_key(|cost| std::cmp::Reverse(cost.instructions));
    for cost in measured.iter().take(shown) {
        print_row(cost, (size, most));
    }
    let others: [fn(&Cost) -> u64; 3] =
        [|cost| cost.counted.sent, |cost| cost.counted.held, |cost| cost.counted.rows];
    for of in others {
        if let Some(cost) = measured.iter().max_by_key(|cost| of(cost)) {
            print_row(cost, (size, most));
        }
    }
}

fn print_row(cost: &Cost, bounds: (u32, u64)) {
    let Cost { datagram, scene, instructions, counted } = cost;
    let Counted { received, sent, held, rows } = counted;
    let verdict = if is_within(cost, bounds) { "" } else { "ABOVE THE BOUND" };
    println!(
        "| {datagram} | {scene} | {received} | {instructions} | {sent} | {held} | {rows} | \
         {verdict} |"
    );
}
