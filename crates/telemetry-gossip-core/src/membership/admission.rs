//! Which nodes belong to the cluster, according to the registry's cluster config. As long as the
//! node has no cluster config, every node belongs.
//!
//! The registry itself is not here: the host passes in its configs.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::error::CommandError;
use crate::id::{NodeId, full_id_hash};

/// The cluster config in force.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Admission {
    version: Option<u64>,
    /// The full hashes of the ids that belong, sorted: 8 bytes per member instead of its id.
    hashes: Vec<u64>,
}

impl Admission {
    /// Replaces the config by one of a higher version that names this node, whose full id hash is
    /// `me`.
    pub(crate) fn apply(
        &mut self,
        version: u64,
        members: &[NodeId],
        me: u64,
    ) -> Result<(), CommandError> {
        if let Some(applied) = self.version
            && version <= applied
        {
            return Err(CommandError::StaleClusterConfig { version, applied });
        }
        let mut hashes: Vec<u64> =
            members.iter().map(|id| full_id_hash(id.as_str().as_bytes())).collect();
        hashes.sort_unstable();
        if hashes.binary_search(&me).is_err() {
            return Err(CommandError::NotInClusterConfig);
        }
        *self = Self { version: Some(version), hashes };
        Ok(())
    }

    /// Whether the hashes are sorted, as the binary search needs them, and none are there without a
    /// config.
    pub(crate) fn is_sound(&self) -> bool {
        let Self { version, hashes } = self;
        hashes.is_sorted() && (version.is_some() || hashes.is_empty())
    }

    /// Whether the node with this full id hash belongs.
    pub(crate) fn admits(&self, hash: u64) -> bool {
        self.version.is_none() || self.hashes.binary_search(&hash).is_ok()
    }
}
