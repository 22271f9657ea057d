//! The command line: subcommands, their options and their help texts.
//!
//! This module decides only how arguments look ([`values`] parses them). What a value means is up
//! to the subcommand that reads it.
//!
//! Prose in a help text has no line breaks of its own: clap wraps it to the width of the terminal.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use telemetry_gossip_core::{NodeId, Status};
use telemetry_gossip_sim::Share;

use crate::control::place::Via;

mod agent;
mod experiment;
pub(crate) mod install;
pub(crate) mod key;
mod record;
pub(crate) mod registry;
mod swarm;
mod values;
pub(crate) use agent::{AgentArgs, Conflict, Settings};
use experiment::ExperimentArgs;
use install::{CompletionsArgs, ManArgs};
use key::KeyArgs;
use record::RecordArgs;
pub(crate) use record::ReplayArgs;
use registry::RegistryArgs;
pub(crate) use swarm::SwarmArgs;
pub(crate) use values::{MTUS, host_port};
use values::{demo_nodes, node_id, plan_nodes, seed, share, sim_nodes, span, timeout};

/// Cluster membership, failure detection and telemetry by gossip.
#[derive(Debug, Parser)]
#[command(name = "tgossip", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "To begin, run `tgossip demo`: it shows a cluster at work, and ends.")]
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
    AcceptLoss(AcceptLossArgs),
    Key(KeyArgs),
    Registry(Box<RegistryArgs>),
    Sim(SimArgs),
    Swarm(SwarmArgs),
    Plan(PlanArgs),
    Replay(Box<ReplayArgs>),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Run one node of a cluster as a process, as `tgossip agent` does, in less memory.
#[derive(Debug, Parser)]
#[command(name = "tgossip-agent", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct AgentCli {
    #[command(flatten)]
    pub(crate) args: AgentArgs,
}

/// Show a real cluster on loopback UDP: join, telemetry, a crash, a return, a leave.
///
/// Every node is a task with a socket of its own. On a terminal, the demo draws the cluster as it
/// changes; otherwise it prints a line per change. It ends within 30 s, or 60 s with --registry.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tgossip demo
  tgossip demo --registry

Exit codes:
  0    the demo saw every step
  1    the demo did not see a step within its limit
  2    wrong arguments
  3    a socket could not be opened, or a file could not be written
  130  interrupted")]
pub(crate) struct DemoArgs {
    /// Number of nodes, 2 to 500. `tgossip sim` runs more.
    #[arg(long, default_value = "20", value_parser = demo_nodes, allow_negative_numbers = true)]
    pub(crate) nodes: usize,
    /// Selects the nodes that publish, crash and leave, and seeds the random choices of all nodes.
    /// Times still differ from run to run.
    #[arg(long, default_value_t = 1, value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// Follow a registry of which nodes belong, and see what a fleet does while that is down: an
    /// etcd of its own if there is the program ($TGOSSIP_ETCD, or `etcd` on $PATH), and otherwise a
    /// file. At least 5 nodes.
    #[arg(long)]
    pub(crate) registry: bool,
    /// Print lines even on a terminal.
    #[arg(long)]
    pub(crate) plain: bool,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
}

/// List the members that a running agent knows.
#[derive(Debug, Args)]
#[command(after_help = "\
Columns:
  ID          the member; `(asked)` marks the agent that answers
  STATUS      alive, suspected, dead or left, in the view of the agent;
              `alive?` of a member that an isolated agent has not heard from
              since its isolation began
  SINCE       time since the member has this status for the agent
  GENERATION  orders statements about the member: the higher one wins
  ADDRESS     the UDP address of the member
  LAST HEARD  time since the agent last received a datagram of the member
              itself, or an answer of it through a helper; what others say
              of it does not count. An agent probes one member per probe
              interval: with 250 members and 1s, some minutes are normal
  TELEMETRY   the entries that the member publishes, at most 60 characters
              (JSON has them all)

With --json, the answer has the same contents; fields that end in _s are seconds.

Exit codes:
  0    the agent answered
  2    wrong arguments
  4    no answer within --timeout, a client that the agent does not serve,
       or a busy agent
  130  interrupted")]
pub(crate) struct MembersArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Only members of this status; all by default. Several may be given.
    #[arg(long, value_name = "STATUS", num_args = 1.., value_enum)]
    pub(crate) status: Vec<MemberStatus>,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also print the health and the counters of the agent (JSON always has them).
    #[arg(long)]
    pub(crate) stats: bool,
}

/// The status of a member in the view of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MemberStatus {
    /// It answers, or said itself that it is alive.
    Alive,
    /// A probe of it failed, and it may still refute.
    Suspected,
    /// It failed: it did not refute in time.
    Dead,
    /// It left in good order.
    Left,
}

impl From<MemberStatus> for Status {
    fn from(status: MemberStatus) -> Self {
        match status {
            MemberStatus::Alive => Self::Alive,
            MemberStatus::Suspected => Self::Suspected,
            MemberStatus::Dead => Self::Dead,
            MemberStatus::Left => Self::Left,
        }
    }
}

/// Show why a running agent considers a member alive, suspected or dead.
///
/// The answer names the members that accuse it, the results of the agent's own probes (direct and
/// through helpers), its refutations, and the time of each: the last 32 incidents.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tgossip explain edge-7 --via 127.0.0.1:7201

With --json, each incident has a `kind` and the ids of the members that it names; fields that \
end in _s are seconds.

Exit codes:
  0    the agent answered
  2    wrong arguments
  4    no answer within --timeout, a client that the agent does not serve,
       or a busy agent
  5    the agent knows no such member
  130  interrupted")]
pub(crate) struct ExplainArgs {
    /// Id of the member.
    #[arg(value_name = "ID", value_parser = node_id)]
    pub(crate) id: NodeId,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Print JSON instead of sentences.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Tell an isolated agent that the members that do not answer are gone.
///
/// An agent that cannot reach more than half of the members is isolated: it may be on the smaller
/// side of a partition, so it declares no member dead. After a real loss of more than half, this
/// command ends the isolation: the agent declares the members dead that do not answer it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  tgossip members --via ./edge-1.sock
  tgossip accept-loss --via ./edge-1.sock

Make sure that the members are gone before you accept their loss: if they are on the other side of \
a partition, both sides go on without each other until it heals.

Exit codes:
  0    the agent accepted the loss, or is not isolated
  2    wrong arguments
  4    no answer within --timeout, a client that the agent does not serve,
       or a busy agent
  130  interrupted")]
pub(crate) struct AcceptLossArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

/// The agent to ask.
#[derive(Clone, Debug, Args)]
pub(crate) struct AskArgs {
    /// Control address of the agent, as the agent printed it.
    #[arg(long, value_name = "PATH|HOST:PORT", value_parser = clap::value_parser!(Via))]
    pub(crate) via: Via,
    /// File with the token of an agent that answers by TCP [default: the one that an agent of this
    /// user has made]
    #[arg(long, value_name = "FILE")]
    pub(crate) control_token_file: Option<PathBuf>,
    /// How long to wait for each answer of the agent, 1ms to 1h.
    #[arg(
        long,
        value_name = "SPAN",
        default_value = "3s",
        value_parser = timeout,
        allow_hyphen_values = true
    )]
    pub(crate) timeout: Duration,
}

/// Run a scenario in the simulator, in virtual time, on a faulty network.
///
/// The simulator checks every rule of the protocol during the run. One scenario and seed give the
/// same report and trace hash on every machine.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tgossip sim --list
  tgossip sim partition --nodes 250 --seed 7
  tgossip sim ./my-scenario.toml --loss 5% --duration 2m --json
  tgossip sim swim
  tgossip sim lifeguard --plots figures

swim, lifeguard and telemetry are experiments: each makes many runs on all cores and compares \
our figures with published ones.

Exit codes:
  0    passed
  1    a run violated a rule, missed an expectation or a goal, or had a step
       without effect
  2    wrong arguments, or a scenario that cannot be run
  3    a file could not be read or written
  130  interrupted")]
pub(crate) struct SimArgs {
    /// Built-in scenario or experiment (see --list), or a file: a path that ends in .toml or has a
    /// separator.
    #[arg(value_name = "NAME|FILE", default_value = "quiet")]
    pub(crate) scenario: String,
    /// Number of nodes at the start, instead of the scenario's.
    #[arg(long, value_parser = sim_nodes, allow_negative_numbers = true)]
    pub(crate) nodes: Option<usize>,
    /// Seed of all random choices.
    #[arg(long, default_value_t = 1, value_parser = seed, allow_negative_numbers = true)]
    pub(crate) seed: u64,
    /// Share of the datagrams that every link loses, such as 2.5%.
    #[arg(long, value_name = "SHARE", value_parser = share, allow_hyphen_values = true)]
    pub(crate) loss: Option<Share>,
    /// Virtual time of the run, such as 90s or 5m.
    #[arg(long, value_name = "SPAN", value_parser = span, allow_hyphen_values = true)]
    pub(crate) duration: Option<Duration>,
    /// How often to check whole tables. Unless it is off, events are always checked.
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

/// Find settings under which all nodes know of a crash in time, and predict their effects.
///
/// The plan is the cheapest one under which all nodes know of 99 of 100 crashes within the target.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tgossip plan --nodes 250 --rtt 2ms --loss 1% --target 5s
  tgossip plan --nodes 40 --rtt 150ms --loss 3% --target 15s --json

The predictions assume that the network loses each datagram independently. Where it loses many \
at a time, false suspicions and false deaths are more frequent. With --json, fields that end in \
_s are seconds.

Exit codes:
  0    there is a plan
  2    wrong arguments, or the target cannot be met")]
pub(crate) struct PlanArgs {
    /// Number of members in the cluster, 2 to 16777216.
    #[arg(long, value_parser = plan_nodes, allow_negative_numbers = true)]
    pub(crate) nodes: u32,
    /// Round-trip time between two nodes, at most 5s.
    #[arg(long, value_name = "SPAN", value_parser = span, allow_hyphen_values = true)]
    pub(crate) rtt: Duration,
    /// Share of the datagrams that the network loses, at most 50%; rounded up to whole percents.
    #[arg(
        long,
        value_name = "SHARE",
        default_value = "0%",
        value_parser = share,
        allow_hyphen_values = true
    )]
    pub(crate) loss: Share,
    /// Time within which all nodes are to know of a crash.
    #[arg(long, value_name = "SPAN", value_parser = span, allow_hyphen_values = true)]
    pub(crate) target: Duration,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Check {
    /// After every input of a node.
    Every,
    /// After every input in small clusters, from time to time in large ones.
    Sampled,
    /// Never.
    Off,
}

#[cfg(test)]
mod tests;
