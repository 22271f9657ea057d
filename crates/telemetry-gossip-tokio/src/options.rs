//! How a node is run.

use std::path::PathBuf;
use std::sync::Arc;

use telemetry_gossip_core::{Config, Generation, Instance, Networks, NodeId};

use crate::peer_addr::PeerAddr;
use crate::place::Part;
use crate::record::Recording;
use crate::shared::SharedTable;

/// How a node is run. [`Options::new`] has the defaults; the setters change what differs.
///
/// ```
/// use std::time::Duration;
/// use telemetry_gossip_core::{Config, Label};
/// use telemetry_gossip_tokio::Options;
///
/// let config = Config::lan().label(Label::of("production"));
/// let config = config.probe_interval(Duration::from_secs(2));
/// let options = Options::new("edge-17".parse()?).config(config).seeds(["seed.example.com:7946"]);
/// assert_eq!(options.seeds.len(), 1);
/// # Ok::<(), telemetry_gossip_core::IdError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The id of the node, unique in its cluster.
    pub id: NodeId,
    /// The settings of the protocol, checked by [`Agent::spawn`](crate::Agent::spawn). The MTU is
    /// that of the datagrams on the wire, sealing included.
    pub config: Config,
    /// The names of some members, as [`Transport::resolve`](crate::Transport::resolve) understands
    /// them (`host:port` over UDP). They are kept for life: each that is no live member is asked
    /// again now and then, its name resolved anew, so that nodes which were apart find each other.
    /// One list may serve all nodes: a node leaves its own address out. A node without seeds waits
    /// until another node joins through it.
    pub seeds: Vec<String>,
    /// The first generation to use, at most 2^56: zero, or one above the last that the host has
    /// stored. A node that restarts at zero learns its old generation from the others and moves
    /// above it.
    pub generation: Generation,
    /// The instance, which tells this process from earlier ones of the same id; `None` draws it at
    /// random. Set it only to reproduce a run.
    pub instance: Option<Instance>,
    /// The address at which others reach this node, if it is not
    /// [`Transport::local`](crate::Transport::local).
    pub advertise: Option<PeerAddr>,
    /// The networks in which the node believes members to be; empty for all. See
    /// [`Input::AllowNetworks`](telemetry_gossip_core::Input::AllowNetworks).
    pub allowed_networks: Networks,
    /// The seed of the node's random choices; `None` takes it from the system. Set it only to
    /// reproduce a run.
    pub rng_seed: Option<[u8; 32]>,
    /// The registry's list of nodes that belong to the cluster, and its version: in force before
    /// the first datagram is read. See [`Agent::apply_cluster_config`](crate::Agent) for later
    /// ones.
    pub cluster_config: Option<(u64, Vec<NodeId>)>,
    /// What to do if most members hold another process under the node's id.
    pub on_conflict: OnConflict,
    /// A table that the host shares with the node, for nodes in
    /// [`Mode::OnDemand`](telemetry_gossip_core::Mode::OnDemand).
    #[doc(hidden)]
    pub table: Option<Arc<SharedTable>>,
    /// What the node is on its transport.
    #[doc(hidden)]
    pub part: Part,
    /// Where to record what happens to the node, so that it can be replayed.
    pub record: Option<Recording>,
    /// A folder of this node alone, in which it keeps the addresses of up to 32 live members, and
    /// its generation. At the next start it tries those members if its seeds lead nowhere or it
    /// has none, and starts one above that generation. Created if it does not exist, readable for
    /// its owner only.
    ///
    /// The file is written by a thread, at most once a minute and when the node ends. A file that
    /// cannot be used is renamed, see [`Agent::state_status`](crate::Agent::state_status).
    pub state_dir: Option<PathBuf>,
}

/// What an agent does once most members hold another process under its id. The event
/// [`IdentityConflict`](telemetry_gossip_core::Event::IdentityConflict) tells of it either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnConflict {
    /// It waits: it is no member, asks every 5 s whether the other process is gone, and then takes
    /// its id back.
    #[default]
    Wait,
    /// It stops, as after [`Agent::shutdown`](crate::Agent::shutdown).
    Exit,
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
            allowed_networks: Networks::default(),
            rng_seed: None,
            cluster_config: None,
            on_conflict: OnConflict::Wait,
            table: None,
            part: Part::Node,
            record: None,
            state_dir: None,
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

    /// Sets the instance; `None` draws it at random.
    #[must_use]
    pub fn instance(mut self, instance: impl Into<Option<Instance>>) -> Self {
        self.instance = instance.into();
        self
    }

    /// Sets the address at which others reach this node.
    #[must_use]
    pub fn advertise(mut self, advertise: impl Into<Option<PeerAddr>>) -> Self {
        self.advertise = advertise.into();
        self
    }

    /// Sets the networks in which the node believes members to be.
    #[must_use]
    pub fn allowed_networks(mut self, allowed_networks: Networks) -> Self {
        self.allowed_networks = allowed_networks;
        self
    }

    /// Sets the seed of the node's random choices.
    #[must_use]
    pub fn rng_seed(mut self, rng_seed: impl Into<Option<[u8; 32]>>) -> Self {
        self.rng_seed = rng_seed.into();
        self
    }

    /// Sets the list of nodes that belong to the cluster, and its version.
    #[must_use]
    pub fn cluster_config(mut self, version: u64, members: Vec<NodeId>) -> Self {
        self.cluster_config = Some((version, members));
        self
    }

    /// Sets what to do if most members hold another process under the node's id.
    #[must_use]
    pub fn on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }

    /// Shares a table of the host with the node.
    #[doc(hidden)]
    #[must_use]
    pub fn table(mut self, table: impl Into<Option<Arc<SharedTable>>>) -> Self {
        self.table = table.into();
        self
    }

    /// Sets what the node is on its transport.
    #[doc(hidden)]
    #[must_use]
    pub fn part(mut self, part: Part) -> Self {
        self.part = part;
        self
    }

    /// Sets where to record what happens to the node.
    #[must_use]
    pub fn record(mut self, record: impl Into<Option<Recording>>) -> Self {
        self.record = record.into();
        self
    }

    /// Sets the folder in which the node keeps the way back to its cluster.
    #[must_use]
    pub fn state_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(folder.into());
        self
    }
}
