//! Clusters of one and two nodes, and others that are too small for K helpers.

use std::time::Duration;

use telemetry_gossip_core::{Config, Event, ExchangeOutcome, Input, Mode, ProbeOutcome, Status};
use telemetry_gossip_sim::{Cluster, Memory, Settings, node_id};
use telemetry_gossip_tests::for_each_seed;

fn cluster(nodes: usize, seed: u64) -> Cluster {
    let mut cluster = Cluster::new(Settings::default().nodes(nodes).seed(seed));
    cluster.start_joined();
    cluster
}

#[test]
fn a_single_node_is_its_whole_cluster_and_sends_nothing() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(1, seed);
        cluster.publish(0, "load", b"1");
        cluster.run_for(Duration::from_secs(60));
        assert_eq!(cluster.view(0).len(), 1);
        assert_eq!(cluster.status(0, 0), Some(Status::Alive));
        assert_eq!(cluster.usage(0).sent, 0);
        assert_eq!(cluster.health(0).isolated_since, None);
    });
}

#[test]
fn commands_of_a_single_node_complete_without_a_partner() {
    for_each_seed(200, |seed| {
        let config = Config::default().mode(Mode::OnDemand);
        let mut cluster = Cluster::new(Settings::default().nodes(1).config(config).seed(seed));
        cluster.command(0, Input::Exchange);
        cluster.command(0, Input::Probe { id: node_id(7) });
        cluster.command(0, Input::Probe { id: node_id(0) });
        cluster.run_for(Duration::from_secs(5));
        let ended: Vec<_> = cluster.events(0).map(|(_, event)| event).collect();
        let no_partner = Event::exchange_completed(None, ExchangeOutcome::NoPartner);
        assert!(ended.contains(&no_partner), "{ended:?}");
        for id in [node_id(7), node_id(0)] {
            let outcome = ProbeOutcome::NotProbed;
            assert!(ended.contains(&Event::probe_completed(id, outcome)), "{ended:?}");
        }
    });
}

#[test]
fn a_single_node_leaves_at_once() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(1, seed);
        cluster.leave(0);
        let told =
            cluster.events(0).any(|(_, event)| matches!(event, Event::LeaveCompleted { .. }));
        assert!(told);
    });
}

/// Half of the members are enough to declare the other half Dead, so one of two nodes can.
#[test]
fn in_a_cluster_of_two_a_crash_and_a_return_are_detected() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(2, seed);
        cluster.run_for(Duration::from_secs(30));
        assert!(cluster.views_complete_and_alive());

        cluster.crash(1);
        let dead = cluster.run_until(
            |cluster| cluster.status(0, 1) == Some(Status::Dead),
            Duration::from_secs(10),
        );
        assert!(dead.is_some(), "n0 never declared n1 dead");

        cluster.restart(1, Memory::Lost);
        let back = cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(10));
        assert!(back.is_some(), "n1 is not held alive again");
    });
}

#[test]
fn a_cluster_shrinks_to_one_node_and_grows_again() {
    for_each_seed(200, |seed| {
        let mut cluster = cluster(5, seed);
        for crashed in (1..5).rev() {
            cluster.crash(crashed);
            let limit = Duration::from_secs(30);
            let known =
                cluster.run_until(|cluster| cluster.everyone_holds(crashed, Status::Dead), limit);
            assert!(known.is_some(), "n{crashed} is not held dead");
        }
        for back in 1..5 {
            cluster.restart(back, Memory::Lost);
        }
        let whole = cluster.run_until(Cluster::views_complete_and_alive, Duration::from_secs(30));
        assert!(whole.is_some(), "the views are not complete again");
    });
}
