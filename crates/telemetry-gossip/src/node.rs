//! A whole node: it joins, probes, gossips, and keeps a view of the cluster that can be read
//! without waiting.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use telemetry_gossip_core::{
    Config, ExchangeOutcome, Explanation, Generation, Health, IdError, NodeId, ProbeOutcome, Stats,
    Status,
};
use telemetry_gossip_seal::SealStats;
use telemetry_gossip_tokio::{
    Agent, HostStatus, MemberView, Options, PeerAddr, RecordStats, SendStats, StateStatus,
    TelemetryValue, Transport,
};

use crate::endpoint::Endpoint;
use crate::membership::{MemberInfo, MemberStatus};

pub use telemetry_gossip_tokio::{Event, Events, RecvError, TelemetryChanges, View};

pub use crate::builder::NodeBuilder;
pub use crate::error::{NodeError, NodeErrorKind};

/// A node of the cluster. A clone is another handle of the same node.
///
/// [`GossipNode::builder`] starts one. The node ends when its last handle is dropped, without
/// telling the others, which find out by probing; [`GossipNode::leave`] tells them. It handles
/// nothing more from then on, and its task ends as soon as the runtime runs it: only then is its
/// hold on the transport gone. [`GossipNode::shutdown`] waits for that, so that a port can be bound
/// again.
///
/// Reading ([`GossipNode::members`], [`GossipNode::view`], [`GossipNode::telemetry`]) never waits.
/// Everything else waits for the task of the node, usually for microseconds, and fails with
/// [`NodeErrorKind::Closed`] once the node has ended.
///
/// ```
/// use std::time::Duration;
/// use telemetry_gossip::node::GossipNode;
/// use telemetry_gossip::transport::MemoryNetwork;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let network = MemoryNetwork::new(1);
/// let a = GossipNode::builder("a")?.start(network.transport("a")?).await?;
/// let mut events = a.events();
/// let b = GossipNode::builder("b")?.seeds(["a"]).start(network.transport("b")?).await?;
/// b.publish("load", b"0.7").await?;
/// while a.telemetry("b", "load").is_none() {
///     events.recv().await?;
/// }
/// assert_eq!(a.members()[1].node_id, "b");
/// b.leave(Duration::from_secs(5)).await?;
/// b.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GossipNode {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: String,
    endpoint: Result<Endpoint, IdError>,
}

impl GossipNode {
    /// Prepares a node called `id`, which must be unique in its cluster and have 1 to 127 bytes
    /// without control characters.
    pub fn builder(id: &str) -> Result<NodeBuilder, NodeError> {
        let node_id = NodeId::new(id).map_err(|error| NodeError::id(id, error))?;
        Ok(NodeBuilder::new(Options::new(node_id)))
    }

    pub(crate) fn with(options: Options, transport: Arc<dyn Transport>) -> Self {
        let id = options.id.as_str().to_owned();
        let endpoint = Ok(Endpoint::new(options, transport));
        Self { inner: Arc::new(Inner { id, endpoint }) }
    }

    /// A node that does nothing until [`GossipNode::start`]. [`GossipNode::builder`] does both, and
    /// reports errors.
    ///
    /// `node_id` has 1 to 127 bytes without control characters. The node will join through `seeds`:
    /// `host:port` over UDP, node ids in memory. The first node of a cluster has none. An invalid
    /// id or seed is returned by [`GossipNode::try_start`], and logged by [`GossipNode::start`].
    pub fn new(node_id: String, seeds: Vec<String>, transport: Arc<dyn Transport>) -> Self {
        let id = NodeId::new(&node_id);
        let endpoint = id.map(|id| Endpoint::new(Options::new(id).seeds(seeds), transport));
        Self { inner: Arc::new(Inner { id: node_id, endpoint }) }
    }

    /// Sets the settings of the protocol. They are checked at the next start.
    ///
    /// # Errors
    /// [`NodeErrorKind::Running`]: the node runs. Other handles keep it running.
    pub fn with_config(self, config: Config) -> Result<Self, NodeError> {
        self.set_options(|options| options.config = config)?;
        Ok(self)
    }

    /// Sets everything that `options` has except the id and the seeds, which stay those of this
    /// node.
    ///
    /// # Errors
    /// [`NodeErrorKind::Running`]: the node runs. Other handles keep it running.
    pub fn with_options(self, options: Options) -> Result<Self, NodeError> {
        self.set_options(|held| {
            let (id, seeds) = (held.id, std::mem::take(&mut held.seeds));
            *held = options;
            (held.id, held.seeds) = (id, seeds);
        })?;
        Ok(self)
    }

    /// Follows this registry of which nodes belong to the cluster, from the next start on. See
    /// [`NodeBuilder::registry`].
    ///
    /// # Errors
    /// [`NodeErrorKind::Running`]: the node runs. Other handles keep it running.
    #[cfg(feature = "registry")]
    pub fn with_registry(self, registry: crate::registry::Registry) -> Result<Self, NodeError> {
        // An invalid id is reported at the start.
        self.inner.endpoint.as_ref().map_or(Ok(()), |endpoint| endpoint.set_registry(registry))?;
        Ok(self)
    }

    /// What the node makes of its registry; `None` without one, or before the start. Never waits.
    #[cfg(feature = "registry")]
    #[must_use]
    pub fn registry(&self) -> Option<crate::registry::Following> {
        self.inner.endpoint.as_ref().ok()?.following()
    }

    fn set_options(&self, change: impl FnOnce(&mut Options)) -> Result<(), NodeError> {
        // An invalid id is reported at the start.
        self.inner.endpoint.as_ref().map_or(Ok(()), |endpoint| endpoint.set_options(change))
    }

    /// Starts the node. It joins in the background, and tries its seeds until one answers.
    ///
    /// Does nothing if the node runs. A node that was shut down starts again as a restarted process
    /// would, under its old id and without its telemetry; if it has not ended yet, the start waits
    /// for that. If the node cannot start, the reason is
    /// logged; [`GossipNode::try_start`] returns it.
    pub async fn start(&self) {
        if let Err(error) = self.try_start().await {
            tracing::error!(%error, "the node is not started");
        }
    }

    /// Starts the node, or returns why it cannot start. Seeds are checked by their form only: a
    /// seed that does not exist yet is tried until it does.
    ///
    /// When this returns `Ok`, the node runs, unless something has ended it since: a shutdown that
    /// was under way is waited for, and the node starts after it.
    ///
    /// # Errors
    /// The id or a seed is invalid, a setting breaks its rule, the transport is closed or has an
    /// exchange on it, there is no runtime, or the record cannot be started. Nothing runs then.
    pub async fn try_start(&self) -> Result<(), NodeError> {
        let endpoint = self.inner.endpoint.as_ref();
        let endpoint = endpoint.map_err(|&error| NodeError::id(&self.inner.id, error))?;
        endpoint.check_seeds()?;
        endpoint.start().await?;
        Ok(())
    }

    /// The id of the node.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Whether the node runs. A node that has left still runs, in silence, until it is shut down.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.agent().is_some_and(|agent| agent.is_running())
    }

    /// All known members in the order of their ids, including the node itself and dead members that
    /// are not forgotten yet. Never waits. Empty before the start.
    pub fn members(&self) -> Vec<MemberInfo> {
        let view = self.view();
        view.iter().map(|member| MemberInfo::from(&**member)).collect()
    }

    /// Whether the member called `id` has left in good order. Its
    /// [`MemberStatus`] is Dead, as is that of a member that failed. False if it is not known, and
    /// before the start.
    #[must_use]
    pub fn has_left(&self, id: &str) -> bool {
        self.view().get(id).is_some_and(|member| member.status == Status::Left)
    }

    /// All known members with addresses and telemetry, as one consistent view. Never waits. Empty
    /// before the start.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.inner.endpoint.as_ref().map(Endpoint::view).unwrap_or_default()
    }

    /// All events from now on, until the node ends. A reader may lag behind by 1,024 events.
    ///
    /// Called before the start, it waits for the start and then gets every event from the first.
    /// Called after the node has ended, it reports [`RecvError::Closed`].
    #[must_use]
    pub fn events(&self) -> Events {
        self.inner.endpoint.as_ref().map_or_else(|_| Events::closed(), Endpoint::events)
    }

    /// The telemetry of all members under keys that begin with `prefix`, and its changes.
    ///
    /// ```
    /// # use telemetry_gossip::node::GossipNode;
    /// # use telemetry_gossip::transport::MemoryNetwork;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let transport = MemoryNetwork::new(1).transport("a")?;
    /// # let node = GossipNode::builder("a")?.start(transport).await?;
    /// let mut disks = node.subscribe("disk.");
    /// node.publish("disk.sda", b"failing").await?;
    /// let change = disks.recv().await.expect("the node runs");
    /// assert_eq!((change.id.as_str(), change.key.as_str()), ("a", "disk.sda"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn subscribe(&self, prefix: &str) -> TelemetryChanges {
        match &self.inner.endpoint {
            Ok(endpoint) => endpoint.subscribe(prefix),
            Err(_) => TelemetryChanges::closed(),
        }
    }

    /// The value that `node_id` has published under `key`, with its version and age; `None` if
    /// there is none. A dead member keeps its last values until it is forgotten. Never waits.
    #[must_use]
    pub fn telemetry(&self, node_id: &str, key: &str) -> Option<TelemetryValue> {
        self.view().get(node_id)?.value(key).cloned()
    }

    /// The value that `node_id` has published under `key`, if it is not older than `limit`. Never
    /// waits.
    #[must_use]
    pub fn fresh_telemetry(
        &self,
        node_id: &str,
        key: &str,
        limit: Duration,
    ) -> Option<TelemetryValue> {
        self.view().get(node_id)?.fresh_value(key, limit).cloned()
    }

    /// Publishes one entry of this node's telemetry to all members. An entry with the same key is
    /// replaced.
    ///
    /// By default a key has 1 to 64 bytes, a value at most 512, and all entries together at most
    /// 4,096; see [`Config::max_key`], [`Config::max_value`] and [`Config::max_telemetry`].
    pub async fn publish(&self, key: &str, value: &[u8]) -> Result<(), NodeError> {
        Ok(self.started()?.publish(key, value).await?)
    }

    /// Publishes an entry that is sent before all that is not urgent. For entries that change
    /// seldom and matter, such as the health of the node.
    pub async fn publish_urgent(&self, key: &str, value: &[u8]) -> Result<(), NodeError> {
        Ok(self.started()?.publish_urgent(key, value).await?)
    }

    /// Publishes a value of a type of the host, which [`TelemetryValue::decode`] reads.
    ///
    /// ```
    /// # use telemetry_gossip::node::GossipNode;
    /// # use telemetry_gossip::transport::MemoryNetwork;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let transport = MemoryNetwork::new(1).transport("a")?;
    /// # let node = GossipNode::builder("a")?.start(transport).await?;
    /// node.publish_as("requests", &(12_u32, "per second")).await?;
    /// let value = node.telemetry("a", "requests").unwrap();
    /// assert_eq!(value.decode::<(u32, String)>()?, (12, "per second".to_owned()));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn publish_as<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<(), NodeError> {
        Ok(self.started()?.publish_as(key, value).await?)
    }

    /// Removes one entry of this node's telemetry. An unknown key is no error.
    pub async fn unpublish(&self, key: &str) -> Result<(), NodeError> {
        Ok(self.started()?.unpublish(key).await?)
    }

    /// The state of the node itself: its local health, whether it is isolated, and the number of
    /// members in each status.
    pub async fn health(&self) -> Result<Health, NodeError> {
        Ok(self.started()?.health().await?)
    }

    /// The counters of the node since its start. Bytes are counted without the seal.
    pub async fn stats(&self) -> Result<Stats, NodeError> {
        Ok(self.started()?.stats().await?)
    }

    /// The counters of the transport's seal; `None` in plaintext or before the start. Never waits.
    #[must_use]
    pub fn seal_stats(&self) -> Option<SealStats> {
        self.agent()?.seal_stats()
    }

    /// The counters of the record; `None` if the node is not recorded, or before the start. Never
    /// waits.
    #[must_use]
    pub fn record_stats(&self) -> Option<RecordStats> {
        self.agent()?.recorded()
    }

    /// What the node found in its state folder, and how it keeps it; `None` without
    /// [`NodeBuilder::state_dir`], or before the start. Never waits.
    #[must_use]
    pub fn state_status(&self) -> Option<StateStatus> {
        Some(self.agent()?.state_status()?.borrow().clone())
    }

    /// Explains the status of the member called `id`: the accusations, the outcomes of this node's
    /// own probes, the refutations, and when each happened; at most the last 32 incidents. `None`
    /// if the member is not known.
    ///
    /// [`GossipNode::events`] reports each piece of evidence as it is found: evidence that changes
    /// a status by the event of that status, other evidence by [`Event::Evidence`].
    ///
    /// ```
    /// # use telemetry_gossip::node::GossipNode;
    /// # use telemetry_gossip::membership::MemberStatus;
    /// # use telemetry_gossip::transport::MemoryNetwork;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let network = MemoryNetwork::new(1);
    /// # let a = GossipNode::builder("a")?.start(network.transport("a")?).await?;
    /// # let b = GossipNode::builder("b")?.seeds(["a"]).start(network.transport("b")?).await?;
    /// # let mut events = a.events();
    /// # while a.members().len() < 2 { events.recv().await?; }
    /// network.isolate("b");
    /// # while a.members()[1].status != MemberStatus::Dead { events.recv().await?; }
    /// // Some seconds later:
    /// let told = a.explain("b").await?.expect("b is known");
    /// for incident in &told.history {
    ///     let ago = told.now.since(incident.at); // a `Duration`
    ///     println!("{ago:?} ago: {}", incident.evidence.describe(|hash| told.name(hash)));
    /// }
    /// println!("{told}"); // the same and more, for people
    /// # assert!(told.to_string().contains("declared dead by this node"), "{told}");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn explain(&self, id: &str) -> Result<Option<Explanation>, NodeError> {
        Ok(self.started()?.explain(id).await?)
    }

    /// The datagrams that the transport did not send, by the reason; `None` before the start. Never
    /// waits.
    #[must_use]
    pub fn send_stats(&self) -> Option<SendStats> {
        self.agent().map(|agent| agent.send_stats())
    }

    /// What hinders the node on its own host, such as a full disk under its record; the log tells
    /// it, too, once. Never waits. Before the start all is well.
    #[must_use]
    pub fn host_status(&self) -> HostStatus {
        self.agent().map(|agent| agent.host_status().borrow().clone()).unwrap_or_default()
    }

    /// Converts a time of the protocol, such as [`Health::isolated_since`], to the clock of the
    /// host; `None` before the start.
    #[must_use]
    pub fn host_time(&self, at: telemetry_gossip_core::Instant) -> Option<std::time::Instant> {
        self.agent().map(|agent| agent.host_time(at))
    }

    /// Joins through these seeds from now on. [`Event::JoinCompleted`] and [`Event::JoinFailed`]
    /// tell whether one of them answered.
    ///
    /// # Errors
    /// [`NodeErrorKind::Seed`] if the list is empty, and [`NodeErrorKind::Unresolved`] if none of
    /// the seeds has an address. Each may take 2 s to resolve.
    pub async fn join(&self, seeds: &[impl AsRef<str>]) -> Result<(), NodeError> {
        let seeds: Vec<String> = seeds.iter().map(|seed| seed.as_ref().to_owned()).collect();
        Ok(self.started()?.join(&seeds).await?)
    }

    /// Tells the other members that this node leaves, and waits until they were told as often as
    /// any rumor is sent, and one at least has answered: some gossip intervals, less than 5 s with
    /// the default config. Members that do not hear of it find out by probing. The node can still
    /// be read, and is silent. Idempotent. To return, [`GossipNode::shutdown`] and
    /// [`GossipNode::start`] it.
    ///
    /// # Errors
    /// [`NodeErrorKind::Timeout`] after `timeout`; the node leaves all the same.
    /// [`NodeErrorKind::Unheard`] if there are others, and none has answered that it heard; the
    /// node has left.
    pub async fn leave(&self, timeout: Duration) -> Result<(), NodeError> {
        Ok(self.started()?.leave(timeout).await?)
    }

    /// Probes a member now, and waits for the outcome. The node probes all members by itself; this
    /// is for a host that has a reason to doubt one.
    pub async fn probe(&self, id: &str) -> Result<ProbeOutcome, NodeError> {
        let id = NodeId::new(id).map_err(|error| NodeError::id(id, error))?;
        Ok(self.started()?.probe(id).await?)
    }

    /// Exchanges state with one member, which the node chooses, and waits for the outcome. The node
    /// does this by itself where tables differ.
    pub async fn exchange(&self) -> Result<ExchangeOutcome, NodeError> {
        Ok(self.started()?.exchange().await?.1)
    }

    /// Tells the node of a member that the host knows from a file, its earlier instance or a
    /// registry. The node takes it for Alive unless it knows better, and does not gossip it.
    pub async fn introduce(
        &self,
        id: &str,
        address: Option<PeerAddr>,
        generation: u64,
    ) -> Result<(), NodeError> {
        let id = NodeId::new(id).map_err(|error| NodeError::id(id, error))?;
        Ok(self.started()?.introduce(id, address, Generation(generation)).await?)
    }

    /// Applies the registry's list of nodes that belong to the cluster. The node removes all other
    /// members and does not admit them again.
    ///
    /// # Errors
    /// [`NodeErrorKind::Refused`] unless `version` is above the last one and this node is among
    /// `members`.
    pub async fn apply_cluster_config(
        &self,
        version: u64,
        members: &[impl AsRef<str>],
    ) -> Result<(), NodeError> {
        let id = |member: &str| NodeId::new(member).map_err(|error| NodeError::id(member, error));
        let members = members.iter().map(|member| id(member.as_ref()));
        let members = members.collect::<Result<Vec<NodeId>, NodeError>>()?;
        Ok(self.started()?.apply_cluster_config(version, members).await?)
    }

    /// Ends an isolation: the unreachable members are really gone, and are declared Dead. Does
    /// nothing while the node is not isolated.
    pub async fn accept_loss(&self) -> Result<(), NodeError> {
        Ok(self.started()?.accept_loss().await?)
    }

    /// Ends the node, without telling the others, and waits until its task has ended. What it knew
    /// can still be read. Does nothing before the start. The node ends even if the future is
    /// dropped.
    ///
    /// The transport is yours: its socket stays open until you close it, or drop it and this node.
    pub async fn shutdown(&self) {
        if let Some(agent) = self.agent() {
            agent.shutdown().await;
        }
    }

    /// The agent, once it is spawned. It may have ended.
    fn agent(&self) -> Option<Agent> {
        self.inner.endpoint.as_ref().ok()?.spawned()
    }

    fn started(&self) -> Result<Agent, NodeError> {
        self.agent().ok_or_else(NodeError::not_started)
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
