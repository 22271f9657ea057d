//! Applies the entries of a member's telemetry, and passes them on.
//!
//! The log of an owner grows only at its end: entries after a gap are not taken in, but requested,
//! or left to anti-entropy.

use alloc::vec::Vec;
use core::time::Duration;

use crate::address::Address;
use crate::dissemination::Furthest;
use crate::id::{IdHash, Instance};
use crate::membership::Slot;
use crate::membership::telemetry_log::{LogEntry, MAX_LOG_READ, compacted_version, len_with};
use crate::node::Node;
use crate::node::receive::Reply;
use crate::outbox::Want;
use crate::wire::TelemetryHead;
use crate::wire::items::Entries;

/// The largest lead over our own telemetry version that we accept from a peer. Anything above it is
/// an error or an attack.
const MAX_VERSION_LEAD: u64 = 1 << 32;

/// The effect of a frame of telemetry on the owner's log.
struct Brought {
    /// The version up to which the log was known before.
    known: u64,
    /// The version of the frame's first entry.
    first: Option<u64>,
    /// Whether the log grew.
    grew: bool,
    /// Whether an entry had been under way for more than twice the spread time.
    late: bool,
}

impl<A: Address> Node<A> {
    /// Takes entries in if none is missing before them, and if they are of the instance that the
    /// table holds.
    ///
    /// The limits of the owner's config apply to them, not those of this node's: a node that
    /// refused entries which the others hold would differ from them for ever.
    pub(in crate::node) fn apply_telemetry(
        &mut self,
        from: A,
        compacted: u64,
        head: TelemetryHead,
        entries: Entries<'_>,
        reply: &mut Reply<A>,
    ) {
        let (id_hash, table) = (IdHash(head.owner), &self.cx.table);
        let owner = table
            .with_id_hash(id_hash)
            .find(|&slot| table.row(slot).instance == Instance(head.instance));
        let me = self.cx.this.slot;
        let Some(owner) = owner.filter(|&slot| slot != me) else {
            self.cx.stats.telemetry_ignored += 1;
            if owner == Some(me) {
                // Only this node publishes its own telemetry, so a peer cannot add to it.
                self.correct_telemetry(head, entries);
            }
            return;
        };
        // An arc ends at the owner at the latest: the members behind it get the update from the
        // owner itself.
        let this = self.cx.this.id_hash;
        let furthest = reply.tree.map(|tree| {
            Furthest::between(this, IdHash(tree.end))
                .min(Furthest::between(this, table.id_hash(owner)))
        });
        let row = table.row(owner);
        if compacted > compacted_version(row.log()) && row.telemetry_version() < compacted {
            // The delete markers up to the compacted version are gone, so keys that were removed
            // meanwhile would stay here for ever. Read the log anew from that version on.
            self.cx.table.restart_telemetry(owner, self.cx.now, compacted);
        }
        let known = self.cx.table.row(owner).telemetry_version();
        if head.since > known {
            self.on_telemetry_gap(owner, furthest, known, reply);
            return;
        }
        let brought = self.append_entries(owner, known, head, entries);
        if brought.grew {
            self.cx.queue_change(owner, known);
        }
        self.pass_on_telemetry(from, owner, furthest, &brought);
    }

    /// Requests the entries that are missing before those of the frame, if the frame came along a
    /// tree. Otherwise anti-entropy finds them.
    fn on_telemetry_gap(
        &mut self,
        owner: Slot,
        furthest: Option<Furthest>,
        known: u64,
        reply: &mut Reply<A>,
    ) {
        self.cx.stats.telemetry_ignored += 1;
        let (now, pause) = (self.cx.now, self.cx.config.probe_timeout);
        let room = !reply.missing.is_full();
        let trees = &mut self.dissemination.trees;
        if furthest.is_some_and(|furthest| trees.gaps.add(owner, furthest, now, pause, room)) {
            let id_hash = self.cx.table.id_hash(owner);
            reply.missing.push(Want { id_hash, claim: false, since: known });
        }
    }

    /// Appends the entries that are not known yet to the owner's log, as far as the log has room.
    fn append_entries(
        &mut self,
        owner: Slot,
        known: u64,
        head: TelemetryHead,
        entries: Entries<'_>,
    ) -> Brought {
        let (now, cx) = (self.cx.now, &mut self.cx);
        let (mut version, mut first, mut oldest) = (head.since, None, now);
        for entry in entries {
            version += entry.step;
            first = first.or(Some(version));
            let row = cx.table.row(owner);
            if version <= row.telemetry_version() {
                continue;
            }
            // The lowest bit of the age marks an urgent entry; the bits above are milliseconds.
            let published = now - Duration::from_millis(entry.age >> 1);
            let urgent = entry.age & 1 != 0;
            let entry = LogEntry { key: entry.key, value: entry.value, version, published, urgent };
            if len_with(row.log(), &entry) > MAX_LOG_READ {
                cx.table.drop_delete_markers(owner, now);
            }
            if len_with(cx.table.row(owner).log(), &entry) > MAX_LOG_READ {
                cx.stats.telemetry_ignored += 1;
                break;
            }
            cx.table.set_entry(owner, now, &entry);
            oldest = oldest.min(published);
        }
        let grew = cx.table.row(owner).telemetry_version() > known;
        let late = now.since(oldest) > cx.spread_time() * 2;
        Brought { known, first, grew, late }
    }

    /// Passes telemetry on along the trees, to the end of its own arc, or of the arc of an update
    /// that waited for it to fill a gap.
    fn pass_on_telemetry(
        &mut self,
        from: A,
        owner: Slot,
        furthest: Option<Furthest>,
        brought: &Brought,
    ) {
        let Self { cx, dissemination, anti_entropy, .. } = self;
        match (furthest, brought.first) {
            (Some(furthest), Some(first)) => {
                // The members behind this node in the tree may lack an update that this node has
                // learned by anti-entropy before.
                let unspread = dissemination.trees.take_learned_by_anti_entropy(owner);
                if brought.grew || unspread {
                    let gap = dissemination.trees.gaps.fill(owner).unwrap_or(furthest);
                    dissemination.spread(owner, first - 1, furthest.max(gap), cx);
                }
            }
            _ if brought.grew => {
                anti_entropy.on_telemetry(from, brought.late);
                match dissemination.trees.gaps.fill(owner) {
                    Some(furthest) => {
                        dissemination.spread(owner, brought.known, furthest, cx);
                    }
                    None => dissemination.trees.mark_learned_by_anti_entropy(owner),
                }
            }
            _ => {}
        }
    }

    /// Corrects telemetry that a peer holds of this node although it never published it: publishes
    /// the true value of each such key again, at a higher version.
    fn correct_telemetry(&mut self, head: TelemetryHead, entries: Entries<'_>) {
        let me = self.cx.this.slot;
        let mut version = head.since;
        for entry in entries {
            version += entry.step;
            let since = self.cx.table.row(me).telemetry_version();
            // Ignore versions so high that they would exhaust the counter.
            if version <= since || version > since + MAX_VERSION_LEAD {
                continue;
            }
            let held = self.cx.table.row(me).entries().find(|held| held.key == entry.key);
            let value = held.and_then(|held| held.value).map(Vec::from);
            let entry = LogEntry {
                key: entry.key,
                value: value.as_deref(),
                version: version + 1,
                published: held.map_or(self.cx.now, |held| held.published),
                urgent: held.is_some_and(|held| held.urgent),
            };
            self.cx.table.set_entry(me, self.cx.now, &entry);
            self.cx.queue_change(me, since);
            self.dissemination.spread_own(since, &mut self.cx);
        }
    }
}
