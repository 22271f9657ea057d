//! The parts of a record, and their bytes.

use serde::{Deserialize, Serialize};
use telemetry_gossip_core::{
    Address, Config, ConfigError, Generation, Identity, Input, Instance, Instant, Node, NodeId,
    Status,
};

/// The version of the format; a reader reads its own.
pub const FORMAT_VERSION: u16 = 1;

/// The longest block, in bytes: the opening of a file with the state of a node is the longest.
pub const MAX_BLOCK: usize = 1 << 28;

/// The first bytes of a file.
pub(crate) const MAGIC: [u8; 6] = *b"TGREC\0";

/// Magic and version.
pub(crate) const HEADER_LEN: usize = MAGIC.len() + 2;

/// Length and checksum.
pub(crate) const FRAME_LEN: usize = 4 + 4;

/// The kinds of a payload.
pub(crate) mod kind {
    pub(crate) const OPENING: u8 = 0;
    pub(crate) const ENTRIES: u8 = 1;
    pub(crate) const ENDING: u8 = 2;
    pub(crate) const BRIEF: u8 = 3;
}

/// The kinds of an entry.
pub(crate) mod entry {
    pub(crate) const TICK: u8 = 0;
    pub(crate) const DATAGRAM: u8 = 1;
    pub(crate) const INPUT: u8 = 2;
}

/// The first block of a file: which node, when, and where a replay starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening<A> {
    /// The version of the library that recorded, for people: what must match is the state's
    /// version.
    pub library: String,
    /// Whose record it is.
    pub id: NodeId,
    /// Which life of the node: the same in all files of one, later lives have higher ones.
    pub run: u64,
    /// Which file of that life, from 0.
    pub serial: u32,
    /// The node's time at the start of the file.
    pub at: Instant,
    /// The wall clock then, in microseconds since 1970; for people.
    pub unix_micros: u64,
    /// Where a replay starts.
    pub start: Start<A>,
    /// What went before, in this life of the node, whether recorded or not.
    pub before: Seal,
}

/// Where a replay starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start<A> {
    /// At the node's own start.
    Boot(Box<Boot<A>>),
    /// In the middle of its life.
    State {
        /// Why a file begins there.
        origin: Origin,
        /// A [snapshot](Node::snapshot) of the node.
        state: Vec<u8>,
    },
}

/// What a node is made of at its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot<A> {
    /// Its settings.
    pub config: Config,
    /// Who it is.
    pub identity: Identity<A>,
    /// The seed of its random choices.
    pub seed: [u8; 32],
    /// When.
    pub at: Instant,
}

impl<A: Address> Boot<A> {
    /// The node, before its first input.
    pub fn node(&self) -> Result<Node<A>, ConfigError> {
        Node::new(self.config.clone(), self.identity.clone(), self.seed, self.at)
    }
}

/// Why a file begins in the middle of a node's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The file before was full; nothing is missing between.
    Rotated,
    /// So many inputs before it were not recorded, as the disk was slower than the node, or
    /// refused.
    Gap {
        /// How many.
        lost: u64,
    },
    /// It was cut out of a longer record.
    Cut,
}

/// What the outputs came to: with it a replay is compared, block by block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Inputs so far in this life of the node.
    pub inputs: u64,
    /// The [`Digest`](crate::Digest) of all outputs so far.
    pub hash: u64,
    /// Datagrams sent so far.
    pub transmits: u64,
    /// Events told so far.
    pub events: u64,
    /// The node ended, by a panic perhaps, while it handled the last input: what came of that one
    /// is not in the hash.
    pub unfinished: bool,
}

/// Something that happened to the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<A: Clone + 'static> {
    /// When, by the node's clock.
    pub at: Instant,
    /// What.
    pub input: Input<'static, A>,
}

/// Some inputs, and what all outputs up to their end came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block<A: Clone + 'static> {
    /// The inputs, in order.
    pub entries: Vec<Entry<A>>,
    /// What the outputs came to.
    pub seal: Seal,
}

/// How a file ends, if it was ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The next file goes on.
    Rotated,
    /// The node has ended.
    Ended,
}

/// The head of a block of entries, before the entries themselves.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct EntriesHead {
    pub(crate) seal: Seal,
    pub(crate) count: u32,
    /// The time that the first entry's counts from.
    pub(crate) since: Instant,
}

/// What a record that became a test says about itself, right behind its opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief<A> {
    /// Whom the node knew at the start: what is left of its state for a build that cannot read
    /// that.
    pub before: Vec<Known<A>>,
    /// The settings, for the same.
    pub config: Config,
    /// Whom it knew at the end.
    pub after: Vec<Known<A>>,
}

/// A member as a node holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known<A> {
    /// Who.
    pub id: NodeId,
    /// Where it listens, if known.
    pub address: Option<A>,
    /// Which life of it.
    pub instance: Instance,
    /// At which generation.
    pub generation: Generation,
    /// What it is held to be.
    pub status: Status,
}

impl<A: Address> Known<A> {
    /// All members that a node knows, in the roster's order.
    pub fn of(node: &Node<A>) -> Vec<Self> {
        let known = |member: telemetry_gossip_core::Member<'_, A>| {
            Some(Self {
                // An id in a table is a valid one.
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

/// The first bytes of a file.
pub(crate) fn header() -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..MAGIC.len()].copy_from_slice(&MAGIC);
    header[MAGIC.len()..].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header
}

/// A payload with its length and checksum; `None` if it is longer than a block may be.
pub(crate) fn frame(payload: &[u8]) -> Option<[u8; FRAME_LEN]> {
    let len = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_BLOCK)?;
    let mut frame = [0; FRAME_LEN];
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    Some(frame)
}
