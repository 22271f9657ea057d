//! Why a command on a registry did not succeed, and its exit code.

use std::path::PathBuf;

use telemetry_gossip_registry::edit::EditError;
use telemetry_gossip_registry::{ClusterId, DocumentError, LocationError, StoreError};
use thiserror::Error;

/// Why a command on a registry did not succeed.
#[derive(Debug, Error)]
pub(crate) enum RegistryError {
    /// No registry is named.
    #[error(
        "no registry is named: type its URL, as in `tgossip registry file:cluster.toml list`, or \
         set TGOSSIP_REGISTRY to it"
    )]
    NoUrl,
    /// The registry cannot be opened.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The store fails.
    #[error("{location}: {error}")]
    Store {
        /// Where the registry is.
        location: String,
        /// What the store says.
        error: StoreError,
    },
    /// What is in the place of the registry cannot be replaced, as its head cannot be read.
    #[error("{location}: {error}: move what is there away, and repeat this command")]
    InTheWay {
        /// Where the registry is.
        location: String,
        /// What the store says.
        error: StoreError,
    },
    /// There is no registry.
    #[error(
        "there is no registry at {location}: `tgossip registry URL init` makes one; if there was \
         one, restore it, or take the list of the fleet by `recover --keep fleet`"
    )]
    Missing {
        /// Where it should be.
        location: String,
    },
    /// A new registry would have no members.
    #[error(
        "a registry has one member at least: name some by `--member ID=ADDR`, a file of them by \
         `--members FILE`, or an agent that knows them by `--via`"
    )]
    NoMembers,
    /// There is a registry already.
    #[error(
        "there is a registry at {location} already, with version {version}: `add` and `import` \
         change it"
    )]
    Exists {
        /// Where it is.
        location: String,
        /// Its newest version.
        version: u64,
    },
    /// The registry is empty or missing, and live members have a list in force.
    #[error(
        "there is no registry at {location}, and {id} has version {version} of one in force: \
         check the URL; if the registry is lost, restore it, or write the list of the fleet by \
         `recover --keep fleet`"
    )]
    Lost {
        /// Where it should be.
        location: String,
        /// A live member.
        id: String,
        /// The version that it has.
        version: u64,
    },
    /// A live member has a newer version in force than the registry has.
    #[error(
        "{location} has version {store}, and {id} has version {version} in force: the registry \
         was rolled back, as by a restore from a backup: nothing was written: end it by `recover`; \
         if no registry ever had that version, {id} is not to be believed: remove it without \
         `--via`"
    )]
    Behind {
        /// Where the registry is.
        location: String,
        /// The newest version there.
        store: u64,
        /// The live member with the highest version.
        id: String,
        /// The version that it has.
        version: u64,
    },
    /// A live member has a newer version in force than the agent that is asked.
    #[error(
        "{node} has version {agent} in force, and {id} has version {version}: nothing was \
         written: repeat this with `--via` and an agent that has the newest version; if no \
         registry ever had that version, remove {id} first, without `--via`"
    )]
    AgentBehind {
        /// The agent that was asked.
        node: String,
        /// Its version.
        agent: u64,
        /// The live member with the highest version.
        id: String,
        /// The version that it has.
        version: u64,
    },
    /// The agent has no list.
    #[error(
        "the agent {node} has no list in force that could be kept: name one by `--via` that has \
         been a member"
    )]
    NoList {
        /// The agent that was asked.
        node: String,
    },
    /// The agent follows the registry of another cluster.
    #[error(
        "the agent follows the registry of cluster {theirs}, and this one is that of {ours}: check \
         the URL, and the address of the agent"
    )]
    OtherCluster {
        /// The cluster of the agent.
        theirs: ClusterId,
        /// The cluster of the registry.
        ours: ClusterId,
    },
    /// There is nothing to recover from.
    #[error(
        "the registry and the fleet have the same list, version {version}: there is nothing to \
         recover from"
    )]
    NothingToRecover {
        /// The version of both.
        version: u64,
    },
    /// A rule forbids the edit.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The list is not made from the newest version.
    #[error("{error}. Against version {newest}, the list would mean:\n{difference}")]
    Imported {
        /// The rule.
        error: EditError,
        /// The newest version.
        newest: u64,
        /// What the list changes, a line per node.
        difference: String,
    },
    /// Another operator was first, again and again.
    #[error(
        "{location}: another operator was first (tries: {tries}): nothing was written: try again \
         once that one is done"
    )]
    Conflict {
        /// Where the registry is.
        location: String,
        /// How often the write was tried.
        tries: usize,
    },
    /// A file has no list, or no document.
    #[error("{} cannot be used: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The rule that it breaks.
        error: DocumentError,
    },
    /// A node is given twice.
    #[error("`{id}` is given twice: give each node once")]
    Twice {
        /// The node.
        id: String,
    },
    /// No such node has knocked.
    #[error(
        "no node called `{id}` has asked {via} to join since it started: `pending` lists those \
         that did, and `add` adds any node"
    )]
    NotPending {
        /// Control address of the agent.
        via: String,
        /// The node.
        id: String,
    },
    /// What the check has found; it is printed already.
    #[error("{0}")]
    Unsound(String),
}

impl RegistryError {
    /// What is wrong with the registry itself, if that is the error.
    pub(super) fn damage(self) -> Result<StoreError, Self> {
        use StoreError as E;
        match self {
            Self::Store { error: E::Unreachable(_) | E::Refused(_) | E::Unwritable(_), .. } => {
                Err(self)
            }
            Self::Store { error, .. } => Ok(error),
            other => Err(other),
        }
    }

    /// The exit code of the process.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Unsound(_) => 1,
            Self::NoUrl | Self::Twice { .. } => 2,
            Self::Location(LocationError::File { .. })
            | Self::File { .. }
            | Self::InTheWay { .. } => 3,
            Self::Location(_) => 2,
            Self::Store { error, .. } => match error {
                StoreError::Unreachable(_) | StoreError::Refused(_) => 4,
                _ => 3,
            },
            Self::Missing { .. } | Self::NotPending { .. } => 5,
            Self::Edit(EditError::OtherBase { .. })
            | Self::Imported { .. }
            | Self::Conflict { .. } => 7,
            Self::NoMembers
            | Self::Exists { .. }
            | Self::Lost { .. }
            | Self::Behind { .. }
            | Self::AgentBehind { .. }
            | Self::NoList { .. }
            | Self::OtherCluster { .. }
            | Self::NothingToRecover { .. }
            | Self::Edit(_) => 6,
        }
    }
}
