//! The arguments of `tgossip key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use telemetry_gossip::transport::KeyId;
use telemetry_gossip_core::NodeId;

use super::AskArgs;
use super::values::{label, node_id};

/// Make a key, or change the keys of a running agent.
#[derive(Debug, Args)]
#[command(after_help = "\
To replace a key without a pause, add the new one to every agent, then use it at every agent, \
then remove the old one from every agent. A change lasts until the agent ends: start the agent \
with the files of the same keys next time, the primary first.

An agent that was down during the change comes back with the old key. No seed answers it, and the \
others say that they drop datagrams under a key that they do not have: stop it, and start it with \
--key-file and the new file.

Example:
  tgossip key new new.key
  tgossip key add new.key --via ./edge-1.sock --key-file old.key
  tgossip key use 5f0c11d2 --via ./edge-1.sock --key-file old.key
  tgossip key remove 93ab40e6 --via ./edge-1.sock --key-file new.key

Exit codes:
  0    done
  1    the agent refused the change, or is not the one that was meant
  2    wrong arguments
  3    a file could not be read or created, or is not a key file
  4    no answer within --timeout, a client that the agent does not serve,
       or a busy agent
  130  interrupted")]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a random key and write it to a new file that only its owner may read.
    New {
        /// File to create; it must not exist.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// List the ids of an agent's keys, the primary first. Ids are not secret.
    List {
        #[command(flatten)]
        ask: AskArgs,
    },
    /// Add a key from a file: the agent then opens datagrams sealed under it.
    Add {
        /// Key file on this machine.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        order: Order,
    },
    /// Make one of the agent's keys its primary: the agent then seals datagrams under it.
    Use {
        /// Id of the key, as `tgossip key list` prints it.
        #[arg(value_name = "ID", value_parser = key_id)]
        id: KeyId,
        #[command(flatten)]
        order: Order,
    },
    /// Remove a key: the agent then refuses datagrams sealed under it.
    Remove {
        /// Id of the key, as `tgossip key list` prints it.
        #[arg(value_name = "ID", value_parser = key_id)]
        id: KeyId,
        #[command(flatten)]
        order: Order,
    },
}

/// The agent to change, and the key that authorizes the change.
#[derive(Debug, Args)]
pub(crate) struct Order {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Id of the agent that is meant. If another one answers, nothing is changed.
    #[arg(long, value_name = "ID", value_parser = node_id)]
    pub(crate) agent: Option<NodeId>,
    /// File with one of the agent's keys. The order is sealed under it; the agent obeys no other.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: PathBuf,
    /// Name of the cluster, as given to the agent.
    #[arg(long, value_name = "NAME", default_value = "", value_parser = label)]
    pub(crate) label: String,
}

fn key_id(text: &str) -> Result<KeyId, String> {
    text.parse().map_err(|error| {
        format!("{error}: type one that tgossip key list prints, such as 5f0c11d2")
    })
}
