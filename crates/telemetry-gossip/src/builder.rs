//! The settings of a node before its start.

use std::sync::Arc;

use telemetry_gossip_core::{Config, Generation, Networks};
use telemetry_gossip_tokio::{Options, PeerAddr, Recording, Transport};

#[cfg(feature = "registry")]
use telemetry_gossip_registry::host::Registry;

use crate::error::NodeError;
use crate::node::GossipNode;

/// The settings of a node that is about to start, from [`GossipNode::builder`].
///
/// ```
/// use telemetry_gossip::node::GossipNode;
/// use telemetry_gossip::transport::MemoryNetwork;
/// use telemetry_gossip::{Config, Label};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let transport = MemoryNetwork::new(1).transport("edge-17")?;
/// let node = GossipNode::builder("edge-17")?
///     .seeds(["edge-1", "edge-2"])
///     .config(Config::local().label(Label::of("production")))
///     .start(transport)
///     .await?;
/// assert_eq!(node.id(), "edge-17");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a node does nothing until it is started"]
pub struct NodeBuilder {
    pub(crate) options: Options,
    #[cfg(feature = "registry")]
    pub(crate) registry: Option<Registry>,
}

impl NodeBuilder {
    pub(crate) const fn new(options: Options) -> Self {
        Self {
            options,
            #[cfg(feature = "registry")]
            registry: None,
        }
    }

    /// Sets the names of some members to join through: `host:port` over UDP, node ids in memory.
    /// They are resolved again at each attempt. A node without seeds waits until another node joins
    /// through it, as the first one of a cluster does.
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.options = self.options.seeds(seeds);
        self
    }

    /// Sets the settings of the protocol. They are checked at the start.
    pub fn config(mut self, config: Config) -> Self {
        self.options.config = config;
        self
    }

    /// Sets the first generation, at most 2^56: one above the last that the host has stored. Zero,
    /// the default, is right as well: a node that restarts at zero learns its old generation from
    /// the others and moves above it.
    pub fn generation(mut self, generation: u64) -> Self {
        self.options.generation = Generation(generation);
        self
    }

    /// Sets the address at which others reach this node, if it is not [`Transport::local`].
    pub fn advertise(mut self, address: PeerAddr) -> Self {
        self.options.advertise = Some(address);
        self
    }

    /// Sets the networks in which the node believes members to be; all by default. What others say
    /// of members elsewhere is refused, and nothing is sent there.
    pub fn allowed_networks(mut self, networks: Networks) -> Self {
        self.options.allowed_networks = networks;
        self
    }

    /// Records what happens to the node, so that it can be replayed.
    pub fn record(mut self, recording: Recording) -> Self {
        self.options.record = Some(recording);
        self
    }

    /// Keeps members that are alive in a folder of this node alone, so that it finds its cluster
    /// again at the next start, also without seeds. See [`Options::state_dir`].
    pub fn state_dir(mut self, folder: impl Into<std::path::PathBuf>) -> Self {
        self.options = self.options.state_dir(folder);
        self
    }

    /// Follows this registry of which nodes belong to the cluster. What the node has of it is kept
    /// in [`NodeBuilder::state_dir`], so that a restart does not need the registry.
    ///
    /// ```
    /// use telemetry_gossip::node::GossipNode;
    /// use telemetry_gossip::registry::Registry;
    /// use telemetry_gossip::transport::MemoryNetwork;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("cluster.toml");
    /// # let url = format!("file:{}", path.display());
    /// # let list = "cluster = '7f0c2f3e-5a1d-4b7e-9c55-0d4c1b7f7a10'\nversion = 1\n[members.a]\n";
    /// # std::fs::write(&path, list)?;
    /// let node = GossipNode::builder("a")?
    ///     .registry(Registry::open(&url)?) // file:/etc/tgossip/cluster.toml
    ///     .start(MemoryNetwork::new(1).transport("a")?)
    ///     .await?;
    /// let registry = node.registry().expect("it follows one");
    /// registry.changes().wait_for(|status| status.is_ready()).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "registry")]
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Makes all random choices from this seed, to reproduce a run.
    pub fn rng_seed(mut self, seed: [u8; 32]) -> Self {
        self.options.rng_seed = Some(seed);
        self
    }

    /// Starts the node on the current tokio runtime, which needs its timer enabled. The node joins
    /// in the background, and tries its seeds until one answers.
    ///
    /// # Errors
    /// A seed cannot be the name of a node, a setting breaks its rule, there is no runtime, or the
    /// record cannot be started. Nothing runs then.
    pub async fn start(self, transport: Arc<dyn Transport>) -> Result<GossipNode, NodeError> {
        let node = GossipNode::with(self.options, transport);
        #[cfg(feature = "registry")]
        let node = match self.registry {
            Some(registry) => node.with_registry(registry)?,
            None => node,
        };
        node.try_start().await?;
        Ok(node)
    }
}
