//! The errors of subcommands: their messages and exit codes.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use telemetry_gossip::transport::KeyFileError;
use telemetry_gossip_tokio::StateError;
use thiserror::Error;

/// Why a subcommand did not succeed.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// Standard output is closed or full.
    #[error("standard output cannot be written: {0}")]
    Output(#[from] io::Error),
    /// The runtime or the signal handlers could not be set up.
    #[error("the process cannot be set up: {0}")]
    Setup(io::Error),
    /// An argument is wrong by itself, or contradicts another one or the contents of a file.
    #[error("{0}")]
    Usage(String),
    /// The demo did not see a step, or an experiment missed a goal.
    #[error("{0}")]
    Step(String),
    /// A simulated run violated a rule or missed an expectation.
    #[error("{what}; repeat the run with:\n  {replay}")]
    Simulation {
        /// The number of violations and missed expectations, in words.
        what: String,
        /// The command that repeats the run.
        replay: String,
    },
    /// Seeds of a swarm failed, or something that they must cover never happened.
    #[error("{0}")]
    Swarm(String),
    /// The node stopped on its own.
    #[error("{0}")]
    Node(String),
    /// A socket could not be opened.
    #[error("{what} {addr} cannot be opened: {error}. {}", bind_hint(*addr, error))]
    Bind {
        /// The use of the address.
        what: &'static str,
        /// The address.
        addr: SocketAddr,
        /// The error of the system.
        error: io::Error,
    },
    /// The control socket could not be opened.
    #[error("the control socket {} cannot be opened: {reason}", path.display())]
    ControlSocket {
        /// The path of the socket.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A file could not be read.
    #[error("{} cannot be read: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// A file could not be written.
    #[error("{} cannot be written: {error}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
    /// A record cannot be replayed.
    #[error("{0}")]
    Record(#[from] telemetry_gossip_recorder::PlaybackError),
    /// A replay differs from its record.
    #[error("{0}")]
    Replay(String),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A key file violates a rule.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The agent did not do what was asked, as it has no keys or no registry, say.
    #[error("the agent at {via} refused the request: {reason}")]
    AgentRefused {
        /// Control address of the agent.
        via: String,
        /// The reason that the agent gave.
        reason: String,
    },
    /// The order was for another agent than the one that answers.
    #[error(
        "the agent at {via} is `{node}` and not `{meant}`, for which the order is: nothing was \
         changed. Type the control address of `{meant}`"
    )]
    AnotherAgent {
        /// Control address of the agent.
        via: String,
        /// The id that the user typed.
        meant: String,
        /// The id of the agent.
        node: String,
    },
    /// The registry no longer names this node.
    #[error("{0}")]
    Gone(String),
    /// The registry is that of another cluster.
    #[error("{0}")]
    OtherRegistry(String),
    /// A file that the location of the registry names cannot be used.
    #[error("--registry: {0}")]
    RegistryFile(telemetry_gossip_registry::LocationError),
    /// The agent does not serve this client.
    #[error("the agent at {via} does not serve this client: {reason}")]
    Denied {
        /// Control address of the agent.
        via: String,
        /// The reason that the agent or the system gave.
        reason: String,
    },
    /// The agent does not answer.
    #[error(
        "no agent answers at {via}: {reason}. Type the control address that the agent printed when \
         it started"
    )]
    NoAnswer {
        /// Control address that was asked.
        via: String,
        /// What happened.
        reason: String,
    },
    /// The agent does not know the member.
    #[error(
        "the agent at {via} knows no member called `{id}`: `tgossip members --via {via}` lists \
         the members that it knows"
    )]
    UnknownMember {
        /// Control address of the agent.
        via: String,
        /// Id of the member.
        id: String,
    },
    /// The replayed node did not know the member.
    #[error("the node knew no member called `{id}` at that time: --members lists those it knew")]
    UnknownThen {
        /// Id of the member.
        id: String,
    },
    /// The record ends before the time at which the replay was to stop.
    #[error(
        "the record ends at {end}, before the time of --at: what is printed is as of its end. \
         Leave --at out for that, or name the folder of all files"
    )]
    BeyondRecord {
        /// When the record ends.
        end: String,
    },
    /// The agent serves too many other clients.
    #[error(
        "the agent at {via} was busy with other clients for {waited:?}: end the programs that keep \
         connections to it open, and try again"
    )]
    Busy {
        /// Control address of the agent.
        via: String,
        /// How long the client repeated its request.
        waited: Duration,
    },
    /// The user ended the command.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The exit code of the process; the help of each subcommand lists its codes.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Output(_)
            | Self::Step(_)
            | Self::Simulation { .. }
            | Self::Swarm(_)
            | Self::Node(_)
            | Self::Replay(_)
            | Self::AnotherAgent { .. }
            | Self::AgentRefused { .. } => 1,
            Self::Usage(_) => 2,
            Self::Setup(_)
            | Self::Bind { .. }
            | Self::ControlSocket { .. }
            | Self::File { .. }
            | Self::KeyFile(_)
            | Self::State(_)
            | Self::Record(_)
            | Self::RegistryFile(_)
            | Self::Unwritable { .. } => 3,
            Self::NoAnswer { .. } | Self::Denied { .. } | Self::Busy { .. } => 4,
            Self::UnknownMember { .. }
            | Self::UnknownThen { .. }
            | Self::BeyondRecord { .. }
            | Self::Gone(_) => 5,
            Self::OtherRegistry(_) => 6,
            Self::Interrupted => 130,
        }
    }
}

/// Suggests what to do about an address that cannot be opened.
fn bind_hint(addr: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse if addr.port() == 0 => {
            "No port is free: end some programs, or start fewer nodes".to_owned()
        }
        io::ErrorKind::AddrInUse => format!(
            "Another process uses port {}: type another port, or 0 for a free one",
            addr.port()
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "No interface of this machine has the address {}: type an address of this machine",
            addr.ip()
        ),
        io::ErrorKind::PermissionDenied => {
            "Ports below 1024 need privileges: type a port of 1024 or more, or 0 for a free one"
                .to_owned()
        }
        // The message of the system names the limit, most often that on open files.
        _ => "Start fewer nodes, or raise the limit that the system names (ulimit -n, for open \
              files)"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_for_an_address_fits_the_error_of_the_system() {
        let said = |port, kind: io::ErrorKind| {
            let addr = SocketAddr::from(([10, 0, 0, 7], port));
            Error::Bind { what: "the UDP address", addr, error: kind.into() }.to_string()
        };
        assert!(
            said(7_101, io::ErrorKind::AddrInUse)
                .ends_with("uses port 7101: type another port, or 0 for a free one")
        );
        assert!(said(0, io::ErrorKind::AddrInUse).contains("No port is free"));
        assert!(said(0, io::ErrorKind::AddrNotAvailable).contains("address 10.0.0.7: type"));
        assert!(said(80, io::ErrorKind::PermissionDenied).contains("1024 or more"));
    }
}
