//! Nodes that disagree for long about who is a member: by two cluster configs, or since a table has
//! no room for all. Their tables never become alike, and comparing them again and again is a waste.

use std::borrow::Cow;
use std::time::Duration;

use telemetry_gossip_core::{Config, Input, NodeId};
use telemetry_gossip_sim::{Checking, Cluster, Settings, node_id};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 40;

/// The most bytes that a node may send per second on average. An idle node of an even cluster sends
/// 60.
const MOST: u64 = 130;

fn joined(limit: Option<u32>, all: bool, seed: u64) -> Cluster {
    let nodes = if limit.is_some() { 0 } else { NODES };
    let mut settings = Settings::default().nodes(nodes).seed(seed).checking(Checking::Off);
    if let Some(limit) = limit {
        let limited = Config::default().max_members(limit);
        let others = if all { vec![limited.clone()] } else { vec![Config::default(); NODES - 1] };
        settings = settings.config(limited).other_configs(others);
    }
    let mut cluster = Cluster::new(settings);
    if limit.is_some() {
        // The views never become complete.
        (0..NODES).for_each(|_| _ = cluster.add());
    } else {
        cluster.start_joined();
    }
    cluster.run_for(Duration::from_secs(10));
    cluster
}

/// Publishes now and then for ten minutes, and returns the mean and the highest number of bytes
/// that a node sends per second in the last five.
fn rest(cluster: &mut Cluster) -> (u64, u64) {
    let sent = |cluster: &Cluster| -> Vec<u64> {
        (0..NODES).map(|index| cluster.usage(index).sent_bytes).collect()
    };
    cluster.run_for(Duration::from_secs(300));
    let before = sent(cluster);
    cluster.run_for(Duration::from_secs(300));
    let rates: Vec<u64> =
        sent(cluster).iter().zip(before).map(|(after, before)| (after - before) / 300).collect();
    (rates.iter().sum::<u64>() / NODES as u64, rates.iter().copied().max().unwrap_or(0))
}

fn configure(cluster: &mut Cluster, nodes: impl Iterator<Item = usize>, members: usize) {
    let members: Vec<NodeId> = (0..members).map(node_id).collect();
    for node in nodes {
        let members = Cow::Borrowed(members.as_slice());
        cluster.command(node, Input::ApplyClusterConfig { version: 7, members });
    }
}

fn check(what: &str, mut cluster: Cluster) {
    for node in 0..NODES {
        cluster.publish(node, "load", b"1");
    }
    let (mean, most) = rest(&mut cluster);
    println!("{what}: {mean} B/s per node, {most} B/s at most");
    assert!(mean <= MOST, "{what}: {mean} B/s");
}

#[test]
fn a_node_outside_of_the_config_costs_nothing() {
    for_each_seed(2, |seed| {
        let mut cluster = joined(None, false, seed);
        configure(&mut cluster, 0..NODES - 1, NODES - 1);
        check("a node outside of the config", cluster);
    });
}

#[test]
fn a_config_at_half_of_the_nodes_costs_little() {
    for_each_seed(2, |seed| {
        let mut cluster = joined(None, false, seed);
        configure(&mut cluster, 0..NODES / 2, NODES - 2);
        check("a config at half of the nodes", cluster);
    });
}

#[test]
fn a_table_that_is_too_small_costs_little() {
    for_each_seed(2, |seed| {
        check("one table that is too small", joined(Some(30), false, seed));
        check("all tables too small", joined(Some(30), true, seed));
    });
}
