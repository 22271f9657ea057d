//! A whole node: joins, probes, gossips, and keeps a view of the cluster that is read without
//! waiting.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use telemetry_gossip_core::{Config, Explanation, Health, IdError, NodeId};
use telemetry_gossip_tokio::{
    Agent, AgentError, Events, MemberView, NameError, Options, SpawnError, TelemetryChanges,
    TelemetryValue, Transport, View,
};
use thiserror::Error;

use crate::endpoint::Endpoint;
use crate::membership::{MemberInfo, MemberStatus};

/// Why a node cannot start. Nothing of it runs.
#[derive(Debug, Error)]
pub enum StartError {
    /// Its id is none.
    #[error("{id:?} is no node id: {error}")]
    Id {
        /// The text.
        id: String,
        /// The rule.
        error: IdError,
    },
    /// One of its seeds cannot be the name of a node: over UDP it is `host:port`, in memory a node
    /// id.
    #[error("bad seed: {0}")]
    Seed(#[from] NameError),
    /// Its settings break a rule, or there is no tokio runtime.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// Why a node did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NodeError {
    /// It does not run yet.
    #[error(
        "the node is not started: call GossipNode::start first, or try_start to learn why it does not start"
    )]
    NotStarted,
    /// It runs and refused, took too long, or has ended.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// A node of the cluster.
///
/// It does nothing until [`GossipNode::start`]; dropped, it ends at once, and the others find out
/// by probing. [`GossipNode::leave`] tells them.
///
/// ```
/// use telemetry_gossip::node::GossipNode;
/// use telemetry_gossip::transport::MemoryNetwork;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let network = MemoryNetwork::new(1);
/// let a = GossipNode::new("a".into(), vec![], network.transport("a")?);
/// let b = GossipNode::new("b".into(), vec!["a".into()], network.transport("b")?);
/// a.start().await;
/// let mut events = a.events().expect("it is started");
/// b.start().await;
/// while a.members().len() < 2 {
///     events.recv().await;
/// }
/// assert_eq!(a.members()[1].node_id, "b");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct GossipNode {
    endpoint: Result<Endpoint, (String, IdError)>,
}

impl GossipNode {
    /// A node called `node_id` (1 to 127 bytes without control characters) that will join through
    /// `seeds`: `host:port` over UDP, node ids in memory. No seeds make the first node of a
    /// cluster.
    ///
    /// An invalid id or seed is reported by [`GossipNode::try_start`], and logged by
    /// [`GossipNode::start`].
    pub fn new(node_id: String, seeds: Vec<String>, transport: Arc<dyn Transport>) -> Self {
        let endpoint = match NodeId::new(&node_id) {
            Ok(id) => Ok(Endpoint::new(Options::new(id).seeds(seeds), transport)),
            Err(error) => Err((node_id, error)),
        };
        Self { endpoint }
    }

    /// Runs with these settings instead of the defaults. They are checked at the start. A node that
    /// runs already is ended and started anew.
    #[must_use]
    pub fn with_config(mut self, config: Config) -> Self {
        if let Ok(endpoint) = &mut self.endpoint {
            endpoint.configure(|options| options.config = config);
        }
        self
    }

    /// Runs with all of these options; the id and the seeds are those of `options`. A node that
    /// runs already is ended and started anew.
    #[must_use]
    pub fn with_options(mut self, options: Options) -> Self {
        if let Ok(endpoint) = &mut self.endpoint {
            endpoint.configure(|held| *held = options);
        }
        self
    }

    /// Starts the node: it joins in the background, for as long as it takes, and serves from now
    /// on. A node that runs is left alone; one that was shut down starts anew, as a restarted
    /// process would: without its telemetry, and under its old id. If it cannot run, that is
    /// logged; [`GossipNode::try_start`] says so.
    pub async fn start(&self) {
        if let Err(error) = self.try_start().await {
            tracing::error!(%error, "the node is not started");
        }
    }

    /// Starts the node, or says why it cannot run. Seeds are checked by their form only: one that
    /// is not there yet is tried until it is.
    pub async fn try_start(&self) -> Result<(), StartError> {
        let endpoint = self.endpoint.as_ref();
        let endpoint =
            endpoint.map_err(|(id, error)| StartError::Id { id: id.clone(), error: *error })?;
        endpoint.check_seeds()?;
        endpoint.agent()?;
        Ok(())
    }

    /// The members known now, the node itself and the remembered dead included, in the order of
    /// their ids. Never waits; empty before the start.
    pub fn members(&self) -> Vec<MemberInfo> {
        let view = self.view();
        view.iter().map(|member| MemberInfo::from(&**member)).collect()
    }

    /// All members with addresses and telemetry, as one consistent view; empty before the start.
    /// Never waits.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.agent().map(|agent| agent.view()).unwrap_or_default()
    }

    /// What happens from now on, until the node is shut down; `None` before the start. A reader may
    /// lag 1,024 events behind.
    #[must_use]
    pub fn events(&self) -> Option<Events> {
        self.agent().map(|agent| agent.events())
    }

    /// The value that `node_id` has published under `key`, with its version and age; `None` if
    /// nothing is known of it. The dead keep their last values until they are forgotten. Never
    /// waits.
    #[must_use]
    pub fn telemetry(&self, node_id: &str, key: &str) -> Option<TelemetryValue> {
        self.agent()?.member(node_id)?.value(key).cloned()
    }

    /// The same, if it is no older than `limit`: what is not renewed in time is as good as unknown.
    #[must_use]
    pub fn fresh_telemetry(
        &self,
        node_id: &str,
        key: &str,
        limit: Duration,
    ) -> Option<TelemetryValue> {
        self.agent()?.member(node_id)?.fresh_value(key, limit).cloned()
    }

    /// Publishes one entry of this node's telemetry to all: key 1 to 64 bytes, value at most 512,
    /// 4,096 bytes in all, by default. An entry under the same key is replaced.
    pub async fn publish(&self, key: &str, value: &[u8]) -> Result<(), NodeError> {
        Ok(self.running()?.publish(key, value).await?)
    }

    /// The same for what changes seldom and matters, such as the node's health: it goes before all
    /// that is not urgent.
    pub async fn publish_urgent(&self, key: &str, value: &[u8]) -> Result<(), NodeError> {
        Ok(self.running()?.publish_urgent(key, value).await?)
    }

    /// Publishes a value of the host's own type, which [`TelemetryValue::decode`] reads; see
    /// [`Agent::publish_as`].
    pub async fn publish_as<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<(), NodeError> {
        Ok(self.running()?.publish_as(key, value).await?)
    }

    /// The telemetry of all members under keys that begin with `prefix`, and its changes; `None`
    /// before the start.
    #[must_use]
    pub fn subscribe(&self, prefix: &str) -> Option<TelemetryChanges> {
        self.agent().map(|agent| agent.subscribe(prefix))
    }

    /// Removes one entry of this node's telemetry; an unknown key is no error.
    pub async fn unpublish(&self, key: &str) -> Result<(), NodeError> {
        Ok(self.running()?.unpublish(key).await?)
    }

    /// How the node is: whether it doubts itself or is cut off, and how many members it holds in
    /// which status.
    pub async fn health(&self) -> Result<Health, NodeError> {
        Ok(self.running()?.health().await?)
    }

    /// Why the member called `id` is held to be what it is: who accuses it, what this node's own
    /// probes of it found, how it refuted, and when; at most the last 32 incidents. `None` if it is
    /// not known. The evidence comes in [`GossipNode::events`] as it is found: that which changes a
    /// status by the event of that status, the rest by
    /// [`Event::Evidence`](telemetry_gossip_core::Event::Evidence). Its times count from the same
    /// origin as its `now`.
    ///
    /// ```
    /// # use telemetry_gossip::node::GossipNode;
    /// # use telemetry_gossip::membership::MemberStatus;
    /// # use telemetry_gossip::transport::MemoryNetwork;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let network = MemoryNetwork::new(1);
    /// # let a = GossipNode::new("a".into(), vec![], network.transport("a")?);
    /// # let b = GossipNode::new("b".into(), vec!["a".into()], network.transport("b")?);
    /// # a.start().await;
    /// # b.start().await;
    /// # let mut events = a.events().unwrap();
    /// # while a.members().len() < 2 { events.recv().await; }
    /// network.isolate("b");
    /// # while a.members().iter().any(|member| member.node_id == "b" && member.status != MemberStatus::Dead) { events.recv().await; }
    /// // Some seconds later:
    /// let told = a.explain("b").await?.expect("b is known");
    /// for incident in &told.history {
    ///     let ago = told.now.since(incident.at); // a `Duration`
    ///     println!("{ago:?} ago: {}", incident.evidence.describe(|tag| told.name(tag)));
    /// }
    /// let why = told.to_string(); // the same, and more
    /// assert!(why.contains("did not answer this node's probe"), "{why}");
    /// assert!(why.contains("declared dead by this node"), "{why}");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn explain(&self, id: &str) -> Result<Option<Explanation>, NodeError> {
        Ok(self.running()?.explain(id).await?)
    }

    /// Tells everybody that this node goes, and waits until that is done, but no longer than
    /// `timeout`. Some gossip intervals suffice: less than 5 s with the default config. The node
    /// stays readable, and is silent; to return, [`GossipNode::shutdown`] and [`GossipNode::start`]
    /// it.
    pub async fn leave(&self, timeout: Duration) -> Result<(), NodeError> {
        Ok(self.running()?.leave(timeout).await?)
    }

    /// Ends the node, without a word to others, and waits until its task is gone; what it knew
    /// stays readable. The transport is yours: its socket is open until you close it, or drop it
    /// and this node. Does nothing before the start.
    pub async fn shutdown(&self) {
        if let Some(agent) = self.agent() {
            agent.shutdown().await;
        }
    }

    /// The handle of the running node, for all that is not here: joining other seeds, the
    /// registry's cluster config, accepting a loss, probes and counters. `None` before the start;
    /// ended after the shutdown.
    #[must_use]
    pub fn agent(&self) -> Option<Agent> {
        self.endpoint.as_ref().ok()?.spawned()
    }

    fn running(&self) -> Result<Agent, NodeError> {
        self.agent().ok_or(NodeError::NotStarted)
    }
}

impl From<&MemberView> for MemberInfo {
    fn from(member: &MemberView) -> Self {
        Self {
            node_id: member.id.as_str().to_owned(),
            status: MemberStatus::from(member.status),
            generation: member.generation.0,
            last_observed: member.last_observed(),
        }
    }
}
