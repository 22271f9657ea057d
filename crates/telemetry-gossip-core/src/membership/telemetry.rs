//! The telemetry of the members in the table: how entries are taken in, and how much is held.
//!
//! A reader holds what an owner publishes, whatever the reader's own limits for publishing are,
//! within three bounds:
//!
//! - of one owner at most [`MAX_LOG_READ`] bytes in at most [`MAX_ENTRIES_READ`] entries, which an
//!   owner that keeps to its own limits cannot exceed,
//! - of all owners a total. Half of it is shared out evenly, and the log of an owner that keeps to
//!   its share is always held. The longer logs share the other half.
//!
//! Beyond that, the version of a log is kept and its entries are not: without the version, the
//! fingerprint of this table would differ from those of the others for ever.

use super::row::Row;
use super::slot::Slot;
use super::table::Membership;
use super::telemetry_log::{self, Edited, LogEntry, MAX_ENTRIES_READ, MAX_LOG_READ};
use crate::address::Address;
use crate::time::Instant;

/// The bounds on the telemetry of all members, and what is held of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// The length up to which a log is always held.
    share: usize,
    /// The most bytes of all longer logs together.
    limit: usize,
    held: Held,
}

/// A part of the telemetry in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// The bytes of the logs that are longer than their share.
    long: usize,
    /// The number of logs of which only the version is held.
    withheld: usize,
}

impl Room {
    /// Returns the bounds of a table of at most `members`, for this total of bytes.
    pub(super) fn new(total: u32, members: u32) -> Self {
        let half = usize::try_from(total / 2).unwrap_or(usize::MAX);
        let members = usize::try_from(members).unwrap_or(usize::MAX);
        Self { share: half / members.max(1), limit: half, held: Held::default() }
    }

    /// Returns what one row holds.
    pub(super) fn held_by(&self, row: &Row) -> Held {
        let len = row.log().len();
        Held {
            long: if len > self.share { len } else { 0 },
            withheld: usize::from(!row.holds_telemetry()),
        }
    }

    /// Replaces what one row held before by what it holds now.
    pub(super) fn replace(&mut self, old: Held, new: Held) {
        self.held = Held {
            long: (self.held.long + new.long).saturating_sub(old.long),
            withheld: (self.held.withheld + new.withheld).saturating_sub(old.withheld),
        };
    }

    /// Whether this much is held.
    pub(super) fn holds(&self, held: Held) -> bool {
        self.held == held
    }
}

impl Held {
    pub(super) fn add(&mut self, other: Self) {
        self.long += other.long;
        self.withheld += other.withheld;
    }
}

impl<A: Address> Membership<A> {
    /// Bounds the telemetry of all members together to `total` bytes.
    pub(crate) fn bound_telemetry(&mut self, total: u32, members: u32) {
        let mut room = Room::new(total, members);
        for slot in self.slots() {
            room.replace(Held::default(), room.held_by(self.row(slot)));
        }
        self.room = room;
    }

    /// Takes in entries of another member that are newer than its log. If the log has no room for
    /// them, its version alone is kept.
    pub(crate) fn take_entries(
        &mut self,
        slot: Slot,
        now: Instant,
        new: &[LogEntry<'_>],
    ) -> Edited {
        let mut edited = Edited { entries: 0, steps: 0 };
        self.change_telemetry(slot, now, |row| edited = row.merge_entries(new, now));
        let row = self.row(slot);
        let held = self.room.held_by(row);
        let full = held.long > 0 && self.room.held.long > self.room.limit;
        if full || edited.entries > MAX_ENTRIES_READ || row.log().len() > MAX_LOG_READ {
            self.withhold_telemetry(slot, now, row.telemetry_version());
        }
        edited
    }

    /// Keeps this version of a member's telemetry, and none of its entries.
    pub(crate) fn withhold_telemetry(&mut self, slot: Slot, now: Instant, version: u64) {
        self.change_telemetry(slot, now, |row| row.withhold_telemetry(version));
    }

    /// Whether the version alone is held of the telemetry of any member.
    pub(crate) fn withholds_telemetry(&self) -> bool {
        self.room.held.withheld > 0
    }

    /// Whether there is room for the log of any owner.
    pub(crate) fn has_room_for_telemetry(&self) -> bool {
        self.room.held.long + MAX_LOG_READ <= self.room.limit
    }

    /// Appends the next version of this node's own telemetry.
    pub(crate) fn set_entry(&mut self, slot: Slot, now: Instant, entry: &LogEntry<'_>) {
        self.change_telemetry(slot, now, |row| {
            row.merge_entries(core::slice::from_ref(entry), now);
        });
    }

    /// Replaces the telemetry of a member by these entries, after this compacted version.
    pub(crate) fn replace_telemetry(
        &mut self,
        slot: Slot,
        now: Instant,
        compacted: u64,
        entries: &[LogEntry<'_>],
    ) {
        self.change_telemetry(slot, now, |row| {
            row.clear_telemetry();
            if compacted > 0 {
                row.restart_telemetry(compacted);
            }
            row.merge_entries(entries, now);
        });
    }

    /// Drops the telemetry of a member, so that it is read anew from this compacted version on.
    pub(crate) fn restart_telemetry(&mut self, slot: Slot, now: Instant, compacted: u64) {
        self.change_telemetry(slot, now, |row| row.restart_telemetry(compacted));
    }

    /// Lowers the compacted version of a member's telemetry to `most`, if it is higher.
    pub(crate) fn lower_compacted(&mut self, slot: Slot, most: u64) {
        if telemetry_log::compacted_version(self.row(slot).log()) > most {
            self.rows[slot.index()].lower_compacted(most);
        }
    }

    /// Drops all delete markers of this node, however young, because its log has run out of room.
    pub(crate) fn drop_delete_markers(&mut self, slot: Slot, now: Instant) {
        self.change_telemetry(slot, now, Row::drop_delete_markers);
    }

    fn change_telemetry(&mut self, slot: Slot, now: Instant, edit: impl FnOnce(&mut Row)) {
        let hash = self.hash(slot);
        let row = &mut self.rows[slot.index()];
        let (old, held) = (row.telemetry_sums(hash, self.includes_dead), self.room.held_by(row));
        edit(row);
        let new = row.telemetry_sums(hash, self.includes_dead);
        self.room.replace(held, self.room.held_by(row));
        self.account(hash, old, new);
        self.telemetry_changed_at = now;
    }
}
