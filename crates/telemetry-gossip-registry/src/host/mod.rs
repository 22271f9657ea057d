//! The registry of a node that runs on tokio.
//!
//! [`Registry`] says where the registry is. [`Registry::prepare`] reads what the node has kept of
//! it and puts that into the node's options, so that it is in force before the first datagram;
//! [`Prepared::follow`] follows the registry in a task of its own from then on. Nothing that the
//! store does keeps the node waiting.

mod knocks;
mod task;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use telemetry_gossip_tokio::{Agent, Options};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::cache::Cache;
use crate::follow::{Follower, Gone, Settings, State, Status, WhenRemoved};
use crate::store::{Location, LocationError, Store};

pub use knocks::Knock;

use knocks::Knocks;
use task::Task;

/// Where the registry of a node is, and what the node does once it is removed.
///
/// ```
/// use std::sync::Arc;
/// use telemetry_gossip_registry::host::Registry;
/// use telemetry_gossip_registry::{ClusterId, Edition, Member, MemoryStore, Store, Write};
/// use telemetry_gossip_registry::Stamp;
/// use telemetry_gossip_tokio::{Agent, MemoryNetwork, Options};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // An operator writes the list.
/// let store = MemoryStore::new();
/// let members = [("a".parse()?, Member::default()), ("b".parse()?, Member::default())];
/// let first = Edition::first(ClusterId::from_random([1; 16]), "", members)?;
/// store.write(&Write::new(first, &Stamp::new("ana", "the first two"), None)).await?;
///
/// // A node follows it.
/// let mut options = Options::new("a".parse()?);
/// let prepared = Registry::new(Arc::new(store)).prepare(&mut options);
/// let agent = Agent::spawn(options, MemoryNetwork::new(1).transport("a")?)?;
/// let following = prepared.follow(&agent);
/// let mut changes = following.changes();
/// let status = changes.wait_for(|status| status.is_ready()).await?;
/// assert_eq!(status.in_force.as_ref().unwrap().version, 1);
/// assert_eq!(agent.health().await?.cluster_config, Some(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Registry {
    store: Arc<dyn Store>,
    when_removed: WhenRemoved,
    seed: Option<[u8; 32]>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.store.location()).finish()
    }
}

impl Registry {
    /// The registry in this store. A node that is removed leaves.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, when_removed: WhenRemoved::Leave, seed: None }
    }

    /// The registry at this location, such as `file:/etc/tgossip/cluster.toml`: see [`Location`].
    ///
    /// # Errors
    /// The text is no location, or a file of keys or passwords that it names cannot be read. The
    /// store itself need not answer yet.
    pub fn open(location: &str) -> Result<Self, LocationError> {
        Ok(Self::new(location.parse::<Location>()?.open()?))
    }

    /// Sets what the node does once the registry no longer names it.
    #[must_use]
    pub fn when_removed(mut self, when_removed: WhenRemoved) -> Self {
        self.when_removed = when_removed;
        self
    }

    /// Makes all random delays from this seed, to reproduce a run.
    #[must_use]
    pub fn rng_seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Reads what an earlier run of the node has kept in [`Options::state_dir`], and sets
    /// [`Options::cluster_config`] to it. A node without a state folder keeps nothing: while the
    /// store is down it starts without a list, and is not ready.
    pub fn prepare(&self, options: &mut Options) -> Prepared {
        let cache = options.state_dir.as_deref().map(Cache::new);
        let found = cache.as_ref().map(Cache::read).unwrap_or_default();
        if let Some(told) = &found.set_aside {
            tracing::warn!("{told}");
        }
        let seed = self.seed.unwrap_or_else(|| {
            let mut seed = [0; 32];
            // Without randomness the nodes would read at the same times, and the node itself does
            // not start.
            let _ = getrandom::fill(&mut seed);
            seed
        });
        let settings = Settings::new(options.id, options.config.label, seed)
            .poll(self.store.poll_interval())
            .when_removed(self.when_removed);
        let start = Instant::now();
        let follower = Follower::new(settings, found.kept, telemetry_gossip_core::Instant::ORIGIN);
        if let Some((version, members)) = follower.first_config() {
            options.cluster_config = Some((version, members));
        }
        let (seeds, set_aside) = (options.seeds.clone(), found.set_aside);
        let folder = options.state_dir.clone();
        Prepared { store: self.store.clone(), follower, cache, start, seeds, set_aside, folder }
    }
}

/// A follower of a node that is about to start, from [`Registry::prepare`].
#[must_use = "the registry is followed once the node runs"]
pub struct Prepared {
    store: Arc<dyn Store>,
    follower: Follower,
    cache: Option<Cache>,
    start: Instant,
    seeds: Vec<String>,
    set_aside: Option<String>,
    folder: Option<PathBuf>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.follower.status();
        f.debug_struct("Prepared").field("folder", &self.folder).field("status", status).finish()
    }
}

impl Prepared {
    /// Why what an earlier run has kept is not used; `None` if it is, or if there was nothing.
    #[must_use]
    pub fn set_aside(&self) -> Option<&str> {
        self.set_aside.as_deref()
    }

    /// Follows the registry for this node, on the current tokio runtime, until the node ends.
    pub fn follow(self, agent: &Agent) -> Following {
        let (told, status) = watch::channel(self.follower.status().clone());
        let (asked, asks) = mpsc::channel(1);
        let shared = Arc::new(Shared::default());
        let following = Following {
            location: self.store.location(),
            status,
            asked,
            start: self.start,
            shared: shared.clone(),
        };
        let task = Task::new(self, agent.clone(), told, asks, shared);
        tokio::spawn(task.run());
        following
    }
}

/// What the task shares with its handles.
#[derive(Debug, Default)]
struct Shared {
    document: Mutex<Option<Arc<[u8]>>>,
    knocks: Mutex<Knocks>,
}

impl Shared {
    fn set_document(&self, document: Option<Arc<[u8]>>) {
        *self.document.lock().unwrap_or_else(PoisonError::into_inner) = document;
    }

    fn knocks<T>(&self, act: impl FnOnce(&mut Knocks) -> T) -> T {
        act(&mut self.knocks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A node's registry. A clone is another handle of the same one. It is followed until the node
/// ends, whatever handles are left.
#[derive(Clone, Debug)]
pub struct Following {
    location: String,
    status: watch::Receiver<Status>,
    asked: mpsc::Sender<()>,
    start: Instant,
    shared: Arc<Shared>,
}

impl Following {
    /// Where the registry is, without passwords.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// What the node makes of the registry now. Never waits.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The status, and each change of it.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The document in force, as the store has it; `None` if there is none yet.
    #[must_use]
    pub fn document(&self) -> Option<Arc<[u8]>> {
        self.shared.document.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for the store to be read now, or 1 s after the last read. Does not wait for it.
    pub fn read_now(&self) {
        // No room means that a read is asked for already.
        let _ = self.asked.try_send(());
    }

    /// The nodes that have asked this one for something and do not belong, the last first; at most
    /// 256.
    #[must_use]
    pub fn pending(&self) -> Vec<Knock> {
        self.shared.knocks(|knocks| knocks.list())
    }

    /// Waits until the node has left since the registry no longer names it; `None` if it ended for
    /// another reason, or stays.
    pub async fn gone(&self) -> Option<Gone> {
        let mut status = self.status.clone();
        let has_left = |status: &Status| matches!(&status.state, State::Gone(_)) && status.left;
        let status = status.wait_for(has_left).await.ok()?;
        match &status.state {
            State::Gone(gone) => Some(gone.clone()),
            _ => None,
        }
    }

    /// Converts a time of the status, such as [`Status::answered_at`], to the clock of the host.
    #[must_use]
    pub fn host_time(&self, at: telemetry_gossip_core::Instant) -> std::time::Instant {
        let since = at.since(telemetry_gossip_core::Instant::ORIGIN);
        (self.start + since).into_std()
    }
}
