//! The table as a part of a node's snapshot: its rows and their order.
//!
//! Indices, sums and counts are not saved; a restored table computes them from its rows.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::proof::Answered;
use super::row::{Row, Sums};
use super::rtt::RttBound;
use super::telemetry_log::{self, Entries, MAX_LOG_READ};
use super::{Membership, Slot};
use crate::address::Address;
use crate::id::{Generation, Instance, check_id};
use crate::status::Status;
use crate::time::Instant;

/// The saved state of a table. Its fields are serialised in this order.
#[derive(Serialize, Deserialize)]
struct State<'a> {
    /// The rows by slot; `None` where the slot is free.
    #[serde(borrow)]
    rows: Vec<Option<SavedRow<'a>>>,
    /// The free slots. The one freed last stands last, and is taken first.
    free: Cow<'a, [Slot]>,
    /// The slots in the order of the roster, which the rows do not determine: ids with the same
    /// hash may stand in either order.
    order: Vec<Slot>,
    me: Option<Slot>,
    limit: u32,
    changed_at: Instant,
    telemetry_changed_at: Instant,
    roster_version: u32,
    includes_dead: bool,
}

/// The saved state of a row.
#[derive(Serialize, Deserialize)]
struct SavedRow<'a> {
    id: &'a str,
    address: &'a [u8],
    log: &'a [u8],
    generation: Generation,
    instance: Instance,
    observed: Instant,
    round_trip: RttBound,
    status: Status,
    answered: Answered,
}

/// Saves a table.
pub(crate) fn serialize<A: Address, S: Serializer>(
    table: &Membership<A>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut rows: Vec<Option<SavedRow<'_>>> =
        table.rows.iter().map(|row| Some(SavedRow::of(row))).collect();
    for slot in &table.free {
        rows[slot.index()] = None;
    }
    let state = State {
        rows,
        free: table.free.as_slice().into(),
        order: table.slots().collect(),
        me: table.me,
        limit: table.limit,
        changed_at: table.changed_at,
        telemetry_changed_at: table.telemetry_changed_at,
        roster_version: table.roster_version,
        includes_dead: table.includes_dead,
    };
    state.serialize(serializer)
}

/// Restores a table, or says why the bytes are no table.
pub(crate) fn deserialize<'de, A: Address, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Membership<A>, D::Error> {
    State::deserialize(deserializer)?.restore().map_err(D::Error::custom)
}

impl State<'_> {
    fn restore<A: Address>(self) -> Result<Membership<A>, &'static str> {
        let mut table = Membership {
            me: self.me,
            limit: self.limit,
            changed_at: self.changed_at,
            telemetry_changed_at: self.telemetry_changed_at,
            roster_version: self.roster_version,
            includes_dead: self.includes_dead,
            free: self.free.into_owned(),
            ..Membership::new(self.limit)
        };
        for row in &self.rows {
            let row = row.as_ref().map_or(Ok(Row::new::<A>("", None)), SavedRow::restore::<A>)?;
            table.rows.push(row);
        }
        // Each slot is either free or in the roster, exactly once.
        let mut missing: Vec<Option<bool>> =
            self.rows.iter().map(|row| Some(row.is_some())).collect();
        for (slot, taken) in table
            .free
            .iter()
            .map(|slot| (slot, false))
            .chain(self.order.iter().map(|slot| (slot, true)))
        {
            if missing.get_mut(slot.index()).and_then(Option::take) != Some(taken) {
                return Err("a slot is both free and in the roster, or named twice");
            }
        }
        if missing.iter().any(Option::is_some) {
            return Err("a slot is neither free nor in the roster");
        }
        // Among equal hashes the roster puts the latest first, so they are inserted from the back.
        for &slot in self.order.iter().rev() {
            table.roster.insert(&table.rows, slot);
            let (hash, row) = (table.hash(slot), &table.rows[slot.index()]);
            let (status, share) = (row.status, row.sums(table.includes_dead));
            table.count(status, hash, 1);
            table.account(hash, Sums::default(), share);
        }
        if !table.slots().eq(self.order.iter().copied()) {
            return Err("the roster is not in the order of the id hashes");
        }
        let ids_differ = |pair: &[Slot]| {
            let [one, other] = pair else { return true };
            table.row(*one).id_bytes() != table.row(*other).id_bytes()
        };
        if !self.order.windows(2).all(ids_differ) {
            return Err("two rows have the same id");
        }
        Ok(table)
    }
}

impl<'a> SavedRow<'a> {
    fn of(row: &'a Row) -> Self {
        Self {
            id: row.id(),
            address: row.address_bytes(),
            log: row.log(),
            generation: row.generation,
            instance: row.instance,
            observed: row.observed(),
            round_trip: row.round_trip,
            status: row.status,
            answered: row.answered,
        }
    }

    fn restore<A: Address>(&self) -> Result<Row, &'static str> {
        check_id(self.id).map_err(|_| "the id of a member breaks the rule for ids")?;
        let address = A::decode(self.address);
        if address.is_none() && !self.address.is_empty() {
            return Err("the address of a member cannot be decoded");
        }
        // A log that begins with 0 states its compacted version before its entries.
        let mut row = Row::new(self.id, address);
        if let (Some(0), compacted) = (self.log.first(), telemetry_log::compacted_version(self.log))
        {
            row.restart_telemetry(compacted);
        }
        if !telemetry_log::is_held(self.log) {
            row.withhold_telemetry(telemetry_log::version(self.log));
        }
        let (mut last, mut entries) = (0, Vec::new());
        for entry in Entries::new(self.log) {
            if entry.version <= last || core::str::from_utf8(entry.key).is_err() {
                return Err(
                    "the telemetry of a member is not in order of version, or a key is not UTF-8",
                );
            }
            last = entry.version;
            entries.push(entry);
        }
        if !entries.is_empty() {
            // At this time no delete marker is old, so none is dropped.
            row.merge_entries(&entries, Instant::ORIGIN);
        }
        // Bytes that are no log differ from the log that was rebuilt from their entries.
        if row.log() != self.log || self.log.len() > MAX_LOG_READ {
            return Err("the telemetry of a member is not a valid log, or is too long");
        }
        (row.generation, row.instance, row.status) = (self.generation, self.instance, self.status);
        (row.round_trip, row.answered) = (self.round_trip, self.answered);
        row.observe(self.observed);
        Ok(row)
    }
}
