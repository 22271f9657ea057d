//! The nodes of the demo: real nodes in this process, each with a socket and a task of its own.
//!
//! This module starts, kills and queries nodes, and forwards their events to the stage.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_gossip_core::{Config, NodeId};
use telemetry_gossip_registry::Location;
use telemetry_gossip_registry::host::{Following, Prepared, Registry};
use telemetry_gossip_tokio::{
    Agent, AgentError, Events, Options, Recording, RecvError, Sealing, SpawnError, Transport,
    UdpTransport,
};
use tokio::sync::mpsc::UnboundedSender;

use super::incident::registry::{OftenRead, not_opened};
use super::lists::ListView;
use super::stage::Message;
use super::summary::Sent;
use super::views::{Change, Index, name};
use crate::error::Error;

/// The largest number of seeds. With several, no single node has to send its whole view to all
/// others.
const MAX_SEEDS: usize = 5;

/// How long a node may take to leave. By then the demo has seen that all others know of it.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running node.
struct Running {
    agent: Agent,
    transport: Arc<UdpTransport>,
    /// `None` if there is no registry.
    following: Option<Following>,
}

/// The registry that all nodes follow.
pub(crate) struct Follow {
    pub(crate) location: Location,
    /// The folder in which each node keeps its state, in a folder of its own.
    pub(crate) folder: PathBuf,
}

/// All nodes.
pub(crate) struct Cluster {
    nodes: Vec<Option<Running>>,
    /// How often each node was started again.
    instances: Vec<u32>,
    /// Where each node was last.
    addresses: Vec<Option<SocketAddr>>,
    follow: Option<Follow>,
    config: Config,
    seed: u64,
    record: Option<Recording>,
    messages: UnboundedSender<Message>,
    /// What killed nodes had sent.
    sent_by_killed: Sent,
}

impl Cluster {
    pub(crate) fn new(
        nodes: usize,
        config: Config,
        seed: u64,
        record: Option<Recording>,
        messages: UnboundedSender<Message>,
    ) -> Self {
        let none = std::iter::repeat_with(|| None).take(nodes).collect();
        Self {
            nodes: none,
            instances: vec![0; nodes],
            addresses: vec![None; nodes],
            follow: None,
            config,
            seed,
            record,
            messages,
            sent_by_killed: Sent::default(),
        }
    }

    /// Makes all nodes that start from now on follow a registry.
    pub(crate) fn follow(&mut self, follow: Follow) {
        self.follow = Some(follow);
    }

    /// Starts all nodes. Returns the number of seeds.
    pub(crate) async fn start_all(&mut self) -> Result<usize, Error> {
        let transports = open_all(self.nodes.len()).await?;
        let addresses: Vec<SocketAddr> =
            transports.iter().map(|transport| transport.local_addr()).collect();
        for (index, transport) in transports.into_iter().enumerate() {
            let seeds = addresses
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, at)| *at);
            self.spawn(index, transport, seeds.take(MAX_SEEDS).map(|at| at.to_string()).collect())?;
        }
        Ok(MAX_SEEDS.min(addresses.len()))
    }

    /// Starts a node again, at another port and with an empty view. Returns the number of the new
    /// instance.
    pub(crate) async fn restart(&mut self, index: Index) -> Result<u32, Error> {
        let seeds = self
            .nodes
            .iter()
            .flatten()
            .take(MAX_SEEDS)
            .map(|node| node.transport.local_addr().to_string());
        let seeds = seeds.collect();
        self.instances[index] += 1;
        self.spawn(index, open(LOOPBACK).await?, seeds)?;
        Ok(self.instances[index])
    }

    /// Starts a node again where it was, with what it has kept and no seeds. Returns the number of
    /// the new instance.
    pub(crate) async fn restart_kept(&mut self, index: Index) -> Result<u32, Error> {
        let transport = match self.addresses.get(index).copied().flatten() {
            Some(address) => open(address).await,
            None => open(LOOPBACK).await,
        };
        // Another program may have taken the port meanwhile.
        let transport = match transport {
            Ok(transport) => transport,
            Err(_) => open(LOOPBACK).await?,
        };
        self.instances[index] += 1;
        self.spawn(index, transport, Vec::new())?;
        Ok(self.instances[index])
    }

    /// Starts a node at this socket.
    pub(crate) fn spawn(
        &mut self,
        index: Index,
        transport: Arc<UdpTransport>,
        seeds: Vec<String>,
    ) -> Result<(), Error> {
        let instance = self.instances[index];
        let id = NodeId::new(&name(index)).map_err(|error| Error::Usage(error.to_string()))?;
        let mut options = Options::new(id)
            .config(self.config.clone())
            .seeds(seeds)
            .rng_seed(rng_seed(self.seed, index, instance))
            .record(self.record.clone());
        let prepared = self.prepare(index, &mut options)?;
        let shared: Arc<dyn Transport> = Arc::clone(&transport) as _;
        let agent = Agent::spawn(options, shared).map_err(not_spawned)?;
        let messages = self.messages.clone();
        tokio::spawn(forward(agent.clone(), agent.events(), index, instance, messages));
        let following = prepared.map(|prepared| prepared.follow(&agent));
        if let Some(following) = following.clone() {
            tokio::spawn(forward_list(following, index, instance, self.messages.clone()));
        }
        self.addresses[index] = Some(transport.local_addr());
        self.nodes[index] = Some(Running { agent, transport, following });
        Ok(())
    }

    /// Reads what the node has kept of the registry, if there is a registry.
    fn prepare(&self, index: Index, options: &mut Options) -> Result<Option<Prepared>, Error> {
        let Some(Follow { location, folder }) = &self.follow else { return Ok(None) };
        let folder = folder.join(name(index));
        std::fs::create_dir_all(&folder)
            .map_err(|error| Error::Unwritable { path: folder.clone(), error })?;
        options.state_dir = Some(folder);
        let store = OftenRead(location.open().map_err(not_opened)?);
        let seed = rng_seed(!self.seed, index, self.instances[index]);
        Ok(Some(Registry::new(Arc::new(store)).rng_seed(seed).prepare(options)))
    }

    /// Kills a node: it ends without telling other nodes.
    pub(crate) async fn kill(&mut self, index: Index) -> Result<(), Error> {
        let Some(node) = self.nodes.get_mut(index).and_then(Option::take) else { return Ok(()) };
        self.sent_by_killed.add(&node.agent.stats().await.map_err(failed)?);
        node.transport.close();
        node.agent.shutdown().await;
        Ok(())
    }

    /// Ends a node that has left.
    pub(crate) async fn end(&mut self, index: Index) {
        if let Some(node) = self.nodes.get_mut(index).and_then(Option::take) {
            // What it has sent counts, if it still tells.
            if let Ok(stats) = node.agent.stats().await {
                self.sent_by_killed.add(&stats);
            }
            node.transport.close();
            node.agent.shutdown().await;
        }
    }

    /// The registry of a node.
    pub(crate) fn following(&self, index: Index) -> Result<&Following, Error> {
        let node = self.nodes.get(index).and_then(Option::as_ref);
        node.and_then(|node| node.following.as_ref())
            .ok_or_else(|| Error::Step(format!("{} follows no registry", name(index))))
    }

    /// The first running node, other than these, that does not hold the process of `index` that
    /// runs now.
    pub(crate) fn without_instance_of(&self, index: Index, but: Index) -> Option<Index> {
        let instance = self.agent(index).ok()?.member(&name(index))?.instance;
        let mut others = (0..self.nodes.len()).filter(|&other| other != index && other != but);
        others.find(|&other| {
            let Ok(agent) = self.agent(other) else { return false };
            agent.member(&name(index)).is_none_or(|held| held.instance != instance)
        })
    }

    /// Publishes an entry of telemetry at a node.
    pub(crate) async fn publish(&self, index: Index, key: &str, value: &str) -> Result<(), Error> {
        self.agent(index)?.publish(key, value.as_bytes()).await.map_err(failed)
    }

    /// Lets a node leave the cluster, in the background.
    pub(crate) fn leave(&self, index: Index) -> Result<(), Error> {
        let agent = self.agent(index)?.clone();
        tokio::spawn(async move {
            // The demo watches the views of the other nodes instead of this result.
            let _ = agent.leave(LEAVE_TIMEOUT).await;
        });
        Ok(())
    }

    /// Counts what all nodes have sent so far.
    pub(crate) async fn sent(&self) -> Result<Sent, Error> {
        let mut sent = self.sent_by_killed;
        for node in self.nodes.iter().flatten() {
            sent.add(&node.agent.stats().await.map_err(failed)?);
        }
        Ok(sent)
    }

    /// Reads an entry of the owner's telemetry at another node.
    pub(crate) fn read(&self, reader: Index, owner: Index, key: &str) -> Option<Vec<u8>> {
        let member = self.agent(reader).ok()?.member(&name(owner))?;
        member.value(key).map(|entry| entry.value.clone())
    }

    /// The generation of one node in the view of another.
    pub(crate) fn generation(&self, reader: Index, of: Index) -> Option<u64> {
        Some(self.agent(reader).ok()?.member(&name(of))?.generation.0)
    }

    /// Ends all nodes.
    pub(crate) async fn stop(&mut self) {
        for node in self.nodes.iter_mut().filter_map(Option::take) {
            node.transport.close();
            node.agent.shutdown().await;
        }
    }

    fn agent(&self, index: Index) -> Result<&Agent, Error> {
        let node = self.nodes.get(index).and_then(Option::as_ref);
        node.map(|node| &node.agent)
            .ok_or_else(|| Error::Step(format!("{} is not running", name(index))))
    }
}

/// Opens so many sockets at free ports.
pub(crate) async fn open_all(count: usize) -> Result<Vec<Arc<UdpTransport>>, Error> {
    let mut transports = Vec::new();
    for _ in 0..count {
        transports.push(open(LOOPBACK).await?);
    }
    Ok(transports)
}

async fn open(addr: SocketAddr) -> Result<Arc<UdpTransport>, Error> {
    UdpTransport::bind(addr, Sealing::Plaintext).await.map_err(|error| Error::Bind {
        what: "the UDP address",
        addr,
        error: error.error,
    })
}

fn not_spawned(error: SpawnError) -> Error {
    match error {
        SpawnError::Record { folder, error, .. } => Error::Unwritable { path: folder, error },
        error => Error::Usage(error.to_string()),
    }
}

fn failed(error: AgentError) -> Error {
    Error::Step(format!("a node of the demo does not answer: {error}"))
}

/// Derives the random seed of a node from the seed of the demo, different for each node and
/// instance.
fn rng_seed(seed: u64, index: Index, instance: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&(index as u64).to_le_bytes());
    bytes[16..20].copy_from_slice(&instance.to_le_bytes());
    bytes
}

/// Forwards the events of a node to the stage, until the node or the stage ends.
async fn forward(
    agent: Agent,
    mut events: Events,
    observer: Index,
    instance: u32,
    messages: UnboundedSender<Message>,
) {
    let send = |change| {
        let at = Instant::now();
        messages.send(Message::Change { observer, instance, at, change }).is_ok()
    };
    let mut listening = send_view(&agent, &send).await;
    while listening {
        listening = match events.recv().await {
            Ok(event) => Change::of(&event).is_none_or(&send),
            // The view contains what the missed events said.
            Err(RecvError::Lagged(_)) => send_view(&agent, &send).await,
            Err(RecvError::Closed) => return,
        };
    }
}

/// Forwards what a node makes of the registry to the stage, until the node or the stage ends.
async fn forward_list(
    following: Following,
    observer: Index,
    instance: u32,
    messages: UnboundedSender<Message>,
) {
    let mut changes = following.changes();
    loop {
        let (at, change) = (Instant::now(), ListView::of(&changes.borrow_and_update()));
        let change = Change::List(change);
        let sent = messages.send(Message::Change { observer, instance, at, change });
        if sent.is_err() || changes.changed().await.is_err() {
            return;
        }
    }
}

/// Sends the whole view of a node. Events after it may repeat some of it. Returns false once the
/// node or the stage has ended.
async fn send_view(agent: &Agent, send: &impl Fn(Change) -> bool) -> bool {
    // Once the node has answered, its view contains the changes of all earlier events.
    if agent.health().await.is_err() {
        return false;
    }
    agent.view().iter().all(|member| {
        let telemetry =
            (member.telemetry_version > 0).then(|| Change::telemetry(&member.id)).flatten();
        Change::status(&member.id, Some(member.status)).into_iter().chain(telemetry).all(send)
    })
}
