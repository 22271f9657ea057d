//! Reading a datagram: first all of it is validated, then its frames are handed out without errors.

use core::marker::PhantomData;

use serde::Deserialize;

use super::items::{ClaimsIn, Entries, Items, Ranges, check_claim};
use super::read::{Read, Reader, head, rule, text};
use super::{
    Ack, DigestHead, FloorHead, HEADER_LEN, Nack, Page, PageRequest, Ping, PingReq, SyncDone,
    SyncOpen, TelemetryHead, Tree, TreeAck, VersionsHead, WIRE_VERSION, WantsHead, WireClaim,
    WireEntry, WireSum, WireWant, kind,
};
use crate::address::Address;
use crate::config::MAX_MTU;
use crate::error::WireError;
use crate::id::Label;
use crate::membership::telemetry_log::MAX_VERSION;
use crate::membership::{BUCKETS, Fingerprints};
use crate::status::Status;

/// A datagram all of whose known frames are valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a, A> {
    pub(crate) sender: u32,
    pub(crate) fingerprints: Fingerprints,
    pub(crate) clock: u32,
    /// Bytes of the whole datagram: what a reply to an unverified sender is measured by.
    pub(crate) len: usize,
    /// The frame it begins with, if that is one of the two that most datagrams consist of.
    pub(crate) lead: Lead,
    /// The others.
    frames: &'a [u8],
    /// The claims of the first such frame that say nothing new.
    known: Known,
    address: PhantomData<A>,
}

/// Bytes in the body of a lead: two numbers of four.
const LEAD: u8 = 8;

/// A ping or an ack, read as the datagram was validated.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lead {
    None,
    Ping(Ping),
    Ack(Ack),
}

/// One frame. The lists are validated when the datagram is.
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
    /// With its floor, if the reader may be below it; 0 otherwise.
    Telemetry(u64, TelemetryHead, Entries<'a>),
    SyncOpen(SyncOpen),
    SyncDigest(DigestHead, Items<'a, WireSum>),
    SyncVersions(VersionsHead, Ranges<'a>),
    SyncWants(WantsHead, Items<'a, WireWant>),
    SyncDone(SyncDone),
    PageRequest(PageRequest),
    Page(Page),
    Tree(Tree),
    TreeAck(TreeAck),
    Unknown,
}

impl<A> Frame<'_, A> {
    /// Whether it is about being there, and not about state.
    pub(crate) const fn is_signal(&self) -> bool {
        matches!(self, Self::Ping(_) | Self::Ack(_) | Self::Nack(_) | Self::PingReq { .. })
    }
}

impl<'a, A: Address> Datagram<'a, A> {
    /// Validates the header and every frame. Claims that `pass_over` knows are valid: it says how
    /// many there are at the front, and what comes after them.
    pub(crate) fn parse(
        bytes: &'a [u8],
        label: Label,
        mut pass_over: impl FnMut(&'a [u8]) -> (u32, &'a [u8]),
    ) -> Result<Self, WireError> {
        if bytes.len() > usize::from(MAX_MTU) {
            return Err(WireError::TooLong { len: bytes.len(), max: MAX_MTU.into() });
        }
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
        if let Some((&[kind @ (kind::PING | kind::ACK), LEAD, a, b, c, d, e, f, g, h], after)) =
            frames.split_first_chunk()
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

    /// All frames of a validated datagram.
    #[cfg(test)]
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

    /// The frames after the lead, in order.
    pub(crate) fn following(&self) -> impl Iterator<Item = Frame<'a, A>> + use<'a, A> {
        let (mut rest, mut known) = (self.frames, self.known);
        core::iter::from_fn(move || {
            let (kind, body, after) = split_frame(rest).ok()?;
            rest = after;
            if kind == kind::CLAIMS {
                let Known { mask, all } = core::mem::take(&mut known);
                let items = Items::new(if all { &[] } else { body });
                return Some(Frame::Claims(ClaimsIn { items, known: mask, address: PhantomData }));
            }
            parse_frame(kind, body).ok()
        })
    }
}

fn split_frame(bytes: &[u8]) -> Result<(u8, &[u8], &[u8]), WireError> {
    let (&kind, rest) = bytes.split_first().ok_or(WireError::Truncated)?;
    let mut reader = Reader::new(rest);
    let len = reader.u32().and_then(|len| usize::try_from(len).ok()).ok_or(WireError::Truncated)?;
    let (body, rest) = reader.rest().split_at_checked(len).ok_or(WireError::Truncated)?;
    Ok((kind, body, rest))
}

fn whole<'a, T: Deserialize<'a>>(body: &'a [u8], name: &'static str) -> Result<T, WireError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(WireError::Malformed(name)),
    }
}

/// A frame of one value that is read by hand.
#[inline(always)]
fn signal<'a, T: Read<'a>>(body: &'a [u8], name: &'static str) -> Result<T, WireError> {
    let mut reader = Reader::new(body);
    T::read(&mut reader).filter(|_| reader.rest().is_empty()).ok_or(WireError::Malformed(name))
}

fn parse_frame<A: Address>(kind: u8, body: &[u8]) -> Result<Frame<'_, A>, WireError> {
    Ok(match kind {
        kind::PING => Frame::Ping(signal(body, "ping")?),
        kind::ACK => Frame::Ack(signal(body, "ack")?),
        kind::NACK => Frame::Nack(whole(body, "nack")?),
        kind::PING_REQ => {
            let PingReq { number, target, address } = whole(body, "relay")?;
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
            let (FloorHead { floor, head }, rest) = head(body, "telemetry")?;
            Frame::Telemetry(floor, head, Entries { reader: Reader::new(rest) })
        }
        kind::SYNC_OPEN => Frame::SyncOpen(whole(body, "sync open")?),
        kind::SYNC_DIGEST => {
            let (head, rest) = head(body, "sync digest")?;
            Frame::SyncDigest(head, Items::new(rest))
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
        kind::TREE => Frame::Tree(signal(body, "tree")?),
        kind::TREE_ACK => Frame::TreeAck(signal(body, "tree ack")?),
        _ => Frame::Unknown,
    })
}

/// Claims of a frame that say nothing new.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// A bit for each of the first 64.
    mask: u64,
    /// All of the frame.
    all: bool,
}

/// The first pass over the frames after the lead; what it finds of the first frame of claims.
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

/// The first pass over claims.
fn validate_claims<'a, A: Address>(
    body: &'a [u8],
    pass_over: &mut impl FnMut(&'a [u8]) -> (u32, &'a [u8]),
) -> Result<Known, WireError> {
    let (mut rest, mut known, mut at) = (body, Known { mask: 0, all: true }, 0_u32);
    loop {
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

/// So many bits set, from the lowest on.
const fn ones(count: u32) -> u64 {
    match 1_u64.checked_shl(count) {
        Some(next) => next - 1,
        None => u64::MAX,
    }
}

/// The first pass over one frame: every item, every rule.
fn validate<A: Address>(kind: u8, body: &[u8]) -> Result<(), WireError> {
    match parse_frame::<A>(kind, body)? {
        // See `validate_claims`.
        Frame::Claims(_) => {}
        Frame::Telemetry(floor, head, entries) => {
            if head.since > MAX_VERSION || floor > MAX_VERSION {
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
        Frame::SyncVersions(_, ranges) => {
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
        | Frame::Tree(_)
        | Frame::TreeAck(_)
        | Frame::Unknown => {}
    }
    Ok(())
}
