//! What can go wrong in a subcommand, in sentences, and the exit code of each.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use telemetry_gossip::transport::KeyFileError;
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
    /// Seeds of a swarm failed, or what has to happen did not.
    #[error("{0}")]
    Swarm(String),
    /// The node stopped by itself.
    #[error("{0}")]
    Node(String),
    /// A socket could not be opened.
    #[error("{what} {addr} cannot be listened on: {error}. {}", bind_hint(*addr, error))]
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
    /// A file could not be written.
    #[error("{} cannot be written: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A record cannot be replayed.
    #[error("{0}")]
    Record(#[from] telemetry_gossip_recorder::PlaybackError),
    /// A replay is not what was recorded.
    #[error("{0}")]
    Replay(String),
    /// A key file breaks a rule.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The agent has no keys, or did not change them.
    #[error("the agent at {via} refuses: {reason}")]
    KeysRefused {
        /// Whom was asked.
        via: String,
        /// Why.
        reason: String,
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
    #[error(
        "no agent answers at {via}: {reason}. The agent prints its control address when it starts"
    )]
    NoAnswer {
        /// Whom was asked.
        via: String,
        /// What happened.
        reason: String,
    },
    /// The agent asked does not know the member.
    #[error(
        "the agent at {via} knows no member called `{id}`: tgossip members --via {via} lists those it knows"
    )]
    UnknownMember {
        /// Whom was asked.
        via: String,
        /// About whom.
        id: String,
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
            Self::Output(_)
            | Self::Step(_)
            | Self::Simulation { .. }
            | Self::Swarm(_)
            | Self::Node(_)
            | Self::Replay(_)
            | Self::KeysRefused { .. } => 1,
            Self::Usage(_) => 2,
            Self::Setup(_)
            | Self::Bind { .. }
            | Self::File { .. }
            | Self::KeyFile(_)
            | Self::Record(_)
            | Self::Unwritable { .. } => 3,
            Self::Unresolved { .. }
            | Self::NoAnswer { .. }
            | Self::UnknownMember { .. }
            | Self::Busy { .. } => 4,
            Self::Interrupted => 130,
        }
    }
}

/// What to do about an address that cannot be listened on.
fn bind_hint(addr: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse if addr.port() == 0 => {
            "No port is free: end some programs, or start fewer nodes".to_owned()
        }
        io::ErrorKind::AddrInUse => {
            format!("Another process has port {}: type another one, or 0 for a free one", addr.port())
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("No interface of this machine has {}: type an address of it", addr.ip())
        }
        io::ErrorKind::PermissionDenied => "Type a port of 1024 or more, or 0 for a free one".to_owned(),
        // The system's own words say which limit: on open files, most often.
        _ => "Start fewer nodes, or raise the limit that the system names (ulimit -n, for open files)"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_listened_on_is_answered_with_what_fits_the_reason() {
        let said = |port, kind: io::ErrorKind| {
            let addr = SocketAddr::from(([10, 0, 0, 7], port));
            Error::Bind { what: "the UDP address", addr, error: kind.into() }.to_string()
        };
        assert!(
            said(7_101, io::ErrorKind::AddrInUse)
                .ends_with("port 7101: type another one, or 0 for a free one")
        );
        assert!(said(0, io::ErrorKind::AddrInUse).contains("No port is free"));
        assert!(said(0, io::ErrorKind::AddrNotAvailable).contains("has 10.0.0.7: type"));
        assert!(said(80, io::ErrorKind::PermissionDenied).contains("1024 or more"));
    }
}
