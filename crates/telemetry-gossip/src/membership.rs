//! The members of the cluster and their statuses: the state that nodes reconcile.
//!
//! [`MembershipState`] wraps the table of the core, and so has its one merge rule: of two records
//! of a member the one with the higher generation wins; at one generation Dead beats Suspected
//! beats Alive. The same records give the same state, in whatever order and however often they
//! arrive.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use telemetry_gossip_core::{
    Accusers, Claim, Generation, IdError, Instance, Member, Merged, NodeId, Status,
};
use telemetry_gossip_tokio::{PeerAddr, SharedTable};
use thiserror::Error;

/// The status of a member. Of two records with one generation, Dead beats Suspected beats Alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberStatus {
    /// The member answers, or has said itself that it is alive.
    Alive,
    /// A probe of the member failed, and it has some time to refute.
    Suspected,
    /// The member did not refute in time, or has left: [`MembershipState::has_left`] and
    /// [`GossipNode::has_left`](crate::node::GossipNode::has_left) tell the two apart.
    Dead,
}

impl From<Status> for MemberStatus {
    /// A member that has left is Dead here; [`MembershipState::has_left`], events and the status of
    /// the core tell the two apart.
    fn from(status: Status) -> Self {
        match status {
            Status::Alive => Self::Alive,
            Status::Suspected => Self::Suspected,
            Status::Dead | Status::Left => Self::Dead,
        }
    }
}

impl From<&MemberStatus> for Status {
    fn from(status: &MemberStatus) -> Self {
        match status {
            MemberStatus::Alive => Self::Alive,
            MemberStatus::Suspected => Self::Suspected,
            MemberStatus::Dead => Self::Dead,
        }
    }
}

/// The record of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// The id of the member: 1 to 127 bytes without control characters.
    pub node_id: String,
    /// The status of the member.
    pub status: MemberStatus,
    /// Lamport-style timestamp for last-writer-wins reconciliation, which is a counter and not a
    /// time; SWIM's incarnation number. The member itself raises it to say Alive. An accuser
    /// proposes Suspected one above, and the member refutes with Alive another one above.
    ///
    /// At most 2^56 + 2^32 for a member that is not known yet. Once a higher one is known, at most
    /// 2^32 above that, or half of it if the member is not Alive, so that generations are always
    /// left to refute with.
    pub generation: u64,
    /// When the record last changed here, or the member last answered, by the clock of this host.
    /// It plays no part in reconciliation, and is not sent to other nodes.
    pub last_observed: Instant,
}

/// The known members, at most 16,384; shared between tasks and threads. Each call takes a lock for
/// microseconds, and waits for nothing else. No member is ever forgotten, unlike in a
/// [`GossipNode`](crate::node::GossipNode).
///
/// ```
/// use std::time::Instant;
/// use telemetry_gossip::membership::{MemberInfo, MemberStatus, MembershipState};
///
/// let state = MembershipState::new();
/// let alive = MemberInfo {
///     node_id: "edge-17".into(),
///     status: MemberStatus::Alive,
///     generation: 4,
///     last_observed: Instant::now(),
/// };
/// state.upsert(alive.clone());
/// assert_eq!(state.member("edge-17"), Some(alive.clone()));
///
/// // The higher generation of a peer wins; a lower one changes nothing.
/// state.merge(&[MemberInfo { status: MemberStatus::Dead, generation: 5, ..alive.clone() }]);
/// state.upsert(alive);
/// assert_eq!(state.member("edge-17").unwrap().status, MemberStatus::Dead);
/// assert!(state.alive_members().is_empty());
/// ```
#[derive(Debug, Default)]
pub struct MembershipState {
    table: Arc<SharedTable>,
    /// The times of observation given by the host, finer than the microseconds of the table.
    observed: Mutex<HashMap<String, Instant>>,
}

impl MembershipState {
    /// A state without members.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Merges one record. An invalid record is dropped with a warning;
    /// [`MembershipState::try_upsert`] returns the reason.
    pub fn upsert(&self, info: MemberInfo) {
        if let Err(error) = self.try_upsert(&info) {
            tracing::warn!(node_id = info.node_id, %error, "record dropped");
        }
    }

    /// Merges one record, and returns whether it changed the state.
    ///
    /// # Errors
    /// The id or the generation is invalid, or the state is full. Nothing is changed then.
    pub fn try_upsert(&self, info: &MemberInfo) -> Result<bool, UpsertError> {
        NodeId::new(&info.node_id)?;
        let merged = self.table.with(|table| {
            let claim = Claim {
                id: &info.node_id,
                // A record of the host says nothing about address and instance: keep them.
                address: table.get(&info.node_id).and_then(|member| member.address()),
                instance: table.get(&info.node_id).map_or(Instance(0), |member| member.instance()),
                generation: Generation(info.generation),
                status: Status::from(&info.status),
                accusers: Accusers::new(),
                age_secs: 0,
            };
            table.merge(self.table.to_core(info.last_observed), &claim)
        });
        match merged {
            Merged::Inserted | Merged::Replaced { .. } => {
                let mut observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
                observed.insert(info.node_id.clone(), info.last_observed);
                Ok(true)
            }
            Merged::Same | Merged::Stale => Ok(false),
            Merged::Implausible => Err(UpsertError::Generation { generation: info.generation }),
            Merged::Full => Err(UpsertError::Full),
        }
    }

    /// Merges all records of a peer, each as [`MembershipState::upsert`] does.
    pub fn merge(&self, peer_state: &[MemberInfo]) {
        for info in peer_state {
            self.upsert(info.clone());
        }
    }

    /// All members in the order of their ids, dead members included.
    #[must_use]
    pub fn snapshot(&self) -> Vec<MemberInfo> {
        self.select(|_| true)
    }

    /// The members that are Alive, in the order of their ids.
    #[must_use]
    pub fn alive_members(&self) -> Vec<MemberInfo> {
        self.select(|status| status == Status::Alive)
    }

    /// The member called `id`, in any status; `None` if it is not known.
    #[must_use]
    pub fn member(&self, id: &str) -> Option<MemberInfo> {
        self.table.with(|table| table.get(id).map(|member| self.info(&member)))
    }

    /// Whether the member called `id` has left in good order. Its [`MemberStatus`] is Dead, as is
    /// that of a member that failed. False if it is not known.
    #[must_use]
    pub fn has_left(&self, id: &str) -> bool {
        self.table.with(|table| table.get(id).is_some_and(|it| it.status() == Status::Left))
    }

    /// The table, for an agent to work on.
    pub(crate) fn table(&self) -> Arc<SharedTable> {
        self.table.clone()
    }

    fn select(&self, wanted: impl Fn(Status) -> bool) -> Vec<MemberInfo> {
        let mut members: Vec<MemberInfo> = self.table.with(|table| {
            table
                .iter()
                .filter(|member| wanted(member.status()))
                .map(|member| self.info(&member))
                .collect()
        });
        members.sort_unstable_by(|a, b| a.node_id.cmp(&b.node_id));
        members
    }

    fn info(&self, member: &Member<'_, PeerAddr>) -> MemberInfo {
        let held = self.table.to_host(member.last_observed());
        let observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        // The exact time of the host, if the table still holds the same one in microseconds.
        let exact = observed.get(member.id()).copied();
        let exact = exact.filter(|&exact| self.table.to_core(exact) == member.last_observed());
        MemberInfo {
            node_id: member.id().to_owned(),
            status: member.status().into(),
            generation: member.generation().0,
            last_observed: exact.unwrap_or(held),
        }
    }
}

/// Why a record was not merged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UpsertError {
    /// Its id breaks the rule of ids.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Its generation is too far ahead to be refuted.
    #[error("generation {generation} is too far ahead to be refuted")]
    #[non_exhaustive]
    Generation {
        /// The generation.
        generation: u64,
    },
    /// The state has no room for another member.
    #[error("the state is full with 16,384 members")]
    Full,
}
