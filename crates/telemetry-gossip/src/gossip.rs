//! Push-pull gossip of a state, one round at a time.

use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip_core::{
    Accusers, Claim, CommandError, Config, ExchangeOutcome, Instance, Mode, NodeId,
    SuspicionTimeout,
};
use telemetry_gossip_tokio::{AgentError, Options, SpawnError, Transport};
use thiserror::Error;
use tokio::task::JoinSet;

use crate::endpoint::{Endpoint, find, id_of};
use crate::membership::MembershipState;

/// The result of a round.
pub type Result<T> = std::result::Result<T, GossipError>;

/// Why a round did not exchange anything.
#[derive(Debug, Error)]
pub enum GossipError {
    /// Neither the chosen partner nor the others tried in its place answered.
    #[error("no answer from {}", .peer.map_or("anybody".into(), |peer| peer.to_string()))]
    NoAnswer {
        /// The last partner tried.
        peer: Option<NodeId>,
    },
    /// The exchange was not begun: the node lost its id to another process, or too many rounds
    /// wait.
    #[error(transparent)]
    Refused(#[from] CommandError),
    /// The transport is closed.
    #[error("the transport is closed")]
    Closed,
    /// The exchange cannot be run: there is no tokio runtime, say.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// Exchanges a [`MembershipState`] with those of other nodes, and answers when they do.
///
/// The partner of a round is structured: over some rounds every member is a power of three places
/// on in the common order of the members, so that news of 20 nodes is everywhere within 5 rounds,
/// not only likely so; a partner that does not answer is replaced by a random one, twice. Only what
/// differs crosses the network.
///
/// The node is the member whose id is its transport's name (its `IP:port` over UDP), unless
/// [`PushPullGossip::with_id`] says otherwise; it enters itself into the state. A record of itself
/// that the host has entered keeps its generation if Alive; Suspected or Dead, it is refuted one
/// generation above as soon as the node does anything. Created within a tokio runtime the node
/// answers from then on; otherwise from its first round.
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
        // A plain state is merged, not judged: what is suspected there stays so until somebody else
        // says more, and the dead are not forgotten.
        let never = Duration::from_secs(366 * 24 * 3_600);
        let (suspicion, tombstone_ttl) = (SuspicionTimeout::Fixed(never), never);
        let config = Config::default()
            .mode(Mode::OnDemand)
            .suspicion(suspicion)
            .tombstone_ttl(tombstone_ttl);
        let options = Options::new(id_of(&transport.local()))
            .config(config)
            // Records of a plain state do not tell lives apart.
            .instance(Instance(0))
            .table(state.table());
        let gossip = Self { state, endpoint: Endpoint::new(options, transport) };
        gossip.endpoint.try_spawn();
        gossip
    }

    /// Is the member of this id instead. Call it at once: who exchanged with the node before knows
    /// the other id.
    #[must_use]
    pub fn with_id(mut self, id: NodeId) -> Self {
        self.endpoint.configure(|options| options.id = id);
        self
    }

    /// Makes all random choices from this seed, for a reproducible run; give each node its own.
    #[must_use]
    pub fn with_rng_seed(mut self, seed: [u8; 32]) -> Self {
        self.endpoint.configure(|options| options.rng_seed = Some(seed));
        self
    }

    /// One push-pull exchange with one chosen peer: afterwards both hold the higher of their
    /// records of each member. Without anybody to exchange with, nothing is done, and that is no
    /// error. Members whose address is not known are looked up first, by [`Transport::resolve`],
    /// for at most 2 s.
    pub async fn gossip_round(&self) -> Result<()> {
        let agent = self.endpoint.agent()?;
        self.find_members().await;
        match agent.exchange().await {
            Ok((
                _,
                ExchangeOutcome::InSync | ExchangeOutcome::Exchanged | ExchangeOutcome::Nobody,
            )) => Ok(()),
            Ok((peer, ExchangeOutcome::Failed)) => Err(GossipError::NoAnswer { peer }),
            Err(AgentError::Command(error)) => Err(GossipError::Refused(error)),
            Err(
                AgentError::Closed
                | AgentError::Timeout(_)
                | AgentError::Resolve(_)
                | AgentError::Value(_),
            ) => Err(GossipError::Closed),
        }
    }

    /// Members that the host entered have no address until the transport tells it: the same record,
    /// with an address, is the greater one.
    async fn find_members(&self) {
        let table = self.state.table();
        let unknown: Vec<_> = table.with(|table| {
            let members = table.iter().filter(|member| member.status().is_live());
            members
                .filter(|member| member.address().is_none())
                .map(|member| member.id().to_owned())
                .collect()
        });
        // All at once: one that is slow to find, or nowhere, holds up the round by one look-up's
        // time.
        let mut looking_up = JoinSet::new();
        for id in unknown {
            let transport = self.endpoint.transport.clone();
            looking_up.spawn(async move { (find(&*transport, &id).await, id) });
        }
        while let Some(found) = looking_up.join_next().await {
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
