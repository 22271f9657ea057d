//! Probing alone: does a member answer, directly or through others?

use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip_core::{Config, Generation, Mode, NodeId, ProbeOutcome};
use telemetry_gossip_tokio::{Agent, Options, Part, SpawnError, Transport};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::endpoint::{Endpoint, find};
use crate::error::NodeError;
use crate::membership::{MemberInfo, MemberStatus};

/// The largest number of helpers of one probe.
pub const MAX_INDIRECT: usize = 16;

/// The largest number of probes that one detector makes at the same time. Each of them hears what
/// arrives at the transport, and answers the pings to the detector, too.
pub const MAX_PROBES_AT_ONCE: usize = 8;

/// Probes members on one transport, answers the probes of others, and helps with them. It keeps no
/// records of members.
///
/// Its id is the name of its transport (its `IP:port` over UDP), unless [`SwimDetector::with_id`]
/// sets another one. On the transport of a [`GossipNode`](crate::node::GossipNode) it probes in the
/// name of that node, which answers others itself. Created within a tokio runtime, it answers from
/// then on; otherwise from its first probe.
///
/// ```
/// use std::time::Instant;
/// use telemetry_gossip::membership::{MemberInfo, MemberStatus};
/// use telemetry_gossip::swim::SwimDetector;
/// use telemetry_gossip::transport::MemoryNetwork;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let network = MemoryNetwork::new(1);
/// let mut detectors = Vec::new();
/// for id in ["a", "b", "c", "d"] {
///     detectors.push(SwimDetector::new(network.transport(id)?, 2));
/// }
/// let member = |id: &str| MemberInfo {
///     node_id: id.into(),
///     status: MemberStatus::Alive,
///     generation: 0,
///     last_observed: Instant::now(),
/// };
/// let members = ["a", "b", "c", "d"].map(member);
///
/// // Datagrams from a to b are lost, and no others: c and d reach b.
/// network.cut("a", "b");
/// assert!(detectors[0].probe("b", &members).await);
/// assert!(!detectors[0].probe("unknown", &members).await);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SwimDetector {
    /// Answers the probes of others.
    endpoint: Endpoint,
    /// The probes that may begin now.
    turns: Semaphore,
}

impl SwimDetector {
    /// A detector that probes through up to `indirect_k` helpers, at most [`MAX_INDIRECT`], if the
    /// direct ping is not answered.
    pub fn new(transport: Arc<dyn Transport>, indirect_k: usize) -> Self {
        let indirect_probes = u8::try_from(indirect_k.min(MAX_INDIRECT)).unwrap_or_default();
        let config = Config::default().mode(Mode::ProbeOnly).indirect_probes(indirect_probes);
        let options = Options::new(transport.local().to_id()).config(config).part(Part::Answers);
        let endpoint = Endpoint::new(options, transport);
        let detector = Self { endpoint, turns: Semaphore::new(MAX_PROBES_AT_ONCE) };
        detector.endpoint.try_spawn();
        detector
    }

    /// Sets the id of the detector.
    ///
    /// # Errors
    /// [`NodeErrorKind::Id`](crate::node::NodeErrorKind::Id): `id` breaks the rule of ids.
    pub fn with_id(mut self, id: &str) -> Result<Self, NodeError> {
        let id = NodeId::new(id).map_err(|error| NodeError::id(id, error))?;
        self.endpoint.respawn(|options| options.id = id);
        Ok(self)
    }

    /// Sets the timeout of the direct ping, and then again of the indirect pings: 1 ms to 183 days,
    /// 300 ms by default. A value outside this range becomes the nearest one inside.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        let timeout =
            timeout.clamp(Duration::from_millis(1), Duration::from_secs(183 * 24 * 3_600));
        self.endpoint.respawn(|options| {
            options.config.probe_timeout = timeout;
            options.config.probe_interval = options.config.probe_interval.max(timeout * 2);
        });
        self
    }

    /// Whether `target` answers, directly or through members that are Alive in `members`.
    ///
    /// Target and helpers are resolved again at each probe, by [`Transport::resolve`], as they may
    /// have moved. The ping does not wait for the helpers. A helper that is not found by the time
    /// it is needed is not asked.
    ///
    /// Returns false if the target does not answer within two timeouts, if the transport does not
    /// find it within 2 s, or if it is not a node id; also without a tokio runtime, and on a closed
    /// transport.
    ///
    /// Up to [`MAX_PROBES_AT_ONCE`] probes run side by side, and further ones take turns.
    ///
    /// # Cancel safety
    /// A probe whose future is dropped ends at once, and takes no turn from the others.
    pub async fn probe(&self, target: &str, members: &[MemberInfo]) -> bool {
        let Ok(target) = NodeId::new(target) else { return false };
        // The semaphore is never closed.
        let Ok(_turn) = self.turns.acquire().await else { return false };
        // The probe ends with its agent, which no other probe shares: each has its own helpers.
        let prober = match self.prober().await {
            Ok(agent) => Prober(agent),
            Err(error) => {
                tracing::error!(%error, "the detector is not started");
                return false;
            }
        };
        let agent = &prober.0;
        let me = agent.id();
        let helpers = members.iter().filter(|member| member.status == MemberStatus::Alive);
        let helpers = helpers.filter_map(|member| NodeId::new(&member.node_id).ok());
        let helpers: Vec<NodeId> =
            helpers.filter(|&helper| helper != target && helper != me).collect();
        let involved = helpers.iter().copied().chain([me, target]).collect();
        if target == me || agent.apply_cluster_config(1, involved).await.is_err() {
            return false;
        }
        let introduce = |id| introduce(agent.clone(), self.endpoint.transport.clone(), id);
        // Concurrent with the ping, and dropped when it ends.
        let mut resolving = JoinSet::new();
        for helper in helpers {
            resolving.spawn(introduce(helper));
        }
        // The look-ups end with this block.
        introduce(target).await
            && matches!(
                agent.probe(target).await,
                Ok(ProbeOutcome::Direct | ProbeOutcome::Indirect)
            )
    }

    /// An agent for one probe. If a node runs on the transport, it probes in the name of the node,
    /// so that no other member seems to be there.
    async fn prober(&self) -> Result<Agent, SpawnError> {
        let mut options = self.endpoint.options().part(Part::Probes);
        match self.endpoint.agent().await {
            Ok(_) => {}
            Err(SpawnError::TransportTaken) => {
                let node = self.endpoint.transport.subscribe().node();
                options.id = node.unwrap_or(options.id);
            }
            Err(error) => return Err(error),
        }
        Agent::spawn(options, self.endpoint.transport.clone())
    }
}

/// Ends the agent of a probe with the probe, also where a look-up of a helper still has a handle.
struct Prober(Agent);

impl Drop for Prober {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Tells the agent the address of a member; false if the transport does not find it.
async fn introduce(agent: Agent, transport: Arc<dyn Transport>, id: NodeId) -> bool {
    let Some(peer) = find(&*transport, id.as_str()).await else { return false };
    agent.introduce(id, Some(peer), Generation(0)).await.is_ok()
}
