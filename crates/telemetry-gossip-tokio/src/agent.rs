//! The handle of a running node: the commands of the host, and what it reads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use telemetry_gossip_core::{
    CommandError, Config, ExchangeOutcome, Explanation, Generation, Health, Identity, Input,
    NodeId, ProbeOutcome, Stats,
};
use telemetry_gossip_recorder::Boot;
use telemetry_gossip_seal::{OVERHEAD, SealStats};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::{self, Clock};
use crate::error::{AgentError, SpawnError};
use crate::events::Events;
use crate::feed::{Feed, FeedReader};
use crate::host::{HostStatus, HostTold};
use crate::options::Options;
use crate::peer_addr::PeerAddr;
use crate::place::Place;
use crate::record::{RecordStats, RecordView, Tape};
use crate::sends::{SendStats, SendView, Sends};
use crate::state::keeper::{Earlier, Keeper, StateStatus};
use crate::state::{StateDir, StateError};
use crate::task::seeds::{SeedNames, SeedStatus, resolve_all};
use crate::task::{Command, Task};
use crate::telemetry::{TelemetryChanges, encode};
use crate::transport::Transport;
use crate::view::{MemberView, View};

/// The most commands that wait for the task.
const MAX_WAITING_COMMANDS: usize = 64;

/// A running node. A clone is another handle of the same node. The node ends when its last handle
/// is dropped, without telling the others; to tell them, [`Agent::leave`] first. It handles nothing
/// more from then on, and its task ends as soon as the runtime runs it: only then is its hold on
/// the transport gone. [`Agent::shutdown`] waits for that, so that a port can be bound again.
///
/// [`Agent::view`], [`Agent::member`] and [`Agent::events`] never wait, and can still be used when
/// the node has ended. Commands wait for the node's task, usually for microseconds; all of them
/// fail with [`AgentError::Closed`] once it has ended. A command whose future is dropped may still
/// be carried out.
///
/// ```
/// use std::time::Duration;
/// use telemetry_gossip_tokio::{Agent, MemoryNetwork, Options};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let network = MemoryNetwork::new(1);
/// let a = Agent::spawn(Options::new("a".parse()?), network.transport("a")?)?;
/// let options = Options::new("b".parse()?).seeds(["a"]);
/// let b = Agent::spawn(options, network.transport("b")?)?;
///
/// b.publish("load", b"0.7").await?;
/// let mut events = a.events();
/// while a.member("b").is_none_or(|b| b.value("load").is_none()) {
///     events.recv().await?;
/// }
/// assert_eq!(a.view().alive(), 2);
/// b.leave(Duration::from_secs(5)).await?;
/// b.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Agent {
    id: NodeId,
    transport: Arc<dyn Transport>,
    commands: mpsc::Sender<Command>,
    feed: FeedReader,
    clock: Clock,
    /// Whether the node is to end. Set before its task has noticed.
    ending: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
    record: Option<RecordView>,
    seeds: watch::Receiver<SeedStatus>,
    state: Option<watch::Receiver<StateStatus>>,
    host: watch::Receiver<HostStatus>,
    sends: SendView,
    /// Left when the last handle is dropped, though the task may not have noticed yet.
    _place: Arc<Place>,
}

impl Agent {
    /// Starts the task of the node on the current tokio runtime, which needs its timer enabled. The
    /// node joins through its seeds in the background, and tries until one answers.
    pub fn spawn(options: Options, transport: Arc<dyn Transport>) -> Result<Self, SpawnError> {
        Self::spawn_into(&Feed::new(), options, transport)
    }

    /// The same; readers of `feed` follow the node from its first event.
    #[doc(hidden)]
    pub fn spawn_into(
        feed: &Feed,
        options: Options,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, SpawnError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| SpawnError::NoRuntime)?;
        let rng_seed = match options.rng_seed {
            Some(seed) => seed,
            None => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed)
                    .map_err(|error| SpawnError::Entropy(io::Error::other(error)))?;
                seed
            }
        };
        let now = clock::now();
        let clock =
            options.table.as_ref().map_or_else(|| Clock::starting(now), |table| table.clock());
        let address = options.advertise.unwrap_or_else(|| transport.local());
        let config = without_seal(options.config, &*transport)?;
        if let Some((_, members)) = &options.cluster_config
            && !members.contains(&options.id)
        {
            return Err(SpawnError::ClusterConfig(CommandError::NotInClusterConfig));
        }
        let datagrams = transport.subscribe();
        if datagrams.is_closed() {
            return Err(SpawnError::TransportClosed);
        }
        let (ending, told_to_end) = watch::channel(false);
        let place = datagrams.places().take(options.part, options.id, ending.clone());
        let place = Arc::new(place.map_err(|_| SpawnError::TransportTaken)?);
        let earlier = match &options.state_dir {
            Some(folder) => Some(Earlier::read(StateDir::open(folder)?, options.id, config.label)),
            None => None,
        };
        let wanted = options.generation;
        let generation = earlier.as_ref().map_or(wanted, |earlier| earlier.generation(wanted));
        let identity =
            Identity::new(options.id, address).generation(generation).instance(options.instance);
        let boot = Boot::new(config, identity, rng_seed, clock.to_core(now));
        let node = Box::new(boot.node()?);
        let told = HostTold::new();
        let tape = match &options.record {
            Some(_) if options.table.is_some() => return Err(SpawnError::RecordShared),
            Some(recording) => {
                let folder = || recording.folder.clone();
                let tape = Tape::start(recording, boot, told.clone());
                Some(tape.map_err(|error| SpawnError::Record { folder: folder(), error })?)
            }
            None => None,
        };
        let peers = earlier.as_ref().map_or_else(Vec::new, Earlier::peers);
        let (keeper, state) = match (earlier, options.state_dir) {
            (Some(earlier), Some(folder)) => {
                let kept = Keeper::start(earlier)
                    .map_err(|error| StateError::Unusable { folder, error })?;
                (Some(kept.0), Some(kept.1))
            }
            _ => (None, None),
        };
        let sends = SendView::default();
        let (commands, inbox) = mpsc::channel(MAX_WAITING_COMMANDS);
        let (end, ended) = watch::channel(false);
        let (seeds_told, seeds) = watch::channel(SeedStatus::default());
        let agent = Self {
            id: options.id,
            transport: transport.clone(),
            commands: commands.clone(),
            feed: feed.reader(),
            clock,
            ending: ending.clone(),
            ended,
            record: tape.as_ref().map(Tape::view),
            seeds,
            state,
            host: told.status(),
            sends: sends.clone(),
            _place: place.clone(),
        };
        let weak = commands.downgrade();
        let (view, events) = feed.writer();
        let task = Task::new(
            node,
            Sends::new(transport, sends.clone(), told),
            datagrams,
            clock,
            view,
            events,
            inbox,
            weak,
            (ending, told_to_end),
            SeedNames::new(options.seeds, seeds_told),
            options.allowed_networks,
            options.cluster_config,
            options.on_conflict,
            options.table,
            tape,
            keeper,
            peers,
        );
        let leaves = place.leaves();
        runtime.spawn(async move {
            // However the task ends, and whatever handles are left.
            let leaves = leaves;
            task.run().await.close().await;
            // Only now: everything that the task held is gone.
            drop(leaves);
            end.send_replace(true);
        });
        Ok(agent)
    }

    /// The id of the node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The transport of the node.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// All members as one consistent view. Never waits for the protocol.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.feed.view.load_full()
    }

    /// The member called `id`. Never waits for the protocol.
    #[must_use]
    pub fn member(&self, id: &str) -> Option<Arc<MemberView>> {
        self.feed.view.load().get(id).cloned()
    }

    /// All events from now on. A reader may lag behind by 1,024 events.
    #[must_use]
    pub fn events(&self) -> Events {
        self.feed.events()
    }

    /// Whether the task of the node runs. A node that has left still runs, in silence, until it is
    /// shut down.
    #[must_use]
    pub fn is_running(&self) -> bool {
        // The task drops its end of the channel however it ends.
        !*self.ended.borrow() && self.ended.has_changed().is_ok()
    }

    /// Whether the node is about to end, or has ended.
    #[doc(hidden)]
    #[must_use]
    pub fn is_ending(&self) -> bool {
        *self.ending.borrow() || !self.is_running()
    }

    /// Ends the node, and does not wait for it. It handles no further datagram.
    #[doc(hidden)]
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Waits until the task of the node has ended. Does not end it.
    #[doc(hidden)]
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error means that the task was dropped with its runtime: it has ended, too.
        let _ = ended.wait_for(|&ended| ended).await;
    }

    /// The counters of the record; `None` if the node is not recorded.
    #[must_use]
    pub fn recorded(&self) -> Option<RecordStats> {
        self.record.as_ref().map(RecordView::stats)
    }

    /// What the names of the seeds led to when they were resolved last, and each change of it.
    #[must_use]
    pub fn seed_status(&self) -> watch::Receiver<SeedStatus> {
        self.seeds.clone()
    }

    /// What the node found in its state folder, how it keeps it, and each change of that; `None`
    /// if it has none ([`Options::state_dir`]).
    #[must_use]
    pub fn state_status(&self) -> Option<watch::Receiver<StateStatus>> {
        self.state.clone()
    }

    /// What hinders the node on its own host, and each change of it: it is told once when something
    /// begins to fail, and once when it works again. The log has the same.
    #[must_use]
    pub fn host_status(&self) -> watch::Receiver<HostStatus> {
        self.host.clone()
    }

    /// Converts a time of the core, such as [`Health::isolated_since`], to the clock of the host.
    #[must_use]
    pub fn host_time(&self, at: telemetry_gossip_core::Instant) -> std::time::Instant {
        self.clock.to_host(at)
    }

    /// The state of the node itself: its local health, whether it is isolated, and the number of
    /// members in each status.
    pub async fn health(&self) -> Result<Health, AgentError> {
        self.ask(Command::Health).await
    }

    /// Explains the status of the member called `id`: the accusations, the outcomes of this node's
    /// own probes, the refutations, and when each happened. `None` if the member is not known.
    ///
    /// The `Display` of the explanation is a text for people. Its times are those of the core:
    /// `now.since(at)` is how long ago something happened, [`Agent::host_time`] when.
    pub async fn explain(&self, id: &str) -> Result<Option<Explanation>, AgentError> {
        let Ok(id) = NodeId::new(id) else { return Ok(None) };
        self.ask(|answer| Command::Explain(id, answer)).await
    }

    /// The counters of the transport's seal: datagrams sealed, opened, and refused by reason.
    /// `None` in plaintext. Never waits.
    #[must_use]
    pub fn seal_stats(&self) -> Option<SealStats> {
        self.transport.seal().map(|seal| seal.stats())
    }

    /// The datagrams that the transport did not send, by the reason. Never waits.
    #[must_use]
    pub fn send_stats(&self) -> SendStats {
        self.sends.stats()
    }

    /// The counters of the node since it was spawned. Bytes are counted without the seal.
    pub async fn stats(&self) -> Result<Stats, AgentError> {
        self.ask(Command::Stats).await
    }

    /// Publishes one entry of this node's telemetry. An entry with the same key is replaced.
    ///
    /// By default a key has 1 to 64 bytes, a value at most 512, and all entries together at most
    /// 4,096; see [`Config::max_key`], [`Config::max_value`] and [`Config::max_telemetry`].
    pub async fn publish(&self, key: &str, value: &[u8]) -> Result<(), AgentError> {
        self.input(Input::publish(key.to_owned(), value.to_owned())).await
    }

    /// Publishes an entry that is sent before all that is not urgent, at once and regardless of
    /// [`Config::byte_budget`]. For entries that change seldom and matter, such as the health of
    /// the node.
    pub async fn publish_urgent(&self, key: &str, value: &[u8]) -> Result<(), AgentError> {
        self.input(Input::publish_urgent(key.to_owned(), value.to_owned())).await
    }

    /// Publishes a value of a type of the host, which
    /// [`TelemetryValue::decode`](crate::TelemetryValue::decode) reads.
    ///
    /// ```
    /// # use telemetry_gossip_tokio::{Agent, Fixed, MemoryNetwork, Options};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let transport = MemoryNetwork::new(1).transport("a")?;
    /// # let agent = Agent::spawn(Options::new("a".parse()?), transport)?;
    /// agent.publish_as("load", &Fixed::<2>::from(0.75)).await?;
    /// let load: Fixed<2> = agent.member("a").unwrap().value("load").unwrap().decode()?;
    /// assert_eq!(load.to_string(), "0.75");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn publish_as<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
    ) -> Result<(), AgentError> {
        self.input(Input::publish(key.to_owned(), encode(value)?)).await
    }

    /// The telemetry of all members under keys that begin with `prefix`, and its changes.
    ///
    /// ```
    /// # use telemetry_gossip_tokio::{Agent, MemoryNetwork, Options};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let network = MemoryNetwork::new(1);
    /// # let a = Agent::spawn(Options::new("a".parse()?), network.transport("a")?)?;
    /// # let b = Options::new("b".parse()?).seeds(["a"]);
    /// # let b = Agent::spawn(b, network.transport("b")?)?;
    /// let mut disks = a.subscribe("disk.");
    /// b.publish("disk.sda", b"ok").await?;
    /// b.publish("load", b"0.7").await?;
    /// let change = disks.recv().await.unwrap();
    /// assert_eq!((change.id.as_str(), change.key.as_str()), ("b", "disk.sda"));
    /// b.unpublish("disk.sda").await?;
    /// assert_eq!(disks.recv().await.unwrap().value, None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn subscribe(&self, prefix: &str) -> TelemetryChanges {
        self.feed.subscribe(prefix)
    }

    /// Removes one entry of this node's telemetry. An unknown key is no error.
    pub async fn unpublish(&self, key: &str) -> Result<(), AgentError> {
        self.input(Input::unpublish(key.to_owned())).await
    }

    /// Joins through these seeds from now on. [`Event::JoinCompleted`](crate::Event) and
    /// [`Event::JoinFailed`](crate::Event) tell whether one of them answered.
    ///
    /// # Errors
    /// [`AgentError::NoSeeds`] if the list is empty, and [`AgentError::Resolve`] if none of the
    /// seeds has an address. Each may take 2 s to resolve.
    pub async fn join(&self, seeds: &[String]) -> Result<(), AgentError> {
        if seeds.is_empty() {
            return Err(AgentError::NoSeeds);
        }
        let resolved = resolve_all(&*self.transport, seeds).await;
        if resolved.peers.is_empty() {
            return Err(AgentError::Resolve(resolved.reasons()));
        }
        let peers = resolved.peers;
        self.ask(|answer| Command::Seeds { seeds: seeds.to_vec(), peers, answer })
            .await?
            .map_err(AgentError::from)
    }

    /// Tells the other members that this node leaves, and waits until they were told as often as
    /// any rumor is sent, and one at least has answered: some gossip intervals, less than 5 s with
    /// the default config. Members that do not hear of it find out by probing. Idempotent.
    ///
    /// # Errors
    /// [`AgentError::Timeout`] after `timeout`; the node leaves all the same.
    /// [`AgentError::Unheard`] if there are others, and none has answered that it heard; the node
    /// has left.
    pub async fn leave(&self, timeout: Duration) -> Result<(), AgentError> {
        let left = tokio::time::timeout(timeout, self.ask(Command::Leave)).await;
        match left.unwrap_or(Err(AgentError::Timeout(timeout)))?? {
            true => Ok(()),
            false => Err(AgentError::Unheard),
        }
    }

    /// Probes a member and waits for the outcome, for at most two probe timeouts after the probes
    /// before it; each is stretched up to nine times while the local health of the node is poor. A
    /// member that is not known is [`ProbeOutcome::NotProbed`].
    pub async fn probe(&self, id: NodeId) -> Result<ProbeOutcome, AgentError> {
        self.ask(|answer| Command::Probe(id, answer)).await?.map_err(AgentError::from)
    }

    /// Exchanges state with one member, which the node chooses, and waits for the outcome. Returns
    /// the member, if there was one.
    pub async fn exchange(&self) -> Result<(Option<NodeId>, ExchangeOutcome), AgentError> {
        self.ask(Command::Exchange).await?.map_err(AgentError::from)
    }

    /// Tells the node of a member that the host knows from a file, its earlier instance or a
    /// registry. The node takes it for Alive unless it knows better, and does not gossip it.
    pub async fn introduce(
        &self,
        id: NodeId,
        address: Option<PeerAddr>,
        generation: Generation,
    ) -> Result<(), AgentError> {
        self.input(Input::introduce(id, address, generation)).await
    }

    /// Applies the list of nodes that belong to the cluster. The node removes all other members and
    /// does not admit them again.
    ///
    /// # Errors
    /// [`CommandError::StaleClusterConfig`](telemetry_gossip_core::CommandError) unless `version`
    /// is above the last one, and
    /// [`CommandError::NotInClusterConfig`](telemetry_gossip_core::CommandError) if this node is
    /// not among `members`.
    pub async fn apply_cluster_config(
        &self,
        version: u64,
        members: Vec<NodeId>,
    ) -> Result<(), AgentError> {
        self.input(Input::apply_cluster_config(version, members)).await
    }

    /// Ends an isolation: the unreachable members are really gone, and are declared Dead. Does
    /// nothing while the node is not isolated.
    pub async fn accept_loss(&self) -> Result<(), AgentError> {
        self.input(Input::AcceptLoss).await
    }

    /// Ends the task of the node, without telling the others, and waits until it has ended.
    /// Commands that were given before are carried out first. Idempotent; the node ends even if
    /// the future is dropped.
    ///
    /// The transport stays open while anything holds it, as each handle does, unless it is closed.
    pub async fn shutdown(&self) {
        self.end();
        self.ended().await;
    }

    async fn input(&self, input: Input<'static, PeerAddr>) -> Result<(), AgentError> {
        self.ask(|answer| Command::Input(input, answer)).await?.map_err(AgentError::from)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, AgentError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| AgentError::Closed)?;
        answered.await.map_err(|_| AgentError::Closed)
    }
}

/// The settings of a node whose datagrams, once sealed, keep to the MTU of `config`.
fn without_seal(config: Config, transport: &dyn Transport) -> Result<Config, SpawnError> {
    config.validate()?;
    if transport.seal().is_none() {
        return Ok(config);
    }
    let mtu = config.mtu;
    let config = config.mtu(mtu.saturating_sub(OVERHEAD as u16));
    config.validate().map_err(|error| SpawnError::SealedMtu { mtu, error })?;
    Ok(config)
}
