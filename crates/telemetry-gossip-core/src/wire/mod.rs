//! The bytes of datagrams: a header, then frames. `docs/wire.md` has the whole format.
//!
//! ```text
//! datagram = version (1) label (4) sender id hash (4)
//!            fingerprint of the claims (4) fingerprint of the telemetry (4)
//!            round clock (3) frame*
//! frame    = kind (1) body length (varint) body
//! ```
//!
//! Integers of the header are big-endian. Bodies are postcard (LEB128 varints), except that id
//! hashes, request ids, instances and sums take 4 bytes big-endian. A reader skips frame kinds that
//! it does not know, so that a fleet can be upgraded node by node. A body is one value, or a head
//! and then items to its end. The one list inside another, the rows of a range, states its count,
//! which is checked against the bytes.
//!
//! [`decode`] reads a datagram in two passes: the first validates all of it, so that nothing can
//! fail any more in the second, in which the node applies its frames. [`encode`] writes into the
//! caller's buffer and never beyond the limit.
//!
//! Nothing here knows what a frame does to a node, or when one is sent.

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod items;
pub(crate) mod read;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::id::{IdHash, RequestId};
use crate::membership::PARTS;
use crate::membership::claim::{Accusers, MAX_ACCUSERS};
use read::{Read, Reader};

/// The version of the wire format that this crate reads and writes.
pub const WIRE_VERSION: u8 = 1;

/// The first byte of a sealed datagram, which no version of the protocol has. Seals put it there,
/// so that a node without keys can tell its host what comes.
pub const SEALED_FORMAT: u8 = 0x81;

/// The bytes before the first frame.
pub(crate) const HEADER_LEN: usize = 1 + 4 + 4 + 8 + 3;

/// The bytes of a ping or an ack.
pub(crate) const LEAD_LEN: usize = 10;

/// The fewest bytes of a datagram with a ping-req: the header and one frame.
pub(crate) const PING_REQ_LEN: usize = HEADER_LEN + 12;

/// The length of a datagram with a ping and nothing else.
pub(crate) const PING_LEN: usize = HEADER_LEN + LEAD_LEN;

/// The smallest length of an accusation in bytes: the header, a frame and a claim.
pub(crate) const MIN_ACCUSATION_BYTES: usize = HEADER_LEN + 20;

/// The bytes of a tree frame.
pub(crate) const TREE_FRAME_LEN: usize = 1 + 1 + 4 + 4;

/// The approximate bytes of a telemetry frame before its entries.
pub(crate) const TELEMETRY_FRAME_LEN: usize = 1 + 2 + 4 + 4 + 3;

/// The kinds of frames. A kind is never reused for another meaning.
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
    pub(crate) const PAGE_PLACE: u8 = 18;
    pub(crate) const SYNC_SUMS: u8 = 19;
    pub(crate) const SEEN_AT: u8 = 20;
    pub(crate) const NOT_A_MEMBER: u8 = 21;
    pub(crate) const GONE: u8 = 22;
}

/// Asks the target whether it is there. Only the target answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ping {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    #[serde(with = "fixed")]
    pub(crate) target: u32,
}

/// Answers a ping, with the instance of the target. A helper passes the target's instance on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ack {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    #[serde(with = "fixed")]
    pub(crate) instance: u32,
}

/// Tells a prober that the helper is there, but that the member that it was asked to ping has not
/// answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nack {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
}

/// Asks a helper to ping a member on the sender's behalf.
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
    /// The id, which is checked to be text once the claim is known to be new.
    pub(crate) id: &'a [u8],
    /// The encoded address; empty if it is unknown.
    pub(crate) address: &'a [u8],
    pub(crate) accusers: Accusers,
    pub(crate) age_secs: u32,
}

/// The head of a telemetry frame. The owner's entries after version `since` follow, without a gap
/// and in ascending order of version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TelemetryHead {
    #[serde(with = "fixed")]
    pub(crate) owner: u32,
    #[serde(with = "fixed")]
    pub(crate) instance: u32,
    pub(crate) since: u64,
}

/// The head of a telemetry frame for readers that may know the log to less than its compacted
/// version. Such a reader drops what it holds and reads the log from the beginning. The entries
/// follow as in any other telemetry frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CompactedHead {
    pub(crate) compacted: u64,
    pub(crate) head: TelemetryHead,
}

/// One telemetry entry. Its age is the one that the sender knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireEntry<'a> {
    /// The version of the entry less that of the entry before it; of the first less `since` of the
    /// head.
    pub(crate) step: u64,
    /// The age in milliseconds, doubled, plus one if the entry is urgent.
    pub(crate) age: u64,
    /// The key, which is text.
    pub(crate) key: &'a [u8],
    /// The value; `None` for a delete marker.
    pub(crate) value: Option<&'a [u8]>,
}

/// Asks whether the tables are equal. The fingerprints to compare are in the headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SyncOpen {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
}

/// The head of a digest. The fingerprints of all hash ranges follow in order, 4 bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DigestHead {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
}

/// The fingerprint of one hash range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireSum {
    #[serde(with = "fixed")]
    pub(crate) sum: u32,
}

/// The head of a list of ranges that are split in parts. The ranges follow, each with the
/// fingerprints of its parts. Without any, and before a digest, the frame says that its sender
/// reads such lists. `more` says that not all ranges that differ are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SumsHead {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    pub(crate) more: bool,
}

/// The fingerprints of the equal parts of a range of 2^`bits` id hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireParts {
    #[serde(with = "fixed")]
    pub(crate) from: u32,
    pub(crate) bits: u8,
    pub(crate) sums: [WireSum; PARTS],
}

/// The bytes of a [`WireParts`].
pub(crate) const PARTS_LEN: usize = 4 + 1 + 4 * PARTS;

/// The head of a version list. The bounds and the rows of each differing range follow. `more` says
/// that not all ranges fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionsHead {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    pub(crate) more: bool,
}

/// A range of id hashes, both ends included. All its rows follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RangeHead {
    #[serde(with = "fixed")]
    pub(crate) from: u32,
    #[serde(with = "fixed")]
    pub(crate) to: u32,
    #[serde(with = "postcard::fixint::be")]
    pub(crate) rows: u16,
}

/// The bytes of a [`RangeHead`].
pub(crate) const RANGE_HEAD_LEN: usize = 4 + 4 + 2;

/// The fewest and the most bytes of a [`WireVersion`].
pub(crate) const VERSION_LENS: (usize, usize) = (4 + 2 + 1 + 1 + 1, 4 + 2 + 1 + 10 + 10);

/// The versions of what the sender holds of one member, without the claim and the telemetry
/// themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireVersion {
    #[serde(with = "fixed")]
    pub(crate) id_hash: u32,
    /// A hash that distinguishes claims of one generation and status.
    #[serde(with = "postcard::fixint::be")]
    pub(crate) content: u16,
    pub(crate) status: u8,
    pub(crate) generation: u64,
    /// The telemetry version.
    pub(crate) telemetry: u64,
}

/// The head of a list of wants. `more` says that not all that the sender has to push fit beside
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WantsHead {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    pub(crate) more: bool,
}

/// Asks for the claim about a member, if `claim`, and for its telemetry since a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireWant {
    #[serde(with = "fixed")]
    pub(crate) id_hash: u32,
    pub(crate) claim: bool,
    pub(crate) since: u64,
}

/// Ends a session. `more` says that not all of what was to be sent fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SyncDone {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    pub(crate) more: bool,
}

/// Asks for the claims about all members, from this id hash on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PageRequest {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    #[serde(with = "fixed")]
    pub(crate) from: u32,
}

/// Says that the claims in this datagram are a page. `next` is the id hash at which the next page
/// begins, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    pub(crate) next: Option<IdHash>,
}

/// Completes the page or the request for one after it in the datagram: the place named there is not
/// the first claim of its id hash, but this many claims of it come before. A reader that does not
/// know the frame begins with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PagePlace {
    pub(crate) nth: u32,
}

/// Tells the receiver that it is no member, by the cluster config of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotAMember {
    pub(crate) version: u64,
}

/// The sum over the sender's records of members that are dead or have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gone {
    #[serde(with = "fixed")]
    pub(crate) sum: u32,
}

/// Tells the receiver the address from which its datagrams come, as it is not the one that its
/// claim states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenAt<'a> {
    pub(crate) address: &'a [u8],
}

/// Says that the receiver passes the telemetry in this datagram on along a tree: to the members
/// after it, up to the end of its arc.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tree {
    #[serde(with = "fixed")]
    pub(crate) number: u32,
    /// The id hash of the first member beyond the arc.
    #[serde(with = "fixed")]
    pub(crate) end: u32,
}

/// Acknowledges a datagram with a tree frame.
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
        let value = if reader.has_value()? { Some(reader.bytes()?) } else { None };
        Some(Self { step, age, key, value })
    }
}

/// Integers of four bytes big-endian, where a varint of a random number would mostly take five.
mod fixed {
    pub(super) use postcard::fixint::be::{deserialize, serialize};
}

impl From<RequestId> for u32 {
    fn from(request_id: RequestId) -> Self {
        request_id.0
    }
}
