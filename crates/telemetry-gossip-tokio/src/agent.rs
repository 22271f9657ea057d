//! The handle of a running node: what the host asks for, and what it reads.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use telemetry_gossip_core::{
    CommandError, Config, ConfigError, Event, ExchangeOutcome, Explanation, Generation, Health,
    Identity, Input, Instance, NodeId, ProbeOutcome, Stats,
};
use telemetry_gossip_recorder::Boot;
use telemetry_gossip_seal::{OVERHEAD, SealStats};
use thiserror::Error;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::peer::Peer;
use crate::record::{RecordStats, RecordView, Recording, Tape};
use crate::shared::SharedTable;
use crate::task::{Command, Task, resolve_all};
use crate::telemetry::{TelemetryChanges, ValueError, encode};
use crate::transport::Transport;
use crate::view::{MemberView, View};

/// Events that a slow reader may lag behind by.
const EVENTS: usize = 1_024;

/// Commands that wait for the task.
const COMMANDS: usize = 64;

/// How a node is run. Start from [`Options::new`] and change what differs.
///
/// ```
/// use std::time::Duration;
/// use telemetry_gossip_core::{Config, Label};
/// use telemetry_gossip_tokio::Options;
///
/// let config = Config { label: Label::of("production"), probe_interval: Duration::from_secs(2), ..Config::default() };
/// let seeds = vec!["seed.example.com:7946".to_owned()];
/// let options = Options { config, seeds, ..Options::new("edge-17".parse()?) };
/// # Ok::<(), telemetry_gossip_core::IdError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The node's name, unique in its cluster.
    pub id: NodeId,
    /// The settings of the protocol, checked by [`Agent::spawn`]. Its MTU is that of the datagrams
    /// on the wire, sealing included.
    pub config: Config,
    /// Names that [`Transport::resolve`] understands (`host:port` over UDP), of some members;
    /// looked up anew at each try. With none the node waits to be found.
    pub seeds: Vec<String>,
    /// The first generation to use, at most 2^56: zero, or one above the last that the host has
    /// kept. A restarted node that begins at zero learns its old generation from the others and
    /// moves above it.
    pub generation: Generation,
    /// Which life of the node this is; `None` draws it from the seed. Set it only to reproduce a
    /// run.
    pub instance: Option<Instance>,
    /// Where others reach this node, if not at [`Transport::local`].
    pub advertise: Option<Peer>,
    /// The seed of the node's random choices; `None` takes it from the system. Set it only to
    /// reproduce a run.
    pub rng_seed: Option<[u8; 32]>,
    /// A table that the host shares with the node, instead of one of its own; for nodes in
    /// [`Mode::OnDemand`](telemetry_gossip_core::Mode::OnDemand).
    pub table: Option<Arc<SharedTable>>,
    /// Record what happens to the node, to be replayed; not with a shared table, to which things
    /// happen unseen.
    pub record: Option<Recording>,
}

impl Options {
    /// The defaults for a node called `id`.
    #[must_use]
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            config: Config::default(),
            seeds: Vec::new(),
            generation: Generation(0),
            instance: None,
            advertise: None,
            rng_seed: None,
            table: None,
            record: None,
        }
    }

    /// Sets the settings of the protocol.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the seeds.
    #[must_use]
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.seeds = seeds.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the first generation to use.
    #[must_use]
    pub fn generation(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }

    /// Sets the instance; `None` draws it from the seed.
    #[must_use]
    pub fn instance(mut self, instance: impl Into<Option<Instance>>) -> Self {
        self.instance = instance.into();
        self
    }

    /// Sets the address at which others reach this node.
    #[must_use]
    pub fn advertise(mut self, advertise: impl Into<Option<Peer>>) -> Self {
        self.advertise = advertise.into();
        self
    }

    /// Sets the seed of the node's random choices.
    #[must_use]
    pub fn rng_seed(mut self, rng_seed: impl Into<Option<[u8; 32]>>) -> Self {
        self.rng_seed = rng_seed.into();
        self
    }

    /// Shares a table of the host's with the node.
    #[must_use]
    pub fn table(mut self, table: impl Into<Option<Arc<SharedTable>>>) -> Self {
        self.table = table.into();
        self
    }

    /// Records what happens to the node.
    #[must_use]
    pub fn record(mut self, record: impl Into<Option<Recording>>) -> Self {
        self.record = record.into();
        self
    }
}

/// Why a node cannot be run.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// A setting breaks its rule.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The MTU is too small beside what sealing takes of it.
    #[error(
        "mtu {mtu} is too small for sealed datagrams, {OVERHEAD} bytes of each being the seal: {error}"
    )]
    SealedMtu {
        /// The MTU.
        mtu: u16,
        /// Which rule the rest breaks.
        error: ConfigError,
    },
    /// The system has no randomness to offer.
    #[error("no entropy from the system: {0}")]
    Entropy(getrandom::Error),
    /// The folder of the record cannot be made or written to.
    #[error("the record in {} cannot be begun: {error}", folder.display())]
    Record {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A node with a shared table is to be recorded.
    #[error(
        "a node whose table is shared with the host cannot be recorded: what the host does to the table is not seen"
    )]
    RecordShared,
    /// There is no tokio runtime to run it on.
    #[error("an agent is spawned within a tokio runtime")]
    NoRuntime,
}

/// Why the agent did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AgentError {
    /// The agent was shut down, its transport closed, or its runtime ended.
    #[error("the agent has ended")]
    Closed,
    /// The node refused: the command breaks a rule, or the node has left or lost its id.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// It took longer than the caller would wait; it may still be done.
    #[error("not done within {0:?}")]
    Timeout(Duration),
    /// None of the seeds has an address; the text has each and its reason.
    #[error("no seed can be resolved: {0}")]
    Resolve(String),
    /// The value has no encoded form.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// A running node. A clone is another handle of the same one; the node ends with the last of them,
/// at once and without a word to others: [`Agent::leave`] first.
///
/// [`Agent::view`], [`Agent::member`] and [`Agent::events`] never wait, and stay usable when the
/// node has ended. Commands wait for the node's task, usually for microseconds; all of them fail
/// with [`AgentError::Closed`] once it has ended. A command whose future is dropped may still be
/// carried out.
///
/// ```
/// use std::time::Duration;
/// use telemetry_gossip_tokio::{Agent, MemoryNetwork, Options};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let network = MemoryNetwork::new(1);
/// let a = Agent::spawn(Options::new("a".parse()?), network.transport("a")?)?;
/// let options = Options { seeds: vec!["a".into()], ..Options::new("b".parse()?) };
/// let b = Agent::spawn(options, network.transport("b")?)?;
///
/// b.publish("load", b"0.7").await?;
/// let mut events = a.events();
/// while a.member("b").is_none_or(|b| b.value("load").is_none()) {
///     events.recv().await;
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
    view: Arc<ArcSwap<View>>,
    events: broadcast::WeakSender<Arc<Event<Peer>>>,
    clock: Clock,
    ended: watch::Receiver<bool>,
    record: Option<RecordView>,
}

impl Agent {
    /// Starts the node's task on the current tokio runtime, which needs its timer enabled. The node
    /// joins through the seeds by itself, for as long as it takes.
    pub fn spawn(options: Options, transport: Arc<dyn Transport>) -> Result<Self, SpawnError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| SpawnError::NoRuntime)?;
        let rng_seed = match options.rng_seed {
            Some(seed) => seed,
            None => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(SpawnError::Entropy)?;
                seed
            }
        };
        let now = tokio::time::Instant::now().into_std();
        let clock =
            options.table.as_ref().map_or_else(|| Clock::starting(now), |table| table.clock());
        let address = options.advertise.unwrap_or_else(|| transport.local());
        let identity = Identity::new(options.id, address)
            .generation(options.generation)
            .instance(options.instance);
        let config = beside_the_seal(options.config, &*transport)?;
        let boot = Boot::new(config, identity, rng_seed, clock.to_core(now));
        let node = Box::new(boot.node()?);
        let tape = match &options.record {
            Some(_) if options.table.is_some() => return Err(SpawnError::RecordShared),
            Some(recording) => {
                let folder = || recording.folder.clone();
                let tape = Tape::start(recording, boot);
                Some(tape.map_err(|error| SpawnError::Record { folder: folder(), error })?)
            }
            None => None,
        };
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (events, _) = broadcast::channel(EVENTS);
        let (end, ended) = watch::channel(false);
        let view = Arc::new(ArcSwap::from_pointee(View::default()));
        let agent = Self {
            id: options.id,
            transport: transport.clone(),
            commands: commands.clone(),
            view: view.clone(),
            events: events.downgrade(),
            clock,
            ended,
            record: tape.as_ref().map(Tape::view),
        };
        let weak = commands.downgrade();
        let task = Task::new(
            node,
            transport,
            clock,
            view,
            events,
            inbox,
            weak,
            options.seeds,
            options.table,
            tape,
        );
        runtime.spawn(async move {
            if let Some(tape) = task.run().await {
                tape.close().await;
            }
            // Whoever waits for the end learns of it once everything the task held is gone.
            end.send_replace(true);
        });
        Ok(agent)
    }

    /// The node's name.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The transport that it was given.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.transport
    }

    /// All members as of now: consistent, and never waiting for the protocol.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// The member called `id` as of now; never waiting for the protocol.
    #[must_use]
    pub fn member(&self, id: &str) -> Option<Arc<MemberView>> {
        self.view.load().get(id).cloned()
    }

    /// What happens from now on; a reader may lag 1,024 events behind.
    #[must_use]
    pub fn events(&self) -> Events {
        Events { receiver: self.events.upgrade().map(|events| events.subscribe()) }
    }

    /// Whether the node's task runs. One that has left runs on, in silence, until it is shut down.
    #[must_use]
    pub fn is_running(&self) -> bool {
        // The task's end of the channel goes with the task, however it ends.
        !*self.ended.borrow() && self.ended.has_changed().is_ok()
    }

    /// What has become of the record so far; `None` if there is none.
    #[must_use]
    pub fn recorded(&self) -> Option<RecordStats> {
        self.record.as_ref().map(RecordView::stats)
    }

    /// The host's time for one of the core's, as [`Health::isolated_since`] has it.
    #[must_use]
    pub fn host_time(&self, at: telemetry_gossip_core::Instant) -> std::time::Instant {
        self.clock.to_host(at)
    }

    /// How the node is: whether it doubts itself or is cut off, and how many members it holds in
    /// which status.
    pub async fn health(&self) -> Result<Health, AgentError> {
        self.ask(Command::Health).await
    }

    /// Why the member called `id` is held to be what it is: who accuses it, what this node's own
    /// probes of it found, how it refuted, and when; `None` if it is not known, or not held in this
    /// node's own table. Its `Display` says it in words. Its times are the core's: `now.since(at)`
    /// is how long ago, [`Agent::host_time`] when by the host's clock.
    pub async fn explain(&self, id: &str) -> Result<Option<Explanation>, AgentError> {
        let Ok(id) = NodeId::new(id) else { return Ok(None) };
        self.ask(|answer| Command::Explain(id, answer)).await
    }

    /// What its transport's seal has counted: what was refused, by each reason. `None` in
    /// plaintext. Never waits.
    #[must_use]
    pub fn seal_stats(&self) -> Option<SealStats> {
        self.transport.seal().map(|seal| seal.stats())
    }

    /// What the node has counted since it was spawned; bytes are those of the contents, without
    /// what seals them.
    pub async fn stats(&self) -> Result<Stats, AgentError> {
        self.ask(Command::Stats).await
    }

    /// Sets one entry of this node's telemetry: key 1 to 64 bytes, value at most 512, 4,096 bytes
    /// in all, by default. Refused with [`CommandError::Key`], [`CommandError::Value`] or
    /// [`CommandError::TelemetryFull`] beyond that.
    pub async fn publish(&self, key: &str, value: &[u8]) -> Result<(), AgentError> {
        self.publish_bytes(key, value.to_owned(), false).await
    }

    /// The same for what changes seldom and matters, such as the node's health: it goes before all
    /// that is not urgent, at once and whatever [`Config::byte_budget`] is.
    pub async fn publish_urgent(&self, key: &str, value: &[u8]) -> Result<(), AgentError> {
        self.publish_bytes(key, value.to_owned(), true).await
    }

    /// Sets one entry to a value of the host's own type;
    /// [`TelemetryValue::decode`](crate::TelemetryValue::decode) reads it.
    ///
    /// ```
    /// # use telemetry_gossip_tokio::{Agent, Fixed, MemoryNetwork, Options};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let agent = Agent::spawn(Options::new("a".parse()?), MemoryNetwork::new(1).transport("a")?)?;
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
        let value = encode(value)?;
        self.publish_bytes(key, value, false).await
    }

    async fn publish_bytes(
        &self,
        key: &str,
        value: Vec<u8>,
        urgent: bool,
    ) -> Result<(), AgentError> {
        self.input(Input::Publish { key: key.to_owned().into(), value: value.into(), urgent }).await
    }

    /// The telemetry of all members under keys that begin with `prefix`, and its changes.
    ///
    /// ```
    /// # use telemetry_gossip_tokio::{Agent, MemoryNetwork, Options};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let network = MemoryNetwork::new(1);
    /// # let a = Agent::spawn(Options::new("a".parse()?), network.transport("a")?)?;
    /// # let b = Agent::spawn(Options { seeds: vec!["a".into()], ..Options::new("b".parse()?) }, network.transport("b")?)?;
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
        // Events first: what changes in between is told twice rather than never.
        let events = self.events();
        TelemetryChanges::new(prefix.to_owned(), Arc::clone(&self.view), events)
    }

    /// Removes one entry of this node's telemetry; an unknown key is no error.
    pub async fn unpublish(&self, key: &str) -> Result<(), AgentError> {
        self.input(Input::Unpublish { key: key.to_owned().into() }).await
    }

    /// Joins through these seeds from now on. [`AgentError::Resolve`] if none of them has an
    /// address, each of which may take 2 s to find out; whether one answers is told by
    /// [`Event::JoinCompleted`] and [`Event::JoinFailed`].
    pub async fn join(&self, seeds: &[String]) -> Result<(), AgentError> {
        let peers = resolve_all(&*self.transport, seeds).await.map_err(AgentError::Resolve)?;
        self.ask(|answer| Command::Seeds { seeds: seeds.to_vec(), peers, answer })
            .await?
            .map_err(AgentError::from)
    }

    /// Tells everybody that this node goes, and waits until that is done: some gossip intervals,
    /// less than 5 s with the default config. [`AgentError::Timeout`] after `timeout`; the node
    /// leaves all the same.
    pub async fn leave(&self, timeout: Duration) -> Result<(), AgentError> {
        let left = tokio::time::timeout(timeout, self.ask(Command::Leave)).await;
        left.unwrap_or(Err(AgentError::Timeout(timeout)))?.map_err(AgentError::from)
    }

    /// Probes a member now, and waits for the outcome: two probe timeouts at most (each stretched
    /// up to nine times while the node doubts itself), after the probes before it. A stranger is
    /// [`ProbeOutcome::NotProbed`].
    pub async fn probe(&self, id: NodeId) -> Result<ProbeOutcome, AgentError> {
        self.ask(|answer| Command::Probe(id, answer)).await?.map_err(AgentError::from)
    }

    /// Exchanges state with one member that the node chooses, and waits for the outcome and whom it
    /// was with.
    pub async fn exchange(&self) -> Result<(Option<NodeId>, ExchangeOutcome), AgentError> {
        self.ask(Command::Exchange).await?.map_err(AgentError::from)
    }

    /// Tells the node of a member that the host knows (from a file, an earlier life, a registry):
    /// it is held Alive unless more is known, and nothing is said of it to others.
    pub async fn introduce(
        &self,
        id: NodeId,
        address: Option<Peer>,
        generation: Generation,
    ) -> Result<(), AgentError> {
        self.input(Input::Introduce { id, address, instance: None, generation }).await
    }

    /// Applies the registry's word on which nodes belong: others are removed, and not admitted
    /// again. Refused with [`CommandError::StaleClusterConfig`] unless `version` is above the last
    /// one, and with [`CommandError::NotInClusterConfig`] if this node is not in `members`.
    pub async fn apply_cluster_config(
        &self,
        version: u64,
        members: Vec<NodeId>,
    ) -> Result<(), AgentError> {
        self.input(Input::ApplyClusterConfig { version, members: members.into() }).await
    }

    /// Ends an isolation: the members out of touch are really gone, and declared Dead. Nothing
    /// happens without one.
    pub async fn accept_loss(&self) -> Result<(), AgentError> {
        self.input(Input::AcceptLoss).await
    }

    /// Ends the node's task, without a word to others, and waits until it has ended: then nothing
    /// of the node runs. The transport stays open as long as somebody holds it (each handle does),
    /// unless it is closed. Idempotent.
    pub async fn shutdown(&self) {
        let _ = self.commands.send(Command::Shutdown).await;
        let mut ended = self.ended.clone();
        // An error means that the task is gone without a word, which is an end too.
        let _ = ended.wait_for(|&ended| ended).await;
    }

    async fn input(&self, input: Input<'static, Peer>) -> Result<(), AgentError> {
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
fn beside_the_seal(config: Config, transport: &dyn Transport) -> Result<Config, SpawnError> {
    config.validate()?;
    if transport.seal().is_none() {
        return Ok(config);
    }
    let mtu = config.mtu;
    let config = config.mtu(mtu.saturating_sub(OVERHEAD as u16));
    config.validate().map_err(|error| SpawnError::SealedMtu { mtu, error })?;
    Ok(config)
}

/// What happens to a node, from [`Agent::events`]. What an event tells is in the view by the time
/// it is received.
#[derive(Debug)]
pub struct Events {
    receiver: Option<broadcast::Receiver<Arc<Event<Peer>>>>,
}

/// One item of [`Events`]. Passed by value and copied nowhere: its size is that of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "events are copied without touching the heap")]
pub enum Notice {
    /// Something happened.
    Event(Event<Peer>),
    /// The reader was too slow, and so many events are lost to it: the view tells how things stand.
    Lagged(u64),
}

impl Events {
    /// The next one; `None` once the agent has ended. Cancel-safe: nothing is lost if the future is
    /// dropped.
    pub async fn recv(&mut self) -> Option<Notice> {
        match self.receiver.as_mut()?.recv().await {
            Ok(event) => Some(Notice::Event(*event)),
            Err(broadcast::error::RecvError::Lagged(lost)) => Some(Notice::Lagged(lost)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
