//! One member's record, packed: 56 bytes, and one block for its texts.

use alloc::vec::Vec;

use crate::address::{Address, MAX_ADDRESS_LEN};
use crate::id::{Generation, Instance, id_hash, mix};
use crate::member::Status;
use crate::probe::RoundTrip;
use crate::telemetry::{self, Entries, TelemetryEntry};
use crate::time::Instant;

/// The texts' block: `[id length][address length][id][address][telemetry log]`.
const HEAD: usize = 1 + 1;

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
    texts: Vec<u8>,
    /// Of the id.
    pub(crate) hash: u64,
    pub(crate) generation: Generation,
    pub(crate) observed: Instant,
    pub(crate) instance: Instance,
    pub(crate) status: Status,
    /// Whether an answer has come from this address, so that it is no victim of a forged source.
    pub(crate) verified: bool,
    pub(crate) round_trip: RoundTrip,
}

impl Row {
    pub(crate) fn new<A: Address>(id: &str, address: Option<A>) -> Self {
        let mut row = Self {
            texts: Vec::new(),
            hash: id_hash(id.as_bytes()),
            generation: Generation(0),
            observed: Instant::ORIGIN,
            instance: Instance(0),
            status: Status::Alive,
            verified: false,
            round_trip: RoundTrip::default(),
        };
        row.write_texts(id, address, &[]);
        row
    }

    fn write_texts<A: Address>(&mut self, id: &str, address: Option<A>, log: &[u8]) {
        let mut buf = [0; MAX_ADDRESS_LEN];
        let len = address.map_or(0, |address| address.encode(&mut buf).min(MAX_ADDRESS_LEN));
        let mut texts = Vec::with_capacity(HEAD + id.len() + len + log.len());
        // Ids and addresses were checked to be below 256 bytes where they entered.
        texts.push(u8::try_from(id.len()).unwrap_or(0));
        texts.push(u8::try_from(len).unwrap_or(0));
        texts.extend_from_slice(id.as_bytes());
        texts.extend_from_slice(&buf[..len]);
        texts.extend_from_slice(log);
        self.texts = texts;
    }

    fn id_len(&self) -> usize {
        self.texts.first().copied().unwrap_or(0).into()
    }

    fn log_start(&self) -> usize {
        HEAD + self.id_len() + usize::from(self.texts.get(1).copied().unwrap_or(0))
    }

    pub(crate) fn id(&self) -> &str {
        core::str::from_utf8(self.id_bytes()).unwrap_or_default()
    }

    /// The id where its text is only compared.
    pub(crate) fn id_bytes(&self) -> &[u8] {
        self.texts.get(HEAD..HEAD + self.id_len()).unwrap_or_default()
    }

    pub(crate) fn address<A: Address>(&self) -> Option<A> {
        A::decode(self.address_bytes())
    }

    /// The address as it is encoded; empty if unknown.
    pub(crate) fn address_bytes(&self) -> &[u8] {
        self.texts.get(HEAD + self.id_len()..self.log_start()).unwrap_or_default()
    }

    pub(crate) fn set_address<A: Address>(&mut self, address: Option<A>) {
        let (log, id_len) = (self.log_start(), self.id_len());
        let old = core::mem::take(&mut self.texts);
        let id = core::str::from_utf8(old.get(HEAD..HEAD + id_len).unwrap_or_default());
        self.write_texts(id.unwrap_or_default(), address, old.get(log..).unwrap_or_default());
    }

    pub(crate) fn telemetry_version(&self) -> u64 {
        telemetry::version(self.log())
    }

    pub(crate) fn log(&self) -> &[u8] {
        self.texts.get(self.log_start()..).unwrap_or_default()
    }

    pub(crate) fn entries(&self) -> Entries<'_> {
        Entries::new(self.log())
    }

    /// The entry becomes the newest of the log.
    pub(crate) fn set_entry(&mut self, entry: &TelemetryEntry<'_>) {
        let start = self.log_start();
        telemetry::set(&mut self.texts, start, entry);
    }

    /// The log is read anew, from this floor on.
    pub(crate) fn reset_telemetry(&mut self, floor: u64) {
        let start = self.log_start();
        telemetry::reset(&mut self.texts, start, floor);
    }

    /// Drops what is left of removed keys, see [`telemetry::drop_markers`].
    pub(crate) fn drop_markers(&mut self, now: Instant, scarce: bool) {
        let start = self.log_start();
        telemetry::drop_markers(&mut self.texts, start, now, scarce);
    }

    pub(crate) fn clear_telemetry(&mut self) {
        let start = self.log_start();
        self.texts.truncate(start);
    }

    /// What this row adds to the table's fingerprints. Where the dead are forgotten they add nothing: that happens at
    /// slightly different times, and must not look like a difference.
    pub(crate) fn sums(&self, dead_count: bool) -> Sums {
        if !self.status.is_live() && !dead_count {
            return Sums::default();
        }
        let state = mix(self.generation.0.wrapping_mul(4).wrapping_add(self.status.rank().into()));
        let life = mix(state ^ u64::from(self.instance.0)) ^ id_hash(self.address_bytes());
        Sums { claims: mix(self.hash ^ life), telemetry: self.telemetry_sum() }
    }

    /// The telemetry's part of it; nothing for a member without.
    fn telemetry_sum(&self) -> u64 {
        match self.telemetry_version() {
            0 => 0,
            version => mix(self.hash ^ mix(!version)),
        }
    }

    /// Heap bytes of the texts.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.texts.capacity()
    }
}
