//! Which nodes belong to the cluster, according to the registry's cluster config. As long as the
//! node has no cluster config, every node belongs.
//!
//! The registry itself is not here: the host passes in its configs.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::error::CommandError;
use crate::id::{IdHash, NodeId, full_id_hash, id_hash_of};
use crate::membership::knocks::Knocks;
use crate::time::{Instant, TimeRules};

/// How often the host is told at most that the same node does not count this one as a member.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// How many nodes it is told of within that time. One may lie; several who say the same are a
/// reason for doubt.
const MAX_TOLD: usize = 4;

/// The cluster config in force.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Admission {
    version: Option<u64>,
    /// The ids that belong, sorted. Whole ids, since another id with the hash of one is easy to
    /// find.
    ids: Vec<Box<str>>,
    /// The hashes of the ids, sorted. A datagram names its sender by the hash alone.
    id_hashes: Vec<IdHash>,
    /// The nodes that do not count this one as a member, and when the host was told of each, the
    /// oldest first. Those without a name here are one.
    deniers: ArrayVec<(Option<IdHash>, Instant), MAX_TOLD>,
    /// The nodes that asked this node for something although the config does not name them.
    pub(crate) knocks: Knocks,
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
        let mut id_hashes: Vec<IdHash> = members.iter().map(NodeId::id_hash).collect();
        id_hashes.sort_unstable();
        id_hashes.dedup();
        let (deniers, knocks) = (self.deniers.clone(), Knocks::default());
        let config = Self { version: Some(version), ids, id_hashes, deniers, knocks };
        if !config.admits(me) {
            return Err(CommandError::NotInClusterConfig);
        }
        *self = config;
        Ok(())
    }

    /// Whether the ids are sorted, as the binary search needs them, and neither ids nor knocks are
    /// there without a config.
    pub(crate) fn is_sound(&self, times: TimeRules) -> bool {
        let Self { version, ids, id_hashes, deniers, knocks } = self;
        let hash = |id: &str| id_hash_of(full_id_hash(id.as_bytes()));
        let mut hashes = ids.iter().map(|id| hash(id));
        ids.is_sorted()
            && id_hashes.is_sorted()
            && id_hashes.len() <= ids.len()
            && hashes.all(|hash| id_hashes.binary_search(&hash).is_ok())
            && (version.is_some() || (ids.is_empty() && knocks.is_empty()))
            && deniers.is_sorted_by_key(|&(_, at)| at)
            && deniers.last().is_none_or(|&(_, at)| times.is_past(at))
            && knocks.is_sound(times)
    }

    /// The version of the config in force.
    pub(crate) fn version(&self) -> Option<u64> {
        self.version
    }

    /// Whether a node with this id hash may belong.
    pub(crate) fn admits_hash(&self, id_hash: IdHash) -> bool {
        self.version.is_none() || self.id_hashes.binary_search(&id_hash).is_ok()
    }

    /// Whether to tell the host that the node `by` does not count this one as a member. If so, it
    /// counts as told.
    pub(crate) fn tells_host(&mut self, by: Option<IdHash>, now: Instant) -> bool {
        self.deniers.retain(|&mut (_, at)| now.since(at) < TOLD_EVERY);
        let is_known = self.deniers.iter().any(|&(told, _)| told == by);
        !is_known && self.deniers.try_push((by, now)).is_ok()
    }

    /// Whether the node with this id belongs.
    pub(crate) fn admits(&self, id: &str) -> bool {
        self.version.is_none() || self.ids.binary_search_by(|other| (**other).cmp(id)).is_ok()
    }

    /// Returns the bytes of heap memory that the ids take.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.ids.capacity() * size_of::<Box<str>>()
            + self.ids.iter().map(|id| id.len()).sum::<usize>()
            + self.id_hashes.capacity() * size_of::<IdHash>()
    }
}
