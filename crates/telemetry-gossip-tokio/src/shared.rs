//! A table that a host shares with the tasks that exchange it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use telemetry_gossip_core::{Config, Membership};

use crate::peer::Peer;

/// A table of members behind a lock, and the origin of its times.
///
/// An [`Agent`](crate::Agent) given one through [`Options::table`](crate::Options::table) works on it instead of a
/// table of its own; the host reads and merges at any time. The lock is held for single calls of the core, never
/// across a wait.
#[derive(Debug)]
pub struct SharedTable {
    table: Mutex<Membership<Peer>>,
    origin: Instant,
}

impl SharedTable {
    /// An empty table of at most as many members as a default config allows.
    #[must_use]
    pub fn new() -> Self {
        // Observations that hosts made a while ago have a place after the origin.
        let now = Instant::now();
        let origin = now.checked_sub(Duration::from_secs(24 * 3_600)).unwrap_or(now);
        Self { table: Mutex::new(Membership::for_exchange(Config::default().max_members)), origin }
    }

    /// What the core's times count from.
    #[must_use]
    pub fn origin(&self) -> Instant {
        self.origin
    }

    /// Works on the table.
    pub fn with<T>(&self, work: impl FnOnce(&mut Membership<Peer>) -> T) -> T {
        work(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The core's time for a host's.
    #[must_use]
    pub fn to_core(&self, at: Instant) -> telemetry_gossip_core::Instant {
        let micros = at.saturating_duration_since(self.origin).as_micros();
        telemetry_gossip_core::Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The host's time for one of the core's, to the microsecond.
    #[must_use]
    pub fn to_host(&self, at: telemetry_gossip_core::Instant) -> Instant {
        let since = Duration::from_micros(at.as_micros());
        self.origin.checked_add(since).unwrap_or(self.origin)
    }
}

impl Default for SharedTable {
    fn default() -> Self {
        Self::new()
    }
}
