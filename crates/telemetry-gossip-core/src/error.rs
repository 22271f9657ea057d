//! The errors of [`Node::handle`](crate::Node::handle), split by which side is to blame.

use thiserror::Error;

/// Why an input was refused. A refused input changes nothing but a counter, and what
/// the host is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InputError {
    /// A datagram breaks a rule of the wire format. The sender is to blame.
    #[error("bad datagram: {0}")]
    Datagram(#[from] WireError),
    /// A command cannot be carried out. The host is to blame.
    #[error("bad command: {0}")]
    Command(#[from] CommandError),
}

/// Which rule a datagram breaks. The sender is to blame; the datagram is ignored and counted in
/// [`Stats`](crate::Stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// It is longer than any datagram of this protocol.
    #[error("{len} bytes are more than {max}")]
    #[non_exhaustive]
    TooLong {
        /// The length of the datagram.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// It ends in the middle of something.
    #[error("truncated")]
    Truncated,
    /// It has a version of the protocol that this node does not support.
    #[error("version {0} is not supported")]
    Version(u8),
    /// It belongs to another cluster.
    #[error("the label of another cluster")]
    Label,
    /// The contents of a frame do not fit its kind.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A field has a value that its rule forbids.
    #[error("{field} breaks its rule: {rule}")]
    #[non_exhaustive]
    Rule {
        /// The field.
        field: &'static str,
        /// The rule.
        rule: &'static str,
    },
}

/// Why a command was refused. The host is to blame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The node has left, or lost its id to another process.
    #[error("the node has left, or lost its id to another process: start a new node")]
    Inactive,
    /// A telemetry key is empty or longer than [`Config::max_key`](crate::Config::max_key).
    #[error("a telemetry key has 1 to {max} bytes, this one has {len}")]
    #[non_exhaustive]
    Key {
        /// The length of the key.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A telemetry value is longer than [`Config::max_value`](crate::Config::max_value).
    #[error("a telemetry value has at most {max} bytes, this one has {len}")]
    #[non_exhaustive]
    Value {
        /// The length of the value.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The node's telemetry would exceed [`Config::max_telemetry`](crate::Config::max_telemetry).
    #[error(
        "telemetry would grow to {len} bytes, the limit is {max}, and each entry takes 14 bytes \
         beside its key and its value: unpublish an entry first"
    )]
    #[non_exhaustive]
    TelemetryFull {
        /// The size that it would have.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The node would publish too many telemetry entries.
    #[error("a node publishes at most {max} telemetry entries: unpublish one first")]
    #[non_exhaustive]
    TelemetryEntries {
        /// The limit.
        max: usize,
    },
    /// The table has no room for another member.
    #[error("the table is full with {max} members")]
    #[non_exhaustive]
    TableFull {
        /// The limit.
        max: u32,
    },
    /// The queue of probes or exchanges is full.
    #[error("{max} commands of this kind are waiting already: try again later")]
    #[non_exhaustive]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// A cluster config of this or a higher version is already applied.
    #[error("cluster config version {version} is not above {applied}, which is in force")]
    #[non_exhaustive]
    StaleClusterConfig {
        /// The refused version.
        version: u64,
        /// The version in force.
        applied: u64,
    },
    /// A cluster config does not name this node, which would have to leave.
    #[error("the cluster config does not name this node: let the node leave instead")]
    NotInClusterConfig,
    /// The cluster config in force does not name the introduced member.
    #[error("the cluster config does not name the introduced member")]
    MemberNotInClusterConfig,
    /// A join has no seed.
    #[error("a join needs at least one seed other than the node itself")]
    NoSeeds,
    /// A generation is too far ahead to be refuted.
    #[error("generation {generation} is too far ahead to be refuted")]
    #[non_exhaustive]
    Generation {
        /// The generation.
        generation: u64,
    },
}
