//! An agent that is spawned as soon as there is a runtime: at once, or at the first use.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use telemetry_gossip_core::Identity;
use telemetry_gossip_tokio::{
    Agent, Events, Feed, Options, PeerAddr, SpawnError, TelemetryChanges, Transport, View,
};

#[cfg(feature = "registry")]
use telemetry_gossip_registry::host::{Following, Registry};

use crate::error::NodeError;

/// The most time that resolving one name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The options of an agent, and the agent once it is spawned.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) transport: Arc<dyn Transport>,
    /// Held while the agent is started, so that there is one start at a time. Readers never wait
    /// for it.
    starting: tokio::sync::Mutex<()>,
    /// Locked for moments: no file is written, and no code of the host runs, while it is.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    options: Options,
    stage: Stage,
    /// Whether the agent entered its own record into the shared table: the host had not done so.
    entered: bool,
    #[cfg(feature = "registry")]
    registry: RegistrySlot,
}

/// The registry of a node, and the one that follows it since the last start.
#[cfg(feature = "registry")]
#[derive(Debug, Default)]
struct RegistrySlot {
    registry: Option<Registry>,
    following: Option<Following>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one per node, which runs most of the time")]
enum Stage {
    /// Not spawned yet. Readers may already wait for its first event.
    Waiting(Feed),
    /// Spawned. It may have ended since; its last view stays readable.
    Spawned(Agent),
}

impl Endpoint {
    pub(crate) fn new(options: Options, transport: Arc<dyn Transport>) -> Self {
        let state = State {
            options,
            stage: Stage::Waiting(Feed::new()),
            entered: false,
            #[cfg(feature = "registry")]
            registry: RegistrySlot::default(),
        };
        Self { transport, starting: tokio::sync::Mutex::default(), state: Mutex::new(state) }
    }

    /// Changes the options of an agent that does not run, and is not about to.
    pub(crate) fn set_options(&self, change: impl FnOnce(&mut Options)) -> Result<(), NodeError> {
        self.change(|state| change(&mut state.options))
    }

    /// Sets the registry of an agent that does not run, and is not about to.
    #[cfg(feature = "registry")]
    pub(crate) fn set_registry(&self, registry: Registry) -> Result<(), NodeError> {
        self.change(|state| state.registry.registry = Some(registry))
    }

    /// The follower of the registry, once the agent is spawned.
    #[cfg(feature = "registry")]
    pub(crate) fn following(&self) -> Option<Following> {
        self.lock().registry.following.clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), NodeError> {
        let Ok(_starting) = self.starting.try_lock() else { return Err(NodeError::running()) };
        let mut state = self.lock();
        if matches!(&state.stage, Stage::Spawned(agent) if agent.is_running()) {
            return Err(NodeError::running());
        }
        change(&mut state);
        Ok(())
    }

    /// Changes the options. If the agent is spawned, it is ended and spawned again; under another
    /// id it leaves no record of the old id in the shared table.
    pub(crate) fn respawn(&mut self, change: impl FnOnce(&mut Options)) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let before = state.options.id;
        change(&mut state.options);
        let Stage::Spawned(agent) = &state.stage else { return };
        // Dropping the handle would not do: a probe that was dropped just now may hold another.
        agent.end();
        state.stage = Stage::Waiting(Feed::new());
        let Options { id, generation, instance, advertise, table, .. } = &state.options;
        if let Some(table) = table
            && *id != before
            && std::mem::take(&mut state.entered)
        {
            state.entered = table.with(|table| table.get(id.as_str()).is_none());
            let address = advertise.unwrap_or_else(|| self.transport.local());
            let identity = Identity::new(*id, address).generation(*generation).instance(*instance);
            if let Err(error) = table.rename(before, identity) {
                tracing::error!(%error, "the node keeps its old record in the shared table");
            }
        }
        self.try_spawn();
    }

    /// Spawns the agent of a new endpoint if there is a runtime, so that it answers others without
    /// being used.
    pub(crate) fn try_spawn(&self) {
        match self.spawn() {
            // A node on the transport answers the probes of others in place of a detector.
            Ok(_) | Err(SpawnError::NoRuntime | SpawnError::TransportTaken) => {}
            Err(error) => tracing::error!(%error, "not started"),
        }
    }

    /// The agent. Spawned now if it was not spawned yet, or if it has ended because it was shut
    /// down or its runtime is gone; one that is about to end is waited for, as there must not be
    /// two on one transport.
    pub(crate) async fn agent(&self) -> Result<Agent, SpawnError> {
        let _starting = self.starting.lock().await;
        match self.spawned() {
            Some(agent) if !agent.is_ending() => return Ok(agent),
            Some(agent) => agent.ended().await,
            None => {}
        }
        self.spawn()
    }

    /// The same for a start, which is to be told apart from a node that has not noticed yet that
    /// its transport was closed.
    pub(crate) async fn start(&self) -> Result<Agent, SpawnError> {
        if self.transport.subscribe().is_closed()
            && let Some(agent) = self.spawned()
        {
            agent.ended().await;
        }
        self.agent().await
    }

    /// Spawns an agent. The caller knows that there is none that runs.
    fn spawn(&self) -> Result<Agent, SpawnError> {
        #[cfg_attr(
            not(feature = "registry"),
            expect(unused_mut, reason = "no registry changes them")
        )]
        let (feed, mut options) = {
            let state = self.lock();
            let feed = match &state.stage {
                Stage::Spawned(_) => Feed::new(),
                Stage::Waiting(feed) => feed.clone(),
            };
            (feed, state.options.clone())
        };
        #[cfg(feature = "registry")]
        let prepared = {
            let registry = self.lock().registry.registry.clone();
            registry.map(|registry| registry.prepare(&mut options))
        };
        let Options { table, id, .. } = &options;
        let enters = table
            .as_ref()
            .is_some_and(|table| table.with(|table| table.get(id.as_str()).is_none()));
        let spawned = Agent::spawn_into(&feed, options, self.transport.clone());
        let mut state = self.lock();
        state.entered |= enters;
        let agent = spawned?;
        state.stage = Stage::Spawned(agent.clone());
        #[cfg(feature = "registry")]
        {
            state.registry.following = prepared.map(|prepared| prepared.follow(&agent));
        }
        Ok(agent)
    }

    /// The agent if it was spawned. It may have ended: its last view stays readable.
    pub(crate) fn spawned(&self) -> Option<Agent> {
        match &self.lock().stage {
            Stage::Waiting(_) => None,
            Stage::Spawned(agent) => Some(agent.clone()),
        }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        match &self.lock().stage {
            Stage::Waiting(feed) => feed.view(),
            Stage::Spawned(agent) => agent.view(),
        }
    }

    pub(crate) fn events(&self) -> Events {
        match &self.lock().stage {
            Stage::Waiting(feed) => feed.events(),
            Stage::Spawned(agent) => agent.events(),
        }
    }

    pub(crate) fn subscribe(&self, prefix: &str) -> TelemetryChanges {
        match &self.lock().stage {
            Stage::Waiting(feed) => feed.subscribe(prefix),
            Stage::Spawned(agent) => agent.subscribe(prefix),
        }
    }

    /// Checks that all seeds can be names of nodes on this transport.
    pub(crate) fn check_seeds(&self) -> Result<(), NodeError> {
        let seeds = self.lock().options.seeds.clone();
        let mut seeds = seeds.iter();
        seeds.try_for_each(|seed| self.transport.check_name(seed)).map_err(NodeError::from)
    }

    pub(crate) fn options(&self) -> Options {
        self.lock().options.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address of `name` on the transport; `None` if it is not found in time.
pub(crate) async fn find(transport: &dyn Transport, name: &str) -> Option<PeerAddr> {
    let found = tokio::time::timeout(RESOLVE_TIMEOUT, transport.resolve(name)).await;
    found.ok()?.ok()?.first().copied()
}
