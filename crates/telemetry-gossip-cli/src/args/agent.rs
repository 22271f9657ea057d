//! The arguments of `tgossip agent` and `tgossip-agent`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use telemetry_gossip_core::{Config, Network, NodeId};
use telemetry_gossip_registry::{Location, follow};

use super::record::RecordArgs;
use super::values::{
    RegistryLocation, host_port, key_value, label, mtu, network, node_id, socket_addr, span,
};
use crate::control::place::Listen;

/// Run one node as a process until SIGTERM, SIGHUP or ctrl-c; it then leaves the cluster.
///
/// The first lines on standard output name the UDP address, the control address (for `tgossip
/// members --via`) and the keys that seal datagrams. Then the agent prints each event as it
/// happens. A second signal, other than SIGHUP, ends the process at once. The node keeps running if
/// the reader of the output is slow or has closed it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tgossip agent --id edge-1 --bind 127.0.0.1:7101 --control ./edge-1.sock
  tgossip agent --id edge-2 --join 127.0.0.1:7101 --set role=cache
  tgossip members --via ./edge-1.sock
  tgossip key new cluster.key
  tgossip agent --id edge-3 --bind 10.0.0.3:7946 --join 10.0.0.1:7946 \\
      --key-file cluster.key

Exit codes:
  0    the node left the cluster and ended
  1    the node failed, or lost its id to another process
  2    wrong arguments or impossible settings
  3    an address could not be opened, or a file could not be used
  5    the registry no longer names this node, which has left
  6    the registry is that of another cluster
  130  ended by a second signal")]
pub(crate) struct AgentArgs {
    /// Name of the node, unique in its cluster: 1 to 127 bytes of visible characters, no spaces.
    #[arg(long, value_parser = node_id)]
    pub(crate) id: NodeId,
    /// UDP address to listen at, as ADDRESS:PORT; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = socket_addr)]
    pub(crate) bind: SocketAddr,
    /// Address at which other nodes reach this one, if it is not the one of --bind.
    #[arg(long, value_name = "ADDR", value_parser = socket_addr)]
    pub(crate) advertise: Option<SocketAddr>,
    /// Network in which to believe members to be, as ADDRESS/BITS; all by default. Several may be
    /// given. Members said to be elsewhere are refused. Seeds may be anywhere.
    #[arg(long, value_name = "CIDR", num_args = 1.., value_parser = network)]
    pub(crate) allow_network: Vec<Network>,
    /// Seed: a member to find the cluster through. Several may be given. Each attempt to join
    /// resolves names again.
    #[arg(long, value_name = "HOST:PORT", num_args = 1.., value_parser = host_port)]
    pub(crate) join: Vec<String>,
    /// File with more seeds, one per line, at least one. Empty lines and lines that start with #
    /// are skipped.
    #[arg(long, value_name = "FILE")]
    pub(crate) seed_file: Option<PathBuf>,
    /// Folder of this agent alone, in which it keeps members that are alive; made if it is missing.
    /// At the next start it tries them if the seeds lead nowhere or there are none.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Registry of the nodes that belong to the cluster: file:PATH, or etcd://HOST:PORT/CLUSTER,
    /// which `tgossip-agent` does not open. Without one, every node that has the key belongs. Give
    /// --state as well, for restarts while the registry is down.
    #[arg(
        long,
        value_name = "URL",
        env = "TGOSSIP_REGISTRY",
        hide_env_values = true,
        value_parser = RegistryLocation
    )]
    pub(crate) registry: Option<Location>,
    /// What to do once the registry no longer names this node.
    #[arg(long, value_enum, default_value_t, requires = "registry")]
    pub(crate) when_removed: WhenRemoved,
    /// Telemetry entry to publish. Several may be given, each with a key of its own.
    #[arg(long = "set", value_name = "KEY=VALUE", num_args = 1.., value_parser = key_value)]
    pub(crate) entries: Vec<(String, String)>,
    /// Where to answer `tgossip members`, `explain`, `accept-loss` and `key`: the path of a socket
    /// to create, which only this user can use, or a TCP address [default: a socket in a folder of
    /// this user, named when the agent starts]
    #[arg(long, value_name = "PATH|ADDR", value_parser = clap::value_parser!(Listen))]
    pub(crate) control: Option<Listen>,
    /// File with the token that clients of a TCP control address present; it is made if it is
    /// missing [default: a new one at each start, which clients of the same user find]
    #[arg(long, value_name = "FILE")]
    pub(crate) control_token_file: Option<PathBuf>,
    /// Allow a TCP control address that other machines can reach. The token crosses the network
    /// in plaintext.
    #[arg(long)]
    pub(crate) allow_remote_control: bool,
    /// Name of the cluster, at most 127 bytes. Nodes with different labels ignore each other.
    #[arg(long, value_name = "NAME", default_value = "", value_parser = label)]
    pub(crate) label: String,
    /// Seal all datagrams under the key in this file (see `tgossip key new`). Several may be given:
    /// the first one seals, all of them open.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "plaintext")]
    pub(crate) key_file: Vec<PathBuf>,
    /// Send datagrams unsealed, so that others on the network can read and forge them. On a
    /// loopback address this is the default.
    #[arg(long)]
    pub(crate) plaintext: bool,
    /// What to do if most members hold another process under this id: wait until it is gone, or
    /// exit with status 1.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) on_conflict: Conflict,
    /// Print one JSON object per line instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// Settings of a node that replace those of its profile.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Protocol settings (the same on all nodes of a cluster)")]
pub(crate) struct Settings {
    /// Settings to begin with. The options below replace single ones; their defaults are those of
    /// lan.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) profile: Profile,
    /// Time between two probes [default: 1s]
    #[arg(long, value_name = "SPAN", value_parser = span, allow_hyphen_values = true)]
    pub(crate) probe_interval: Option<Duration>,
    /// Time to wait for an answer, at most half of the probe interval [default: 300ms]
    #[arg(long, value_name = "SPAN", value_parser = span, allow_hyphen_values = true)]
    pub(crate) probe_timeout: Option<Duration>,
    /// Time between two rounds of gossip [default: 200ms]
    #[arg(long, value_name = "SPAN", value_parser = span, allow_hyphen_values = true)]
    pub(crate) gossip_interval: Option<Duration>,
    /// Fixed time for a suspected member to refute, instead of one that grows with the cluster
    #[arg(long, value_name = "SPAN", value_parser = span, allow_hyphen_values = true)]
    pub(crate) suspicion: Option<Duration>,
    /// Time after which an isolated node accepts the loss of the members that do not answer, and
    /// declares them dead [default: never; see `tgossip accept-loss`]
    #[arg(long, value_name = "SPAN", value_parser = span, allow_hyphen_values = true)]
    pub(crate) isolation_limit: Option<Duration>,
    /// Largest datagram in bytes, 767 to 65507 [default: 1232]
    #[arg(long, value_name = "BYTES", value_parser = mtu, allow_negative_numbers = true)]
    pub(crate) mtu: Option<u16>,
}

/// What to do if most members hold another process under this node's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Conflict {
    /// Be no member, ask every 5 s, and take the id back once the other process is gone.
    #[default]
    Wait,
    /// Exit with status 1.
    Exit,
}

/// What to do once the registry no longer names this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenRemoved {
    /// Leave the cluster and exit with status 5.
    #[default]
    Leave,
    /// Go on and say so. The other nodes answer its pings and tell it nothing.
    Stay,
}

impl From<WhenRemoved> for follow::WhenRemoved {
    fn from(when_removed: WhenRemoved) -> Self {
        match when_removed {
            WhenRemoved::Leave => Self::Leave,
            WhenRemoved::Stay => Self::Stay,
        }
    }
}

/// Settings for a kind of network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// One machine: 250 nodes know of a crash in 1 s.
    Local,
    /// A data centre, round trips up to 50 ms: 250 nodes know of a crash in 4 s.
    #[default]
    Lan,
    /// Several continents, round trips up to 150 ms: 250 nodes know of a crash in 13 s.
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
