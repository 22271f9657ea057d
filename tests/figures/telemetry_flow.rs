//! The dissemination of telemetry: it takes little more traffic than the least possible, values are
//! recent, and all of them are delivered, even if members crash, join, are partitioned, or publish
//! much at once.

use std::time::Duration;

use telemetry_gossip_core::{Config, Status};
use telemetry_gossip_sim::experiment::{TelemetryPlan, telemetry};
use telemetry_gossip_sim::{Checking, Cluster, Memory, Network, News, Quantiles, Settings, Share};
use telemetry_gossip_tests::for_each_seed;

/// The goals of `tgossip sim telemetry`, with fewer members.
#[test]
fn telemetry_of_all_members_is_recent_at_little_more_than_the_least_traffic() {
    for_each_seed(4, |seed| {
        let plan = TelemetryPlan::default()
            .members(vec![250])
            .periods_s(vec![1])
            .losses(vec![Share::percent(if seed % 2 == 0 { 0 } else { 5 })])
            .runs(1)
            .seed(seed);
        for goal in telemetry(&plan, |_| {}).goals() {
            assert!(goal.is_met(), "{goal:?}");
        }
    });
}

fn cluster(nodes: usize, loss: u32, seed: u64) -> Cluster {
    let network = Network::losing(Share::percent(loss));
    let (checking, keep_events) = (Checking::Off, false);
    Cluster::new(
        Settings::default()
            .nodes(nodes)
            .network(network)
            .seed(seed)
            .checking(checking)
            .keep_events(keep_events),
    )
}

/// The times until all nodes have updates of 64 B.
fn updates(nodes: usize, loss: u32, seed: u64) -> Vec<Duration> {
    let mut cluster = cluster(nodes, loss, seed);
    cluster.start_known();
    cluster.run_for(Duration::from_secs(5));
    for update in 0..5 {
        cluster.publish((update * 31 + 7) % nodes, "load", &[b'x'; 60]);
        cluster.run_for(Duration::from_millis(1_300));
    }
    let known = |cluster: &Cluster| {
        cluster.simulation().spreads().iter().all(|spread| spread.everyone.is_some())
    };
    assert!(
        cluster.run_until(known, Duration::from_secs(60)).is_some(),
        "some nodes never received an update"
    );
    cluster.simulation().spreads().iter().filter_map(|spread| spread.everyone).collect()
}

/// An update always reaches all nodes, on average within 0.6 s at 250 nodes and 0.8 s at 1,000,
/// with 0, 1 and 5 % loss.
#[test]
fn an_update_reaches_all_nodes_in_less_than_a_second() {
    for (nodes, limit) in [(250, 600), (1_000, 800)] {
        for loss in [0, 1, 5] {
            let mut times = Vec::new();
            for_each_seed(if nodes == 250 { 10 } else { 2 }, |seed| {
                times.extend(updates(nodes, loss, seed))
            });
            let Some(times) = Quantiles::of(times) else { continue };
            println!("an update of 64 B reaches all {nodes} nodes at {loss} % loss: {times}");
            assert!(
                times.mean < Duration::from_millis(limit),
                "{nodes} members, {loss} % loss: {times}"
            );
        }
    }
}

/// Whether all nodes hold the latest values of all nodes.
fn all_is_delivered(cluster: &Cluster) -> bool {
    let running: Vec<usize> = cluster.taking_part().collect();
    running.iter().all(|&owner| {
        let version = cluster.node(owner).me().telemetry_version();
        let has = |&&reader: &&usize| {
            cluster.held(reader, owner).map(|member| member.telemetry_version())
        };
        running.iter().all(|reader| has(&reader) == Some(version))
    })
}

#[test]
fn telemetry_of_other_members_is_delivered_despite_crashed_members() {
    for_each_seed(20, |seed| {
        let mut cluster = cluster(60, 1, seed);
        cluster.start_known();
        cluster.run_for(Duration::from_secs(5));
        // A fifth of the members crash, and the others have not noticed yet.
        let crashed = |node: usize| node % 5 == 1;
        (0..60).filter(|&node| crashed(node)).for_each(|node| cluster.crash(node));
        for node in (0..60).filter(|&node| !crashed(node)) {
            cluster.publish(node, "load", b"0.75");
        }
        let took = cluster.run_until(all_is_delivered, Duration::from_secs(30));
        assert!(took.is_some(), "seed {seed}: not all is delivered after 30 s");
    });
}

#[test]
fn a_restarted_member_delivers_its_telemetry_and_receives_all_other() {
    for_each_seed(10, |seed| {
        let mut cluster = cluster(30, 1, seed);
        cluster.start_joined();
        for node in 0..30 {
            cluster.publish(node, "load", b"0.75");
        }
        cluster.crash(3);
        let dead = |cluster: &Cluster| cluster.everyone_holds(3, Status::Dead);
        assert!(cluster.run_until(dead, Duration::from_secs(20)).is_some(), "seed {seed}");
        cluster.publish(4, "load", b"0.8");
        cluster.restart(3, Memory::Lost);
        cluster.publish(3, "load", b"0.1");
        let took = cluster.run_until(
            |cluster| cluster.views_complete_and_alive() && all_is_delivered(cluster),
            Duration::from_secs(30),
        );
        assert!(took.is_some(), "seed {seed}: not all is delivered after 30 s");
        for reader in 0..30 {
            assert_eq!(cluster.value(reader, 3, "load"), Some(b"0.1".as_slice()), "seed {seed}");
        }
    });
}

#[test]
fn both_sides_of_a_partition_receive_all_telemetry_once_it_heals() {
    for_each_seed(10, |seed| {
        let mut cluster = cluster(30, 0, seed);
        cluster.start_joined();
        cluster.partition(0..20, 20..30);
        for node in 0..30 {
            cluster.run_for(Duration::from_millis(500));
            cluster.publish(node, "load", b"0.75");
        }
        cluster.heal();
        let took = cluster.run_until(
            |cluster| cluster.views_complete_and_alive() && all_is_delivered(cluster),
            Duration::from_secs(60),
        );
        assert!(took.is_some(), "seed {seed}: not all is delivered after a minute");
    });
}

/// One node publishes 64 KB in pieces, at 5 % loss. Meanwhile a crash is detected as fast as ever.
#[test]
fn a_large_state_is_delivered_without_delaying_membership_news() {
    for_each_seed(3, |seed| {
        let config = Config::default().max_telemetry(65_536);
        let network = Network::losing(Share::percent(5));
        let settings = Settings::default()
            .nodes(50)
            .config(config)
            .network(network)
            .seed(seed)
            .keep_events(false);
        let mut cluster = Cluster::new(settings);
        cluster.start_known();
        cluster.run_for(Duration::from_secs(5));
        for key in 0..120 {
            cluster.publish(7, &format!("key {key}"), &[b'x'; 512]);
        }
        cluster.crash(9);
        let took = cluster
            .run_until(all_is_delivered, Duration::from_secs(30))
            .expect("64 KB are delivered");
        println!("64 KB reach all 50 nodes after {took:?}, seed {seed}");
        assert!(took < Duration::from_secs(10), "seed {seed}: {took:?}");
        for reader in cluster.taking_part().collect::<Vec<_>>() {
            let held = cluster.held(reader, 7).expect("n7 is known");
            assert_eq!(held.telemetry().count(), 120, "seed {seed}, n{reader}");
        }
        cluster.run_for(Duration::from_secs(10));
        let crash =
            cluster.simulation().spreads().into_iter().find(|spread| spread.news == News::Crash);
        let known = crash.and_then(|spread| spread.everyone).expect("all nodes know of the crash");
        assert!(known < Duration::from_secs(5), "seed {seed}: {known:?}");
    });
}
