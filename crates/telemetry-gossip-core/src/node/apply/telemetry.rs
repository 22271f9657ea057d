//! Entries of a member's telemetry.

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

/// What a frame of telemetry brought.
struct Brought {
    /// Up to which version the owner's log was known before.
    known: u64,
    /// The version of the frame's first entry.
    first: Option<u64>,
    /// Whether the log grew.
    grew: bool,
    /// Whether an entry had been under way for long.
    late: bool,
}

impl<A: Address> Node<A> {
    /// Takes entries in only if none is missing before them, and only of the instance that the
    /// table knows. The owner's settings limit them, not this node's: a node that refused what the
    /// others hold would differ from them for ever.
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
                self.correct_telemetry(head, entries);
            }
            return;
        };
        // An arc never goes past the owner: behind it the owner itself tells.
        let this = self.cx.this.id_hash;
        let furthest = reply.tree.map(|tree| {
            Furthest::between(this, IdHash(tree.end))
                .min(Furthest::between(this, table.id_hash(owner)))
        });
        let row = table.row(owner);
        if compacted > compacted_version(row.log()) && row.telemetry_version() < compacted {
            // What was removed meanwhile is not told any more.
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

    /// Entries are missing before those that came: they are asked for, if the frame came along a
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

    /// Appends the entries that are not known yet to the owner's log.
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
            // The age is in milliseconds; its lowest bit says whether the entry is urgent.
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

    /// What came goes on along the trees: as far as its own arc, or as that of the update that
    /// waited for it to fill a gap.
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
                // Those behind this node in the tree may lack what it has learned by anti-entropy.
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

    /// A peer holds telemetry of this node that it never published: what it did publish is said
    /// again, above that.
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
