//! `tgossip`: runs a demo, a node, queries, simulations and plans from the command line.

fn main() -> std::process::ExitCode {
    telemetry_gossip_cli::tgossip()
}
