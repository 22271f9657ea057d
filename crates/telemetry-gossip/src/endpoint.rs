//! An agent that is spawned when there is a runtime: at once, or at the first use.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use telemetry_gossip_core::{Identity, NodeId};
use telemetry_gossip_tokio::{Agent, NameError, Options, Peer, SpawnError, Transport};

/// How long looking up one name may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// What to spawn, and what was.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) transport: Arc<dyn Transport>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    options: Options,
    agent: Option<Agent>,
    /// The agent brought its own record into the shared table: the host had none.
    entered: bool,
}

impl Endpoint {
    pub(crate) fn new(options: Options, transport: Arc<dyn Transport>) -> Self {
        Self { transport, state: Mutex::new(State { options, agent: None, entered: false }) }
    }

    /// Changes how it will be spawned; an agent spawned before is ended and spawned anew. Under
    /// another id it leaves no record of the one before in the shared table.
    pub(crate) fn configure(&mut self, change: impl FnOnce(&mut Options)) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let before = state.options.id;
        change(&mut state.options);
        if state.agent.take().is_none() {
            return;
        }
        let Options { id, generation, instance, advertise, table, .. } = &state.options;
        if let Some(table) = table
            && *id != before
            && std::mem::take(&mut state.entered)
        {
            state.entered = table.with(|table| table.get(id.as_str()).is_none());
            let address = advertise.unwrap_or_else(|| self.transport.local());
            let identity = Identity::new(*id, address).generation(*generation).instance(*instance);
            if let Err(error) = table.rename(before, identity) {
                tracing::error!(%error, "not renamed");
            }
        }
        self.try_spawn();
    }

    /// Spawns the agent if there is a runtime; it then answers others without being used.
    pub(crate) fn try_spawn(&self) {
        match self.agent() {
            Ok(_) | Err(SpawnError::NoRuntime) => {}
            Err(error) => tracing::error!(%error, "not started"),
        }
    }

    /// The agent, spawned now if it was not, or if it has ended: it was shut down, or with the
    /// runtime it ran on.
    pub(crate) fn agent(&self) -> Result<Agent, SpawnError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = state.agent.as_ref().filter(|agent| agent.is_running()) {
            return Ok(agent.clone());
        }
        let Options { table, id, .. } = &state.options;
        if table.as_ref().is_some_and(|table| table.with(|table| table.get(id.as_str()).is_none()))
        {
            state.entered = true;
        }
        let agent = Agent::spawn(state.options.clone(), self.transport.clone())?;
        state.agent = Some(agent.clone());
        Ok(agent)
    }

    /// The agent if it was spawned, though it may have ended: its last view stays readable.
    pub(crate) fn spawned(&self) -> Option<Agent> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).agent.clone()
    }

    /// Whether all seeds can be names of nodes on this transport.
    pub(crate) fn check_seeds(&self) -> Result<(), NameError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.options.seeds.iter().try_for_each(|seed| self.transport.check_name(seed))
    }

    pub(crate) fn id(&self) -> NodeId {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).options.id
    }
}

/// Where the transport finds `name`; `None` if it does not, or not in time.
pub(crate) async fn find(transport: &dyn Transport, name: &str) -> Option<Peer> {
    let found = tokio::time::timeout(LOOKUP_TIMEOUT, transport.resolve(name)).await;
    found.ok()?.ok()?.first().copied()
}

/// The id of a node that has no other: its name in memory, its socket address as text over UDP.
pub(crate) fn id_of(peer: &Peer) -> NodeId {
    match peer {
        Peer::Name(id) => *id,
        Peer::Socket(address) => NodeId::from(*address),
    }
}
