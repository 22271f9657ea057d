//! Applies the entries of a member's telemetry, and passes them on.
//!
//! The log of an owner grows only at its end: entries after a gap are not taken in, but requested,
//! or left to anti-entropy.

use core::time::Duration;

use crate::address::Address;
use crate::dissemination::Furthest;
use crate::id::{IdHash, Instance};
use crate::membership::Slot;
use crate::membership::telemetry_log::{LogEntry, NewEntries, compacted_version};
use crate::node::Node;
use crate::node::reply::Reply;
use crate::outbox::{Body, Intent, Want};
use crate::time::Instant;
use crate::wire::TelemetryHead;
use crate::wire::items::Entries;

/// The most that a datagram may cost in logs read and bytes moved, as a merge counts it. An honest
/// datagram stays far below unless the logs of many owners are as long as they may be.
const MAX_STEPS: usize = 16_384;

/// The effect of a frame of telemetry on the owner's log.
struct Brought {
    /// The version up to which the log was known before.
    known: u64,
    /// The version after which the frame has entries, if it has any. Of a log that is read anew,
    /// the one that the frame states, so that those behind this node read it anew as well.
    since: Option<u64>,
    /// Whether the log grew.
    grew: bool,
    /// Whether an entry had been under way for more than twice the spread time.
    late: bool,
    /// The version of the frame's last entry, and the time of its publication.
    last: Option<(u64, Instant)>,
}

impl<A: Address> Node<A> {
    /// Takes entries in if none is missing before them, and if they are of the instance that the
    /// table holds.
    ///
    /// The limits of the owner's config apply to them, not those of this node's: a node that
    /// refused entries which the others hold would differ from them for ever. Where there is no
    /// room for the entries, their version is taken in.
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
                self.outbid_telemetry(last_version(head, entries).max(compacted));
            } else if reply.tree.is_some() {
                self.meet_stranger(id_hash, Instance(head.instance), reply);
            }
            return;
        };
        // The last words of a member that is not live are of use to a newcomer, which asks for
        // them. They are not taken in unasked, since there is no owner to correct them, unless the
        // member has left just now: what it said before may come later than that it has left.
        let asked = self.anti_entropy.is_partner(from);
        if !(table.is_live(owner) || table.includes_dead() || asked || self.cx.left_lately(owner)) {
            self.cx.stats.telemetry_ignored += 1;
            return;
        }
        if reply.tree.is_some() {
            self.dissemination.strangers.known(id_hash);
        }
        // An arc ends at the owner at the latest: the members behind it get the update from the
        // owner itself.
        let this = self.cx.this.id_hash;
        let furthest = reply.tree.map(|tree| {
            Furthest::between(this, IdHash(tree.end))
                .min(Furthest::between(this, table.id_hash(owner)))
        });
        let row = table.row(owner);
        if !row.holds_telemetry() && head.since == 0 && table.has_room_for_telemetry() {
            // The frame begins with the first entry, and there is room now.
            self.cx.table.restart_telemetry(owner, self.cx.now, 0);
        }
        let row = self.cx.table.row(owner);
        if compacted > compacted_version(row.log()) && row.telemetry_version() < compacted {
            // The delete markers up to the compacted version are gone, so keys that were removed
            // meanwhile would stay here for ever. Read the log anew from that version on.
            self.cx.table.restart_telemetry(owner, self.cx.now, compacted);
        }
        let row = self.cx.table.row(owner);
        let known = row.telemetry_version();
        if !row.holds_telemetry() {
            let version = last_version(head, entries);
            if version > known {
                self.cx.table.withhold_telemetry(owner, self.cx.now, version);
                self.cx.queue_change(owner, known);
            }
            return;
        }
        if head.since > known || reply.steps > MAX_STEPS {
            self.on_telemetry_gap(owner, furthest, known, reply);
            return;
        }
        let brought = self.append_entries(owner, known, (compacted, head), entries, reply);
        if brought.grew {
            // All delete markers above these two versions are held now.
            self.cx.table.lower_compacted(owner, compacted.max(known));
            self.cx.queue_change(owner, known);
        } else {
            self.echo_contradiction(owner, &brought, reply);
        }
        self.pass_on_telemetry(from, owner, furthest, &brought);
    }

    /// Leaves a flight with an update of an unknown owner to be sent again, and requests the claim
    /// of that owner, as long as it may become known by that.
    fn meet_stranger(&mut self, id_hash: IdHash, instance: Instance, reply: &mut Reply<A>) {
        // Its sender passes a node over that is silent for longer than a probe timeout.
        let patience = self.cx.config.probe_timeout * 3 / 4;
        let strangers = &mut self.dissemination.strangers;
        if reply.missing.is_full() || !strangers.meet(id_hash, instance, self.cx.now, patience) {
            return;
        }
        reply.refuses_flight = true;
        reply.missing.push(Want { id_hash, claim: true, since: u64::MAX });
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
        (compacted, head): (u64, TelemetryHead),
        entries: Entries<'_>,
        reply: &mut Reply<A>,
    ) -> Brought {
        let (now, cx) = (self.cx.now, &mut self.cx);
        let (mut version, mut oldest) = (head.since, now);
        let (mut since, mut last) = (None, None);
        let mut new = NewEntries::default();
        for entry in entries {
            since =
                since.or(Some(if compacted > 0 { head.since } else { version + entry.step - 1 }));
            version = version.saturating_add(entry.step);
            // The lowest bit of the age marks an urgent entry; the bits above are milliseconds.
            let published = now - Duration::from_millis(entry.age >> 1);
            last = Some((version, published));
            if version <= known {
                continue;
            }
            oldest = oldest.min(published);
            new.push(LogEntry {
                key: entry.key,
                value: entry.value,
                version,
                // A delete marker is dropped some time after it came here, not when its sender
                // likes.
                published: if entry.value.is_some() { published } else { now },
                urgent: entry.age & 1 != 0,
            });
        }
        let grew = !new.as_slice().is_empty();
        if grew {
            reply.steps += cx.table.take_entries(owner, now, new.as_slice()).steps;
        }
        let late = now.since(oldest) > cx.spread_time() * 2;
        Brought { known, since, grew, late, last }
    }

    /// Tells the owner of which version this node holds its telemetry, if the owner has published
    /// something since at a lower one: a process has lied, and what the owner says is ignored until
    /// it moves above the lie.
    fn echo_contradiction(&mut self, owner: Slot, brought: &Brought, reply: &mut Reply<A>) {
        let cx = &mut self.cx;
        let Some((version, published)) = brought.last else { return };
        let (row, pause) = (cx.table.row(owner), cx.config.probe_timeout);
        let echoed_at = self.dissemination.echoed_at;
        if version >= brought.known
            || !row.answered.directly()
            || !row.status.is_live()
            || reply.steps > MAX_STEPS
            || echoed_at.is_some_and(|at| cx.now.since(at) < pause)
        {
            return;
        }
        let held = row.entries().inspect(|_| reply.steps += 1).last();
        // The times are exact up to those that datagrams take on their way.
        let contradicts = held.is_some_and(|held| published > held.published + pause);
        if let Some(to) = row.address().filter(|_| contradicts) {
            self.dissemination.echoed_at = Some(cx.now);
            let body = Body::Echo(owner, brought.known - 1);
            cx.ask(Intent::new(to, Some(owner), cx.mtu()).with_body(body));
        }
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
        match (furthest, brought.since) {
            (Some(furthest), Some(since)) => {
                // The members behind this node in the tree may lack an update that this node has
                // learned by anti-entropy before.
                let unspread = dissemination.trees.take_learned_by_anti_entropy(owner);
                if brought.grew || unspread {
                    let gap = dissemination.trees.gaps.fill(owner).unwrap_or(furthest);
                    dissemination.spread(owner, since, furthest.max(gap), cx);
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
}

/// Returns the version of the last entry of a frame, or up to which it says that the log is known.
fn last_version(head: TelemetryHead, entries: Entries<'_>) -> u64 {
    entries.fold(head.since, |version, entry| version.saturating_add(entry.step))
}
