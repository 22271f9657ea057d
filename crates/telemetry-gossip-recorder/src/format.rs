//! The parts of a record and their bytes.

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{
    Address, Config, ConfigError, Generation, Identity, Input, Instance, Instant, Node, NodeId,
    Status, bounded,
};

/// The version of the format. A reader reads this version and the first, which lacks sealed
/// datagrams as entries.
pub const FORMAT_VERSION: u16 = 2;

/// The first version, which is still read.
pub(crate) const FIRST_FORMAT_VERSION: u16 = 1;

/// The most bytes of a block. The header of a file, with the state of a node, is the longest block.
pub const MAX_BLOCK: usize = 1 << 28;

/// The latest time in a record, 146,000 years after the origin: times must add up after it.
pub(crate) const LATEST: Instant = Instant::from_micros(1 << 62);

/// The highest count in a header: replayed inputs and outputs are counted on from it.
const MAX_COUNT: u64 = 1 << 62;

/// The most members of each list of a fixture.
pub(crate) const MAX_FIXTURE_MEMBERS: usize = 1 << 16;

/// The first bytes of each file.
pub(crate) const MAGIC: [u8; 6] = *b"TGREC\0";

/// Bytes before the first block: magic and version.
pub(crate) const PREAMBLE_LEN: usize = MAGIC.len() + 2;

/// Bytes before a payload: length and checksum.
pub(crate) const FRAME_LEN: usize = 4 + 4;

/// The kinds of a payload.
pub(crate) mod kind {
    pub(crate) const HEADER: u8 = 0;
    pub(crate) const ENTRIES: u8 = 1;
    pub(crate) const ENDING: u8 = 2;
    pub(crate) const FIXTURE: u8 = 3;
}

/// The kinds of an entry.
pub(crate) mod entry {
    pub(crate) const TICK: u8 = 0;
    pub(crate) const DATAGRAM: u8 = 1;
    pub(crate) const INPUT: u8 = 2;
    pub(crate) const SEALED: u8 = 3;
}

/// The first block of a file: the node, the time, and the start of a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileHeader<A> {
    /// The version of the library that recorded, for people. A replay depends on the version of the
    /// state only.
    pub library: String,
    /// The id of the recorded node.
    pub id: NodeId,
    /// The number of the node's instance (one start of its process): the same in all files of an
    /// instance, and higher in those of a later one. It is the time of the start in microseconds
    /// since 1970, and not the random number by which members tell instances apart.
    pub instance: u64,
    /// The number of the file within the instance, from 0.
    pub serial: u32,
    /// The node's time at the start of the file.
    pub at: Instant,
    /// The wall clock at that time, in microseconds since 1970; for people.
    pub unix_micros: u64,
    /// The state from which a replay starts.
    pub start: Start<A>,
    /// The digest of all earlier outputs of the instance, recorded or not.
    pub before: OutputDigest,
}

impl<A> FileHeader<A> {
    /// The rule that a header breaks whose numbers no recorder has written, if there is one.
    pub(crate) fn broken_rule(&self) -> Option<&'static str> {
        let OutputDigest { inputs, hash: _, transmits, events, unfinished: _ } = self.before;
        let booted_at = match &self.start {
            Start::Boot(boot) => boot.at,
            Start::State { .. } => self.at,
        };
        if self.at > LATEST || booted_at > LATEST {
            Some("a time is less than 146,000 years after the origin")
        } else if [inputs, transmits, events].into_iter().any(|count| count > MAX_COUNT) {
            Some("an instance has less than 2^62 inputs and outputs")
        } else {
            None
        }
    }

    /// The header without its texts and its state.
    pub(crate) fn stub(&self) -> Self {
        let start = Start::State { origin: Origin::Cut, state: Vec::new() };
        Self { library: String::new(), start, ..*self }
    }
}

/// The state from which a replay starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Start<A> {
    /// The node before its first input.
    Boot(Box<Boot<A>>),
    /// The node at a later time.
    #[non_exhaustive]
    State {
        /// The reason why a file begins at this time.
        origin: Origin,
        /// A [snapshot](Node::snapshot) of the node.
        state: Vec<u8>,
    },
}

/// The arguments from which a node is made at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Boot<A> {
    /// The settings.
    pub config: Config,
    /// The id, address and instance.
    pub identity: Identity<A>,
    /// The seed of the random choices.
    pub seed: [u8; 32],
    /// The time of the start.
    pub at: Instant,
}

impl<A> Boot<A> {
    /// Takes the arguments of [`Node::new`].
    pub const fn new(config: Config, identity: Identity<A>, seed: [u8; 32], at: Instant) -> Self {
        Self { config, identity, seed, at }
    }
}

impl<A: Address> Boot<A> {
    /// Makes the node, before its first input.
    pub fn node(&self) -> Result<Node<A>, ConfigError> {
        Node::new(self.config.clone(), self.identity.clone(), self.seed, self.at)
    }
}

/// The reason why a file begins after the start of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Origin {
    /// The previous file was full. Nothing is missing in between.
    Rotated,
    /// Inputs before the file were not recorded, because writing was too slow or failed.
    #[non_exhaustive]
    Gap {
        /// The number of inputs that were not recorded.
        lost: u64,
    },
    /// The file was cut out of a longer record.
    Cut,
}

/// A digest of all outputs so far. A replay compares it at the end of each block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutputDigest {
    /// Inputs of the instance so far.
    pub inputs: u64,
    /// The hash of all outputs so far.
    pub hash: u64,
    /// Datagrams sent so far.
    pub transmits: u64,
    /// Events emitted so far.
    pub events: u64,
    /// The node stopped while it handled the last input, for example by a panic. The hash does not
    /// cover the outputs of that input.
    pub unfinished: bool,
}

/// One recorded input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry<A: Clone + 'static> {
    /// The time, by the node's clock.
    pub at: Instant,
    /// The input.
    pub input: Input<'static, A>,
}

impl<A: Clone + 'static> Entry<A> {
    /// Makes an entry of an input at a time.
    pub const fn new(at: Instant, input: Input<'static, A>) -> Self {
        Self { at, input }
    }
}

/// The mark at the end of a complete file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Ending {
    /// The next file continues the record.
    Rotated,
    /// The node has stopped.
    Ended,
}

/// The fields of a block before its entries.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct EntriesHead {
    pub(crate) digest: OutputDigest,
    pub(crate) count: u32,
    /// The time to which the first entry's time is relative.
    pub(crate) since: Instant,
}

/// What a regression test needs besides a record: the block after the header of a file that was cut
/// out of a record to become a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(serialize = "A: Serialize", deserialize = "A: Deserialize<'de>"))]
#[non_exhaustive]
pub struct TraceFixture<A> {
    /// The members that the node knew at the start. A build that cannot read the recorded state
    /// makes a node of them.
    #[serde(deserialize_with = "bounded::list::<_, _, _, MAX_FIXTURE_MEMBERS>")]
    pub before: Vec<KnownMember<A>>,
    /// The settings, for the same purpose.
    pub config: Config,
    /// The members that the node knew at the end.
    #[serde(deserialize_with = "bounded::list::<_, _, _, MAX_FIXTURE_MEMBERS>")]
    pub after: Vec<KnownMember<A>>,
}

impl<A> TraceFixture<A> {
    /// Makes a fixture of what a node knew at the start and at the end of the file.
    pub const fn new(
        before: Vec<KnownMember<A>>,
        config: Config,
        after: Vec<KnownMember<A>>,
    ) -> Self {
        Self { before, config, after }
    }
}

/// A member as a node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KnownMember<A> {
    /// The id.
    pub id: NodeId,
    /// The address, if known.
    pub address: Option<A>,
    /// The instance.
    pub instance: Instance,
    /// The generation.
    pub generation: Generation,
    /// The status.
    pub status: Status,
}

impl<A: Address> KnownMember<A> {
    /// Returns all members that a node knows, in the order of its roster.
    pub fn of(node: &Node<A>) -> Vec<Self> {
        let known = |member: telemetry_gossip_core::Member<'_, A>| {
            Some(Self {
                // An id in a table is valid.
                id: NodeId::new(member.id()).ok()?,
                address: member.address(),
                instance: member.instance(),
                generation: member.generation(),
                status: member.status(),
            })
        };
        node.members().filter_map(known).collect()
    }
}

/// The first bytes of a file: magic and version.
pub(crate) fn preamble() -> [u8; PREAMBLE_LEN] {
    let mut preamble = [0; PREAMBLE_LEN];
    preamble[..MAGIC.len()].copy_from_slice(&MAGIC);
    preamble[MAGIC.len()..].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    preamble
}

/// The length and checksum of a payload; `None` if it is longer than [`MAX_BLOCK`].
pub(crate) fn frame(payload: &[u8]) -> Option<[u8; FRAME_LEN]> {
    let len = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_BLOCK)?;
    let mut frame = [0; FRAME_LEN];
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    Some(frame)
}
