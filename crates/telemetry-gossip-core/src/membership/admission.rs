//! Which nodes belong to the cluster, according to the registry's cluster config. As long as the
//! node has no cluster config, every node belongs.
//!
//! The registry itself is not here: the host passes in its configs.

use alloc::boxed::Box;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::error::CommandError;
use crate::id::{NodeId, full_id_hash};

/// The cluster config in force.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Admission {
    version: Option<u64>,
    /// The ids that belong, sorted. Whole ids, since another id with the hash of one is easy to
    /// find.
    ids: Vec<Box<str>>,
    /// The full hashes of the ids that belong, sorted, of a config that was applied by a build that
    /// kept no ids, and restored from its state.
    hashes: Vec<u64>,
}

impl Admission {
    /// The config of a state that holds the hashes of ids only.
    pub(crate) const fn of_hashes(version: Option<u64>, hashes: Vec<u64>) -> Self {
        Self { version, ids: Vec::new(), hashes }
    }

    /// Replaces the config by one of a higher version that names this node, whose id is `me`.
    pub(crate) fn apply(
        &mut self,
        version: u64,
        members: &[NodeId],
        me: &str,
    ) -> Result<(), CommandError> {
        if let Some(applied) = self.version
            && version <= applied
        {
            return Err(CommandError::StaleClusterConfig { version, applied });
        }
        let mut ids: Vec<Box<str>> = members.iter().map(|id| id.as_str().into()).collect();
        ids.sort_unstable();
        ids.dedup();
        let config = Self { version: Some(version), ids, hashes: Vec::new() };
        if !config.admits(me) {
            return Err(CommandError::NotInClusterConfig);
        }
        *self = config;
        Ok(())
    }

    /// Whether the lists are sorted, as the binary search needs them.
    pub(crate) fn is_sound(&self) -> bool {
        self.ids.is_sorted() && self.hashes.is_sorted()
    }

    /// Whether the node with this id belongs.
    pub(crate) fn admits(&self, id: &str) -> bool {
        let hash = || full_id_hash(id.as_bytes());
        self.version.is_none()
            || self.ids.binary_search_by(|other| (**other).cmp(id)).is_ok()
            || (!self.hashes.is_empty() && self.hashes.binary_search(&hash()).is_ok())
    }

    /// Returns the bytes of heap memory that the ids take.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.ids.capacity() * size_of::<Box<str>>()
            + self.ids.iter().map(|id| id.len()).sum::<usize>()
            + self.hashes.capacity() * size_of::<u64>()
    }
}
