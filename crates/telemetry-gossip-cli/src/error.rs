//! What can go wrong in a subcommand, in sentences, and the exit code of each.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Why a subcommand did not succeed.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// Standard output is closed, or full.
    #[error("standard output cannot be written: {0}")]
    Output(#[from] io::Error),
    /// The runtime or the signal handlers could not be set up.
    #[error("the process cannot be set up: {0}")]
    Setup(io::Error),
    /// Two arguments, or an argument and a file's content, contradict each other.
    #[error("{0}")]
    Usage(String),
    /// A step of the demo was not seen.
    #[error("{0}")]
    Step(String),
    /// A simulated run broke a rule or missed an expectation.
    #[error("{what}; repeat the run with:\n  {replay}")]
    Simulation {
        /// How many rules and expectations.
        what: String,
        /// The command.
        replay: String,
    },
    /// The node stopped by itself.
    #[error("{0}")]
    Node(String),
    /// A socket could not be opened.
    #[error(
        "{what} {addr} cannot be listened on: {error}. Is it in use, or of another machine? Port 0 picks a free port"
    )]
    Bind {
        /// Which of the addresses.
        what: &'static str,
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A file could not be read.
    #[error("{} cannot be read: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// No seed has an address.
    #[error(
        "no seed could be resolved to an address ({reason}): check the spelling, or use numbers such as 10.0.0.7:7101"
    )]
    Unresolved {
        /// What was found of each.
        reason: String,
    },
    /// The agent asked does not answer.
    #[error("no agent answers at {via}: {reason}. The agent prints its control address when it starts")]
    NoAnswer {
        /// Whom was asked.
        via: String,
        /// What happened.
        reason: String,
    },
    /// The agent asked serves too many others.
    #[error(
        "the agent at {via} was busy with other clients for {patience:?}: try again, and end what holds connections to it"
    )]
    Busy {
        /// Whom was asked.
        via: String,
        /// For how long.
        patience: Duration,
    },
    /// The user wants it to end.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The process's exit code; `--help` of each subcommand names them.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Output(_) | Self::Step(_) | Self::Simulation { .. } | Self::Node(_) => 1,
            Self::Usage(_) => 2,
            Self::Setup(_) | Self::Bind { .. } | Self::File { .. } => 3,
            Self::Unresolved { .. } | Self::NoAnswer { .. } | Self::Busy { .. } => 4,
            Self::Interrupted => 130,
        }
    }
}
