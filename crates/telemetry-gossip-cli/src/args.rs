//! What can be typed: the subcommands, their options, and the sentences for values that cannot be.
//!
//! Only the shape of arguments is decided here. What a value means is up to the subcommand that
//! reads it.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use telemetry_gossip_core::{Config, NodeId};
use telemetry_gossip_sim::Share;

mod experiment;
pub(crate) mod key;
mod record;
mod swarm;
use experiment::ExperimentArgs;
use key::KeyArgs;
use record::RecordArgs;
pub(crate) use record::ReplayArgs;
pub(crate) use swarm::SwarmArgs;

/// Cluster membership, failure detection and telemetry by gossip.
#[derive(Debug, Parser)]
#[command(name = "tgossip", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "Start with `tgossip demo`: it shows a cluster at work and ends by itself.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(DemoArgs),
    Agent(Box<AgentArgs>),
    Members(MembersArgs),
    Explain(ExplainArgs),
    Key(KeyArgs),
    Sim(SimArgs),
    Swarm(SwarmArgs),
    Plan(PlanArgs),
    Replay(Box<ReplayArgs>),
}

/// One node of a telemetry-gossip cluster, as `tgossip agent` runs it.
#[derive(Debug, Parser)]
#[command(name = "tgossip-agent", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct AgentCli {
    #[command(flatten)]
    pub(crate) args: AgentArgs,
}

/// Show a real cluster on loopback UDP: join, telemetry, a crash, a return, a leave.
///
/// Every node is a task of its own with a socket of its own. On a terminal the cluster is drawn as
/// it changes; otherwise each change is a line. It ends by itself within 30 s.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0    every step was seen
  1    a step was not seen within its limit
  2    wrong arguments
  3    a socket could not be opened
  130  interrupted")]
pub(crate) struct DemoArgs {
    /// How many nodes, 2 to 500. For more there is `tgossip sim`.
    #[arg(long, default_value = "20", value_parser = demo_nodes, allow_negative_numbers = true)]
    pub(crate) nodes: usize,
    /// Decides which nodes publish, crash and leave, and the nodes' random choices; times still
    /// differ from run to run.
    #[arg(long, default_value_t = 1, value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// Print lines even on a terminal.
    #[arg(long)]
    pub(crate) plain: bool,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
}

/// Run one node as a process until SIGTERM or ctrl-c; it then leaves the cluster in good order.
///
/// The first lines on standard output say where it listens: its UDP address, then its control
/// address (for `tgossip members --via`), and whether it seals. Then come the events, as they
/// happen. A second signal ends the process at once. A reader of the output that is slow, or has
/// gone, does not stop the node.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tgossip agent --id edge-1 --bind 127.0.0.1:7101 --control 127.0.0.1:7201
  tgossip agent --id edge-2 --bind 127.0.0.1:0 --join 127.0.0.1:7101 --set role=cache
  tgossip members --via 127.0.0.1:7201
  tgossip key new cluster.key
  tgossip agent --id edge-3 --bind 10.0.0.3:7946 --join 10.0.0.1:7946 --key-file cluster.key

Exit codes:
  0    left in good order
  1    stopped by a fault, or lost its id to another process
  2    wrong arguments or impossible settings
  3    an address could not be listened on, or a file could not be read or is no key file
  4    no seed could be resolved to an address
  130  ended by a second signal")]
pub(crate) struct AgentArgs {
    /// The node's name, unique in its cluster: 1 to 127 bytes, no control characters.
    #[arg(long, value_parser = node_id)]
    pub(crate) id: NodeId,
    /// Where to listen for UDP, as ADDRESS:PORT; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = socket_addr)]
    pub(crate) bind: SocketAddr,
    /// Where the others reach this node, if not at the bound address.
    #[arg(long, value_name = "ADDR", value_parser = socket_addr)]
    pub(crate) advertise: Option<SocketAddr>,
    /// A member to find the cluster through; may be given several times. Names are resolved again
    /// on each try.
    #[arg(long, value_name = "HOST:PORT", num_args = 1.., value_parser = host_port)]
    pub(crate) join: Vec<String>,
    /// A file of such seeds, one a line and one at least; empty lines and lines that start with #
    /// are skipped.
    #[arg(long, value_name = "FILE")]
    pub(crate) seed_file: Option<PathBuf>,
    /// An entry of telemetry to publish; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE", num_args = 1.., value_parser = key_value)]
    pub(crate) entries: Vec<(String, String)>,
    /// Where to answer `tgossip members` and `tgossip explain`, by TCP.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = socket_addr)]
    pub(crate) control: SocketAddr,
    /// Let the control address be one that other machines reach. Whoever reaches it can read the
    /// membership.
    #[arg(long)]
    pub(crate) allow_remote_control: bool,
    /// The cluster's name, at most 127 bytes; nodes with different labels ignore each other.
    #[arg(long, value_name = "NAME", default_value = "", value_parser = label)]
    pub(crate) label: String,
    /// Seal all datagrams under the key of this file (see `tgossip key new`); may be given several
    /// times: the first one seals, and each opens.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "plaintext")]
    pub(crate) key_file: Vec<PathBuf>,
    /// Send datagrams that others on the network can read and forge. On a loopback address this is
    /// so without a word, unless there is a key file.
    #[arg(long)]
    pub(crate) plaintext: bool,
    /// Print one JSON object a line instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Settings of a node that differ from those of its profile.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Protocol settings (the same on all nodes of a cluster)")]
pub(crate) struct Settings {
    /// Settings to begin with; the options below replace single ones, and name those of lan
    #[arg(long, value_enum, default_value_t)]
    pub(crate) profile: Profile,
    /// Probe one member each such time [default: 1s]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) probe_interval: Option<Duration>,
    /// How long an answer may take; at most half of the probe interval [default: 300ms]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) probe_timeout: Option<Duration>,
    /// Tell news each such time [default: 200ms]
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) gossip_interval: Option<Duration>,
    /// A fixed time for a suspected member to refute, instead of one that grows with the cluster
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) suspicion: Option<Duration>,
    /// The most bytes in a datagram, 767 to 65507 [default: 1400]
    #[arg(long, value_name = "BYTES", value_parser = mtu, allow_negative_numbers = true)]
    pub(crate) mtu: Option<u16>,
}

/// Settings for a kind of network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// One machine: a crash among 250 is known in 1 s.
    Local,
    /// A data centre, round trips up to 50 ms: a crash among 250 is known in 4 s.
    #[default]
    Lan,
    /// All over the world, round trips up to 150 ms: a crash among 250 is known in 13 s.
    Wan,
}

impl Profile {
    pub(crate) fn config(self) -> Config {
        match self {
            Self::Local => Config::local(),
            Self::Lan => Config::lan(),
            Self::Wan => Config::wan(),
        }
    }
}

/// Ask a running agent whom it knows.
#[derive(Debug, Args)]
#[command(after_help = "\
Columns:
  ID          the member; `(asked)` marks the agent that answers
  STATUS      alive, suspected, dead or left, as the agent holds it
  GENERATION  orders what is said about the member: the higher one wins
  ADDRESS     where the member is reached by UDP
  LAST HEARD  how long ago the agent itself last got something from the member, or learned
              something new of it. An agent probes one member each probe interval: with 250
              members and 1s, some minutes are normal
  TELEMETRY   what the member publishes, at most 60 characters (JSON has all)

JSON gives the same; fields that end in _s are seconds.

Exit codes:
  0    answered
  2    wrong arguments
  4    no answer, or the agent is busy with others for 10 s
  130  interrupted")]
pub(crate) struct MembersArgs {
    /// The agent's control address, as the agent printed it.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub(crate) via: String,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also print the agent's own health and counters (JSON always has them).
    #[arg(long)]
    pub(crate) stats: bool,
}

/// Ask a running agent why it holds a member to be what it is.
///
/// Says who accuses the member, what the agent's own probes of it found (directly, and through
/// which helpers), how it refuted, and when: the last 32 incidents.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tgossip explain edge-7 --via 127.0.0.1:7201

JSON gives the same, with a word for the kind of each incident and the ids of those it names;
fields that end in _s are seconds.

Exit codes:
  0    answered
  2    wrong arguments
  4    no answer, or the agent does not know the member, or it is busy with others for 10 s
  130  interrupted")]
pub(crate) struct ExplainArgs {
    /// The member.
    #[arg(value_name = "ID", value_parser = node_id)]
    pub(crate) id: NodeId,
    /// The agent's control address, as the agent printed it.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub(crate) via: String,
    /// Print JSON instead of sentences.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Run a scenario in the simulator: virtual time, a faulty network, every rule of the protocol
/// checked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tgossip sim --list
  tgossip sim partition --nodes 250 --seed 7
  tgossip sim ./my-scenario.toml --loss 5% --duration 2m --json
  tgossip sim swim
  tgossip sim lifeguard --plots figures

swim, lifeguard and telemetry are experiments: many runs on all cores, our figures beside the published ones.

One scenario and seed give one report and trace hash, on every machine.
Exit codes:
  0    passed
  1    a rule broke, an expectation was not met, a step found nothing to do, or an experiment missed a goal
  2    wrong arguments, no scenario, or one too large or too short to run
  3    a file could not be read or written
  130  interrupted")]
pub(crate) struct SimArgs {
    /// A built-in scenario or experiment (see --list), or a file: a path that ends in .toml or has
    /// a separator.
    #[arg(value_name = "NAME|FILE", default_value = "quiet")]
    pub(crate) scenario: String,
    /// Nodes at the start, instead of the scenario's number.
    #[arg(long, value_parser = sim_nodes, allow_negative_numbers = true)]
    pub(crate) nodes: Option<usize>,
    /// Decides everything random.
    #[arg(long, default_value_t = 1, value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// Share of datagrams lost on every link, such as 2.5%.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) loss: Option<Share>,
    /// Virtual time of the run, such as 90s or 5m.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) duration: Option<Duration>,
    /// How often whole tables are checked; events always are, unless it is off.
    #[arg(long, value_enum, default_value_t = Check::Sampled)]
    pub(crate) check: Check,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// List the built-in scenarios: what each does, and what makes it fail.
    #[arg(long, exclusive = true)]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) experiment: ExperimentArgs,
}

/// Suggest settings under which a crash is known to all in time, and predict what they lead to.
///
/// The settings that cost least under which 99 of 100 crashes are known to all within the target.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tgossip plan --nodes 250 --rtt 2ms --loss 1% --target 5s
  tgossip plan --nodes 40 --rtt 150ms --loss 3% --target 15s --json

The predictions hold where datagrams are lost independently; on networks that lose many at a time, wrongs are
more frequent. In JSON, fields that end in _s are seconds.

Exit codes:
  0    there is a plan
  2    wrong arguments, or the target cannot be met")]
pub(crate) struct PlanArgs {
    /// Members of the cluster, 2 to 16777216.
    #[arg(long, value_parser = plan_nodes, allow_negative_numbers = true)]
    pub(crate) nodes: u32,
    /// How long an answer takes, at most 5s.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) rtt: Duration,
    /// Share of datagrams lost, at most 50%; rounded up to whole percents.
    #[arg(long, value_name = "SHARE", default_value = "0%", value_parser = share)]
    pub(crate) loss: Share,
    /// Within which time a crash is to be known to all.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) target: Duration,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    /// After every input of a node.
    Every,
    /// After every input in small clusters, now and then in large ones.
    Sampled,
    /// Never.
    Off,
}

/// The most nodes of a demo: all of them and what each holds of each share one process, and 30 s.
pub(crate) const MOST_DEMO_NODES: usize = 500;

fn demo_nodes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(nodes) if (2..=MOST_DEMO_NODES).contains(&nodes) => Ok(nodes),
        Ok(0 | 1) => Err("a demo needs a node that watches another: type 2 or more".to_owned()),
        Ok(more) => Err(format!(
            "type a number from 2 to {MOST_DEMO_NODES}, or simulate so many: tgossip sim --nodes {more}"
        )),
        Err(_) => Err(format!("type a number from 2 to {MOST_DEMO_NODES}, such as --nodes 20")),
    }
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("a seed is a whole number from 0 to {}: type --seed 7", u64::MAX))
}

fn sim_nodes(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "type a whole number of nodes, such as --nodes 20".to_owned())
}

fn plan_nodes(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "type a whole number of nodes, such as --nodes 250".to_owned())
}

/// The datagrams that hold the longest telemetry entry of an agent.
pub(crate) const MTUS: RangeInclusive<u16> = 767..=65_507;

fn mtu(text: &str) -> Result<u16, String> {
    let bytes = text.parse().ok().filter(|bytes| MTUS.contains(bytes));
    bytes.ok_or_else(|| {
        format!(
            "type a number of bytes from {} to {}, such as --mtu 1200: the longest telemetry entry has to fit",
            MTUS.start(),
            MTUS.end()
        )
    })
}

/// The most bytes of a label: as many as an id has.
const MAX_LABEL: usize = 127;

fn label(text: &str) -> Result<String, String> {
    if text.len() > MAX_LABEL {
        return Err(format!(
            "a label has at most {MAX_LABEL} bytes, this one has {}: type a shorter name",
            text.len()
        ));
    }
    if text.chars().any(char::is_control) {
        return Err("a label has no control characters: type a name such as staging".to_owned());
    }
    Ok(text.to_owned())
}

fn node_id(text: &str) -> Result<NodeId, String> {
    NodeId::new(text).map_err(|error| format!("{error}: type a name such as edge-1"))
}

fn socket_addr(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let hint = match text.parse::<std::net::IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, 0).to_string(),
            Err(_) => "127.0.0.1:7101".to_owned(),
        };
        format!(
            "an address is a number and a port: type {hint} (port 0 picks a free one) or [::1]:7101"
        )
    })
}

pub(crate) fn host_port(text: &str) -> Result<String, String> {
    let host_and_port = text.rsplit_once(':').filter(|(host, _)| {
        // An IPv6 address without brackets would lose its last group to the port.
        !host.is_empty() && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')))
    });
    match host_and_port.map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(port)) if port > 0 => Ok(text.to_owned()),
        _ => Err("type a host and a port from 1 to 65535, such as 127.0.0.1:7101, seed.example.net:7101 or \
                  [::1]:7101"
            .to_owned()),
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("type a key, an equals sign and a value, such as --set role=cache".to_owned()),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| {
        "a span of time is a number and a unit: type 500ms, 90s, 5m or \"1m 30s\"".to_owned()
    })
}

fn share(text: &str) -> Result<Share, String> {
    text.parse().map_err(|_| match text.parse::<f64>() {
        Ok(_) => format!("a share ends in a percent sign, 0% to 100%: type {text}%"),
        Err(_) => "a share is a number from 0% to 100% with up to 4 decimals: type 2.5%".to_owned(),
    })
}

#[cfg(test)]
mod tests;
