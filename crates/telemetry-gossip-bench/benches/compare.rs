//! Prints a table of both libraries side by side: `cargo bench -p telemetry-gossip-bench --bench compare`.

use std::time::Instant;

use telemetry_gossip_bench::{Arena, Contender, contenders};

const SECOND: u64 = 1_000_000;
const WARM_UP: u64 = 30 * SECOND;
const MEASURED: u64 = 30;

/// Node-seconds a wall second, and bytes a node and second.
fn quiet<C: Contender>(mut arena: Arena<C>) -> (f64, f64) {
    let nodes = arena.nodes.len();
    arena.run_for(WARM_UP);
    let (bytes, begun) = (arena.bytes, Instant::now());
    arena.run_for(MEASURED * SECOND);
    let wall = begun.elapsed().as_secs_f64();
    assert!(arena.nodes.iter().all(|node| node.live() == nodes), "a member was lost in a quiet cluster");
    let node_seconds = nodes as f64 * MEASURED as f64;
    (node_seconds / wall, (arena.bytes - bytes) as f64 / node_seconds)
}

fn main() {
    println!("| figure | ours | foca | ours/foca |\n|---|---|---|---|");
    for nodes in [250, 1_000] {
        let ours = quiet(contenders::ours(nodes, 1));
        let foca = quiet(contenders::foca(nodes, 1));
        println!(
            "| node-seconds a wall second, N={nodes} | {:.0} | {:.0} | {:.2} |",
            ours.0,
            foca.0,
            ours.0 / foca.0
        );
        println!(
            "| idle bytes a node and second, N={nodes} | {:.1} | {:.1} | {:.2} |",
            ours.1,
            foca.1,
            ours.1 / foca.1
        );
    }
}
