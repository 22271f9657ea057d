//! Checks that an entry of telemetry is the same at every node (S9).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use telemetry_gossip_core::{Instance, TelemetryEntry};

use super::Name;

/// The key of an entry: its owner, the instance, and the version, which is unique within the
/// instance.
type Key = (Name, Instance, u64);

/// The hashes of all entries that were read in a run.
#[derive(Debug, Default)]
pub(super) struct Payloads(HashMap<Key, u64>);

impl Payloads {
    /// Whether an entry equals all earlier readings of it.
    pub(super) fn agree(
        &mut self,
        name: Name,
        instance: Instance,
        entry: &TelemetryEntry<'_>,
    ) -> bool {
        let mut hasher = DefaultHasher::new();
        (entry.key, entry.value).hash(&mut hasher);
        let hash = hasher.finish();
        *self.0.entry((name, instance, entry.version)).or_insert(hash) == hash
    }
}
