//! The table as a part of a node's snapshot: its rows and their order.
//!
//! Indices, sums and counts are not saved; a restored table computes them from its rows. The rows
//! are read as they are, and checked once the whole state is read, so that an error can name the
//! rule that they break.

use alloc::vec::Vec;
use core::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::last_heard::HeardBefore;
use super::proof::Answered;
use super::roster::Roster;
use super::row::{Row, Sums};
use super::rtt::RttBound;
use super::side::Reached;
use super::slot::grow;
use super::telemetry_log::{self, Entries, MAX_LOG_READ, MAX_VERSION};
use super::{Membership, Slot};
use crate::address::Address;
use crate::id::{Generation, Instance, check_id};
use crate::status::Status;
use crate::time::{Instant, TimeRules};
use crate::violation::{Unsound, check_rules};

/// The saved state of a table. Its fields are serialised in this order.
#[derive(Serialize)]
struct State<'a> {
    /// The rows by slot; `None` where the slot is free.
    rows: Vec<Option<SavedRow<'a>>>,
    /// The free slots, as numbers, since no other part names one. The one freed last stands last,
    /// and is taken first.
    free: Vec<u32>,
    /// The slots in the order of the roster, which the rows do not determine: ids with the same
    /// hash may stand in either order.
    order: Vec<Slot>,
    me: Option<Slot>,
    limit: u32,
    changed_at: Instant,
    telemetry_changed_at: Instant,
    roster_version: u32,
    includes_dead: bool,
    side: Option<&'a [Reached]>,
}

/// The same fields, as they are read.
#[derive(Deserialize)]
struct ReadState {
    rows: Rows,
    free: Vec<Slot>,
    order: Vec<Slot>,
    me: Option<Slot>,
    limit: u32,
    changed_at: Instant,
    telemetry_changed_at: Instant,
    roster_version: u32,
    includes_dead: bool,
    side: Option<Vec<Reached>>,
}

/// The rows as they are read. A free row is one byte and takes no memory before the list of free
/// slots was read, too.
struct Rows {
    /// The rows that hold members, each with its slot.
    used: Vec<(u32, Row)>,
    /// When the members were heard whose records have changed since.
    heard_before: HeardBefore,
    /// The number of all rows.
    count: u32,
}

impl Rows {
    /// Returns the rows by slot; `None` if the free slots are not as many as the free rows.
    fn by_slot(self, free: &[Slot]) -> Option<(Vec<Row>, HeardBefore)> {
        let Self { used, heard_before, count } = self;
        let count = count as usize;
        if used.len() + free.len() != count {
            return None;
        }
        let mut rows = Vec::with_capacity(count);
        for (slot, row) in used {
            rows.resize_with(slot as usize, Row::free);
            rows.push(row);
        }
        rows.resize_with(count, Row::free);
        Some((rows, heard_before))
    }
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
    heard: Option<Instant>,
    round_trip: RttBound,
    status: Status,
    answered: Answered,
}

/// The bytes of a log before its first entry, if its first byte is 0.
const COMPACTED_LEN: usize = 7;

/// The versions that a restored node must have left for its own telemetry: one per microsecond for
/// twelve days.
const VERSIONS_LEFT: u64 = 1 << 40;

/// Saves a table.
pub(crate) fn serialize<A: Address, S: Serializer>(
    table: &Membership<A>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut rows: Vec<Option<SavedRow<'_>>> = table.rows.iter().map(|_| None).collect();
    for slot in table.slots() {
        rows[slot.index()] = Some(SavedRow::of(table.row(slot), table.last_heard(slot)));
    }
    let state = State {
        rows,
        free: table.free.iter().map(|slot| slot.0).collect(),
        order: table.slots().collect(),
        me: table.me,
        limit: table.limit,
        changed_at: table.changed_at,
        telemetry_changed_at: table.telemetry_changed_at,
        roster_version: table.roster_version,
        includes_dead: table.includes_dead,
        side: table.side.as_deref(),
    };
    state.serialize(serializer)
}

/// Reads a table. Nothing may use it before [`Membership::check_restored`] has found it sound.
pub(crate) fn deserialize<'de, A: Address, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Membership<A>, D::Error> {
    let state = ReadState::deserialize(deserializer)?;
    let rows = state.rows.by_slot(&state.free);
    let (rows, heard_before) =
        rows.ok_or_else(|| D::Error::custom("the free slots are not the free rows"))?;
    let mut table = Membership {
        me: state.me,
        limit: state.limit,
        changed_at: state.changed_at,
        telemetry_changed_at: state.telemetry_changed_at,
        roster_version: state.roster_version,
        includes_dead: state.includes_dead,
        side: state.side,
        free: state.free,
        rows,
        heard_before,
        ..Membership::new(state.limit)
    };
    let hash_of = |slot: Slot| table.rows.get(slot.index()).map_or(0, Row::hash);
    let roster = Roster::in_order(state.order.iter().map(|&slot| (hash_of(slot), slot)));
    table.roster = roster;
    for slot in state.order {
        let Some(row) = table.rows.get(slot.index()) else { continue };
        let (hash, status, share) = (row.hash(), row.status, row.sums(table.includes_dead));
        table.count(status, hash, 1);
        table.account(hash, Sums::default(), share);
    }
    Ok(table)
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Rows;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the rows of a table")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut saved: S) -> Result<Rows, S::Error> {
                let (mut used, mut count) = (Vec::new(), 0_u32);
                let mut heard_before = HeardBefore::default();
                while let Some(row) = saved.next_element::<Option<SavedRow<'de>>>()? {
                    if let Some(row) = row {
                        let read = row.read().ok_or_else(|| S::Error::custom("a long name"))?;
                        if let Some(heard) = row.heard.filter(|_| !read.is_heard()) {
                            heard_before.set(Slot(count), heard);
                        }
                        grow(&mut used);
                        used.push((count, read));
                    }
                    count = count.checked_add(1).ok_or_else(|| S::Error::custom("many rows"))?;
                }
                Ok(Rows { used, heard_before, count })
            }
        }
        deserializer.deserialize_seq(Reading)
    }
}

impl<A: Address> Membership<A> {
    /// Checks the table of a restored node, which may have at most `limit` members. Every slot that
    /// the table itself names exists afterwards.
    pub(crate) fn check_restored(&self, limit: u32, times: TimeRules) -> Result<(), Unsound> {
        const PART: &str = "table";
        // Each slot is either free or in the roster, exactly once.
        let mut in_use: Vec<Option<bool>> = self.rows.iter().map(|_| None).collect();
        let free = self.free.iter().map(|&slot| (slot, false));
        let named_once = free.chain(self.slots().map(|slot| (slot, true))).all(|(slot, used)| {
            in_use.get_mut(slot.index()).is_some_and(|place| place.replace(used).is_none())
        });
        check_rules(
            PART,
            &[
                (self.limit == limit, "its limit is that of the settings"),
                (self.rows.len() <= limit as usize, "it has no more rows than its limit"),
                (
                    named_once && !in_use.contains(&None),
                    "each row is either free or in the roster, and named once",
                ),
                (!self.includes_dead, "a node's fingerprints leave dead members out"),
                (times.is_past(self.changed_at), "its last change has happened"),
                (times.is_past(self.telemetry_changed_at), "its last change has happened"),
            ],
        )?;
        check_rules(
            PART,
            &[
                (
                    self.free.iter().all(|slot| self.row(*slot).heap_bytes() == 0),
                    "a free row holds no member",
                ),
                (
                    self.slots()
                        .map(|slot| (self.id_hash(slot), self.row(slot).id_bytes()))
                        .is_sorted(),
                    "the roster is in the order of the id hashes and ids",
                ),
                (self.ids_differ(), "no two members have the same id"),
                (self.side_is_sound(), "its side names members in the order of the roster"),
                (self.heard_in_the_past(times), "its members were heard from in the past"),
            ],
        )?;
        self.slots().try_for_each(|slot| self.check_row(slot, times))
    }

    /// Whether a restored slot names a member of the table.
    pub(crate) fn is_in_use(&self, slot: Slot) -> bool {
        self.rows.get(slot.index()).is_some_and(|row| !row.id_bytes().is_empty())
    }

    fn ids_differ(&self) -> bool {
        let mut ids: Vec<&[u8]> = self.slots().map(|slot| self.row(slot).id_bytes()).collect();
        ids.sort_unstable();
        ids.windows(2).all(|pair| pair.first() != pair.last())
    }

    fn check_row(&self, slot: Slot, times: TimeRules) -> Result<(), Unsound> {
        let row = self.row(slot);
        let id = core::str::from_utf8(row.id_bytes());
        let (address, bytes) = (row.address::<A>(), row.address_bytes());
        let decodes = address.map_or(bytes.is_empty(), |address| address.is_encoded(bytes));
        // The log of this node is bounded where this node writes to it, and may be longer than
        // what it reads of others.
        let own = self.me == Some(slot);
        let readable = own || row.log().len() <= MAX_LOG_READ;
        let goes_on = !own || row.telemetry_version() <= MAX_VERSION - VERSIONS_LEFT;
        check_rules(
            "record of a member",
            &[
                (id.is_ok_and(|id| check_id(id).is_ok()), "its id is a valid id"),
                (decodes, "its address decodes to itself"),
                (times.is_past(row.observed()), "it was observed in the past"),
                (readable, "its telemetry is not longer than a reader takes in"),
                (is_log(row.log()), "its telemetry is a log in order of version"),
                (goes_on, "this node has versions left for its own telemetry"),
            ],
        )
    }
}

/// Whether the bytes are a log: whole entries with ascending versions and keys that differ.
fn is_log(log: &[u8]) -> bool {
    if !telemetry_log::is_held(log) {
        return log.len() == 2 * COMPACTED_LEN;
    }
    let (mut len, mut last) = (if log.first() == Some(&0) { COMPACTED_LEN } else { 0 }, 0);
    let mut keys = Vec::new();
    for entry in Entries::new(log) {
        let follows = entry.version > last && !entry.key.is_empty();
        if !follows || core::str::from_utf8(entry.key).is_err() {
            return false;
        }
        last = entry.version;
        len += entry.packed_len();
        keys.push(entry.key);
    }
    keys.sort_unstable();
    len == log.len() && keys.windows(2).all(|pair| pair.first() != pair.last())
}

impl<'a> SavedRow<'a> {
    fn of(row: &'a Row, heard: Option<Instant>) -> Self {
        Self {
            id: row.id(),
            address: row.address_bytes(),
            log: row.log(),
            generation: row.generation,
            instance: row.instance,
            observed: row.observed(),
            heard,
            round_trip: row.round_trip,
            status: row.status,
            answered: row.answered,
        }
    }

    fn read(&self) -> Option<Row> {
        let mut row = Row::of_texts(self.id.as_bytes(), self.address, self.log)?;
        (row.generation, row.instance, row.status) = (self.generation, self.instance, self.status);
        (row.round_trip, row.answered) = (self.round_trip, self.answered);
        row.observe(self.observed);
        row.set_heard(self.heard == Some(self.observed));
        Some(row)
    }
}
