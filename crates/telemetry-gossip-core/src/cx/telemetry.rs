//! A member's telemetry as a frame, which trees and anti-entropy both send.

use super::Cx;
use crate::address::Address;
use crate::membership::Slot;
use crate::membership::telemetry_log::{compacted_version, version_before};
use crate::wire::encode::Writer;
use crate::wire::{FloorHead, TelemetryHead, WireEntry, kind};

/// How much of a member's telemetry was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    All,
    /// Up to this version.
    Part(u64),
    Nothing,
}

impl<A: Address> Cx<A> {
    /// Writes the telemetry of `slot` since a version: as many entries as fit, in order, and leave
    /// `reserve` bytes.
    pub(crate) fn put_telemetry(
        &self,
        w: &mut Writer<'_>,
        slot: Slot,
        since: u64,
        reserve: usize,
    ) -> Fit {
        let row = self.table.row(slot);
        let compacted = compacted_version(row.log());
        // A reader that knows less may hold keys whose removal is no longer in the log: it has to
        // read the log anew.
        let anew = since < compacted;
        let kind = if anew { kind::TELEMETRY_ANEW } else { kind::TELEMETRY };
        let Some(open) = w.open(kind) else { return Fit::Nothing };
        let mut last = version_before(row.log(), since);
        let head = TelemetryHead {
            owner: self.table.id_hash(slot).0,
            instance: row.instance.0,
            since: last,
        };
        let fits = if anew { w.item(&FloorHead { floor: compacted, head }) } else { w.item(&head) };
        if !fits {
            w.abandon(&open);
            return Fit::Nothing;
        }
        let (mut fit, mut any) = (Fit::All, false);
        for entry in row.entries().filter(|entry| entry.version > since) {
            let age_ms =
                u64::try_from(self.now.since(entry.published).as_millis()).unwrap_or(u64::MAX);
            let before = w.len();
            let step = entry.version - last;
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
