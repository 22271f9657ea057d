//! Errors of [`Node::handle`](crate::Node::handle), split by who is to blame.

use thiserror::Error;

/// Why an input was refused. A refused input changes nothing but a counter.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InputError {
    /// A peer sent a datagram that breaks a rule of the wire.
    #[error("bad datagram: {0}")]
    Datagram(#[from] WireError),
    /// The host asked for something that cannot be.
    #[error("bad command: {0}")]
    Command(#[from] CommandError),
}

/// What is wrong with a datagram. The sender is to blame; it is counted in [`Stats`](crate::Stats)
/// and ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// It is longer than any datagram of this protocol.
    #[error("{len} bytes are more than {max}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The most allowed.
        max: usize,
    },
    /// It ends in the middle of something.
    #[error("truncated")]
    Truncated,
    /// It is of a version of the protocol that this node does not speak.
    #[error("version {0} is not spoken here")]
    Version(u8),
    /// It is of another cluster.
    #[error("another cluster's label")]
    Label,
    /// A frame's contents are not what its kind says.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A field holds a value that its rule forbids.
    #[error("{field} breaks its rule: {rule}")]
    Rule {
        /// Which field.
        field: &'static str,
        /// Which rule.
        rule: &'static str,
    },
}

/// What is wrong with a command. The host is to blame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommandError {
    /// The node has left, or lost its id to another process.
    #[error("the node is no longer a member")]
    Inactive,
    /// A telemetry key is empty or longer than the limit.
    #[error("a telemetry key has 1 to {max} bytes, this one has {len}")]
    Key {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A telemetry value is longer than the limit.
    #[error("a telemetry value has at most {max} bytes, this one has {len}")]
    Value {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The node's telemetry would be larger than the limit.
    #[error("telemetry would grow to {len} bytes, the limit is {max}")]
    TelemetryFull {
        /// The size it would have.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The table has no room for another member.
    #[error("the table is full with {max} members")]
    TableFull {
        /// The limit.
        max: u32,
    },
    /// As many probes or exchanges as can wait are waiting.
    #[error("{max} commands of this kind are waiting already")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// A cluster config of this or a higher version is already applied.
    #[error("cluster config version {version} is not above the applied {applied}")]
    StaleClusterConfig {
        /// The refused version.
        version: u64,
        /// The version in force.
        applied: u64,
    },
    /// A cluster config without this node: it would have to leave.
    #[error("the cluster config does not name this node; let it leave instead")]
    NotInClusterConfig,
    /// A member is introduced that the cluster config in force does not name.
    #[error("the cluster config does not name the introduced member")]
    MemberNotInClusterConfig,
    /// A join without any seed.
    #[error("a join needs at least one seed other than the node itself")]
    NoSeeds,
    /// A generation too far ahead to be refuted.
    #[error("generation {generation} is implausibly far ahead")]
    Generation {
        /// The generation.
        generation: u64,
    },
}
