//! The arguments of `tgossip key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use telemetry_gossip::transport::KeyId;

use super::{host_port, label};

/// Make a key, or change the keys of a running agent.
#[derive(Debug, Args)]
#[command(after_help = "\
A key is replaced without a pause: add the new one to every agent, then use it at every agent, then
remove the old one from every agent. What is changed lasts until the agent ends: give the files of
the same keys, the primary first, to its next start.

Example:
  tgossip key new new.key
  tgossip key add new.key --via 127.0.0.1:7201 --key-file old.key
  tgossip key use 5f0c11d2 --via 127.0.0.1:7201 --key-file old.key
  tgossip key remove 93ab40e6 --via 127.0.0.1:7201 --key-file new.key

Exit codes:
  0    done
  1    the agent refused the change
  2    wrong arguments
  3    a file could not be read or made, or is no key file
  4    no answer, or the agent is busy with others for 10 s
  130  interrupted")]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a new random key and a file for it, which only its owner may read; a file that exists
    /// is left alone.
    New {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// List the ids of an agent's keys, the primary first. Ids are no secrets.
    List {
        #[command(flatten)]
        via: Via,
    },
    /// Add the key of a file: the agent opens what is sealed under it.
    Add {
        /// The file, on this machine.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        order: Order,
    },
    /// Make a key of the agent its primary, under which it seals.
    Use {
        /// The key's id, as `tgossip key list` prints it.
        #[arg(value_name = "ID", value_parser = key_id)]
        id: KeyId,
        #[command(flatten)]
        order: Order,
    },
    /// Remove a key: the agent no longer opens what is sealed under it.
    Remove {
        /// The key's id, as `tgossip key list` prints it.
        #[arg(value_name = "ID", value_parser = key_id)]
        id: KeyId,
        #[command(flatten)]
        order: Order,
    },
}

/// Whom to ask.
#[derive(Debug, Args)]
pub(crate) struct Via {
    /// The agent's control address, as the agent printed it.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    pub(crate) via: String,
}

/// Whom to order, and what shows the right to.
#[derive(Debug, Args)]
pub(crate) struct Order {
    #[command(flatten)]
    pub(crate) via: Via,
    /// A key that the agent has: the order is sealed under it, and the agent takes no other.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: PathBuf,
    /// The cluster's name, as the agent was given it.
    #[arg(long, value_name = "NAME", default_value = "", value_parser = label)]
    pub(crate) label: String,
}

fn key_id(text: &str) -> Result<KeyId, String> {
    text.parse().map_err(|error| {
        format!("{error}: type one that tgossip key list prints, such as 5f0c11d2")
    })
}
