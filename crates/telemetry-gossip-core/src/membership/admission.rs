//! Which nodes belong to the cluster, according to the registry's cluster config. As long as the
//! node has no cluster config, every node belongs.
//!
//! The registry itself is not here: the host passes in its configs.

use alloc::boxed::Box;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::error::CommandError;
use crate::id::NodeId;

/// The cluster config in force.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Admission {
    version: Option<u64>,
    /// The ids that belong, sorted. Whole ids, since another id with the hash of one is easy to
    /// find.
    ids: Vec<Box<str>>,
}

impl Admission {
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
        let config = Self { version: Some(version), ids };
        if !config.admits(me) {
            return Err(CommandError::NotInClusterConfig);
        }
        *self = config;
        Ok(())
    }

    /// Whether the ids are sorted, as the binary search needs them, and none are there without a
    /// config.
    pub(crate) fn is_sound(&self) -> bool {
        let Self { version, ids } = self;
        ids.is_sorted() && (version.is_some() || ids.is_empty())
    }

    /// Whether the node with this id belongs.
    pub(crate) fn admits(&self, id: &str) -> bool {
        self.version.is_none() || self.ids.binary_search_by(|other| (**other).cmp(id)).is_ok()
    }

    /// Returns the bytes of heap memory that the ids take.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.ids.capacity() * size_of::<Box<str>>()
            + self.ids.iter().map(|id| id.len()).sum::<usize>()
    }
}
