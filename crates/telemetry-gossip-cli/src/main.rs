//! `tgossip`: a demo on real sockets, one node as a process, queries, simulations, plans.

fn main() -> std::process::ExitCode {
    telemetry_gossip_cli::tgossip()
}
