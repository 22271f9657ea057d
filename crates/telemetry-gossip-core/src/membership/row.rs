//! One member's record, packed: 40 bytes, and one block for its texts.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::rtt::RttBound;
use super::telemetry_log::{self, Entries, LogEntry};
use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::id::{Generation, Instance, bytes_hash, full_id_hash, mix};
use crate::status::Status;
use crate::time::Instant;

/// The lengths in the texts' block: `[id length][id][address length][address][telemetry log]`. Its
/// front is what claims have, byte for byte.
const LENGTHS: usize = 1 + 1;

/// Sums over rows: of what is claimed about members, and of their telemetry versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) claims: u64,
    pub(crate) telemetry: u64,
}

impl Sums {
    /// Both in one.
    pub(crate) const fn whole(self) -> u64 {
        self.claims.wrapping_add(self.telemetry)
    }

    /// Without one row's sums, and with another's.
    pub(crate) const fn replace(self, old: Self, new: Self) -> Self {
        Self {
            claims: self.claims.wrapping_sub(old.claims).wrapping_add(new.claims),
            telemetry: self.telemetry.wrapping_sub(old.telemetry).wrapping_add(new.telemetry),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Row {
    /// The texts, and some bytes to spare: what is replaced by something a little longer allocates
    /// nothing.
    block: Box<[u8]>,
    pub(crate) generation: Generation,
    pub(crate) instance: Instance,
    observed: [u8; 6],
    /// How many bytes at the end of the block are to spare.
    spare: u16,
    pub(crate) round_trip: RttBound,
    pub(crate) status: Status,
    /// Whether an answer has come from this address, so that it is no victim of a forged source.
    pub(crate) verified: bool,
}

const _: () = assert!(size_of::<Row>() <= 40);

impl Row {
    pub(crate) fn new<A: Address>(id: &str, address: Option<A>) -> Self {
        let mut row = Self {
            block: Box::default(),
            generation: Generation(0),
            instance: Instance(0),
            observed: [0; 6],
            spare: 0,
            round_trip: RttBound::default(),
            status: Status::Alive,
            verified: false,
        };
        row.write_texts(id.as_bytes(), address, &[]);
        row
    }

    fn write_texts<A: Address>(&mut self, id: &[u8], address: Option<A>, log: &[u8]) {
        let mut buf = [0; MAX_ADDRESS_LEN];
        let len = address.map_or(0, |address| address.encode(&mut buf).min(MAX_ADDRESS_LEN));
        let mut texts = Vec::with_capacity(LENGTHS + id.len() + len + log.len());
        // Ids and addresses were checked to be below 256 bytes where they entered.
        texts.push(u8::try_from(id.len()).unwrap_or(0));
        texts.extend_from_slice(id);
        texts.push(u8::try_from(len).unwrap_or(0));
        texts.extend_from_slice(&buf[..len]);
        texts.extend_from_slice(log);
        self.keep(texts);
    }

    fn texts(&self) -> &[u8] {
        self.block.get(..self.block.len() - usize::from(self.spare)).unwrap_or_default()
    }

    /// Changes the texts, within the block while it has room.
    fn edit(&mut self, edit: impl FnOnce(&mut Vec<u8>)) {
        let len = self.texts().len();
        let mut texts = core::mem::take(&mut self.block).into_vec();
        texts.truncate(len);
        edit(&mut texts);
        self.keep(texts);
    }

    fn keep(&mut self, mut texts: Vec<u8>) {
        if texts.capacity() - texts.len() > usize::from(u16::MAX) {
            texts.shrink_to_fit();
        }
        let spare = texts.capacity() - texts.len();
        // A vector as long as its block becomes one without a copy.
        texts.resize(texts.capacity(), 0);
        (self.block, self.spare) = (texts.into_boxed_slice(), u16::try_from(spare).unwrap_or(0));
    }

    /// The hash of the id.
    pub(crate) fn hash(&self) -> u64 {
        full_id_hash(self.id_bytes())
    }

    /// When its record last changed, or a datagram last came from it, as long as the node's clock
    /// is below nine years.
    pub(crate) fn observed(&self) -> Instant {
        let [a, b, c, d, e, f] = self.observed;
        Instant::from_micros(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    pub(crate) fn observe(&mut self, now: Instant) {
        let [a, b, c, d, e, f, ..] = now.as_micros().min((1 << 48) - 1).to_le_bytes();
        self.observed = [a, b, c, d, e, f];
    }

    /// Where the address begins, its length before it.
    fn id_end(&self) -> usize {
        1 + usize::from(self.block.first().copied().unwrap_or(0))
    }

    fn log_start(&self) -> usize {
        let at = self.id_end();
        at + 1 + usize::from(self.block.get(at).copied().unwrap_or(0))
    }

    /// The id and the address, each after its length, as in a claim on the wire.
    pub(crate) fn names(&self) -> &[u8] {
        self.block.get(..self.log_start()).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> &str {
        core::str::from_utf8(self.id_bytes()).unwrap_or_default()
    }

    /// The id where its text is only compared.
    pub(crate) fn id_bytes(&self) -> &[u8] {
        self.block.get(1..self.id_end()).unwrap_or_default()
    }

    pub(crate) fn address<A: Address>(&self) -> Option<A> {
        A::decode(self.address_bytes())
    }

    /// Whether this is the address.
    pub(crate) fn is_at<A: Address>(&self, address: &A) -> bool {
        address.is_encoded(self.address_bytes())
    }

    /// The address as it is encoded; empty if unknown.
    pub(crate) fn address_bytes(&self) -> &[u8] {
        self.names().get(self.id_end() + 1..).unwrap_or_default()
    }

    pub(crate) fn set_address<A: Address>(&mut self, address: Option<A>) {
        let (id, log) = (self.id_bytes().to_vec(), self.log().to_vec());
        self.write_texts(&id, address, &log);
    }

    pub(crate) fn telemetry_version(&self) -> u64 {
        telemetry_log::version(self.log())
    }

    pub(crate) fn log(&self) -> &[u8] {
        self.texts().get(self.log_start()..).unwrap_or_default()
    }

    pub(crate) fn entries(&self) -> Entries<'_> {
        Entries::new(self.log())
    }

    /// The entry becomes the newest of the log.
    pub(crate) fn set_entry(&mut self, entry: &LogEntry<'_>) {
        let start = self.log_start();
        self.edit(|texts| telemetry_log::set(texts, start, entry));
    }

    /// The log is read anew, from this compacted version on.
    pub(crate) fn restart_telemetry(&mut self, compacted: u64) {
        let start = self.log_start();
        self.edit(|texts| telemetry_log::reset(texts, start, compacted));
    }

    /// Drops what is left of removed keys, see [`telemetry_log::drop_markers`].
    pub(crate) fn drop_delete_markers(&mut self, now: Instant, scarce: bool) {
        let start = self.log_start();
        self.edit(|texts| telemetry_log::drop_delete_markers(texts, start, now, scarce));
    }

    pub(crate) fn clear_telemetry(&mut self) {
        let start = self.log_start();
        self.edit(|texts| texts.truncate(start));
    }

    /// What this row adds to the table's fingerprints. Where the dead are forgotten they add
    /// nothing: that happens at slightly different times, and must not look like a difference.
    pub(crate) fn sums(&self, dead_count: bool) -> Sums {
        if !self.status.is_live() && !dead_count {
            return Sums::default();
        }
        let hash = self.hash();
        let state = mix(self.generation.0.wrapping_mul(4).wrapping_add(self.status.rank().into()));
        let life = mix(state ^ u64::from(self.instance.0)) ^ bytes_hash(self.address_bytes());
        Sums { claims: mix(hash ^ life), ..self.telemetry_sums(hash, dead_count) }
    }

    /// The telemetry's part of it, and nothing of the claims; `hash` is that of the id. Nothing for
    /// a member without.
    pub(crate) fn telemetry_sums(&self, hash: u64, dead_count: bool) -> Sums {
        let telemetry = match self.telemetry_version() {
            0 => 0,
            _ if !self.status.is_live() && !dead_count => 0,
            version => mix(hash ^ mix(!version)),
        };
        Sums { claims: 0, telemetry }
    }

    /// Heap bytes of the texts.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.block.len()
    }
}
