//! Push-pull gossip of a membership state, one round at a time.

use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip_core::{
    Accusers, Claim, Config, ExchangeOutcome, Instance, Mode, NodeId, SuspicionTimeout,
};
use telemetry_gossip_tokio::{Options, Part, Transport};
use tokio::task::JoinSet;

use crate::endpoint::{Endpoint, find};
use crate::membership::MembershipState;

pub use crate::error::{NodeError, NodeErrorKind};

/// The result of a round.
pub type Result<T> = std::result::Result<T, NodeError>;

/// Exchanges a [`MembershipState`] with the states of other nodes, and answers their exchanges.
///
/// The partners follow a common order of the members: over some rounds, each node exchanges with
/// the members 1, 3, 9, ... places further on. An update among 20 nodes therefore always reaches
/// all of them within 5 rounds. A partner that does not answer is replaced by a random one, twice.
/// Only differences cross the network.
///
/// The id of the node is the name of its transport (its `IP:port` over UDP), unless
/// [`PushPullGossip::with_id`] sets another one. The node enters itself into the state. If the host
/// has entered a record of the node that is Alive, its generation is kept; a record that is
/// Suspected or Dead is refuted one generation above as soon as the node does anything.
///
/// A whole [`GossipNode`](crate::node::GossipNode) exchanges by itself. It shares no transport with
/// an exchange, which others would take for a second member: the one that is started last is
/// refused.
///
/// Created within a tokio runtime, the node answers from then on; otherwise from its first round.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Instant;
/// use telemetry_gossip::gossip::PushPullGossip;
/// use telemetry_gossip::membership::{MemberInfo, MemberStatus, MembershipState};
/// use telemetry_gossip::transport::MemoryNetwork;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let info = |id: &str, status, generation| MemberInfo {
///     node_id: id.into(),
///     status,
///     generation,
///     last_observed: Instant::now(),
/// };
/// let network = MemoryNetwork::new(1);
/// let (a, b) = (Arc::new(MembershipState::new()), Arc::new(MembershipState::new()));
/// a.merge(&[info("b", MemberStatus::Alive, 0), info("c", MemberStatus::Alive, 3)]);
/// b.merge(&[info("a", MemberStatus::Alive, 0), info("c", MemberStatus::Dead, 4)]);
///
/// let gossip = PushPullGossip::new(a.clone(), network.transport("a")?);
/// let answering = PushPullGossip::new(b.clone(), network.transport("b")?);
/// gossip.gossip_round().await?;
/// assert_eq!(a.member("c").unwrap().status, MemberStatus::Dead);
/// assert_eq!(b.member("c").unwrap().status, MemberStatus::Dead);
/// # drop(answering);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PushPullGossip {
    state: Arc<MembershipState>,
    endpoint: Endpoint,
}

impl PushPullGossip {
    /// Exchanges `state` over `transport`.
    pub fn new(state: Arc<MembershipState>, transport: Arc<dyn Transport>) -> Self {
        // A plain state is merged, not judged: a suspicion does not run out, and dead members are
        // not forgotten.
        let never = Duration::from_secs(366 * 24 * 3_600);
        let (suspicion, tombstone_ttl) = (SuspicionTimeout::Fixed(never), never);
        let config = Config::default()
            .mode(Mode::OnDemand)
            .suspicion(suspicion)
            .tombstone_ttl(tombstone_ttl);
        let options = Options::new(transport.local().to_id())
            .config(config)
            // Records of a plain state do not distinguish instances.
            .instance(Instance(0))
            .part(Part::Exchange)
            .table(state.table());
        let gossip = Self { state, endpoint: Endpoint::new(options, transport) };
        gossip.endpoint.try_spawn();
        gossip
    }

    /// Sets the id of the node. Call it right after [`PushPullGossip::new`]: nodes that exchanged
    /// with this one before know the other id.
    ///
    /// # Errors
    /// [`NodeErrorKind::Id`]: `id` breaks the rule of ids.
    pub fn with_id(mut self, id: &str) -> Result<Self> {
        let id = NodeId::new(id).map_err(|error| NodeError::id(id, error))?;
        self.endpoint.respawn(|options| options.id = id);
        Ok(self)
    }

    /// Makes all random choices from this seed, to reproduce a run. Give each node its own.
    #[must_use]
    pub fn with_rng_seed(mut self, seed: [u8; 32]) -> Self {
        self.endpoint.respawn(|options| options.rng_seed = Some(seed));
        self
    }

    /// Makes one push-pull exchange with one chosen peer. Afterwards both hold the higher of their
    /// records of each member. Without another member it does nothing, and that is no error.
    ///
    /// Members without a known address are resolved first, by [`Transport::resolve`], for at most
    /// 2 s.
    ///
    /// # Errors
    /// [`NodeErrorKind::NoAnswer`] if no partner answered; [`NodeErrorKind::TransportTaken`] if a
    /// node runs on the transport; [`NodeErrorKind::Refused`],
    /// [`NodeErrorKind::Closed`] or [`NodeErrorKind::Runtime`] if there was no exchange at all.
    pub async fn gossip_round(&self) -> Result<()> {
        let agent = self.endpoint.agent().await?;
        self.find_members().await;
        match agent.exchange().await? {
            (peer, ExchangeOutcome::Failed) => {
                Err(NodeError::no_answer(peer.as_ref().map(NodeId::as_str)))
            }
            _ => Ok(()),
        }
    }

    /// Resolves the members that the host entered, as they have no address. A record with an
    /// address is greater than the same record without.
    async fn find_members(&self) {
        let table = self.state.table();
        let unknown: Vec<_> = table.with(|table| {
            let members = table.iter().filter(|member| member.status().is_live());
            members
                .filter(|member| member.address().is_none())
                .map(|member| member.id().to_owned())
                .collect()
        });
        // All at once, so that members which are not found delay the round by one timeout only.
        let mut resolving = JoinSet::new();
        for id in unknown {
            let transport = self.endpoint.transport.clone();
            resolving.spawn(async move { (find(&*transport, &id).await, id) });
        }
        while let Some(found) = resolving.join_next().await {
            let Ok((Some(peer), id)) = found else { continue };
            table.with(|table| {
                let Some(member) = table.get(&id) else { return };
                let claim = Claim {
                    id: &id,
                    address: Some(peer),
                    instance: member.instance(),
                    generation: member.generation(),
                    status: member.status(),
                    accusers: Accusers::new(),
                    age_secs: 0,
                };
                let observed = member.last_observed();
                table.merge(observed, &claim);
            });
        }
    }
}
