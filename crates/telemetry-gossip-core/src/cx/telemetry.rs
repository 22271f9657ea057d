//! How the telemetry of a member is written as a frame, which the trees and anti-entropy both send.
//!
//! When it is sent, and to which members, is up to these two.

use super::Cx;
use crate::address::Address;
use crate::membership::Slot;
use crate::membership::telemetry_log::compacted_version;
use crate::wire::encode::Writer;
use crate::wire::{CompactedHead, TelemetryHead, WireEntry, kind};

/// How much of an update was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    All,
    /// The entries up to this version.
    Part(u64),
    Nothing,
}

impl<A: Address> Cx<A> {
    /// Writes the telemetry of `slot` after version `since`: as many entries, in order, as fit and
    /// leave `reserve` bytes.
    pub(crate) fn put_telemetry(
        &self,
        w: &mut Writer<'_>,
        slot: Slot,
        since: u64,
        reserve: usize,
    ) -> Fit {
        let row = self.table.row(slot);
        let compacted = compacted_version(row.log());
        // A reader that knows less than the compacted version may hold keys whose delete markers
        // are gone, so it has to read the log anew.
        let anew = since < compacted;
        let kind = if anew { kind::TELEMETRY_ANEW } else { kind::TELEMETRY };
        let Some(open) = w.open(kind) else { return Fit::Nothing };
        // Readers check that they know all up to the stated version. The version of an entry that
        // is still in the log serves readers that have not seen `since` itself, because all that
        // was published between the two was replaced later, unless it was a delete marker that is
        // gone.
        let mut entries = row.entries();
        let mut last = entries.skip_to(since);
        if !anew {
            last = last.max(compacted);
        }
        let head = TelemetryHead {
            owner: self.table.id_hash(slot).0,
            instance: row.instance.0,
            since: last,
        };
        let fits = if anew { w.item(&CompactedHead { compacted, head }) } else { w.item(&head) };
        if !fits {
            w.abandon(&open);
            return Fit::Nothing;
        }
        let (mut fit, mut any) = (Fit::All, false);
        for entry in entries {
            let age_ms =
                u64::try_from(self.now.since(entry.published).as_millis()).unwrap_or(u64::MAX);
            let before = w.len();
            let step = entry.version.saturating_sub(last);
            let age = age_ms.saturating_mul(2) | u64::from(entry.urgent);
            let item = WireEntry { step, age, key: entry.key, value: entry.value };
            if !w.item(&item) || w.room() < reserve {
                w.truncate(before);
                fit = Fit::Part(last);
                break;
            }
            (any, last) = (true, entry.version);
        }
        if any {
            w.close(open);
            fit
        } else {
            w.abandon(&open);
            Fit::Nothing
        }
    }
}
