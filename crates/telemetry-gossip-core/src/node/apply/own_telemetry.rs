//! Telemetry that peers hold of this node although this node never published it.
//!
//! ```text
//!   a version of ours that is not ours ---+--- up to 2^47 ---> all is published again, above it
//!     (entries, or a list of versions)    +--- higher -------> a new instance: versions begin anew
//! ```
//!
//! A reader that holds a version above ours ignores what we publish. So this node moves above each
//! such version that it hears of, in a leap of random length: a reader with another lie then holds
//! a version below, too, and not one in the middle of ours. The compacted version rises as well, so
//! that readers drop all that they hold and read the log anew.

use alloc::vec::Vec;
use core::time::Duration;

use crate::address::Address;
use crate::anti_entropy::diff::content;
use crate::cx::Activity;
use crate::id::Instance;
use crate::membership::telemetry_log::{Entries, LogEntry, MAX_VERSION};
use crate::node::Node;
use crate::status::Status;
use crate::wire::items::Ranges;

/// The highest version that this node moves above. Higher ones leave too little room for that.
const MAX_REBASE: u64 = 1 << 47;

/// The version from which this node publishes nothing more under its instance. It leaves room above
/// the highest version that it moves to.
pub(in crate::node) const MAX_OWN_VERSION: u64 = MAX_VERSION - (1 << 46);

/// The shortest time between two times that this node publishes all of its telemetry again.
const MIN_REBASE_PAUSE: Duration = Duration::from_secs(2);

/// The shortest time between two new instances because of telemetry.
const MIN_RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// The key of the delete marker that carries the version of a node that publishes nothing.
const EMPTY_KEY: &[u8] = b".";

impl<A: Address> Node<A> {
    /// Answers a version list. If the partner holds a version of this node's own telemetry that is
    /// not ours, this node moves above it. And where there is no room for the telemetry of a
    /// member, the version of the partner is all that is wanted, so it is taken as it stands.
    pub(in crate::node) fn hear_versions(&mut self, ranges: Ranges<'_>) {
        let table = &self.cx.table;
        let me = self.cx.this.slot;
        let (id_hash, ours) = (self.cx.this.id_hash.0, content(table.row(me)));
        let withheld = table.withholds_telemetry() && !table.has_room_for_telemetry();
        for row in ranges.flat_map(|(_, rows)| rows) {
            if row.telemetry > MAX_VERSION {
                continue;
            }
            if row.id_hash == id_hash && row.content == ours {
                self.outbid_telemetry(row.telemetry);
            } else if withheld {
                self.raise_withheld(row.id_hash, row.content, row.telemetry);
            }
        }
    }

    fn raise_withheld(&mut self, id_hash: u32, theirs: u16, version: u64) {
        let cx = &mut self.cx;
        let raised = cx.table.with_id_hash(crate::id::IdHash(id_hash)).find(|&slot| {
            let row = cx.table.row(slot);
            !row.holds_telemetry() && content(row) == theirs && row.telemetry_version() < version
        });
        if let Some(slot) = raised {
            let known = cx.table.row(slot).telemetry_version();
            cx.table.withhold_telemetry(slot, cx.now, version);
            cx.queue_change(slot, known);
        }
    }

    /// Moves above `version`, which a peer holds of this node's telemetry, if it is not ours.
    pub(in crate::node) fn outbid_telemetry(&mut self, version: u64) {
        let (now, held) = (self.cx.now, self.cx.table.row(self.cx.this.slot).telemetry_version());
        if version <= held || self.cx.activity != Activity::Active {
            return;
        }
        let (last, pause) = if version > MAX_REBASE {
            (&mut self.dissemination.renewed_at, MIN_RENEWAL_PAUSE)
        } else {
            (&mut self.dissemination.rebased_at, MIN_REBASE_PAUSE)
        };
        // What is not answered now is heard of again: the tables still differ.
        if last.is_some_and(|at| now.since(at) < pause) {
            return;
        }
        *last = Some(now);
        if version > MAX_REBASE {
            self.renew_instance();
        } else {
            let leap = u64::from(self.cx.rng.word()) + 1;
            self.publish_again(version + leap, held);
        }
    }

    /// Publishes all that this node publishes again, above the version `base`. The other members
    /// knew the log up to version `since`.
    fn publish_again(&mut self, base: u64, since: u64) {
        let cx = &mut self.cx;
        let me = cx.this.slot;
        let log = cx.table.row(me).log().to_vec();
        let mut entries = own_entries(&log, base);
        if entries.is_empty() {
            entries.push(LogEntry {
                key: EMPTY_KEY,
                value: None,
                version: base + 1,
                published: cx.now,
                urgent: false,
            });
        }
        cx.table.replace_telemetry(me, cx.now, base, &entries);
        cx.queue_change(me, since);
        self.dissemination.spread_own(since, cx);
    }

    /// Takes a new instance, as a restarted process does: the versions of its telemetry begin anew.
    pub(in crate::node) fn renew_instance(&mut self) {
        let me = self.cx.this.slot;
        let (old, log) = (self.cx.this.instance, self.cx.table.row(me).log().to_vec());
        let generation = self.cx.table.row(me).generation.next();
        // Instance 0 stands for an unknown instance.
        let drawn = Instance(self.cx.rng.word().max(1));
        self.cx.this.instance = if drawn == old { Instance(old.0 ^ 2) } else { drawn };
        self.set_own_status(generation, Status::Alive);
        let cx = &mut self.cx;
        if cx.table.row(me).instance != cx.this.instance {
            // No generation is left.
            cx.this.instance = old;
            return;
        }
        self.dissemination.trees.forget(me);
        let entries = own_entries(&log, 0);
        if !entries.is_empty() {
            cx.table.replace_telemetry(me, cx.now, 0, &entries);
            cx.queue_change(me, 0);
            // The other members take this in once they know the instance.
            self.dissemination.first_publish_at = Some(cx.now + cx.spread_time());
        }
    }
}

/// Returns the values of a log, without its delete markers, with versions that follow `base`.
fn own_entries(log: &[u8], base: u64) -> Vec<LogEntry<'_>> {
    Entries::new(log)
        .filter(|entry| entry.value.is_some())
        .zip(base + 1..)
        .map(|(entry, version)| LogEntry { version, ..entry })
        .collect()
}
