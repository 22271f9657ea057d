//! `tgossip-agent`: runs one node as a process, and nothing else.

fn main() -> std::process::ExitCode {
    telemetry_gossip_cli::tgossip_agent()
}
