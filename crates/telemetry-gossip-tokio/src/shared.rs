//! A table that a host shares with the tasks that exchange it.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use telemetry_gossip_core::{Config, ConfigError, Identity, Input, Membership, Mode, Node, NodeId};

use crate::clock::Clock;
use crate::peer::Peer;

/// A table of members behind a lock, and the clock of its times.
///
/// An [`Agent`](crate::Agent) given one through [`Options::table`](crate::Options::table) works on
/// it instead of a table of its own; the host reads and merges at any time. The lock is held for
/// single calls of the core, never across a wait.
#[derive(Debug)]
pub struct SharedTable {
    table: Mutex<Membership<Peer>>,
    clock: Clock,
}

impl SharedTable {
    /// An empty table of at most as many members as a default config allows.
    #[must_use]
    pub fn new() -> Self {
        let clock = Clock::starting(Instant::now());
        Self { table: Mutex::new(Membership::for_exchange(Config::default().max_members)), clock }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock
    }

    /// Works on the table.
    pub fn with<T>(&self, work: impl FnOnce(&mut Membership<Peer>) -> T) -> T {
        work(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Enters the node `to` in place of `from`, as if `from` had never been entered. For a host
    /// that gives its node another id; an agent that still has a handle under the old one enters
    /// that anew.
    pub fn rename(&self, from: NodeId, to: Identity<Peer>) -> Result<(), ConfigError> {
        // Who belongs, and what goes with a member that does not, is the core's knowledge: a
        // cluster config says it.
        let config = Config::default().mode(Mode::OnDemand);
        let now = self.to_core(Instant::now());
        let id = to.id;
        let mut node = Node::new(config, to, [0; 32], now)?;
        self.with(|table| {
            let others = table.iter().filter_map(|member| NodeId::new(member.id()).ok());
            let members: Vec<NodeId> = others.filter(|&other| other != from).chain([id]).collect();
            let belong = Input::ApplyClusterConfig { version: 1, members: members.into() };
            // A first config that names the node itself is never refused.
            let _ = node.with_table(table, |node| node.handle(now, belong));
        });
        Ok(())
    }

    /// The core's time for a host's, to the microsecond; times more than 366 days before the table
    /// was made are taken for that.
    #[must_use]
    pub fn to_core(&self, at: Instant) -> telemetry_gossip_core::Instant {
        self.clock.to_core(at)
    }

    /// The host's time for one of the core's, to the microsecond; when the table was made, if the
    /// host's clock has no such time.
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
