//! The document: which nodes belong to a cluster, and which no longer do.
//!
//! Every version of the list is one document, a TOML file that people can read and write. The same
//! bytes are the file of a `file:` store and the value in etcd, so there is one parser:
//!
//! ```toml
//! cluster = "7f0c2f3e-5a1d-4b7e-9c55-0d4c1b7f7a10"
//! label = "prod"
//! version = 42
//!
//! [members.edge-7]
//! addresses = ["10.0.0.7:7946"]
//! labels = { zone = "eu-1" }
//! seed = true
//! since = 42
//!
//! [removed.edge-9]
//! addresses = ["10.0.0.9:7946"]
//! since = 12
//! removed = 41
//! by = "ana"
//! why = "stolen"
//! ```
//!
//! `cluster`, `version` and the names of the members suffice, so that a template can write it. All
//! else has a default. A [`Document`] that exists keeps every rule of [`DocumentError`]; an
//! [`Edition`] is a document together with the bytes that say it and their hash.

mod error;
mod ids;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use telemetry_gossip_core::NodeId;

pub use error::DocumentError;
pub use ids::{ClusterId, ClusterIdError, DocumentHash, DocumentHashError};

/// The longest document, in bytes: 10,000 members take about 1 MB.
pub const MAX_BYTES: usize = 8 << 20;

/// The most members of a document.
pub const MAX_MEMBERS: usize = 100_000;

/// The most removed nodes that a document remembers. An edit that removes more forgets those that
/// were removed first.
pub const MAX_REMOVED: usize = 10_000;

/// The most addresses of a member.
pub const MAX_ADDRESSES: usize = 8;

/// The most labels of a member.
pub const MAX_LABELS: usize = 16;

/// The longest text in a document, in bytes: a label, a reason, the name of an operator.
pub const MAX_TEXT: usize = 255;

/// The highest version. Every program that reads JSON keeps it exactly (RFC 8259, section 6).
pub const MAX_VERSION: u64 = 1 << 53;

/// Whether a text may stand in a document or a head: no longer than [`MAX_TEXT`], and on one line.
pub(crate) fn is_plain(text: &str) -> bool {
    text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
}

/// One version of the list of nodes that belong to a cluster.
///
/// ```
/// use telemetry_gossip_registry::Document;
///
/// let document = Document::parse(
///     br#"
///         cluster = "7f0c2f3e-5a1d-4b7e-9c55-0d4c1b7f7a10"
///         version = 3
///         [members]
///         edge-1 = { addresses = ["10.0.0.1:7946"], seed = true }
///         edge-2 = {}
///     "#,
/// )?;
/// assert_eq!(document.version(), 3);
/// assert!(document.member("edge-2").is_some());
/// # Ok::<(), telemetry_gossip_registry::DocumentError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub(crate) cluster: ClusterId,
    pub(crate) label: String,
    pub(crate) version: u64,
    pub(crate) previous: Option<DocumentHash>,
    pub(crate) forced: u64,
    pub(crate) recovered: u64,
    pub(crate) members: BTreeMap<NodeId, Member>,
    pub(crate) removed: BTreeMap<NodeId, Removed>,
}

/// A node that belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Where to try to reach it, as `HOST:PORT`. Gossip says where it is.
    pub addresses: Vec<String>,
    /// What operators say of it, such as its zone.
    pub labels: BTreeMap<String, String>,
    /// Whether newcomers try it before others.
    pub seed: bool,
    /// The version since which this machine is the node. A machine that was the node before an
    /// operator replaced it has a lower one. Zero if the document does not say.
    pub since: u64,
    /// The `since` of the other machine that was the node: the one that this one has replaced, or
    /// that had replaced this one before it was taken back.
    pub replaced: Option<u64>,
}

impl Member {
    /// A member at these addresses.
    #[must_use]
    pub fn at(addresses: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let addresses = addresses.into_iter().map(Into::into).collect();
        Self { addresses, ..Self::default() }
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Sets whether newcomers try it before others.
    #[must_use]
    pub fn seed(mut self, seed: bool) -> Self {
        self.seed = seed;
        self
    }
}

/// A node that belonged once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// The version that removed it.
    pub removed: u64,
    /// The operator who removed it; empty if the document does not say.
    pub by: String,
    /// Why it was removed; empty if the document does not say.
    pub why: String,
    /// What the document said of it as a member, so that it can be taken back.
    pub was: Member,
}

impl Document {
    /// Reads a document and checks every rule.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        text::read(bytes)
    }

    /// Reads the table `[members]` of a TOML file, as a list of nodes to be added has it. Whatever
    /// else stands in the file is passed over, so that a document is such a list, too.
    pub fn parse_members(bytes: &[u8]) -> Result<BTreeMap<NodeId, Member>, DocumentError> {
        text::read_members(bytes)
    }

    /// The id of the cluster.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The name of the cluster, from which nodes make their gossip label; empty if it has none.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The version, from 1.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The hash of the version before, if the document says it.
    #[must_use]
    pub fn previous(&self) -> Option<DocumentHash> {
        self.previous
    }

    /// The last version up to this one that an operator forced past the guard of the nodes; zero if
    /// there is none.
    #[must_use]
    pub fn forced(&self) -> u64 {
        self.forced
    }

    /// The last version up to this one by which an operator ended a fork of the history; zero if
    /// there is none.
    #[must_use]
    pub fn recovered(&self) -> u64 {
        self.recovered
    }

    /// The nodes that belong, in the order of their ids.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (NodeId, &Member)> {
        self.members.iter().map(|(id, member)| (*id, member))
    }

    /// The ids of the nodes that belong, in their order.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.members.keys().copied().collect()
    }

    /// The nodes that belonged once, in the order of their ids.
    pub fn removed(&self) -> impl ExactSizeIterator<Item = (NodeId, &Removed)> {
        self.removed.iter().map(|(id, removed)| (*id, removed))
    }

    /// What the document says of the member called `id`.
    #[must_use]
    pub fn member(&self, id: &str) -> Option<&Member> {
        NodeId::new(id).ok().and_then(|id| self.members.get(&id))
    }

    /// What the document says of the removed node called `id`.
    #[must_use]
    pub fn removed_node(&self, id: &str) -> Option<&Removed> {
        NodeId::new(id).ok().and_then(|id| self.removed.get(&id))
    }
}

/// A document, the bytes that say it, and their hash. A clone shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edition {
    document: Arc<Document>,
    bytes: Arc<[u8]>,
    hash: DocumentHash,
}

impl Edition {
    /// Reads a document.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document = Arc::new(Document::parse(bytes)?);
        Ok(Self { document, bytes: bytes.into(), hash: DocumentHash::of(bytes) })
    }

    /// Writes a document, and reads it again, so that no rule is broken by writing.
    pub(crate) fn write(document: &Document) -> Result<Self, DocumentError> {
        Self::parse(text::write(document).as_bytes())
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The hash of its bytes.
    #[must_use]
    pub fn hash(&self) -> DocumentHash {
        self.hash
    }

    /// The version of the document.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.document.version
    }
}
