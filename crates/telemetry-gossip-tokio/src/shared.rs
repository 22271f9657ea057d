//! A table that a host shares with the tasks that exchange it with other nodes.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use telemetry_gossip_core::{Config, ConfigError, Identity, Input, Membership, Mode, Node, NodeId};

use crate::clock::{Clock, now};
use crate::peer_addr::PeerAddr;

/// A table of members behind a lock, and the clock of its times.
///
/// An [`Agent`](crate::Agent) that gets one through [`Options::table`](crate::Options::table) works
/// on it instead of a table of its own, and the host reads and merges at any time. The lock is held
/// for single calls of the core, never across an await.
#[derive(Debug)]
pub struct SharedTable {
    table: Mutex<Membership<PeerAddr>>,
    clock: Clock,
}

impl SharedTable {
    /// An empty table, for as many members as the default config allows.
    #[must_use]
    pub fn new() -> Self {
        let clock = Clock::starting(now());
        Self { table: Mutex::new(Membership::for_exchange(Config::default().max_members)), clock }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Calls `work` with the table.
    pub fn with<T>(&self, work: impl FnOnce(&mut Membership<PeerAddr>) -> T) -> T {
        work(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Enters the node `to` in place of `from`, as if `from` had never been entered. For a host
    /// that gives its node another id. An agent that still has a handle under the old id enters
    /// that again.
    pub fn rename(&self, from: NodeId, to: Identity<PeerAddr>) -> Result<(), ConfigError> {
        // The core knows what is removed together with a member that does not belong: a cluster
        // config makes it do so.
        let config = Config::default().mode(Mode::OnDemand);
        let now = self.to_core(now());
        let id = to.id;
        let mut node = Node::new(config, to, [0; 32], now)?;
        self.with(|table| {
            let others = table.iter().filter_map(|member| NodeId::new(member.id()).ok());
            let members: Vec<NodeId> = others.filter(|&other| other != from).chain([id]).collect();
            let belong = Input::apply_cluster_config(1, members);
            // A first cluster config that names the node itself is never refused.
            let _ = node.with_table(table, |node| node.handle(now, belong));
        });
        Ok(())
    }

    /// Converts a time of the host to the core's, to the microsecond. A time more than 366 days
    /// before the table was made becomes that.
    #[must_use]
    pub fn to_core(&self, at: Instant) -> telemetry_gossip_core::Instant {
        self.clock.to_core(at)
    }

    /// Converts a time of the core to the host's, to the microsecond. If the clock of the host has
    /// no such time, it becomes the time at which the table was made.
    #[must_use]
    pub fn to_host(&self, at: telemetry_gossip_core::Instant) -> Instant {
        self.clock.to_host(at)
    }
}

impl Default for SharedTable {
    fn default() -> Self {
        Self::new()
    }
}
