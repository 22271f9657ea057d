//! Isolation: whoever has lost touch with more than half of the members is the side cut off. It
//! says so, declares nobody Dead, and resumes by itself; where the loss was real, the host, a time
//! limit or a cluster config ends it.

use std::borrow::Cow;
use std::time::Duration;

use telemetry_gossip_core::{Config, Event, Input, IsolationEnd, NodeId, Status};
use telemetry_gossip_sim::{Cluster, Settings, node_id};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 10;

/// Seven of ten nodes are really gone: the three that are left see what a cut-off side would see.
fn after_a_great_loss(config: Config, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Settings::default().nodes(NODES).config(config).seed(seed));
    cluster.start_joined();
    cluster.run_for(Duration::from_secs(5));
    (3..NODES).for_each(|node| cluster.crash(node));
    let frozen =
        |cluster: &Cluster| (0..3).all(|node| cluster.health(node).isolated_since.is_some());
    assert!(cluster.run_until(frozen, Duration::from_secs(20)).is_some(), "nobody feels cut off");
    cluster.run_for(Duration::from_secs(60));
    assert_eq!(cluster.simulation().counts().dead, 0, "a node cut off declared somebody dead");
    cluster
}

fn all_losses_are_declared(cluster: &Cluster) -> bool {
    (3..NODES).all(|lost| cluster.everyone_holds(lost, Status::Dead))
}

fn ended(cluster: &Cluster, node: usize) -> Vec<IsolationEnd> {
    let ends = cluster.events(node).filter_map(|(_, event)| match event {
        Event::Reconnected { end } => Some(end),
        _ => None,
    });
    ends.collect()
}

#[test]
fn the_hosts_word_ends_the_freeze() {
    for_each_seed(200, |seed| {
        let mut cluster = after_a_great_loss(Config::default(), seed);
        (0..3).for_each(|node| cluster.command(node, Input::AcceptLoss));
        // After a minute of failures the three doubt themselves: they probe at a ninth of the
        // normal rate.
        let declared = cluster.run_until(all_losses_are_declared, Duration::from_secs(120));
        assert!(declared.is_some(), "the losses were not declared");
        assert!((0..3).all(|node| ended(&cluster, node).contains(&IsolationEnd::HostsWord)));
        assert!(cluster.views_complete_and_alive());
    });
}

#[test]
fn a_configured_time_ends_the_freeze() {
    for_each_seed(200, |seed| {
        let limit = Duration::from_secs(120);
        let config = Config::default().isolation_limit(Some(limit));
        let mut cluster = after_a_great_loss(config, seed);
        let declared = cluster.run_until(all_losses_are_declared, limit + Duration::from_secs(120));
        assert!(declared.is_some(), "the losses were not declared");
        assert!((0..3).any(|node| ended(&cluster, node).contains(&IsolationEnd::Limit)));
    });
}

#[test]
fn a_cluster_config_without_the_lost_nodes_ends_the_freeze() {
    for_each_seed(200, |seed| {
        let mut cluster = after_a_great_loss(Config::default(), seed);
        let members: Vec<NodeId> = (0..3).map(node_id).collect();
        for node in 0..3 {
            cluster.command(
                node,
                Input::ApplyClusterConfig { version: 1, members: Cow::Borrowed(&members) },
            );
        }
        let touch =
            |cluster: &Cluster| (0..3).all(|node| cluster.health(node).isolated_since.is_none());
        assert!(cluster.run_until(touch, Duration::from_secs(10)).is_some(), "the freeze goes on");
        assert!((0..3).all(|node| ended(&cluster, node) == [IsolationEnd::ClusterConfig]));
        assert!(cluster.views_complete_and_alive());
        assert!((0..3).all(|node| cluster.view(node).len() == 3));
    });
}

#[test]
fn a_loss_of_half_is_no_isolation() {
    for_each_seed(200, |seed| {
        let mut cluster = Cluster::new(Settings::default().nodes(NODES).seed(seed));
        cluster.start_joined();
        cluster.run_for(Duration::from_secs(5));
        (5..NODES).for_each(|node| cluster.crash(node));
        let declared = cluster.run_until(
            |cluster| (5..NODES).all(|lost| cluster.everyone_holds(lost, Status::Dead)),
            Duration::from_secs(60),
        );
        assert!(declared.is_some(), "the losses were not declared");
        assert!((0..5).all(|node| cluster.health(node).isolated_since.is_none()));
    });
}

/// A cable pulled at one node, many times: it never takes the others for dead.
#[test]
fn a_node_whose_link_flaps_declares_nobody_dead() {
    for_each_seed(200, |seed| {
        let mut cluster = Cluster::new(Settings::default().nodes(NODES).seed(seed));
        cluster.start_joined();
        for spell in 1..8 {
            cluster.partition([0], 1..NODES);
            cluster.run_for(Duration::from_millis(700 * spell));
            cluster.heal();
            cluster.run_for(Duration::from_secs(4));
        }
        let declared = cluster.events(0).any(|(_, event)| matches!(event, Event::Dead { .. }));
        assert!(!declared, "n0 declared somebody dead");
        let whole = cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(30));
        assert!(whole.is_some(), "n0 did not come back");
    });
}
