//! A host's own simulation test: its choice of a worker survives the crash of that worker.
use std::time::Duration;

use telemetry_gossip_core::{Node, Status};
use telemetry_gossip_sim::{Cluster, Network, Settings, Share};

/// The code under test: the host chooses the live member with the least load.
fn least_loaded(node: &Node<u32>) -> Option<&str> {
    let alive = node.members().filter(|member| member.status() == Status::Alive);
    let loads = alive.filter_map(|member| Some((member.value("load")?.value, member.id())));
    loads.min().map(|(_, id)| id)
}

#[cfg_attr(test, test)]
fn all_nodes_choose_the_next_worker_after_a_crash() {
    let network = Network::losing(Share::percent(5));
    let mut cluster = Cluster::new(Settings::default().nodes(5).network(network).seed(42));
    cluster.start_joined();
    for (node, load) in [b"90", b"20", b"50", b"70", b"30"].into_iter().enumerate() {
        cluster.publish(node, "load", load);
    }
    let all_choose = |cluster: &Cluster, worker: &str| {
        cluster.taking_part().all(|node| least_loaded(cluster.node(node)) == Some(worker))
    };
    let limit = Duration::from_secs(10);
    assert!(cluster.run_until(|cluster| all_choose(cluster, "n1"), limit).is_some());
    cluster.crash(1);
    assert!(cluster.run_until(|cluster| all_choose(cluster, "n4"), limit).is_some());
}

fn main() {
    all_nodes_choose_the_next_worker_after_a_crash();
}
