//! Who is in the cluster, and what is held of each: the state that nodes reconcile.
//!
//! [`MembershipState`] wraps the core's table, and so has its one merge rule: of two records of a
//! member the one of the higher generation is kept; at one generation Dead beats Suspected beats
//! Alive. In whatever order records arrive, and however often, the same ones give the same state.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use telemetry_gossip_core::{
    Accusers, Claim, Generation, IdError, Instance, Member, Merged, NodeId, Status,
};
use telemetry_gossip_tokio::{Peer, SharedTable};
use thiserror::Error;

/// What a member is held to be. The order is the rank at one generation: the later variant wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberStatus {
    /// It answers, or said so itself.
    Alive,
    /// A probe of it failed, and it has some time to refute.
    Suspected,
    /// It did not refute in time, or it left.
    Dead,
}

impl From<Status> for MemberStatus {
    /// Left is Dead here; events and the core's status tell them apart.
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
    /// Its name, 1 to 127 bytes without control characters.
    pub node_id: String,
    /// What it is held to be.
    pub status: MemberStatus,
    /// Lamport-style timestamp for last-writer-wins reconciliation, a count and no time: the member
    /// itself raises it for Alive, an accuser proposes Suspected one above, and the member refutes
    /// with Alive another one above.
    ///
    /// At most 2^56 + 2^32 for a member not known yet, and at most 2^32 above what is known once
    /// that is higher, half of that if the member is not Alive: nobody is to be outbid for ever.
    pub generation: u64,
    /// When the record last changed here, or the member last answered, by this host's clock. It
    /// decides nothing, and does not travel.
    pub last_observed: Instant,
}

/// The members known here, at most 16,384; shared between tasks and threads. Each call takes a lock
/// for microseconds, and waits for nothing else. Nobody is forgotten;
/// [`GossipNode`](crate::node::GossipNode) is what forgets the long dead.
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
/// // A peer knows better: a higher generation wins, a lower one changes nothing.
/// state.merge(&[MemberInfo { status: MemberStatus::Dead, generation: 5, ..alive.clone() }]);
/// state.upsert(alive);
/// assert_eq!(state.member("edge-17").unwrap().status, MemberStatus::Dead);
/// assert!(state.alive_members().is_empty());
/// ```
#[derive(Debug, Default)]
pub struct MembershipState {
    table: Arc<SharedTable>,
    /// The hosts' times of observation, which are finer than the table's microseconds.
    observed: Mutex<HashMap<String, Instant>>,
}

impl MembershipState {
    /// Nobody is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Merges one record. One that cannot be (an invalid id, an implausible generation, a full
    /// table) is dropped with a warning; [`MembershipState::try_upsert`] says so.
    pub fn upsert(&self, info: MemberInfo) {
        if let Err(error) = self.try_upsert(&info) {
            tracing::warn!(node_id = info.node_id, %error, "record dropped");
        }
    }

    /// Merges one record; returns whether it changed the state. An error changes nothing.
    pub fn try_upsert(&self, info: &MemberInfo) -> Result<bool, UpsertError> {
        NodeId::new(&info.node_id)?;
        let merged = self.table.with(|table| {
            let claim = Claim {
                id: &info.node_id,
                // A record without an address is no news of where the member is, or of which life
                // it is in.
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

    /// All members, the dead included, in the order of their ids.
    #[must_use]
    pub fn snapshot(&self) -> Vec<MemberInfo> {
        self.select(|_| true)
    }

    /// The members held Alive, in the order of their ids.
    #[must_use]
    pub fn alive_members(&self) -> Vec<MemberInfo> {
        self.select(|status| status == Status::Alive)
    }

    /// The member called `id`, in whatever status; `None` if it is not known.
    #[must_use]
    pub fn member(&self, id: &str) -> Option<MemberInfo> {
        self.table.with(|table| table.get(id).map(|member| self.info(&member)))
    }

    /// The table itself, which an agent can work on: for
    /// [`Options::table`](telemetry_gossip_tokio::Options::table).
    #[must_use]
    pub fn table(&self) -> Arc<SharedTable> {
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

    fn info(&self, member: &Member<'_, Peer>) -> MemberInfo {
        let held = self.table.to_host(member.last_observed());
        let observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        // The host's own time if the table still holds it, to its precision.
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

/// Why a record cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UpsertError {
    /// Its id is none.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Its generation is so far ahead of what is known that it could not be refuted.
    #[error("generation {generation} is implausibly far ahead")]
    Generation {
        /// The generation.
        generation: u64,
    },
    /// There is no room for another member.
    #[error("the table is full")]
    Full,
}
