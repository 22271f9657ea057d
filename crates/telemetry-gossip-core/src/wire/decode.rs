//! How a datagram is read, in two passes.
//!
//! [`Datagram::parse`] validates the header and every frame. Only then does the node take the
//! frames, which cannot fail any more: a datagram is applied as a whole or not at all. Nothing is
//! allocated for a datagram, whatever lengths and counts it states.
//!
//! Only rules that a datagram keeps or breaks by itself are checked here. Whether a claim is
//! plausible, or whether the node has asked for an answer, is decided where it is applied.

use core::marker::PhantomData;

use serde::Deserialize;

use super::items::{ClaimsIn, Entries, Items, Ranges, check_claim};
use super::read::{Read, Reader, head, rule, text};
use super::{
    Ack, CompactedHead, DigestHead, Gone, HEADER_LEN, Nack, NotAMember, Page, PagePlace,
    PageRequest, Ping, PingReq, SeenAt, SumsHead, SyncDone, SyncOpen, TelemetryHead, Tree, TreeAck,
    VersionsHead, WIRE_VERSION, WantsHead, WireClaim, WireEntry, WireParts, WireSum, WireWant,
    kind,
};
use crate::address::Address;
use crate::config::MAX_MTU;
use crate::error::WireError;
use crate::id::Label;
use crate::membership::telemetry_log::MAX_VERSION;
use crate::membership::{BUCKETS, Fingerprints, HashRange};
use crate::status::Status;

/// A validated datagram: its header is right and every frame of a known kind is valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a, A> {
    /// The id hash that the sender states.
    pub(crate) sender: u32,
    pub(crate) fingerprints: Fingerprints,
    /// The round clock of the sender.
    pub(crate) clock: u32,
    /// The bytes of the whole datagram, which limit a reply to an unverified sender.
    pub(crate) len: usize,
    /// The first frame, if it is a ping or an ack. Most datagrams have no other frame.
    pub(crate) lead: Lead,
    /// The other frames.
    frames: &'a [u8],
    /// The claims in the first frame of claims that say nothing new.
    known: Known,
    address: PhantomData<A>,
}

/// The bytes in the body of a lead: two integers of four bytes.
const LEAD_BODY_LEN: u8 = 8;

/// The first frame of a datagram, if it is a ping or an ack. It is read while the datagram is
/// validated.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lead {
    None,
    Ping(Ping),
    Ack(Ack),
}

/// One frame. The items of its lists are valid, since the datagram is.
#[derive(Clone, Debug)]
pub(crate) enum Frame<'a, A> {
    Ping(Ping),
    Ack(Ack),
    Nack(Nack),
    PingReq {
        number: u32,
        target: u32,
        address: A,
    },
    Claims(ClaimsIn<'a, A>),
    /// The compacted version of the log, if the reader may know less; 0 otherwise. Then the head
    /// and the entries.
    Telemetry(u64, TelemetryHead, Entries<'a>),
    SyncOpen(SyncOpen),
    SyncDigest(DigestHead, Items<'a, WireSum>),
    SyncSums(SumsHead, Items<'a, WireParts>),
    SyncVersions(VersionsHead, Ranges<'a>),
    SyncWants(WantsHead, Items<'a, WireWant>),
    SyncDone(SyncDone),
    PageRequest(PageRequest),
    PagePlace(PagePlace),
    NotAMember(NotAMember),
    Gone(Gone),
    /// The address from which the receiver's datagrams come.
    SeenAt(A),
    Page(Page),
    Tree(Tree),
    TreeAck(TreeAck),
    /// A frame of an unknown kind, which is skipped.
    Unknown,
}

impl<A> Frame<'_, A> {
    /// Whether the frame serves to probe, and carries no state.
    pub(crate) const fn is_signal(&self) -> bool {
        matches!(self, Self::Ping(_) | Self::Ack(_) | Self::Nack(_) | Self::PingReq { .. })
    }

    /// Whether the frame asks for work of which a datagram may ask only once. A ping is cheap, and
    /// stands beside other questions.
    pub(crate) const fn is_question(&self) -> bool {
        match self {
            Self::SyncSums(_, parts) => !parts.is_empty(),
            _ => matches!(
                self,
                Self::PingReq { .. }
                    | Self::SyncOpen(_)
                    | Self::SyncDigest(..)
                    | Self::SyncVersions(..)
                    | Self::SyncWants(..)
                    | Self::PageRequest(_)
                    | Self::Tree(_)
            ),
        }
    }
}

impl<'a, A: Address> Datagram<'a, A> {
    /// Validates the header and every frame.
    ///
    /// `pass_over` is called with the bytes of claims. It returns how many claims at the front the
    /// table holds already, and the bytes after them. Such claims were validated before.
    pub(crate) fn parse(
        bytes: &'a [u8],
        label: Label,
        mut pass_over: impl FnMut(&'a [u8]) -> (u32, &'a [u8]),
    ) -> Result<Self, WireError> {
        if bytes.len() > usize::from(MAX_MTU) {
            return Err(WireError::TooLong { len: bytes.len(), max: MAX_MTU.into() });
        }
        // The version comes first: the other fields of another version may stand elsewhere.
        let (&version, _) = bytes.split_first().ok_or(WireError::Truncated)?;
        if version != WIRE_VERSION {
            return Err(WireError::Version(version));
        }
        let (header, frames) =
            bytes.split_first_chunk::<HEADER_LEN>().ok_or(WireError::Truncated)?;
        let &[_, l0, l1, l2, l3, s0, s1, s2, s3, f0, f1, f2, f3, t0, t1, t2, t3, c0, c1, c2] =
            header;
        if u32::from_be_bytes([l0, l1, l2, l3]) != label.0 {
            return Err(WireError::Label);
        }
        let mut datagram = Self {
            sender: u32::from_be_bytes([s0, s1, s2, s3]),
            fingerprints: Fingerprints {
                claims: u32::from_be_bytes([f0, f1, f2, f3]),
                telemetry: u32::from_be_bytes([t0, t1, t2, t3]),
            },
            clock: u32::from_be_bytes([0, c0, c1, c2]),
            len: bytes.len(),
            lead: Lead::None,
            frames,
            known: Known::default(),
            address: PhantomData,
        };
        // Most datagrams are one ping or one ack, so such a frame is read at once and in place.
        if let Some((
            &[kind @ (kind::PING | kind::ACK), LEAD_BODY_LEN, a, b, c, d, e, f, g, h],
            after,
        )) = frames.split_first_chunk()
        {
            let (number, other) =
                (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
            datagram.lead = if kind == kind::PING {
                Lead::Ping(Ping { number, target: other })
            } else {
                Lead::Ack(Ack { number, instance: other })
            };
            datagram.frames = after;
        }
        if datagram.goes_on() {
            datagram.known = validate_frames::<A>(datagram.frames, &mut pass_over)?;
        }
        Ok(datagram)
    }

    /// Returns all frames, in order.
    pub(crate) fn frames(&self) -> impl Iterator<Item = Frame<'a, A>> + use<'a, A> {
        let lead = match self.lead {
            Lead::None => None,
            Lead::Ping(ping) => Some(Frame::Ping(ping)),
            Lead::Ack(ack) => Some(Frame::Ack(ack)),
        };
        lead.into_iter().chain(self.following())
    }

    /// Whether there are frames after the lead.
    pub(crate) const fn goes_on(&self) -> bool {
        !self.frames.is_empty()
    }

    /// Returns the frames after the lead, in order.
    pub(crate) fn following(&self) -> impl Iterator<Item = Frame<'a, A>> + use<'a, A> {
        let (mut rest, mut known) = (self.frames, self.known);
        core::iter::from_fn(move || {
            let (kind, body, after) = split_frame(rest).ok()?;
            rest = after;
            if kind == kind::CLAIMS {
                // The first pass recorded the known claims of the first such frame only.
                let Known { mask, all } = core::mem::take(&mut known);
                let items = Items::new(if all { &[] } else { body });
                return Some(Frame::Claims(ClaimsIn { items, known: mask, address: PhantomData }));
            }
            parse_frame(kind, body).ok()
        })
    }
}

/// Splits the first frame off: its kind, its body, and the bytes after it.
fn split_frame(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), WireError> {
    let (&kind, rest) = bytes.split_first().ok_or(WireError::Truncated)?;
    let mut reader = Reader::new(rest);
    let len = reader.u32().and_then(|len| usize::try_from(len).ok()).ok_or(WireError::Truncated)?;
    let (body, rest) = reader.rest().split_at_checked(len).ok_or(WireError::Truncated)?;
    Ok((kind, body, rest))
}

/// Reads a body that consists of one value, by postcard.
fn whole<'a, T: Deserialize<'a>>(body: &'a [u8], name: &'static str) -> Result<T, WireError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(WireError::Malformed(name)),
    }
}

/// Reads a body that consists of one value, by [`Reader`].
#[inline(always)]
fn signal<'a, T: Read<'a>>(body: &'a [u8], name: &'static str) -> Result<T, WireError> {
    let mut reader = Reader::new(body);
    T::read(&mut reader).filter(|_| reader.rest().is_empty()).ok_or(WireError::Malformed(name))
}

/// Reads the head of a frame. Its items, if it has any, are not looked at.
fn parse_frame<A: Address>(kind: u8, body: &[u8]) -> Result<Frame<'_, A>, WireError> {
    Ok(match kind {
        kind::PING => Frame::Ping(signal(body, "ping")?),
        kind::ACK => Frame::Ack(signal(body, "ack")?),
        kind::NACK => Frame::Nack(whole(body, "nack")?),
        kind::PING_REQ => {
            let PingReq { number, target, address } = whole(body, "ping-req")?;
            let address = A::decode(address).ok_or(WireError::Malformed("address"))?;
            Frame::PingReq { number, target, address }
        }
        kind::CLAIMS => {
            Frame::Claims(ClaimsIn { items: Items::new(body), known: 0, address: PhantomData })
        }
        kind::TELEMETRY => {
            let mut reader = Reader::new(body);
            let head = TelemetryHead::read(&mut reader).ok_or(WireError::Malformed("telemetry"))?;
            Frame::Telemetry(0, head, Entries { reader })
        }
        kind::TELEMETRY_ANEW => {
            let (CompactedHead { compacted, head }, rest) = head(body, "telemetry")?;
            Frame::Telemetry(compacted, head, Entries { reader: Reader::new(rest) })
        }
        kind::SYNC_OPEN => Frame::SyncOpen(whole(body, "sync open")?),
        kind::SYNC_DIGEST => {
            let (head, rest) = head(body, "sync digest")?;
            Frame::SyncDigest(head, Items::new(rest))
        }
        kind::SYNC_SUMS => {
            let (head, rest) = head(body, "sync sums")?;
            Frame::SyncSums(head, Items::new(rest))
        }
        kind::SYNC_VERSIONS => {
            let (head, rest) = head(body, "sync versions")?;
            Frame::SyncVersions(head, Ranges { rest })
        }
        kind::SYNC_WANTS => {
            let (head, rest) = head(body, "sync wants")?;
            Frame::SyncWants(head, Items::new(rest))
        }
        kind::SYNC_DONE => Frame::SyncDone(whole(body, "sync done")?),
        kind::PAGE_REQUEST => Frame::PageRequest(whole(body, "page request")?),
        kind::PAGE => Frame::Page(whole(body, "page")?),
        kind::PAGE_PLACE => Frame::PagePlace(whole(body, "page place")?),
        kind::NOT_A_MEMBER => Frame::NotAMember(whole(body, "not a member")?),
        kind::GONE => Frame::Gone(whole(body, "sum of the gone")?),
        kind::SEEN_AT => {
            let SeenAt { address } = whole(body, "seen at")?;
            Frame::SeenAt(A::decode(address).ok_or(WireError::Malformed("address"))?)
        }
        kind::TREE => Frame::Tree(signal(body, "tree")?),
        kind::TREE_ACK => Frame::TreeAck(signal(body, "tree ack")?),
        _ => Frame::Unknown,
    })
}

/// Which claims of a frame say nothing new, so that the second pass skips them.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// A bit per claim for the first 64 claims, from the lowest on. Later known claims are applied
    /// like new ones, which changes nothing.
    mask: u64,
    /// Whether all claims of the frame are known.
    all: bool,
}

/// Validates the frames after the lead. Returns which claims of the first frame of claims are
/// known.
#[inline(never)]
fn validate_frames<'a, A: Address>(
    frames: &'a [u8],
    pass_over: &mut impl FnMut(&'a [u8]) -> (u32, &'a [u8]),
) -> Result<Known, WireError> {
    let (mut rest, mut first) = (frames, None);
    while !rest.is_empty() {
        let (kind, body, after) = split_frame(rest)?;
        if kind == kind::CLAIMS {
            let known = validate_claims::<A>(body, pass_over)?;
            first.get_or_insert(known);
        } else {
            validate::<A>(kind, body)?;
        }
        rest = after;
    }
    Ok(first.unwrap_or_default())
}

/// Validates the claims of a frame that the table does not hold already, and returns which claims
/// it holds.
fn validate_claims<'a, A: Address>(
    body: &'a [u8],
    pass_over: &mut impl FnMut(&'a [u8]) -> (u32, &'a [u8]),
) -> Result<Known, WireError> {
    let (mut rest, mut known, mut at) = (body, Known { mask: 0, all: true }, 0_u32);
    loop {
        // A claim that the table holds already was validated when it came first.
        let (count, after) = pass_over(rest);
        known.mask |= ones(at.saturating_add(count)) & !ones(at);
        if after.is_empty() {
            return Ok(known);
        }
        let mut reader = Reader::new(after);
        let claim = WireClaim::read(&mut reader).ok_or(WireError::Malformed("claim"))?;
        check_claim::<A>(&claim)?;
        known.all = false;
        (rest, at) = (reader.rest(), at.saturating_add(count).saturating_add(1));
    }
}

/// Returns an integer whose `count` lowest bits are set.
const fn ones(count: u32) -> u64 {
    match 1_u64.checked_shl(count) {
        Some(next) => next - 1,
        None => u64::MAX,
    }
}

/// Validates one frame that has no claims: all its items, against all their rules.
fn validate<A: Address>(kind: u8, body: &[u8]) -> Result<(), WireError> {
    match parse_frame::<A>(kind, body)? {
        // `validate_claims` does it.
        Frame::Claims(_) => {}
        Frame::Telemetry(compacted, head, entries) => {
            if head.since > MAX_VERSION || compacted > MAX_VERSION {
                return Err(rule("telemetry version", "below 2^48"));
            }
            let mut last = head.since;
            let mut reader = entries.reader;
            while !reader.rest().is_empty() {
                let entry =
                    WireEntry::read(&mut reader).ok_or(WireError::Malformed("telemetry entry"))?;
                if entry.step == 0 {
                    return Err(rule(
                        "telemetry version",
                        "entries ascend from the version before them",
                    ));
                }
                // A log stores 6 bytes per version, 1 per key length, and the largest value length
                // stands for a delete marker: entries beyond that cannot be held.
                let version = last.saturating_add(entry.step);
                if version > MAX_VERSION {
                    return Err(rule("telemetry version", "below 2^48"));
                }
                if entry.key.is_empty() || entry.key.len() > 255 || text(entry.key).is_none() {
                    return Err(rule("telemetry key", "1 to 255 bytes of text"));
                }
                if entry.value.is_some_and(|value| value.len() >= usize::from(u16::MAX)) {
                    return Err(rule("telemetry value", "less than 65,535 bytes"));
                }
                last = version;
            }
        }
        Frame::SyncDigest(_, sums) => {
            let mut count = 0;
            for sum in sums.checked("sync digest") {
                sum?;
                count += 1;
            }
            if !(count == BUCKETS || count == BUCKETS / 4) {
                return Err(rule("sync digest", "16 or 64 ranges"));
            }
        }
        Frame::SyncSums(_, ranges) => {
            // The receiver says something about the parts in their order.
            let mut next = Some(0);
            for parts in ranges.checked("sync parts") {
                let WireParts { from, bits, .. } = parts?;
                let range = HashRange::new(from, bits)
                    .ok_or(rule("sync parts", "2^4 to 2^32 id hashes from a multiple on"))?;
                if next.is_none_or(|next| from < next) {
                    return Err(rule("sync parts", "ranges ascend and do not overlap"));
                }
                next = range.last().0.checked_add(1);
            }
        }
        Frame::SyncVersions(_, ranges) => {
            // The receiver compares the rows with its own in one walk, so they must ascend.
            let mut next = Some(0);
            for range in ranges.checked() {
                let (range, rows) = range?;
                if next.is_none_or(|next| range.from < next) || range.to < range.from {
                    return Err(rule("sync range", "ranges ascend and do not overlap"));
                }
                next = range.to.checked_add(1);
                let mut last = range.from;
                for row in rows.checked("sync version") {
                    let row = row?;
                    if row.id_hash < last || row.id_hash > range.to {
                        return Err(rule("sync version", "rows ascend within their range"));
                    }
                    if Status::from_rank(row.status).is_none() {
                        return Err(rule("status", "0 to 3"));
                    }
                    last = row.id_hash;
                }
            }
        }
        Frame::SyncWants(_, wants) => {
            for want in wants.checked("sync want") {
                want?;
            }
        }
        Frame::Ping(_)
        | Frame::Ack(_)
        | Frame::Nack(_)
        | Frame::PingReq { .. }
        | Frame::SyncOpen(_)
        | Frame::SyncDone(_)
        | Frame::PageRequest(_)
        | Frame::Page(_)
        | Frame::PagePlace(_)
        | Frame::SeenAt(_)
        | Frame::NotAMember(_)
        | Frame::Gone(_)
        | Frame::Tree(_)
        | Frame::TreeAck(_)
        | Frame::Unknown => {}
    }
    Ok(())
}
