//! Prints a table of both libraries side by side:
//! `cargo bench -p telemetry-gossip-bench --bench compare`.
//!
//! Arguments after `--` choose sections: instructions, allocations, speed, spread, memory; the
//! default is all of these. `whole`, a cluster of 10,000 nodes, runs on request only.

use telemetry_gossip_bench::{Setting, contenders};
use telemetry_gossip_core::Config;

mod counting;
mod instructions;
mod scenes;
mod table;

use scenes::{SECOND, SEEDS, all_known};
use table::{Better, Row, Table};

fn main() {
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == instructions::CHILD) {
        instructions::child(&args[1..]);
        return;
    }
    let wants = |section: &str| args.is_empty() || args.iter().any(|arg| arg == section);
    let mut table = Table::default();
    if wants("instructions") {
        instructions::rows(&mut table);
    }
    if wants("allocations") {
        allocations(&mut table);
    }
    if wants("speed") {
        speed(&mut table);
    }
    if wants("spread") {
        spread(&mut table);
    }
    if wants("memory") {
        memory(&mut table);
    }
    if args.iter().any(|arg| arg == "whole") {
        whole(&mut table);
    }
    println!("{table}");
}

fn allocations(table: &mut Table) {
    const NODES: u32 = 250;
    let runs = |scene: fn(u64) -> scenes::Flow| SEEDS.map(scene);
    let ours = runs(|seed| scenes::flow(contenders::ours(Setting::new(NODES, seed))));
    let foca = runs(|seed| scenes::flow(contenders::foca(Setting::new(NODES, seed))));
    table.add(
        Row::new(
            "allocations per datagram, N=250, each node publishing 64 B every 10 s",
            5,
            Better::Less,
        )
        .ours(ours.iter().map(|flow| flow.allocations / flow.handled))
        .foca(foca.iter().map(|flow| flow.allocations / flow.handled))
        .at_most(0.0),
    );
    table.add(
        Row::new("allocations per accepted value, the same", 3, Better::Less)
            .ours(ours.iter().map(|flow| flow.allocations / flow.accepted))
            .foca(foca.iter().map(|flow| flow.allocations / flow.accepted)),
    );
    table.add(
        Row::new("bytes per node and second, the same", 1, Better::Less)
            .ours(ours.iter().map(|flow| flow.bytes))
            .foca(foca.iter().map(|flow| flow.bytes)),
    );
    table.add(
        Row::new("node-seconds per wall second, the same", 0, Better::More)
            .ours(ours.iter().map(|flow| flow.speed))
            .foca(foca.iter().map(|flow| flow.speed)),
    );
}

fn speed(table: &mut Table) {
    for (nodes, seconds) in [(250, 400), (1_000, 100)] {
        let (mut ours, mut foca) = (Vec::new(), Vec::new());
        // The libraries take turns, so that other load on the machine disturbs both.
        for seed in SEEDS {
            ours.push(scenes::quiet(contenders::ours(Setting::new(nodes, seed)), seconds));
            foca.push(scenes::quiet(contenders::foca(Setting::new(nodes, seed)), seconds));
        }
        let idle = scenes::quiet(contenders::idle(Setting::new(nodes, 1), 2), seconds);
        let share =
            |quiet: &scenes::Quiet| 100.0 * quiet.events * idle.nanos_per_event() / quiet.nanos;
        table.add(
            Row::new(&format!("node-seconds per wall second, quiet, N={nodes}"), 0, Better::More)
                .ours(ours.iter().map(scenes::Quiet::speed))
                .foca(foca.iter().map(scenes::Quiet::speed))
                .at_least_times_foca(3.0),
        );
        table.add(
            Row::new(&format!("of that time the arena's own, %, N={nodes}"), 0, Better::Less)
                .ours(ours.iter().map(share))
                .foca(foca.iter().map(share)),
        );
        table.add(
            Row::new(
                &format!("events (datagrams, timers) per node-second, N={nodes}"),
                2,
                Better::Less,
            )
            .ours(ours.iter().map(scenes::Quiet::rate))
            .foca(foca.iter().map(scenes::Quiet::rate)),
        );
        table.add(
            Row::new(&format!("idle bytes per node and second, N={nodes}"), 1, Better::Less)
                .ours(ours.iter().map(|quiet| quiet.bytes))
                .foca(foca.iter().map(|quiet| quiet.bytes))
                .at_most(64.0),
        );
    }
    let mut few = contenders::few(Setting::new(10_000, 1), scenes::FEW_SECONDS);
    let bytes = scenes::bytes_of_one(&mut few);
    table.add(
        Row::new("idle bytes per node and second, N=10,000, one node", 1, Better::Less)
            .ours([bytes])
            .at_most(64.0),
    );
}

fn spread(table: &mut Table) {
    for (nodes, mean) in [(250, 0.6), (1_000, 0.8)] {
        for loss in [0, 1, 5] {
            let runs = |values: fn(Setting) -> scenes::Spread| {
                let setting = |seed| Setting { loss_percent: loss, ..Setting::new(nodes, seed) };
                SEEDS
                    .map(|seed| values(setting(seed)))
                    .into_iter()
                    .reduce(scenes::Spread::join)
                    .unwrap_or_default()
            };
            let ours = runs(|setting| scenes::spread(contenders::ours(setting)));
            let foca = runs(|setting| scenes::spread(contenders::foca(setting)));
            let name = |what: &str| format!("64 B known to all {nodes}, {loss} % loss, {what}");
            table.add(
                Row::new(&name("s"), 2, Better::Less)
                    .ours(ours.times.iter().copied())
                    .foca(foca.times.iter().copied())
                    .by_mean()
                    .at_most(mean),
            );
            table.add(
                Row::new(&name("values not at all within 20 s, %"), 1, Better::Less)
                    .ours([ours.missed_percent()])
                    .foca([foca.missed_percent()])
                    .at_most(0.0),
            );
        }
    }
}

fn memory(table: &mut Table) {
    // The text of the ids, which foca does not have.
    let text = |nodes: u32| {
        (0..nodes).map(|node| contenders::id(node).as_str().len()).sum::<usize>() as f64
            / f64::from(nodes)
    };
    let name =
        |nodes: &str| format!("heap bytes per known member, without the text of its id, {nodes}");
    for nodes in [250, 1_000] {
        table.add(
            Row::new(&name(&format!("settled, N={nodes}")), 1, Better::Less)
                .ours([scenes::heap(contenders::ours(Setting::new(nodes, 1))) - text(nodes)])
                .foca([scenes::heap(contenders::foca(Setting::new(nodes, 1)))])
                .at_most(64.0),
        );
    }
    const MANY: u32 = 10_000;
    let ours = scenes::heap_of_one(MANY, |out| contenders::lone(0, MANY, 1, Config::lan(), out));
    table.add(
        Row::new(&name("one node that knows 10,000"), 1, Better::Less)
            .ours([ours - text(MANY)])
            .foca([scenes::heap_of_one(MANY, |out| contenders::lone_foca(0, MANY, 1, 0, out))])
            .at_most(64.0),
    );
    table.add(
        Row::new("bytes of a node without its heap", 0, Better::Less)
            .ours([size_of::<contenders::Ours>() as f64])
            .foca([size_of::<contenders::Theirs>() as f64]),
    );
}

/// Runs a cluster of 10,000 nodes, which takes minutes and ten gigabytes.
fn whole(table: &mut Table) {
    let begun = std::time::Instant::now();
    let mut arena = contenders::ours(Setting::new(10_000, 1));
    arena.run_for(30 * SECOND);
    let before = arena.counts;
    arena.run_for(30 * SECOND);
    let counts = arena.counts - before;
    all_known(&arena);
    let add = |table: &mut Table, name: &str, value: f64, bound: f64| {
        table.add(Row::new(name, 1, Better::Less).ours([value]).at_most(bound));
    };
    add(
        table,
        "N=10,000, 60 virtual s, start included: wall s",
        begun.elapsed().as_secs_f64(),
        600.0,
    );
    add(table, "the same: GiB of heap at most", counting::peak() as f64 / f64::from(1 << 30), 12.0);
    add(table, "the same: idle bytes per node and second", counts.bytes as f64 / 300_000.0, 64.0);
}
