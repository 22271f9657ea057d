//! Isolation: a node that cannot reach more than half of the members assumes that it is on the
//! smaller side of a partition. It reports this, declares no member Dead, and resumes when it
//! reaches enough members again. If the members are really lost, the host, a time limit or a
//! cluster config ends the isolation.

use std::borrow::Cow;
use std::time::Duration;

use telemetry_gossip_core::{Config, Event, Input, IsolationEnd, NodeId, Status};
use telemetry_gossip_sim::{Cluster, Memory, Network, Quantiles, Settings, Share, node_id};
use telemetry_gossip_tests::for_each_seed;

const NODES: usize = 10;

/// Seven of ten nodes crash. The three others cannot tell this from a partition.
fn after_a_great_loss(config: Config, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Settings::default().nodes(NODES).config(config).seed(seed));
    cluster.start_joined();
    cluster.run_for(Duration::from_secs(5));
    (3..NODES).for_each(|node| cluster.crash(node));
    let frozen =
        |cluster: &Cluster| (0..3).all(|node| cluster.health(node).isolated_since.is_some());
    assert!(
        cluster.run_until(frozen, Duration::from_secs(20)).is_some(),
        "the three nodes are not isolated"
    );
    cluster.run_for(Duration::from_secs(60));
    assert_eq!(cluster.simulation().counts().dead, 0, "an isolated node declared a member dead");
    cluster
}

fn all_losses_are_declared(cluster: &Cluster) -> bool {
    (3..NODES).all(|lost| cluster.everyone_holds(lost, Status::Dead))
}

fn ended(cluster: &Cluster, node: usize) -> Vec<IsolationEnd> {
    let ends = cluster.events(node).filter_map(|(_, event)| match event {
        Event::Reconnected { end, .. } => Some(end),
        _ => None,
    });
    ends.collect()
}

#[test]
fn a_command_of_the_host_ends_the_isolation() {
    for_each_seed(200, |seed| {
        let mut cluster = after_a_great_loss(Config::default(), seed);
        (0..3).for_each(|node| cluster.command(node, Input::AcceptLoss));
        // After a minute of failed probes the local health of the three is low, so they probe at a
        // ninth of the normal rate.
        let declared = cluster.run_until(all_losses_are_declared, Duration::from_secs(120));
        assert!(declared.is_some(), "the losses were not declared");
        assert!((0..3).all(|node| ended(&cluster, node).contains(&IsolationEnd::LossAccepted)));
        assert!(cluster.views_complete_and_alive());
    });
}

#[test]
fn a_time_limit_ends_the_isolation() {
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
fn a_cluster_config_without_the_lost_nodes_ends_the_isolation() {
    for_each_seed(200, |seed| {
        let mut cluster = after_a_great_loss(Config::default(), seed);
        let members: Vec<NodeId> = (0..3).map(node_id).collect();
        for node in 0..3 {
            cluster.command(
                node,
                Input::ApplyClusterConfig { version: 1, members: Cow::Borrowed(&members) },
            );
        }
        let resumed =
            |cluster: &Cluster| (0..3).all(|node| cluster.health(node).isolated_since.is_none());
        assert!(cluster.run_until(resumed, Duration::from_secs(10)).is_some(), "still isolated");
        assert!((0..3).all(|node| ended(&cluster, node) == [IsolationEnd::ClusterConfig]));
        assert!(cluster.views_complete_and_alive());
        assert!((0..3).all(|node| cluster.view(node).len() == 3));
    });
}

#[test]
fn the_loss_of_half_of_the_members_does_not_isolate() {
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

/// The link of a node fails and recovers many times.
#[test]
fn a_node_with_a_flapping_link_declares_no_member_dead() {
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
        assert!(!declared, "n0 declared a member dead");
        let whole = cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(30));
        assert!(whole.is_some(), "the views are not complete again");
    });
}

/// No node of the site declares any of the 210 others dead, and yet none waits for them. With half
/// of the seeds, the network loses datagrams.
#[test]
fn telemetry_reaches_all_of_a_site_that_is_cut_off() {
    const ALL: usize = 240;
    const SITE: std::ops::Range<usize> = 0..30;
    for_each_seed(10, |seed| {
        let network = Network::losing(Share::percent(if seed % 2 == 0 { 0 } else { 2 }));
        let settings = Settings::default().nodes(ALL).network(network).seed(seed);
        let mut cluster = Cluster::new(settings);
        cluster.start_known();
        cluster.run_for(Duration::from_secs(5));
        cluster.partition(SITE, SITE.end..ALL);
        let isolated = |cluster: &Cluster| {
            SITE.into_iter().all(|node| cluster.health(node).isolated_since.is_some())
        };
        assert!(cluster.run_until(isolated, Duration::from_secs(60)).is_some(), "not isolated");
        cluster.run_for(Duration::from_secs(5));
        for owner in [0, 7, 19] {
            cluster.publish(owner, "load", b"1");
            let known = |cluster: &Cluster| {
                SITE.into_iter().all(|node| cluster.value(node, owner, "load") == Some(b"1"))
            };
            let took = cluster.run_until(known, Duration::from_secs(1));
            assert!(took.is_some(), "an update of n{owner} has not reached all of the site");
            cluster.run_for(Duration::from_secs(3));
        }
    });
}

/// `lost` of `nodes` nodes are killed for good. The host of one survivor accepts that, and all
/// survivors learn of all deaths within `bound`. Later crashes are found, and newcomers join.
fn one_survivor_accepts(nodes: usize, lost: usize, bound: Duration, seeds: u64) {
    let mut times = Vec::new();
    for_each_seed(seeds, |seed| {
        let mut cluster = Cluster::new(Settings::default().nodes(nodes).seed(seed));
        cluster.start_joined();
        cluster.run_for(Duration::from_secs(30));
        let left = nodes - lost;
        (left..nodes).for_each(|node| cluster.crash(node));
        cluster.run_for(Duration::from_secs(60));
        let isolated = |it: &Cluster, node: usize| it.health(node).isolated_since.is_some();
        assert!((0..left).all(|node| isolated(&cluster, node)), "they are isolated");
        cluster.command(0, Input::AcceptLoss);
        let all = |cluster: &Cluster| {
            (left..nodes).all(|lost| cluster.everyone_holds(lost, Status::Dead))
                && (0..left).all(|node| !isolated(cluster, node))
        };
        let took = cluster.run_until(all, Duration::from_secs(60));
        times.push(took.expect("the losses are known to all"));
        if left > 2 {
            cluster.crash(1);
            let found = |cluster: &Cluster| cluster.everyone_holds(1, Status::Dead);
            assert!(cluster.run_until(found, Duration::from_secs(30)).is_some(), "a later crash");
            cluster.restart(1, Memory::Lost);
        }
        cluster.restart(left, Memory::Lost);
        cluster.add();
        let whole = cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(60));
        assert!(whole.is_some(), "newcomers and restarted nodes are right");
    });
    let times = Quantiles::of(times).expect("there were seeds");
    println!("{lost} of {nodes} lost, accepted at one: known to all after {times}");
    assert!(times.max <= bound, "{times}");
}

#[test]
fn one_survivor_accepts_a_loss_for_all() {
    for (nodes, lost) in [(3, 2), (5, 3), (10, 6)] {
        one_survivor_accepts(nodes, lost, Duration::from_secs(5), 50);
    }
}

/// `cargo test --release -p telemetry-gossip-tests --test protocol a_hundred_survivors --
/// --ignored`
#[test]
#[ignore = "takes a minute"]
fn one_of_a_hundred_survivors_accepts_a_loss_for_all() {
    one_survivor_accepts(250, 150, Duration::from_secs(8), 20);
}
