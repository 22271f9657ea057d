//! The packed record of one member: 40 bytes, and one heap block for its texts.
//!
//! A row does not know its place in the table and does not merge claims. The table changes it, so
//! that the table's sums stay true.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::proof::Answered;
use super::rtt::RttBound;
use super::telemetry_log::{self, Edited, Entries, LogEntry};
use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::id::{Generation, Instance, bytes_hash, full_id_hash, mix};
use crate::status::Status;
use crate::time::Instant;

/// The bytes of the two lengths in the block of texts, which is
/// `[id length][id][address length][address][telemetry log]`. Up to the log it equals, byte for
/// byte, the id and the address of a claim on the wire.
const LENGTHS_LEN: usize = 1 + 1;

/// The spare bytes that a block may have beside a quarter of its texts.
const MAX_SPARE_BYTES: usize = 256;

/// The bit of a row whose member was heard from when it was last observed. A block has fewer spare
/// bytes.
const HEARD: u16 = 1 << 15;

/// Sums of hashes over rows: one of the claims, one of the telemetry versions, and one of the
/// claims about members that are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) claims: u64,
    pub(crate) telemetry: u64,
    pub(crate) gone: u64,
}

impl Sums {
    /// Returns what the fingerprints of a range are made of. Members that are gone are no part of
    /// it.
    pub(crate) const fn whole(self) -> u64 {
        self.claims.wrapping_add(self.telemetry)
    }

    /// Returns these sums with the share `old` of one row replaced by `new`.
    pub(crate) const fn replace(self, old: Self, new: Self) -> Self {
        Self {
            claims: self.claims.wrapping_sub(old.claims).wrapping_add(new.claims),
            telemetry: self.telemetry.wrapping_sub(old.telemetry).wrapping_add(new.telemetry),
            gone: self.gone.wrapping_sub(old.gone).wrapping_add(new.gone),
        }
    }
}

/// The record of one member.
#[derive(Debug)]
pub(crate) struct Row {
    /// The texts and some spare bytes, so that a slightly longer text allocates nothing.
    block: Box<[u8]>,
    pub(crate) generation: Generation,
    pub(crate) instance: Instance,
    /// Microseconds since the origin, little-endian.
    observed: [u8; 6],
    /// The number of spare bytes at the end of the block, and the bit [`HEARD`].
    spare: u16,
    pub(crate) round_trip: RttBound,
    pub(crate) status: Status,
    /// How the member has answered so far.
    pub(crate) answered: Answered,
}

const _: () = assert!(size_of::<Row>() <= 40);

impl Row {
    /// Returns the record of a member about which nothing but its names is known.
    pub(crate) fn new<A: Address>(id: &str, address: Option<A>) -> Self {
        let mut row = Self::free();
        row.write_texts(id.as_bytes(), address, &[]);
        row
    }

    /// Returns the record of these texts, as they were saved; `None` if they are longer than a
    /// record can hold. Whether they keep their rules is for the caller to check.
    pub(crate) fn of_texts(id: &[u8], address: &[u8], log: &[u8]) -> Option<Self> {
        let mut row = Self::free();
        let mut texts = Vec::with_capacity(LENGTHS_LEN + id.len() + address.len() + log.len());
        for name in [id, address] {
            texts.push(u8::try_from(name.len()).ok()?);
            texts.extend_from_slice(name);
        }
        texts.extend_from_slice(log);
        row.keep(texts);
        Some(row)
    }

    /// Returns the record of a slot that is free, which takes no heap block.
    pub(crate) fn free() -> Self {
        Self {
            block: Box::default(),
            generation: Generation(0),
            instance: Instance(0),
            observed: [0; 6],
            spare: 0,
            round_trip: RttBound::default(),
            status: Status::Alive,
            answered: Answered::NEVER,
        }
    }

    fn write_texts<A: Address>(&mut self, id: &[u8], address: Option<A>, log: &[u8]) {
        let mut buf = [0; MAX_ADDRESS_LEN];
        let len = address.map_or(0, |address| address.encode(&mut buf).min(MAX_ADDRESS_LEN));
        let mut texts = Vec::with_capacity(LENGTHS_LEN + id.len() + len + log.len());
        // Ids and addresses were checked to be shorter than 256 bytes where they entered the node.
        texts.push(u8::try_from(id.len()).unwrap_or(0));
        texts.extend_from_slice(id);
        texts.push(u8::try_from(len).unwrap_or(0));
        texts.extend_from_slice(&buf[..len]);
        texts.extend_from_slice(log);
        self.keep(texts);
    }

    fn texts(&self) -> &[u8] {
        let spare = usize::from(self.spare & !HEARD);
        self.block.get(..self.block.len() - spare).unwrap_or_default()
    }

    /// Changes the texts, without a new block as long as the present one has room.
    fn edit<T>(&mut self, edit: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let len = self.texts().len();
        let mut texts = core::mem::take(&mut self.block).into_vec();
        texts.truncate(len);
        let result = edit(&mut texts);
        self.keep(texts);
        result
    }

    fn keep(&mut self, mut texts: Vec<u8>) {
        // A block is little longer than its texts, so that the bound on these bounds the memory.
        let spare = texts.capacity() - texts.len();
        if spare > texts.len() / 4 + MAX_SPARE_BYTES || spare >= usize::from(HEARD) {
            texts.shrink_to_fit();
        }
        let spare = texts.capacity() - texts.len();
        // A vector that is as long as its capacity becomes a boxed slice without a copy.
        texts.resize(texts.capacity(), 0);
        let spare = u16::try_from(spare).unwrap_or(0) & !HEARD;
        (self.block, self.spare) = (texts.into_boxed_slice(), spare | (self.spare & HEARD));
    }

    /// Returns the full hash of the id.
    pub(crate) fn hash(&self) -> u64 {
        full_id_hash(self.id_bytes())
    }

    /// Returns the time at which the record last changed or a datagram last came from the member.
    /// It is exact while the node's clock shows less than nine years.
    pub(crate) fn observed(&self) -> Instant {
        let [a, b, c, d, e, f] = self.observed;
        Instant::from_micros(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// Sets the time that [`observed`](Self::observed) returns.
    pub(crate) fn observe(&mut self, now: Instant) {
        let [a, b, c, d, e, f, ..] = now.as_micros().min((1 << 48) - 1).to_le_bytes();
        self.observed = [a, b, c, d, e, f];
    }

    /// Whether the member itself was heard from when it was last observed.
    pub(crate) fn is_heard(&self) -> bool {
        self.spare & HEARD != 0
    }

    /// Sets whether the member itself was heard from when it was last observed. Returns whether it
    /// was before.
    pub(super) fn set_heard(&mut self, heard: bool) -> bool {
        let before = self.is_heard();
        self.spare = if heard { self.spare | HEARD } else { self.spare & !HEARD };
        before
    }

    /// Returns the position behind the id, where the length of the address stands.
    fn id_end(&self) -> usize {
        1 + usize::from(self.block.first().copied().unwrap_or(0))
    }

    fn log_start(&self) -> usize {
        let at = self.id_end();
        at + 1 + usize::from(self.block.get(at).copied().unwrap_or(0))
    }

    /// Returns the id and the address, each after its length, as in a claim on the wire.
    pub(crate) fn names(&self) -> &[u8] {
        self.block.get(..self.log_start()).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> &str {
        core::str::from_utf8(self.id_bytes()).unwrap_or_default()
    }

    /// Returns the bytes of the id, for comparisons that need no text.
    pub(crate) fn id_bytes(&self) -> &[u8] {
        self.block.get(1..self.id_end()).unwrap_or_default()
    }

    pub(crate) fn address<A: Address>(&self) -> Option<A> {
        A::decode(self.address_bytes())
    }

    /// Whether the member listens at `address`.
    pub(crate) fn is_at<A: Address>(&self, address: &A) -> bool {
        address.is_encoded(self.address_bytes())
    }

    /// Returns the encoded address; empty if it is unknown.
    pub(crate) fn address_bytes(&self) -> &[u8] {
        self.names().get(self.id_end() + 1..).unwrap_or_default()
    }

    pub(crate) fn set_address<A: Address>(&mut self, address: Option<A>) {
        let (id, log) = (self.id_bytes().to_vec(), self.log().to_vec());
        self.write_texts(&id, address, &log);
    }

    /// Returns the version of the newest telemetry entry; 0 if there is none.
    pub(crate) fn telemetry_version(&self) -> u64 {
        telemetry_log::version(self.log())
    }

    /// Returns the packed telemetry log.
    pub(crate) fn log(&self) -> &[u8] {
        self.texts().get(self.log_start()..).unwrap_or_default()
    }

    pub(crate) fn entries(&self) -> Entries<'_> {
        Entries::new(self.log())
    }

    /// Merges entries that are newer than the log; see [`telemetry_log::merge`].
    pub(crate) fn merge_entries(&mut self, new: &[LogEntry<'_>], now: Instant) -> Edited {
        let start = self.log_start();
        self.edit(|texts| telemetry_log::merge(texts, start, new, now))
    }

    /// Empties the log and sets its compacted version.
    pub(crate) fn restart_telemetry(&mut self, compacted: u64) {
        let start = self.log_start();
        self.edit(|texts| telemetry_log::reset(texts, start, compacted));
    }

    /// Empties the log and keeps its version alone.
    pub(crate) fn withhold_telemetry(&mut self, version: u64) {
        let start = self.log_start();
        self.edit(|texts| telemetry_log::withhold(texts, start, version));
    }

    /// Lowers the compacted version of the log to `most`.
    pub(crate) fn lower_compacted(&mut self, most: u64) {
        let start = self.log_start();
        self.edit(|texts| telemetry_log::lower_compacted(texts, start, most));
    }

    /// Whether the telemetry of the member is held, not its version alone.
    pub(crate) fn holds_telemetry(&self) -> bool {
        telemetry_log::is_held(self.log())
    }

    /// Drops all delete markers; see [`telemetry_log::drop_delete_markers`].
    pub(crate) fn drop_delete_markers(&mut self) {
        let start = self.log_start();
        self.edit(|texts| telemetry_log::drop_delete_markers(texts, start));
    }

    pub(crate) fn clear_telemetry(&mut self) {
        let start = self.log_start();
        self.edit(|texts| texts.truncate(start));
    }

    /// Returns the share of this row in the fingerprints of the table.
    ///
    /// Unless the table `includes_dead`, dead members and members that left have a sum of their
    /// own: nodes forget them at slightly different times, which must not look like a difference of
    /// the live members.
    pub(crate) fn sums(&self, includes_dead: bool) -> Sums {
        let hash = self.hash();
        let state = mix(self.generation.0.wrapping_mul(4).wrapping_add(self.status.rank().into()));
        let claim = mix(state ^ u64::from(self.instance.0)) ^ bytes_hash(self.address_bytes());
        let claim = mix(hash ^ claim);
        if !self.status.is_live() && !includes_dead {
            return Sums { gone: claim, ..Sums::default() };
        }
        Sums { claims: claim, ..self.telemetry_sums(hash, includes_dead) }
    }

    /// Returns the telemetry's share of [`sums`](Self::sums), and 0 for the claims. `hash` is the
    /// full hash of the id. A member without telemetry adds nothing.
    pub(crate) fn telemetry_sums(&self, hash: u64, includes_dead: bool) -> Sums {
        let telemetry = match self.telemetry_version() {
            0 => 0,
            _ if !self.status.is_live() && !includes_dead => 0,
            version => mix(hash ^ mix(!version)),
        };
        Sums { telemetry, ..Sums::default() }
    }

    /// Returns the bytes of the heap block.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.block.len()
    }
}
