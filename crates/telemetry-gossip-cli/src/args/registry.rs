//! The arguments of `tgossip registry`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use telemetry_gossip_core::NodeId;
use telemetry_gossip_registry::Location;

use super::AskArgs;
use super::values::{
    RegistryLocation, host_port, label, node_id, registry_label, registry_member, span, timeout,
};
use crate::control::place::Via;

/// Keep the list of nodes that belong to a cluster.
///
/// Gossip says which nodes are there; the registry says which nodes belong. It is one file, or keys
/// in etcd. Each change makes a new version of it, and agents with `--registry` follow.
#[derive(Debug, Args)]
#[command(after_help = "\
URL is where the registry is. It may be left out if the variable TGOSSIP_REGISTRY has it:
  file:/etc/tgossip/cluster.toml
  etcd://h1:2379,h2:2379/prod?ca=/etc/tgossip/ca.pem&cert=..&key=..

Example:
  tgossip registry file:cluster.toml init --member edge-1=10.0.0.1:7946
  tgossip registry file:cluster.toml add edge-2 --address 10.0.0.2:7946
  tgossip registry file:cluster.toml remove edge-1 --why \"its disk failed\"
  tgossip registry file:cluster.toml list

Exit codes:
  0    done
  1    the registry is damaged, or not in force at every live member
  2    wrong arguments
  3    a file could not be read or written, or is not what it should be
  4    no answer of the registry or of the agent, or one of them does not
       serve this client
  5    there is no registry at URL, or no such node has knocked
  6    a rule of the registry forbids the change: nothing was written
  7    another operator was first: nothing was written
  130  interrupted")]
pub(crate) struct RegistryArgs {
    /// Where the registry is.
    #[arg(
        value_name = "URL",
        env = "TGOSSIP_REGISTRY",
        hide_env_values = true,
        value_parser = RegistryLocation
    )]
    pub(crate) url: Option<Location>,
    #[command(subcommand)]
    pub(crate) command: RegistryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// Make a registry where there is none.
    Init(InitArgs),
    /// Add nodes.
    Add(AddArgs),
    /// Remove nodes. Each one that follows the registry leaves the cluster.
    Remove(RemoveArgs),
    /// Say that another machine has an id from now on. The one that had it leaves.
    Replace(ReplaceArgs),
    /// Take back a node that was removed, or the machine that was replaced.
    Readmit(ReadmitArgs),
    /// List the nodes that belong, or those that were removed.
    List(ListArgs),
    /// Show what each version that is kept has changed, the newest first.
    Log(JsonArgs),
    /// Print the newest version as it is stored, to be edited and imported.
    Export,
    /// Take over a list that was exported and edited.
    Import(ImportArgs),
    /// Print the next version of a file that another tool distributes, and change nothing.
    Render(RenderArgs),
    /// Show the newest version, who wrote it, and which versions are kept.
    Status(StatusArgs),
    /// Check that the registry is whole, and that every live member has its newest version.
    Check(CheckArgs),
    /// List the nodes that have asked an agent to join and do not belong.
    Pending(PendingArgs),
    /// Add a node that has asked an agent to join.
    Approve(ApproveArgs),
    /// End a rollback or a fork: make one list the newest version, whatever nodes and store have.
    Recover(RecoverArgs),
}

/// An agent that a command may ask.
#[derive(Clone, Debug, Args)]
pub(crate) struct ViaArgs {
    /// Control address of an agent of the cluster. A change is refused if live members have a newer
    /// version than the registry; after it, the agent reads the registry at once.
    #[arg(long, value_name = "PATH|HOST:PORT", value_parser = clap::value_parser!(Via))]
    pub(crate) via: Option<Via>,
    /// File with the token of an agent that answers by TCP [default: the one that an agent of this
    /// user has made]
    #[arg(long, value_name = "FILE", requires = "via")]
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

impl ViaArgs {
    /// How to ask the agent, if one is named.
    pub(crate) fn ask(&self) -> Option<AskArgs> {
        let Self { via, control_token_file, timeout } = self.clone();
        Some(AskArgs { via: via?, control_token_file, timeout })
    }
}

/// Who changes the registry, and how the outcome is printed.
#[derive(Clone, Debug, Args)]
pub(crate) struct AuthorArgs {
    /// Who makes the change [default: $USER]
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
    /// Print JSON instead of a line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Name of the cluster, as given to its agents by `--label`.
    #[arg(long, value_name = "NAME", default_value = "", value_parser = label)]
    pub(crate) cluster_label: String,
    /// File with the table [members] of the nodes that belong.
    #[arg(long, value_name = "FILE", conflicts_with = "via")]
    pub(crate) members: Option<PathBuf>,
    /// Node that belongs, and an address of it. Several may be given.
    #[arg(long, value_name = "ID=ADDR", num_args = 1.., value_parser = registry_member)]
    pub(crate) member: Vec<(NodeId, String)>,
    /// Why the registry is made.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) author: AuthorArgs,
    #[command(flatten)]
    pub(crate) via: ViaArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Id of the node.
    #[arg(value_name = "ID", value_parser = node_id, required_unless_present = "from")]
    pub(crate) id: Option<NodeId>,
    /// Address at which to try to reach it. Several may be given.
    #[arg(long, value_name = "HOST:PORT", num_args = 1.., value_parser = host_port)]
    pub(crate) address: Vec<String>,
    /// Label of the node, such as its zone. Several may be given.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1.., value_parser = registry_label)]
    pub(crate) label: Vec<(String, String)>,
    /// Have newcomers try this node before others.
    #[arg(long)]
    pub(crate) seed: bool,
    /// File with the table [members] of the nodes to add, instead of one node.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "address", "label", "seed"])]
    pub(crate) from: Option<PathBuf>,
    /// Why they are added.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) author: AuthorArgs,
    #[command(flatten)]
    pub(crate) via: ViaArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Ids of the nodes.
    #[arg(value_name = "ID", value_parser = node_id, required = true)]
    pub(crate) ids: Vec<NodeId>,
    /// Why they are removed. The nodes print it as they leave.
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: String,
    /// How many are removed. Required if that is more than half of the members, and over 3.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) yes_remove: Option<usize>,
    #[command(flatten)]
    pub(crate) author: AuthorArgs,
    #[command(flatten)]
    pub(crate) via: ViaArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// Id of the node.
    #[arg(value_name = "ID", value_parser = node_id)]
    pub(crate) id: NodeId,
    /// Address of the new machine, instead of those that the registry has. Several may be given.
    #[arg(long, value_name = "HOST:PORT", num_args = 1.., value_parser = host_port)]
    pub(crate) address: Vec<String>,
    /// Why it is replaced.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) author: AuthorArgs,
    #[command(flatten)]
    pub(crate) via: ViaArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReadmitArgs {
    /// Id of the node.
    #[arg(value_name = "ID", value_parser = node_id)]
    pub(crate) id: NodeId,
    /// Why it is taken back.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) author: AuthorArgs,
    #[command(flatten)]
    pub(crate) via: ViaArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// List the nodes that were removed.
    #[arg(long)]
    pub(crate) removed: bool,
    /// Print JSON, with members and removed nodes.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct JsonArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// File that `export` printed, edited. The version in it must still be the newest.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// How many nodes are removed. Required if that is more than half of the members, and over 3.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) yes_remove: Option<usize>,
    /// Why the list changes.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) author: AuthorArgs,
    #[command(flatten)]
    pub(crate) via: ViaArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    /// File with the table [members] of the nodes that belong.
    #[arg(long, value_name = "FILE")]
    pub(crate) members: PathBuf,
    /// The version before, as the tool distributes it.
    #[arg(long, value_name = "FILE")]
    pub(crate) previous: PathBuf,
    /// How many nodes are removed. Required if that is more than half of the members, and over 3.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) yes_remove: Option<usize>,
    /// Why the list changes.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) why: String,
    /// Who makes the change [default: $USER]
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) via: ViaArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// How long to wait until every live member has the newest version.
    #[arg(
        long,
        value_name = "SPAN",
        value_parser = span,
        allow_hyphen_values = true,
        requires = "via"
    )]
    pub(crate) wait: Option<Duration>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) via: ViaArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PendingArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// Id of the node, as `pending` lists it.
    #[arg(value_name = "ID", value_parser = node_id)]
    pub(crate) id: NodeId,
    /// Address of the node, instead of the one from which it asked. Several may be given.
    #[arg(long, value_name = "HOST:PORT", num_args = 1.., value_parser = host_port)]
    pub(crate) address: Vec<String>,
    /// Why it is added.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) author: AuthorArgs,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RecoverArgs {
    /// Whose list becomes the newest version.
    #[arg(long, value_enum)]
    pub(crate) keep: Keep,
    /// Write it. Without this, the command prints what would change.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Why.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) author: AuthorArgs,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

/// Whose list a recovery keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keep {
    /// That of the agent, as the fleet has it in force.
    Fleet,
    /// That of the registry.
    Store,
}
