//! The errors of an agent: why it does not start, and why it did not do what it was asked.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use telemetry_gossip_core::{CommandError, ConfigError};
use telemetry_gossip_seal::OVERHEAD;
use thiserror::Error;

use crate::state::StateError;
use crate::telemetry::ValueError;

/// Why a node cannot be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// A setting breaks its rule.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The MTU leaves too little room beside the seal of each datagram.
    #[error(
        "mtu {mtu} is too small for sealed datagrams, of which the seal takes {OVERHEAD} bytes: \
         {error}"
    )]
    #[non_exhaustive]
    SealedMtu {
        /// The MTU.
        mtu: u16,
        /// The rule that the rest of the MTU breaks.
        #[source]
        error: ConfigError,
    },
    /// The cluster config does not name the node.
    #[error("the cluster config cannot be applied: {0}")]
    ClusterConfig(#[source] CommandError),
    /// The system provided no randomness.
    #[error("the system provided no randomness for the node: {0}")]
    Entropy(#[source] io::Error),
    /// The folder of the record cannot be created or written to.
    #[error("the record in {} cannot be started: {error}", folder.display())]
    #[non_exhaustive]
    Record {
        /// The folder.
        folder: PathBuf,
        /// The error of the system.
        #[source]
        error: io::Error,
    },
    /// The state folder cannot be used, or another node uses it.
    #[error(transparent)]
    State(#[from] StateError),
    /// A node with a shared table was to be recorded.
    #[error(
        "a node whose table is shared with the host cannot be recorded: changes by the host would \
         be missing from the record"
    )]
    RecordShared,
    /// The transport is closed, so that the node would hear nothing.
    #[error(
        "the transport is closed, or the runtime that it was made on has ended: make another \
         transport, on a runtime that outlives the node"
    )]
    TransportClosed,
    /// A node and an exchange were to share a transport. They would answer others as two members.
    #[error(
        "a node or an exchange already runs on this transport, and a node shares none with an \
         exchange: give each a transport of its own; a node exchanges by itself, and at once by \
         `exchange`"
    )]
    TransportTaken,
    /// There is no tokio runtime to run the node on.
    #[error("no tokio runtime is running: start the node from within one")]
    NoRuntime,
}

/// Why an agent did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The agent was shut down, its transport was closed, or its runtime ended.
    #[error("the node has ended: it was shut down, or its transport or runtime is gone")]
    Closed,
    /// The node refused: the command breaks a rule, or the node has left or lost its id.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The command took longer than the caller wanted to wait. It may still be carried out.
    #[error("not done within {0:?}; it may still be carried out")]
    Timeout(Duration),
    /// The list of seeds is empty.
    #[error("there is nothing to join through, as the list of seeds is empty: give one at least")]
    NoSeeds,
    /// The node has left, and no other member has confirmed that it heard of that. Those that did
    /// not will find it dead by probing.
    #[error(
        "the node has left, but no other member has answered that it heard: they find out by \
         probing"
    )]
    Unheard,
    /// None of the seeds has an address. The text names each seed and its reason.
    #[error("no seed can be resolved: {0}")]
    Resolve(String),
    /// The value has no encoded form.
    #[error(transparent)]
    Value(#[from] ValueError),
}
