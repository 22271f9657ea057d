//! The registry's word: which nodes belong. Without one, everybody does.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::error::CommandError;
use crate::id::{NodeId, full_id_hash};

/// The cluster config in force: the hashes of the ids that belong, 8 bytes each.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Admission {
    version: Option<u64>,
    hashes: Vec<u64>,
}

impl Admission {
    /// Replaces the config by one of a higher version that names this node.
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

    /// Whether a search finds what is in it.
    pub(crate) fn is_sound(&self) -> bool {
        self.hashes.is_sorted()
    }

    /// Whether the node of this id hash belongs.
    pub(crate) fn admits(&self, hash: u64) -> bool {
        self.version.is_none() || self.hashes.binary_search(&hash).is_ok()
    }
}
