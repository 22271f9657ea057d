//! Whether an entry of telemetry is the same wherever it is read (S9).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use telemetry_gossip_core::{Instance, TelemetryEntry};

use super::Name;

/// What is one entry: whose, in which life, and the version that no other entry of that life has.
type Key = (Name, Instance, u64);

/// A hash of every entry that was seen in a run.
#[derive(Debug, Default)]
pub(super) struct Payloads(HashMap<Key, u64>);

impl Payloads {
    /// Whether an entry reads as it did wherever it was seen before.
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
