//! What the driver's tests share: a cluster on either transport, and waiting for what must come.
#![allow(dead_code, reason = "each test file uses its part")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use telemetry_gossip_core::{Config, Event, Status};
use telemetry_gossip_tokio::{
    Agent, Events, MemoryNetwork, Options, PeerAddr, RecvError, Sealing, Transport, UdpTransport,
};

/// Longer than anything takes; only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Fails the test if it takes longer than [`PATIENCE`].
pub(crate) async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Waits until `holds`, asked again after each of the agent's events.
pub(crate) async fn until(what: &str, agent: &Agent, mut holds: impl FnMut(&Agent) -> bool) {
    // Subscribed before the first look, so that no change falls between the two.
    let mut events = agent.events();
    let told = within(what, async {
        while !holds(agent) {
            if events.recv().await == Err(RecvError::Closed) {
                return false;
            }
        }
        true
    });
    assert!(told.await, "{} ended before: {what}", agent.id());
}

/// Waits until `holds`, giving way to other tasks in between: for what no event tells. The host's
/// clock bounds it, as paused time does not pass meanwhile.
pub(crate) async fn until_so(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::task::yield_now().await;
    }
}

/// The next event that `wanted` picks.
pub(crate) async fn next<T>(
    what: &str,
    events: &mut Events,
    wanted: impl Fn(&Event<PeerAddr>) -> Option<T>,
) -> T {
    within(what, async {
        loop {
            let event = events.recv().await;
            let event = event.unwrap_or_else(|error| panic!("{what}: {error}"));
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    })
    .await
}

/// The network of a cluster.
#[derive(Clone, Debug)]
pub(crate) enum Net {
    Udp,
    Memory(MemoryNetwork),
}

impl Net {
    pub(crate) async fn transport(&self, id: &str) -> Arc<dyn Transport> {
        match self {
            Self::Udp => UdpTransport::bind("127.0.0.1:0".parse().unwrap(), Sealing::Plaintext)
                .await
                .unwrap(),
            Self::Memory(network) => network.transport(id).unwrap(),
        }
    }
}

/// Quick enough for a test, with timeouts that a busy machine keeps.
pub(crate) fn quick() -> Config {
    Config::default()
        .probe_interval(Duration::from_millis(500))
        .probe_timeout(Duration::from_millis(250))
        .gossip_interval(Duration::from_millis(50))
        .reconnect_interval(Duration::from_millis(500))
        .join_timeout(Duration::from_millis(500))
}

/// `n0`, `n1`, ...: the first waits to be found, the others join through it.
pub(crate) async fn cluster(net: &Net, count: usize) -> Vec<Agent> {
    let mut agents: Vec<Agent> = Vec::new();
    for index in 0..count {
        let id = format!("n{index}");
        let transport = net.transport(&id).await;
        let seeds = agents.first().map(|first| first.transport().local().to_string());
        let options = Options::new(id.as_str().parse().unwrap()).config(quick()).seeds(seeds);
        agents.push(Agent::spawn(options, transport).unwrap());
    }
    agents
}

/// Waits until every agent holds exactly `agents` Alive.
pub(crate) async fn agree(agents: &[Agent]) {
    for agent in agents {
        until("all members are held Alive", agent, |agent| {
            let view = agent.view();
            view.alive() == agents.len()
                && agents.iter().all(|other| {
                    view.get(other.id().as_str())
                        .is_some_and(|member| member.status == Status::Alive)
                })
        })
        .await;
    }
}

/// The status in which `agent` holds the member.
pub(crate) fn status(agent: &Agent, id: &str) -> Option<Status> {
    agent.member(id).map(|member| member.status)
}
