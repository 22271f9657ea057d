//! Why bytes are no document.

use telemetry_gossip_core::IdError;
use thiserror::Error;

use super::{
    MAX_ADDRESSES, MAX_BYTES, MAX_LABELS, MAX_MEMBERS, MAX_REMOVED, MAX_TEXT, MAX_VERSION,
};

/// Why bytes are no document. The rule that is broken is named, and the node that breaks it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The document is too long.
    #[error("the document has {len} bytes: at most {MAX_BYTES} are read")]
    #[non_exhaustive]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The document is not UTF-8.
    #[error("the document is not UTF-8 from byte {at} on")]
    #[non_exhaustive]
    NotText {
        /// How many bytes before are UTF-8.
        at: usize,
    },
    /// The document is no TOML, or has a key that no document has.
    #[error("line {line} of the document cannot be read: {what}")]
    #[non_exhaustive]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        what: String,
    },
    /// The version is out of range.
    #[error("the document has version {version}: versions go from 1 to {MAX_VERSION}")]
    #[non_exhaustive]
    Version {
        /// The version.
        version: u64,
    },
    /// A version in the document is above that of the document.
    #[error("`{field}` is {value}, above the version of the document, {version}")]
    #[non_exhaustive]
    AboveVersion {
        /// Where the version stands.
        field: String,
        /// The version there.
        value: u64,
        /// The version of the document.
        version: u64,
    },
    /// The document has too many members.
    #[error("the document has {count} members: at most {MAX_MEMBERS} are allowed")]
    #[non_exhaustive]
    TooManyMembers {
        /// How many it has.
        count: usize,
    },
    /// The document has too many removed nodes.
    #[error("the document has {count} removed nodes: at most {MAX_REMOVED} are allowed")]
    #[non_exhaustive]
    TooManyRemoved {
        /// How many it has.
        count: usize,
    },
    /// A name is no node id.
    #[error("`{id}` is no node id: {error}")]
    #[non_exhaustive]
    Id {
        /// The name, at most 64 characters of it.
        id: String,
        /// The rule that it breaks.
        #[source]
        error: IdError,
    },
    /// A node is a member and removed at once.
    #[error("`{id}` is a member and removed at once: delete one of the two entries")]
    #[non_exhaustive]
    Both {
        /// The node.
        id: String,
    },
    /// A node has too many addresses.
    #[error("`{id}` has {count} addresses: at most {MAX_ADDRESSES} are allowed")]
    #[non_exhaustive]
    TooManyAddresses {
        /// The node.
        id: String,
        /// How many it has.
        count: usize,
    },
    /// An address cannot be one.
    #[error("`{address}` of `{id}` is no address: write HOST:PORT, with a port from 1 to 65535")]
    #[non_exhaustive]
    Address {
        /// The node.
        id: String,
        /// The address, at most 64 characters of it.
        address: String,
    },
    /// A node has too many labels.
    #[error("`{id}` has {count} labels: at most {MAX_LABELS} are allowed")]
    #[non_exhaustive]
    TooManyLabels {
        /// The node.
        id: String,
        /// How many it has.
        count: usize,
    },
    /// A text is too long, empty, or has a control character.
    #[error(
        "`{field}` is no plain text: 1 to {MAX_TEXT} bytes are allowed, and no control characters"
    )]
    #[non_exhaustive]
    Text {
        /// Where the text stands.
        field: String,
    },
}
