//! What the driver's tests share: a cluster on either transport, and waiting for what must come.
#![allow(dead_code, unused_imports, reason = "each test file uses its part")]

mod base;
mod wrapped;

use telemetry_gossip_core::{Event, Status};
use telemetry_gossip_tokio::{Agent, Events, Options, PeerAddr, RecvError};

pub(crate) use base::{Net, PATIENCE, give_up_after, quick, tasks, udp, until_so, within};
pub(crate) use wrapped::{Gate, Wrapped};

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
