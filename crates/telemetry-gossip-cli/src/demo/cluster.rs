//! The nodes of the demo: real ones, each with a socket and a task of its own, in this process.
//!
//! Starts, kills and asks them; what they then do is theirs. What they tell goes to the stage.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use telemetry_gossip_core::{Config, NodeId};
use telemetry_gossip_tokio::{
    Agent, AgentError, Events, Options, Recording, RecvError, Sealing, SpawnError, Transport,
    UdpTransport,
};
use tokio::sync::mpsc::UnboundedSender;

use super::stage::Told;
use super::summary::Sent;
use super::views::{Change, Index, name};
use crate::error::Error;

/// Through how many nodes the others join: with several, no one of them has to tell all the others
/// everything.
const MOST_SEEDS: usize = 5;

/// How long a node may take to say that it has left; the demo has by then seen that all others
/// know.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A running node.
struct Running {
    agent: Agent,
    transport: Arc<UdpTransport>,
}

/// All nodes.
pub(crate) struct Cluster {
    nodes: Vec<Option<Running>>,
    lives: Vec<u32>,
    config: Config,
    seed: u64,
    record: Option<Recording>,
    tell: UnboundedSender<Told>,
    /// What nodes that are gone have sent.
    gone: Sent,
}

impl Cluster {
    pub(crate) fn new(
        nodes: usize,
        config: Config,
        seed: u64,
        record: Option<Recording>,
        tell: UnboundedSender<Told>,
    ) -> Self {
        let none = std::iter::repeat_with(|| None).take(nodes).collect();
        Self {
            nodes: none,
            lives: vec![0; nodes],
            config,
            seed,
            record,
            tell,
            gone: Sent::default(),
        }
    }

    /// Starts all nodes; returns through how many of them the others join.
    pub(crate) async fn start_all(&mut self) -> Result<usize, Error> {
        let mut transports = Vec::new();
        for _ in 0..self.nodes.len() {
            transports.push(open().await?);
        }
        let addresses: Vec<SocketAddr> =
            transports.iter().map(|transport| transport.local_addr()).collect();
        for (index, transport) in transports.into_iter().enumerate() {
            let seeds = addresses
                .iter()
                .enumerate()
                .filter(|(other, _)| *other != index)
                .map(|(_, at)| *at);
            self.spawn(
                index,
                transport,
                seeds.take(MOST_SEEDS).map(|at| at.to_string()).collect(),
            )?;
        }
        Ok(MOST_SEEDS.min(addresses.len()))
    }

    /// Starts a node again, at another port and with no memory; returns which life of it this is.
    pub(crate) async fn restart(&mut self, index: Index) -> Result<u32, Error> {
        let seeds = self
            .nodes
            .iter()
            .flatten()
            .take(MOST_SEEDS)
            .map(|node| node.transport.local_addr().to_string());
        let seeds = seeds.collect();
        self.lives[index] += 1;
        self.spawn(index, open().await?, seeds)?;
        Ok(self.lives[index])
    }

    fn spawn(
        &mut self,
        index: Index,
        transport: Arc<UdpTransport>,
        seeds: Vec<String>,
    ) -> Result<(), Error> {
        let life = self.lives[index];
        let id = NodeId::new(&name(index)).map_err(|error| Error::Usage(error.to_string()))?;
        let options = Options::new(id)
            .config(self.config.clone())
            .seeds(seeds)
            .rng_seed(rng_seed(self.seed, index, life))
            .record(self.record.clone());
        let shared: Arc<dyn Transport> = Arc::clone(&transport) as _;
        let agent = Agent::spawn(options, shared).map_err(not_spawned)?;
        tokio::spawn(forward(agent.clone(), agent.events(), index, life, self.tell.clone()));
        self.nodes[index] = Some(Running { agent, transport });
        Ok(())
    }

    /// Ends a node in the middle of whatever it does.
    pub(crate) async fn kill(&mut self, index: Index) -> Result<(), Error> {
        let Some(node) = self.nodes.get_mut(index).and_then(Option::take) else { return Ok(()) };
        self.gone.add(&node.agent.stats().await.map_err(failed)?);
        node.transport.close();
        node.agent.shutdown().await;
        Ok(())
    }

    /// Lets a node publish an entry of telemetry.
    pub(crate) async fn publish(&self, index: Index, key: &str, value: &str) -> Result<(), Error> {
        self.agent(index)?.publish(key, value.as_bytes()).await.map_err(failed)
    }

    /// Lets a node leave in good order, in the background.
    pub(crate) fn leave(&self, index: Index) -> Result<(), Error> {
        let agent = self.agent(index)?.clone();
        tokio::spawn(async move {
            // Whether the others know is what the demo watches.
            let _ = agent.leave(LEAVE_PATIENCE).await;
        });
        Ok(())
    }

    /// What all nodes have sent so far.
    pub(crate) async fn sent(&self) -> Result<Sent, Error> {
        let mut sent = self.gone;
        for node in self.nodes.iter().flatten() {
            sent.add(&node.agent.stats().await.map_err(failed)?);
        }
        Ok(sent)
    }

    /// What one node reads of another's telemetry.
    pub(crate) fn read(&self, reader: Index, owner: Index, key: &str) -> Option<Vec<u8>> {
        let member = self.agent(reader).ok()?.member(&name(owner))?;
        member.value(key).map(|entry| entry.value.clone())
    }

    /// The generation at which one node holds another.
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
            .ok_or_else(|| Error::Step(format!("{} does not run", name(index))))
    }
}

async fn open() -> Result<Arc<UdpTransport>, Error> {
    UdpTransport::bind(LOOPBACK, Sealing::Plaintext).await.map_err(|error| Error::Bind {
        what: "the UDP address",
        addr: LOOPBACK,
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

/// Different for each node and life, the same for one seed of the demo.
fn rng_seed(seed: u64, index: Index, life: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&(index as u64).to_le_bytes());
    bytes[16..20].copy_from_slice(&life.to_le_bytes());
    bytes
}

/// Passes on what a node tells, until it ends or nobody listens.
async fn forward(
    agent: Agent,
    mut events: Events,
    observer: Index,
    life: u32,
    tell: UnboundedSender<Told>,
) {
    let tell =
        |change| tell.send(Told::Change { observer, life, at: Instant::now(), change }).is_ok();
    let mut listening = tell_view(&agent, &tell).await;
    while listening {
        listening = match events.recv().await {
            Ok(event) => Change::of(&event).is_none_or(&tell),
            // What was missed is in the view.
            Err(RecvError::Lagged(_)) => tell_view(&agent, &tell).await,
            Err(RecvError::Closed) => return,
        };
    }
}

/// Tells all that a node holds now; events that are told after it may repeat some of it.
async fn tell_view(agent: &Agent, tell: &impl Fn(Change) -> bool) -> bool {
    // Once the node has answered, its view has all that it had told before.
    if agent.health().await.is_err() {
        return false;
    }
    agent.view().iter().all(|member| {
        let telemetry =
            (member.telemetry_version > 0).then(|| Change::telemetry(&member.id)).flatten();
        Change::held(&member.id, Some(member.status)).into_iter().chain(telemetry).all(tell)
    })
}
