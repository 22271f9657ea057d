//! Probing alone: does a member answer, directly or through others?

use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip_core::{Config, Generation, Mode, NodeId, ProbeOutcome};
use telemetry_gossip_tokio::{Agent, Options, Transport};
use tokio::task::JoinSet;

use crate::endpoint::{Endpoint, find};
use crate::error::NodeError;
use crate::membership::{MemberInfo, MemberStatus};

/// The largest number of helpers of one probe.
pub const MAX_INDIRECT: usize = 16;

/// Probes members on one transport, answers the probes of others, and helps with them. It keeps no
/// records of members.
///
/// Its id is the name of its transport (its `IP:port` over UDP), unless [`SwimDetector::with_id`]
/// sets another one. Created within a tokio runtime, it answers from then on; otherwise from its
/// first probe.
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
    endpoint: Endpoint,
    /// The version of the list of members that the current probe may involve.
    version: tokio::sync::Mutex<u64>,
}

impl SwimDetector {
    /// A detector that probes through up to `indirect_k` helpers, at most [`MAX_INDIRECT`], if the
    /// direct ping is not answered.
    pub fn new(transport: Arc<dyn Transport>, indirect_k: usize) -> Self {
        let indirect_probes = u8::try_from(indirect_k.min(MAX_INDIRECT)).unwrap_or_default();
        let config = Config::default().mode(Mode::ProbeOnly).indirect_probes(indirect_probes);
        let options = Options::new(transport.local().to_id()).config(config);
        let endpoint = Endpoint::new(options, transport);
        let detector = Self { endpoint, version: tokio::sync::Mutex::new(0) };
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
    /// Returns false if the target does not answer within two timeouts (stretched up to nine times
    /// while one probe of this detector after the other fails), if the transport does not find it
    /// within 2 s, or if it is not a node id; also without a tokio runtime, and on a closed
    /// transport. Probes of one detector take turns.
    pub async fn probe(&self, target: &str, members: &[MemberInfo]) -> bool {
        let Ok(target) = NodeId::new(target) else { return false };
        let agent = match self.endpoint.agent().await {
            Ok(agent) => agent,
            Err(error) => {
                tracing::error!(%error, "the detector is not started");
                return false;
            }
        };
        // One probe at a time, as each has its own helpers.
        let mut version = self.version.lock().await;
        let helpers = members.iter().filter(|member| member.status == MemberStatus::Alive);
        let helpers = helpers.filter_map(|member| NodeId::new(&member.node_id).ok());
        let helpers: Vec<NodeId> = helpers.filter(|&helper| helper != target).collect();
        *version += 1;
        let me = self.endpoint.id();
        let involved = helpers.iter().copied().chain([me, target]).collect();
        if target == me || agent.apply_cluster_config(*version, involved).await.is_err() {
            return false;
        }
        // Higher at each probe, so that the address found last replaces the ones before.
        let generation = Generation(*version);
        let introduce =
            |id| introduce(agent.clone(), self.endpoint.transport.clone(), id, generation);
        // Concurrent with the ping, and dropped when it ends.
        let mut resolving = JoinSet::new();
        for helper in helpers.into_iter().filter(|&helper| helper != me) {
            resolving.spawn(introduce(helper));
        }
        if !introduce(target).await {
            return false;
        }
        matches!(agent.probe(target).await, Ok(ProbeOutcome::Direct | ProbeOutcome::Indirect))
    }
}

/// Tells the agent the address of a member; false if the transport does not find it.
async fn introduce(
    agent: Agent,
    transport: Arc<dyn Transport>,
    id: NodeId,
    generation: Generation,
) -> bool {
    let Some(peer) = find(&*transport, id.as_str()).await else { return false };
    agent.introduce(id, Some(peer), generation).await.is_ok()
}
