//! What the facade's tests share: clusters of whole nodes, and what the tests of the driver have:
//! waiting for what must come, and a transport that does what the test says.

#[allow(dead_code, reason = "the tests of the driver use the rest")]
#[path = "../../../telemetry-gossip-tokio/tests/common/base.rs"]
mod base;
#[allow(dead_code, reason = "the tests of the driver use the rest")]
#[path = "../../../telemetry-gossip-tokio/tests/common/wrapped.rs"]
mod wrapped;

use std::time::{Duration, Instant};

use telemetry_gossip::config::{Config, SuspicionTimeout};
use telemetry_gossip::membership::{MemberInfo, MemberStatus};
use telemetry_gossip::node::{GossipNode, NodeError, NodeErrorKind};

pub(crate) use base::{Net, PATIENCE, give_up_after, quick, tasks, udp, until_so, within};
pub(crate) use wrapped::Wrapped;

/// `n0`, `n1`, ...: the first waits to be found, the others join through it.
pub(crate) async fn cluster(net: &Net, count: usize, config: &Config) -> (Vec<GossipNode>, String) {
    let mut nodes = Vec::new();
    let mut seed = String::new();
    for index in 0..count {
        let id = format!("n{index}");
        let transport = net.transport(&id).await;
        let seeds = if index == 0 { vec![] } else { vec![seed.clone()] };
        if index == 0 {
            seed = transport.local().to_string();
        }
        let node = GossipNode::new(id, seeds, transport).with_config(config.clone()).unwrap();
        node.start().await;
        nodes.push(node);
    }
    (nodes, seed)
}

/// What went wrong.
pub(crate) fn kind<T: std::fmt::Debug>(result: Result<T, NodeError>) -> NodeErrorKind {
    result.unwrap_err().kind()
}

pub(crate) fn status(node: &GossipNode, id: &str) -> Option<MemberStatus> {
    node.members().into_iter().find(|member| member.node_id == id).map(|member| member.status)
}

/// Waits until `holds`, asked again after each of the node's events.
pub(crate) async fn until(
    what: &str,
    node: &GossipNode,
    mut holds: impl FnMut(&GossipNode) -> bool,
) {
    let mut events = node.events();
    within(what, async {
        while !holds(node) {
            events.recv().await.expect("it runs");
        }
    })
    .await;
}

pub(crate) async fn all_hold(nodes: &[GossipNode], id: &str, expected: MemberStatus) {
    for node in nodes {
        until(&format!("{id} is {expected:?}"), node, |node| {
            status(node, id).as_ref() == Some(&expected)
        })
        .await;
    }
}

pub(crate) async fn agree(nodes: &[GossipNode]) {
    for node in nodes {
        until("all are Alive", node, |node| {
            let members = node.members();
            members.len() == nodes.len()
                && members.iter().all(|member| member.status == MemberStatus::Alive)
        })
        .await;
    }
}

/// A gossip period of 100 ms and a suspicion of 5 s.
pub(crate) fn patient() -> Config {
    Config::default()
        .gossip_interval(Duration::from_millis(100))
        .suspicion(SuspicionTimeout::Fixed(Duration::from_secs(5)))
}

/// A record as a host makes it.
pub(crate) fn info(id: &str, status: MemberStatus, generation: u64) -> MemberInfo {
    MemberInfo { node_id: id.to_owned(), status, generation, last_observed: Instant::now() }
}

/// Records of members that are all Alive.
pub(crate) fn alive<T: AsRef<str>>(ids: &[T]) -> Vec<MemberInfo> {
    ids.iter().map(|id| info(id.as_ref(), MemberStatus::Alive, 0)).collect()
}
