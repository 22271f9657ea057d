//! The datagrams: a header, then frames.
//!
//! ```text
//! datagram = version (1) label (4) sender id hash (4) fingerprints of claims (4) and telemetry (4) round clock (3) frame*
//! frame    = kind (1) body length (varint) body
//! ```
//!
//! Integers of the header are big-endian; bodies are postcard (LEB128 varints), but id hashes,
//! numbers, instances and sums take 4 bytes big-endian. A reader skips frame kinds that it does not
//! know, so a fleet upgrades node by node. A body is one value, or a head and then items to its
//! end. The one list inside another, the rows of a range, states its count, which is checked
//! against the bytes.
//!
//! [`decode`] reads a datagram in two passes: it validates all of it, then the node applies what
//! cannot fail any more. [`encode`] writes into the caller's buffer and never beyond the limit.

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod items;
pub(crate) mod read;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::id::{IdHash, RequestId};
use crate::membership::claim::{Accusers, MAX_ACCUSERS};
use read::{Read, Reader};

/// The version of the wire that this crate speaks.
pub const WIRE_VERSION: u8 = 1;

/// Bytes before the first frame.
pub(crate) const HEADER_LEN: usize = 1 + 4 + 4 + 8 + 3;

/// A request to ping another member is at least this long: the header and one frame.
pub(crate) const PING_REQ_LEN: usize = HEADER_LEN + 12;

/// Bytes of a tree's frame.
pub(crate) const TREE_FRAME: usize = 1 + 1 + 4 + 4;

/// Bytes of a telemetry frame before its entries, about.
pub(crate) const TELEMETRY_FRAME: usize = 1 + 2 + 4 + 4 + 3;

/// What each frame is. A number is never used again for another meaning.
pub(crate) mod kind {
    pub(crate) const PING: u8 = 1;
    pub(crate) const ACK: u8 = 2;
    pub(crate) const NACK: u8 = 3;
    pub(crate) const PING_REQ: u8 = 4;
    pub(crate) const CLAIMS: u8 = 5;
    pub(crate) const TELEMETRY: u8 = 6;
    pub(crate) const SYNC_OPEN: u8 = 7;
    pub(crate) const SYNC_DIGEST: u8 = 8;
    pub(crate) const SYNC_VERSIONS: u8 = 9;
    pub(crate) const SYNC_WANTS: u8 = 10;
    pub(crate) const SYNC_DONE: u8 = 11;
    pub(crate) const PAGE_REQUEST: u8 = 12;
    pub(crate) const PAGE: u8 = 13;
    pub(crate) const TREE: u8 = 14;
    pub(crate) const TREE_ACK: u8 = 15;
    pub(crate) const TELEMETRY_ANEW: u8 = 16;
}

/// Are you there? Only the target answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ping {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    #[serde(with = "fixed")]
    pub(crate) target: u32,
}

/// I am, in this life. A helper passes on the target's instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ack {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    #[serde(with = "fixed")]
    pub(crate) instance: u32,
}

/// I am here, but the member you asked me to ping has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nack {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
}

/// Ping that member for me.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PingReq<'a> {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    #[serde(with = "fixed")]
    pub(crate) target: u32,
    pub(crate) address: &'a [u8],
}

/// A claim about a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireClaim<'a> {
    pub(crate) status: u8,
    pub(crate) generation: u64,
    #[serde(with = "fixed")]
    pub(crate) instance: u32,
    /// Text, which is checked once it is known to be new.
    pub(crate) id: &'a [u8],
    /// Empty if unknown.
    pub(crate) address: &'a [u8],
    pub(crate) accusers: Accusers,
    pub(crate) age_secs: u32,
}

/// The head of a telemetry frame: whose, and since which version without a gap. Entries follow in
/// ascending order of version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TelemetryHead {
    #[serde(with = "fixed")]
    pub(crate) owner: u32,
    #[serde(with = "fixed")]
    pub(crate) instance: u32,
    pub(crate) since: u64,
}

/// The head of telemetry for whoever knows it to less than its floor: such a reader forgets what it
/// holds and reads from the beginning. The head of other telemetry and its entries follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FloorHead {
    pub(crate) floor: u64,
    pub(crate) head: TelemetryHead,
}

/// One entry of somebody's telemetry; its age is that at the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireEntry<'a> {
    /// How much its version is above that of the entry before it, or of the head.
    pub(crate) step: u64,
    /// Its age in milliseconds, doubled, and one more if it is urgent.
    pub(crate) age: u64,
    /// Text.
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
}

/// Is your table like mine? The fingerprints are in the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SyncOpen {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
}

/// The head of a digest: the fingerprint of each hash range follows, 4 bytes each, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DigestHead {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
}

/// One range's fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireSum {
    #[serde(with = "fixed")]
    pub(crate) sum: u32,
}

/// The head of a version list: for each differing range its bounds and its rows follow. `more` says
/// that not all ranges fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionsHead {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    pub(crate) more: bool,
}

/// A range of id hashes, both ends included, of which all rows follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RangeHead {
    #[serde(with = "fixed")]
    pub(crate) from: u32,
    #[serde(with = "fixed")]
    pub(crate) to: u32,
    #[serde(with = "postcard::fixint::be")]
    pub(crate) rows: u16,
}

/// What is held of one member, without saying it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireVersion {
    #[serde(with = "fixed")]
    pub(crate) id_hash: u32,
    /// Tells apart contents at one generation and status.
    #[serde(with = "postcard::fixint::be")]
    pub(crate) content: u16,
    pub(crate) status: u8,
    pub(crate) generation: u64,
    pub(crate) telemetry: u64,
}

/// The head of a wish list. `more` says that not all that should be pushed fit beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WantsHead {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    pub(crate) more: bool,
}

/// Tell me about this member: its claim, if wanted, and its telemetry since a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireWant {
    #[serde(with = "fixed")]
    pub(crate) id_hash: u32,
    pub(crate) claim: bool,
    pub(crate) since: u64,
}

/// That is all for this session; `more` says that not all of it fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SyncDone {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    pub(crate) more: bool,
}

/// Tell me all you know, from this id hash on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageRequest {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    #[serde(with = "fixed")]
    pub(crate) from: u32,
}

/// The claims in this datagram are a page; the next begins at an id hash, or there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    pub(crate) next: Option<IdHash>,
}

/// The telemetry in this datagram goes on along a tree: to the members after the receiver, up to
/// the end of its arc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tree {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    /// The id hash of the first member beyond the arc.
    #[serde(with = "fixed")]
    pub(crate) end: u32,
}

/// That datagram has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TreeAck {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
}

impl<'a> Read<'a> for Ping {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self { number: reader.fixed()?, target: reader.fixed()? })
    }
}

impl<'a> Read<'a> for Ack {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self { number: reader.fixed()?, instance: reader.fixed()? })
    }
}

impl<'a> Read<'a> for Tree {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self { number: reader.fixed()?, end: reader.fixed()? })
    }
}

impl<'a> Read<'a> for TreeAck {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self { number: reader.fixed()? })
    }
}

impl<'a> Read<'a> for WireClaim<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let (status, generation, instance) = (reader.byte()?, reader.u64()?, reader.fixed()?);
        let (id, address) = (reader.bytes()?, reader.bytes()?);
        let mut accusers = Accusers::new();
        let count = reader.u64()?;
        if count > MAX_ACCUSERS as u64 {
            return None;
        }
        for _ in 0..count {
            accusers.push(IdHash(reader.u32()?));
        }
        Some(Self { status, generation, instance, id, address, accusers, age_secs: reader.u32()? })
    }
}

impl<'a> Read<'a> for TelemetryHead {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self { owner: reader.fixed()?, instance: reader.fixed()?, since: reader.u64()? })
    }
}

impl<'a> Read<'a> for WireEntry<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let (step, age, key) = (reader.u64()?, reader.u64()?, reader.bytes()?);
        let value = if reader.id_hash()? { Some(reader.bytes()?) } else { None };
        Some(Self { step, age, key, value })
    }
}

/// Four bytes big-endian, where a varint of a random number would take five.
mod fixed {
    pub(super) use postcard::fixint::be::{deserialize, serialize};
}

impl From<RequestId> for u32 {
    fn from(number: RequestId) -> Self {
        number.0
    }
}
