//! The one error of the facade.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use telemetry_gossip_core::{CommandError, IdError};
use telemetry_gossip_tokio::{AgentError, NameError, SpawnError, ValueError};

/// Why a node, a detector or an exchange did not do what it was asked.
///
/// [`NodeError::kind`] is for programs, the text for people. [`NodeError::source`](Error::source)
/// is the typed error below, if there is one, such as a
/// [`CommandError`](telemetry_gossip_core::CommandError) or a
/// [`ConfigError`](telemetry_gossip_core::ConfigError); its text is a part of this error's.
///
/// ```
/// use telemetry_gossip::node::{GossipNode, NodeErrorKind};
///
/// let error = GossipNode::builder("line\nbreak").unwrap_err();
/// assert_eq!(error.kind(), NodeErrorKind::Id);
/// assert!(error.to_string().contains("a node id has no control characters"), "{error}");
/// ```
#[derive(Debug)]
pub struct NodeError {
    kind: NodeErrorKind,
    text: Cow<'static, str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What went wrong, from [`NodeError::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeErrorKind {
    /// The id of a node breaks the rule of ids.
    Id,
    /// A seed cannot be the name of a node: over UDP it is `host:port`, in memory a node id. Or a
    /// list of seeds to join through is empty.
    Seed,
    /// A setting breaks its rule, or leaves too little room for the seal.
    Config,
    /// The node runs, so that its settings cannot be changed.
    Running,
    /// The node has not been started yet.
    NotStarted,
    /// The node has ended: it was shut down, or its transport or runtime is gone. At a start: the
    /// transport is closed.
    Closed,
    /// A node and an exchange were to share a transport.
    TransportTaken,
    /// No tokio runtime is running.
    Runtime,
    /// The system failed: it provided no randomness, the record cannot be started, or the state
    /// folder cannot be used or another node uses it.
    System,
    /// The node refused the command: it breaks a rule, or the node has left or lost its id.
    Refused,
    /// It was not done in time; it may still be carried out.
    Timeout,
    /// The node has left, and no other member has answered that it heard.
    Unheard,
    /// None of the seeds has an address.
    Unresolved,
    /// A value has no encoded form.
    Value,
    /// No partner of an exchange answered.
    NoAnswer,
}

impl NodeError {
    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> NodeErrorKind {
        self.kind
    }

    pub(crate) const fn new(kind: NodeErrorKind, text: &'static str) -> Self {
        Self { kind, text: Cow::Borrowed(text), source: None }
    }

    pub(crate) fn because(
        kind: NodeErrorKind,
        text: String,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self { kind, text: text.into(), source: Some(Box::new(source)) }
    }

    /// The text is not a node id.
    pub(crate) fn id(text: &str, error: IdError) -> Self {
        Self::because(NodeErrorKind::Id, format!("{text:?} is not a node id: {error}"), error)
    }

    pub(crate) const fn not_started() -> Self {
        Self::new(
            NodeErrorKind::NotStarted,
            "the node is not started: call GossipNode::start first, or try_start to learn why it \
             does not start",
        )
    }

    pub(crate) const fn running() -> Self {
        Self::new(
            NodeErrorKind::Running,
            "the node is running, and its settings cannot be changed: shut it down first",
        )
    }

    pub(crate) fn no_answer(partner: Option<&str>) -> Self {
        let text = partner.map_or(Cow::Borrowed("no partner answered"), |partner| {
            Cow::Owned(format!("no answer from {partner}, the last of three partners"))
        });
        Self { kind: NodeErrorKind::NoAnswer, text, source: None }
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for NodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<NameError> for NodeError {
    fn from(error: NameError) -> Self {
        Self::because(NodeErrorKind::Seed, format!("bad seed: {error}"), error)
    }
}

impl From<CommandError> for NodeError {
    fn from(error: CommandError) -> Self {
        Self::because(NodeErrorKind::Refused, format!("refused: {error}"), error)
    }
}

impl From<ValueError> for NodeError {
    fn from(error: ValueError) -> Self {
        Self::because(NodeErrorKind::Value, error.to_string(), error)
    }
}

impl From<SpawnError> for NodeError {
    fn from(error: SpawnError) -> Self {
        let text = format!("the node cannot start: {error}");
        match error {
            SpawnError::Config(error) => Self::because(NodeErrorKind::Config, text, error),
            SpawnError::SealedMtu { error, .. } => {
                Self::because(NodeErrorKind::Config, text, error)
            }
            SpawnError::Entropy(error) | SpawnError::Record { error, .. } => {
                Self::because(NodeErrorKind::System, text, error)
            }
            SpawnError::TransportClosed => {
                Self { kind: NodeErrorKind::Closed, text: text.into(), source: None }
            }
            SpawnError::TransportTaken => {
                Self { kind: NodeErrorKind::TransportTaken, text: text.into(), source: None }
            }
            SpawnError::NoRuntime => {
                Self { kind: NodeErrorKind::Runtime, text: text.into(), source: None }
            }
            other => Self::because(NodeErrorKind::System, text, other),
        }
    }
}

impl From<AgentError> for NodeError {
    fn from(error: AgentError) -> Self {
        let kind = match error {
            AgentError::Command(error) => return error.into(),
            AgentError::Value(error) => return error.into(),
            AgentError::Timeout(_) => NodeErrorKind::Timeout,
            AgentError::NoSeeds => NodeErrorKind::Seed,
            AgentError::Unheard => NodeErrorKind::Unheard,
            AgentError::Resolve(_) => NodeErrorKind::Unresolved,
            _ => NodeErrorKind::Closed,
        };
        Self { kind, text: error.to_string().into(), source: None }
    }
}
